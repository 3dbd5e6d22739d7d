//! What a manifest names: all that is needed to take it down, whatever else in it is not supported.

use serde_json::Value;

use super::{Found, MAX_BYTES, ManifestError};

/// An object of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// What it is: `Pod`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The objects of a manifest that have a name. What else is in it is not looked at.
///
/// # Errors
/// It is not YAML or too large.
pub fn names(text: &[u8]) -> Result<Vec<Named>, ManifestError> {
    if text.len() > MAX_BYTES {
        return Err(ManifestError::TooLarge(text.len()));
    }
    let documents = Found::documents(text)?;
    Ok(documents.iter().flat_map(items).filter_map(|(kind, item)| named(kind, item)).collect())
}

/// The document, or those that it lists, with the kind of those that say none.
fn items(document: &Value) -> Vec<(&str, &Value)> {
    let kind = document["kind"].as_str().unwrap_or_default();
    match (document["items"].as_array(), kind.strip_suffix("List")) {
        (Some(items), Some(of)) => items.iter().map(|item| (of, item)).collect(),
        _ => vec![("", document)],
    }
}

fn named(kind: &str, document: &Value) -> Option<Named> {
    let kind = document["kind"].as_str().unwrap_or(kind);
    let metadata = &document["metadata"];
    let namespace = metadata["namespace"].as_str().filter(|namespace| !namespace.is_empty());
    Some(Named {
        kind: kind.to_owned(),
        namespace: namespace.unwrap_or("default").to_owned(),
        name: metadata["name"].as_str()?.to_owned(),
    })
}

#[cfg(test)]
mod tests;
