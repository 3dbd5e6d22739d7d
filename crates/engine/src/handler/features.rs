//! What a runtime says it can do: the answer to `features`, as the OCI runtime specification describes it (features.md). Pure.
//!
//! Another program's words: what has another form than expected counts as not said, and what is not said, as not there.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// What a runtime says it can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// Mounts that are read-only with everything below them: the mount option `rro`.
    pub(crate) recursive_read_only: bool,
    /// User namespaces. That it has idmapped mounts does not count: Berth maps what it gives.
    pub(crate) user_namespaces: bool,
    /// `checkpoint` and `restore`.
    pub(crate) checkpoint: bool,
}

/// The parts of the answer that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    oci_version_min: Value,
    #[serde(default)]
    mount_options: Value,
    #[serde(default)]
    linux: Value,
    #[serde(default)]
    annotations: BTreeMap<String, Value>,
}

/// Reads an answer. None when it is none: no JSON object, or one without the version of the specification that every
/// answer has.
pub(crate) fn parse(answer: &[u8]) -> Option<Features> {
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    answer.oci_version_min.as_str()?;
    let has = |list: &Value, word: &str| {
        list.as_array().is_some_and(|list| list.iter().any(|one| one.as_str() == Some(word)))
    };
    let namespaces = answer.linux.get("namespaces").unwrap_or(&Value::Null);
    // Each runtime has an annotation of its own for it, and crun has runc's too.
    let checkpoint = |(key, value): (&String, &Value)| {
        key.ends_with(".checkpoint.enabled")
            && (value.as_str() == Some("true") || *value == Value::Bool(true))
    };
    Some(Features {
        recursive_read_only: has(&answer.mount_options, "rro"),
        user_namespaces: has(namespaces, "user"),
        checkpoint: answer.annotations.iter().any(checkpoint),
    })
}

#[cfg(test)]
mod tests;
