//! PersistentVolumeClaims: directories of this machine, checked as the API server checks claims.

use serde::Deserialize;
use serde_json::Value;

use super::{ManifestError, Metadata, Quantity, refused};

/// A PersistentVolumeClaim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The document as JSON.
    pub source: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    spec: ClaimSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClaimSpec {
    /// One machine gives all of them.
    #[serde(default)]
    access_modes: Vec<String>,
    #[serde(default)]
    resources: Option<Resources>,
    /// There is one kind of storage here.
    #[serde(default, rename = "storageClassName")]
    _storage_class_name: Option<String>,
    #[serde(default)]
    volume_mode: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    requests: Storage,
    #[serde(default)]
    limits: Storage,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Storage {
    #[serde(default)]
    storage: Option<Quantity>,
}

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Reads a claim, or names all its faults.
pub(super) fn read_claim(document: usize, value: &Value) -> Result<Claim, Vec<ManifestError>> {
    let Document { metadata, spec, .. } = refused::read(document, "v1 PersistentVolumeClaim", value)?;
    let mut faults = Vec::new();
    check(&spec, "spec", &mut |path, message| {
        faults.push(ManifestError::Field { document, path, message });
    });
    if spec.volume_mode.as_deref() == Some("Block") {
        faults.push(ManifestError::Later { document, path: "spec.volumeMode".to_owned() });
    }
    let label = |l: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !l.is_empty() && l.bytes().all(inner) && !l.starts_with('-') && !l.ends_with('-')
    };
    let namespace = metadata.namespace.unwrap_or_else(|| "default".to_owned());
    let reason = "lower-case letters, digits, '-' and '.' make a name";
    let mut wrong = |field: &str, text: &str| {
        let (path, message) = (format!("metadata.{field}"), format!("Invalid value: {text:?}: {reason}"));
        faults.push(ManifestError::Field { document, path, message });
    };
    if metadata.name.len() > 253 || !metadata.name.split('.').all(label) {
        wrong("name", &metadata.name);
    }
    if namespace.len() > 63 || !label(&namespace) {
        wrong("namespace", &namespace);
    }
    if faults.is_empty() {
        Ok(Claim { namespace, name: metadata.name, source: value.to_string() })
    } else {
        Err(faults)
    }
}

fn check(spec: &ClaimSpec, at: &str, fault: &mut dyn FnMut(String, String)) {
    if spec.access_modes.is_empty() {
        fault(format!("{at}.accessModes"), "Required value: at least 1 access mode is required".to_owned());
    }
    let known: Vec<_> = MODES.iter().map(|mode| format!("{mode:?}")).collect();
    for mode in spec.access_modes.iter().filter(|mode| !MODES.contains(&mode.as_str())) {
        let message = format!("Unsupported value: {mode:?}: supported values: {}", known.join(", "));
        fault(format!("{at}.accessModes"), message);
    }
    let once = spec.access_modes.iter().any(|mode| mode == "ReadWriteOncePod");
    if once && spec.access_modes.len() > 1 {
        let message = "Forbidden: may not use ReadWriteOncePod with other access modes".to_owned();
        fault(format!("{at}.accessModes"), message);
    }
    let storage = spec.resources.as_ref().and_then(|resources| resources.requests.storage.as_ref());
    let limit = spec.resources.as_ref().and_then(|resources| resources.limits.storage.as_ref());
    match (storage, limit) {
        (None, None) => fault(format!("{at}.resources[storage]"), "Required value".to_owned()),
        (Some(size), _) | (None, Some(size)) if size.units() == 0 => {
            let message = "Invalid value: must be greater than zero".to_owned();
            fault(format!("{at}.resources[storage]"), message);
        }
        _ => {}
    }
    if let Some(mode) = spec.volume_mode.as_deref().filter(|mode| !["Filesystem", "Block"].contains(mode)) {
        let message = format!("Unsupported value: {mode:?}: supported values: \"Block\", \"Filesystem\"");
        fault(format!("{at}.volumeMode"), message);
    }
}

#[cfg(test)]
mod tests;
