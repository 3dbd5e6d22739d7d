//! The pods that a manifest names: all that is needed to take them down, whatever else in it is not supported.

use serde_json::Value;

use super::{Found, MAX_BYTES, ManifestError};

/// A pod of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The names of the pods of a manifest. What else is in it is not looked at.
pub fn names(text: &[u8]) -> Result<Vec<PodName>, ManifestError> {
    if text.len() > MAX_BYTES {
        return Err(ManifestError::TooLarge(text.len()));
    }
    let documents = Found::documents(text)?;
    Ok(documents.iter().flat_map(items).filter_map(pod).collect())
}

/// The document, or those that it lists.
fn items(document: &Value) -> Vec<&Value> {
    let kind = document["kind"].as_str().unwrap_or_default();
    match document["items"].as_array() {
        Some(items) if kind.ends_with("List") => items.iter().collect(),
        _ => vec![document],
    }
}

fn pod(document: &Value) -> Option<PodName> {
    // Items of a PodList need no kind.
    let kind = document.get("kind").and_then(Value::as_str);
    let metadata = &document["metadata"];
    let namespace = metadata["namespace"].as_str().filter(|namespace| !namespace.is_empty());
    let name = PodName {
        namespace: namespace.unwrap_or("default").to_owned(),
        name: metadata["name"].as_str()?.to_owned(),
    };
    matches!(kind, Some("Pod") | None).then_some(name)
}

#[cfg(test)]
mod tests;
