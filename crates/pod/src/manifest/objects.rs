//! ConfigMaps and Secrets beside the pods of a manifest, checked as the API server checks them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ManifestError, Metadata, Pod, refused};

/// The most bytes of the values of one object.
pub const MAX_OBJECT: usize = 1 << 20;
/// The most bytes of a key.
const MAX_KEY: usize = 253;
/// What has values without being spelled as one.
const MAPS: &[&str] = &["data", "binaryData", "stringData"];

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// `v1` `ConfigMap`
    ConfigMap,
    /// `v1` `Secret`
    Secret,
}

impl ObjectKind {
    pub(super) fn of(kind: &str) -> Option<Self> {
        match kind {
            "ConfigMap" => Some(Self::ConfigMap),
            "Secret" => Some(Self::Secret),
            _ => None,
        }
    }

    /// As manifests spell it.
    pub fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// The value of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub bytes: Vec<u8>,
    /// Whether a variable may have it: what is in a ConfigMap's `binaryData` is for files alone.
    pub variable: bool,
}

/// Not the value: it may be a password.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

/// A ConfigMap or a Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    /// Which of the two.
    pub kind: ObjectKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its values by their keys.
    pub data: BTreeMap<String, Entry>,
    /// The document as JSON.
    pub(crate) source: String,
}

/// Keys without values.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name, data, source: _ } = self;
        write!(f, "{} {namespace}/{name} {:?}", kind.word(), data.keys().collect::<Vec<_>>())
    }
}

/// The objects that a pod uses, all in its namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects(BTreeMap<(ObjectKind, String), Object>);

impl Objects {
    /// The object of this name.
    pub fn get(&self, kind: ObjectKind, name: &str) -> Option<&Object> {
        self.0.get(&(kind, name.to_owned()))
    }

    /// The documents as JSON, one after another; [`super::resume`] reads them.
    pub fn source(&self) -> String {
        self.0.values().map(|object| object.source.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// What `pod` uses of the objects of a manifest.
    pub(super) fn of(pod: &Pod, all: &[Object]) -> Self {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let used = used(pod);
        let mine = all.iter().filter(|object| {
            object.namespace == namespace && used.contains(&(object.kind, object.name.as_str()))
        });
        Self(mine.map(|object| ((object.kind, object.name.clone()), object.clone())).collect())
    }
}

/// The objects that a pod names.
fn used(pod: &Pod) -> BTreeSet<(ObjectKind, &str)> {
    let (mut names, spec) = (BTreeSet::new(), &pod.spec);
    for container in spec.init_containers.iter().chain(&spec.containers) {
        for from in &container.env_from {
            names.extend(from.config_map_ref.iter().map(|r| (ObjectKind::ConfigMap, r.name.as_str())));
            names.extend(from.secret_ref.iter().map(|r| (ObjectKind::Secret, r.name.as_str())));
        }
        for source in container.env.iter().filter_map(|env| env.value_from.as_ref()) {
            names.extend(source.config_map_key_ref.iter().map(|r| (ObjectKind::ConfigMap, r.name.as_str())));
            names.extend(source.secret_key_ref.iter().map(|r| (ObjectKind::Secret, r.name.as_str())));
        }
    }
    names.extend(spec.image_pull_secrets.iter().map(|s| (ObjectKind::Secret, s.name.as_str())));
    for volume in &spec.volumes {
        names.extend(volume.config_map.iter().map(|v| (ObjectKind::ConfigMap, v.name.as_str())));
        names.extend(volume.secret.iter().map(|v| (ObjectKind::Secret, v.secret_name.as_str())));
        for source in volume.projected.iter().flat_map(|projected| &projected.sources) {
            names.extend(source.config_map.iter().map(|s| (ObjectKind::ConfigMap, s.name.as_str())));
            names.extend(source.secret.iter().map(|s| (ObjectKind::Secret, s.name.as_str())));
        }
    }
    names
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConfigMap {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    #[serde(default)]
    data: BTreeMap<String, String>,
    #[serde(default)]
    binary_data: BTreeMap<String, String>,
    #[serde(default, rename = "immutable")]
    _immutable: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Secret {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    #[serde(default)]
    data: BTreeMap<String, String>,
    #[serde(default)]
    string_data: BTreeMap<String, String>,
    #[serde(default, rename = "type")]
    purpose: String,
    #[serde(default, rename = "immutable")]
    _immutable: bool,
}

/// A key whose value is empty, as the API server reads `key:` without anything.
pub(super) fn keep_empty_values(document: &mut Value) {
    for map in MAPS {
        if let Some(values) = document.get_mut(map).and_then(Value::as_object_mut) {
            values.values_mut().filter(|value| value.is_null()).for_each(|value| *value = json!(""));
        }
    }
}

/// Reads a ConfigMap or Secret, or names all its faults.
pub(super) fn read(document: usize, kind: ObjectKind, value: &Value) -> Result<Object, Vec<ManifestError>> {
    let mut faults = Faults { document, all: Vec::new() };
    let (metadata, data) = match kind {
        ObjectKind::ConfigMap => {
            let read: ConfigMap = refused::read(document, &format!("v1 {}", kind.word()), value)?;
            let mut data = faults.texts("data", read.data);
            for (key, entry) in faults.decoded("binaryData", read.binary_data, false) {
                if data.insert(key.clone(), entry).is_some() {
                    faults.add(
                        format!("data[{key}]"),
                        format!("Invalid value: {key:?}: it is in binaryData too"),
                    );
                }
            }
            (read.metadata, data)
        }
        ObjectKind::Secret => {
            let read: Secret = refused::read(document, &format!("v1 {}", kind.word()), value)?;
            let mut data = faults.decoded("data", read.data, true);
            data.extend(faults.texts("stringData", read.string_data));
            faults.purpose(&read.purpose, &data);
            (read.metadata, data)
        }
    };
    let size: usize = data.values().map(|entry| entry.bytes.len()).sum();
    if size > MAX_OBJECT {
        faults.add("data".to_owned(), format!("Too long: {size} bytes, {MAX_OBJECT} are allowed"));
    }
    let namespace = metadata.namespace.unwrap_or_else(|| "default".to_owned());
    faults.names(&metadata.name, &namespace);
    if faults.all.is_empty() {
        Ok(Object { kind, namespace, name: metadata.name, data, source: value.to_string() })
    } else {
        Err(faults.all)
    }
}

struct Faults {
    document: usize,
    all: Vec<ManifestError>,
}

impl Faults {
    fn add(&mut self, path: String, message: impl Into<String>) {
        self.all.push(ManifestError::Field { document: self.document, path, message: message.into() });
    }

    fn key(&mut self, map: &str, key: &str) {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let reason = if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(known) {
            "a key has 1 to 253 letters, digits, '-', '_' or '.'"
        } else if key == "." || key.starts_with("..") {
            "a key is not '.' and does not begin with '..'"
        } else {
            return;
        };
        self.add(format!("{map}[{key}]"), format!("Invalid value: {key:?}: {reason}"));
    }

    fn texts(&mut self, map: &str, values: BTreeMap<String, String>) -> BTreeMap<String, Entry> {
        let entry = |text: String| Entry { bytes: text.into_bytes(), variable: true };
        values.keys().for_each(|key| self.key(map, key));
        values.into_iter().map(|(key, text)| (key, entry(text))).collect()
    }

    fn decoded(
        &mut self,
        map: &str,
        values: BTreeMap<String, String>,
        variable: bool,
    ) -> BTreeMap<String, Entry> {
        let mut decoded = BTreeMap::new();
        for (key, mut text) in values {
            self.key(map, &key);
            text.retain(|c| !matches!(c, '\n' | '\r'));
            match STANDARD.decode(&text) {
                Ok(bytes) => drop(decoded.insert(key, Entry { bytes, variable })),
                // The error says where, and nothing of the value.
                Err(e) => {
                    let hint = if map == "data" { " (hint: plain text goes into stringData)" } else { "" };
                    self.add(format!("{map}[{key}]"), format!("Invalid value: it is not base64: {e}{hint}"));
                }
            }
        }
        decoded
    }

    /// What a Secret of a type must have.
    fn purpose(&mut self, purpose: &str, data: &BTreeMap<String, Entry>) {
        let needed: &[&str] = match purpose {
            "kubernetes.io/dockercfg" => &[".dockercfg"],
            "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
            "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
            "kubernetes.io/tls" => &["tls.crt", "tls.key"],
            "kubernetes.io/basic-auth" if !data.contains_key("password") => &["username"],
            _ => &[],
        };
        for key in needed.iter().filter(|key| !data.contains_key(**key)) {
            self.add(format!("data[{key}]"), format!("Required value: type {purpose} needs it"));
        }
    }

    fn names(&mut self, name: &str, namespace: &str) {
        let label = |l: &str| {
            let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            !l.is_empty() && l.bytes().all(inner) && !l.starts_with('-') && !l.ends_with('-')
        };
        let reason = "lower-case letters, digits, '-' and '.' make a name";
        if name.len() > 253 || !name.split('.').all(label) {
            self.add("metadata.name".to_owned(), format!("Invalid value: {name:?}: {reason}"));
        }
        if namespace.len() > 63 || !label(namespace) {
            self.add("metadata.namespace".to_owned(), format!("Invalid value: {namespace:?}: {reason}"));
        }
    }
}

#[cfg(test)]
mod tests;
