//! Pod manifests as users write them: `v1` `Pod` in YAML or JSON, several documents in a file.
//!
//! Every field in a manifest is supported or refused by its path; none is ignored. The
//! meaning of a field is that of the Kubernetes API reference for `v1.Pod`.

mod fields;
mod settled;
mod spec;

use std::collections::BTreeSet;

use serde_json::Value;

pub use berth_types::quantity::{Quantity, QuantityError};
pub use spec::*;

/// The most bytes of a manifest.
pub const MAX_BYTES: usize = 1 << 20;
/// The most documents in a file.
pub const MAX_DOCUMENTS: usize = 100;

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MAX_BYTES`].
    #[error("the manifest has {0} bytes, {MAX_BYTES} are allowed")]
    TooLarge(usize),
    /// More than [`MAX_DOCUMENTS`].
    #[error("the manifest has {0} documents, {MAX_DOCUMENTS} are allowed")]
    TooMany(usize),
    /// Not YAML.
    #[error("the manifest is not YAML: {0}")]
    Syntax(String),
    /// No document holds anything.
    #[error("the manifest is empty")]
    Empty,
    /// Not an object of Kubernetes.
    #[error("document {0} is not a manifest: expected a mapping with apiVersion, kind, metadata and spec")]
    Shape(usize),
    /// Not a pod.
    #[error("document {document}: {kind:?} of {api_version:?} is not supported: only Pod of v1 is")]
    Kind {
        /// Counted from 1.
        document: usize,
        /// What `kind` says.
        kind: String,
        /// What `apiVersion` says.
        api_version: String,
    },
    /// A field that Kubernetes has and Berth does not support yet.
    #[error("document {document}: {path} is not supported yet: remove it")]
    Later {
        /// Counted from 1.
        document: usize,
        /// The field.
        path: String,
    },
    /// Two documents define the same pod.
    #[error("document {document}: duplicate pod {name} in the manifest")]
    Duplicate {
        /// The second, counted from 1.
        document: usize,
        /// The pod.
        name: String,
    },
    /// A field with an invalid value.
    #[error("document {document}: {path}: {message}")]
    Field {
        /// Counted from 1.
        document: usize,
        /// The field.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}

impl berth_types::Classify for ManifestError {
    fn kind(&self) -> berth_types::Kind {
        match self {
            Self::Kind { .. } | Self::Later { .. } => berth_types::Kind::Unsupported,
            Self::TooLarge(_)
            | Self::TooMany(_)
            | Self::Syntax(_)
            | Self::Empty
            | Self::Shape(_)
            | Self::Duplicate { .. }
            | Self::Field { .. } => berth_types::Kind::Invalid,
        }
    }
}

/// The pods of a manifest.
pub fn parse(text: &[u8]) -> Result<Vec<Pod>, ManifestError> {
    if text.len() > MAX_BYTES {
        return Err(ManifestError::TooLarge(text.len()));
    }
    let text = std::str::from_utf8(text).map_err(|e| ManifestError::Syntax(e.to_string()))?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|e| ManifestError::Syntax(e.to_string()))?;
    if documents.len() > MAX_DOCUMENTS {
        return Err(ManifestError::TooMany(documents.len()));
    }
    let (mut pods, mut seen) = (Vec::new(), BTreeSet::new());
    for (index, value) in documents.into_iter().enumerate().filter(|(_, value)| !value.is_null()) {
        let pod = pod(index + 1, value)?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default").to_owned();
        if !seen.insert((namespace, pod.metadata.name.clone())) {
            return Err(ManifestError::Duplicate { document: index + 1, name: pod.metadata.name });
        }
        pods.push(pod);
    }
    if pods.is_empty() { Err(ManifestError::Empty) } else { Ok(pods) }
}

fn pod(document: usize, mut value: Value) -> Result<Pod, ManifestError> {
    settled::drop_what_says_nothing(&mut value);
    let word = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, api_version) = (word("kind"), word("apiVersion"));
    if !value.is_object() || kind.is_empty() {
        return Err(ManifestError::Shape(document));
    }
    if kind != "Pod" || api_version != "v1" {
        return Err(ManifestError::Kind { document, kind, api_version });
    }
    let pod: Pod = serde_path_to_error::deserialize(&value).map_err(|e| refusal(document, &e))?;
    Ok(Pod { source: value.to_string(), ..pod })
}

/// Tells a field that Berth does not support yet from one that does not exist.
fn refusal(document: usize, error: &serde_path_to_error::Error<serde_json::Error>) -> ManifestError {
    let message = error.inner().to_string();
    let at = error.path().to_string();
    let Some(name) = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) else {
        let path = if at == "." { "the document".to_owned() } else { at };
        return ManifestError::Field { document, path, message };
    };
    // The path ends in the object or in the field itself, as the deserializer saw it.
    let path = match at.as_str() {
        "." => name.to_owned(),
        at if at == name || at.ends_with(&format!(".{name}")) => at.to_owned(),
        at => format!("{at}.{name}"),
    };
    // Names of resources are not fixed: every name is valid.
    let resource = [".limits.", ".requests."].iter().any(|list| path.ends_with(&format!("{list}{name}")));
    if resource || fields::exists(name) {
        return ManifestError::Later { document, path };
    }
    let meant = fields::meant(name, &message).map(|known| format!(" (hint: did you mean {known}?)"));
    let message = format!("no such field in a v1 Pod{}", meant.unwrap_or_default());
    ManifestError::Field { document, path, message }
}

#[cfg(test)]
mod tests;
