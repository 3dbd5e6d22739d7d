//! Lists of objects in one document: `List`, as kubectl writes it, and those of one kind.

use serde_json::{Value, json};

use super::{KINDS, ManifestError};

/// What the items of a list of this kind are: empty where each says it itself. Nothing for another kind.
pub(super) fn of(kind: &str) -> Option<&'static str> {
    match kind {
        "List" => Some(""),
        "PodList" => Some("Pod"),
        "ConfigMapList" => Some("ConfigMap"),
        "SecretList" => Some("Secret"),
        "ServiceList" => Some("Service"),
        "PersistentVolumeClaimList" => Some("PersistentVolumeClaim"),
        _ => None,
    }
}

/// The items of a list, each with its kind. None of them is a list.
pub(super) fn items(document: usize, value: &Value, of: &str) -> Result<Vec<Value>, Vec<ManifestError>> {
    let fault = |path: &str, message: &str| {
        vec![ManifestError::Field { document, path: path.to_owned(), message: message.to_owned() }]
    };
    let known = ["apiVersion", "kind", "metadata", "items"];
    let fields = value.as_object().into_iter().flat_map(serde_json::Map::keys);
    if let Some(other) = fields.into_iter().find(|field| !known.contains(&field.as_str())) {
        return Err(fault(other, "no such field in a v1 List"));
    }
    let given = match value.get("items") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(given)) => given,
        Some(_) => return Err(fault("items", "Invalid value: it is no list")),
    };
    let mut items = Vec::with_capacity(given.len());
    for (index, item) in given.iter().enumerate() {
        let mut item = item.clone();
        if let Some(fields) = item.as_object_mut().filter(|_| !of.is_empty()) {
            fields.entry("apiVersion").or_insert_with(|| json!("v1"));
            fields.entry("kind").or_insert_with(|| json!(of));
        }
        let kind = item.get("kind").and_then(Value::as_str).unwrap_or_default();
        if self::of(kind).is_some() || (!of.is_empty() && !kind.is_empty() && kind != of) {
            let wanted = if of.is_empty() { "an object" } else { of };
            let message = format!("Invalid value: {kind:?}: an item of this list is {wanted}");
            return Err(fault(&format!("items[{index}].kind"), &message));
        }
        items.push(item);
    }
    Ok(items)
}

/// A fault of an item as one of its list.
pub(super) fn within(index: usize, fault: ManifestError) -> ManifestError {
    let item = format!("items[{index}]");
    match fault {
        ManifestError::Later { document, path } => {
            ManifestError::Later { document, path: format!("{item}.{path}") }
        }
        ManifestError::Field { document, path, message } => {
            ManifestError::Field { document, path: format!("{item}.{path}"), message }
        }
        ManifestError::Shape(document) => {
            let message = "expected a mapping with apiVersion, kind, metadata and spec".to_owned();
            ManifestError::Field { document, path: item, message }
        }
        ManifestError::Kind { document, kind, api_version } => {
            let message = format!("{kind:?} of {api_version:?} is not supported: only {KINDS} are");
            ManifestError::Field { document, path: item, message }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
