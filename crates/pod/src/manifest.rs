//! Pod manifests as users write them: `v1` `Pod` in YAML or JSON, several documents in a file.
//!
//! Every field in a manifest is supported or refused by its path; none is ignored. The
//! meaning of a field is that of the Kubernetes API reference for `v1.Pod`.

mod fields;
mod refused;
mod settled;
mod spec;

use std::collections::BTreeSet;

use serde_json::Value;

pub use berth_types::quantity::{Quantity, QuantityError};
pub(crate) use refused::list;
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
    /// More than one of these.
    #[error("{}", list(.0))]
    Several(Vec<ManifestError>),
}

impl berth_types::Classify for ManifestError {
    fn kind(&self) -> berth_types::Kind {
        match self {
            Self::Several(all) if all.iter().all(|e| e.kind() == berth_types::Kind::Unsupported) => {
                berth_types::Kind::Unsupported
            }
            Self::Kind { .. } | Self::Later { .. } => berth_types::Kind::Unsupported,
            Self::TooLarge(_)
            | Self::TooMany(_)
            | Self::Syntax(_)
            | Self::Empty
            | Self::Shape(_)
            | Self::Duplicate { .. }
            | Self::Field { .. }
            | Self::Several(_) => berth_types::Kind::Invalid,
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
    let (mut pods, mut seen, mut faults) = (Vec::new(), BTreeSet::new(), Vec::new());
    for (index, value) in documents.into_iter().enumerate().filter(|(_, value)| !value.is_null()) {
        let pod = match pod(index + 1, value) {
            Ok(pod) => pod,
            Err(found) => {
                faults.extend(found);
                continue;
            }
        };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default").to_owned();
        if !seen.insert((namespace, pod.metadata.name.clone())) {
            faults.push(ManifestError::Duplicate { document: index + 1, name: pod.metadata.name });
            continue;
        }
        pods.push(pod);
    }
    match faults.len() {
        0 if pods.is_empty() => Err(ManifestError::Empty),
        0 => Ok(pods),
        1 => Err(faults.remove(0)),
        _ => Err(ManifestError::Several(faults)),
    }
}

fn pod(document: usize, mut value: Value) -> Result<Pod, Vec<ManifestError>> {
    settled::drop_what_says_nothing(&mut value);
    let word = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, api_version) = (word("kind"), word("apiVersion"));
    if !value.is_object() || kind.is_empty() {
        return Err(vec![ManifestError::Shape(document)]);
    }
    if kind != "Pod" || api_version != "v1" {
        return Err(vec![ManifestError::Kind { document, kind, api_version }]);
    }
    let pod: Pod = refused::read(document, "Pod", &value)?;
    Ok(Pod { source: value.to_string(), ..pod })
}

#[cfg(test)]
mod tests;
