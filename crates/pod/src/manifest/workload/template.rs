//! The pods of a workload.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::{ManifestError, Metadata, Pod, refused, settled};

/// The pod of a template, or all that is wrong with it, each by its path in the workload's document.
pub(super) fn pod(
    document: usize,
    at: &str,
    template: &Value,
    of: &Metadata,
) -> Result<Pod, Vec<ManifestError>> {
    let fault = |message: &str| {
        let path = at.to_owned();
        vec![ManifestError::Field { document, path, message: message.to_owned() }]
    };
    let Some(fields) = template.as_object() else { return Err(fault("Invalid value: it is no mapping")) };
    if let Some(other) = fields.keys().find(|key| !["metadata", "spec"].contains(&key.as_str())) {
        return Err(vec![ManifestError::Field {
            document,
            path: format!("{at}.{other}"),
            message: "no such field in a v1 PodTemplateSpec".to_owned(),
        }]);
    }
    let mut metadata = fields.get("metadata").cloned().unwrap_or_else(|| json!({}));
    if let Some(fields) = metadata.as_object_mut() {
        fields.insert("name".to_owned(), json!(of.name));
        fields.remove("uid");
        fields.insert("namespace".to_owned(), json!(of.namespace.as_deref().unwrap_or("default")));
    }
    let mut value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata});
    if let Some(spec) = fields.get("spec") {
        value["spec"] = spec.clone();
    }
    settled::drop_what_says_nothing(&mut value);
    let read = refused::read::<Pod>(document, "v1 Pod", &value);
    match read {
        Ok(pod) => Ok(Pod { source: value.to_string(), ..pod }),
        Err(faults) => Err(faults.into_iter().map(|fault| below(at, fault)).collect()),
    }
}

pub(super) fn below(at: &str, fault: ManifestError) -> ManifestError {
    match fault {
        ManifestError::Later { document, path } => {
            ManifestError::Later { document, path: format!("{at}.{path}") }
        }
        ManifestError::Field { document, path, message } => {
            ManifestError::Field { document, path: format!("{at}.{path}"), message }
        }
        other => other,
    }
}

/// What is one pod's alone, added to a pod of the template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Own {
    /// Its name.
    pub(crate) name: String,
    /// Its own labels and annotations, beside those of the template.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// Its host name and subdomain, unless the template says them.
    pub(crate) hostname: Option<String>,
    pub(crate) subdomain: Option<String>,
    /// A variable of every container.
    pub(crate) variable: Option<(String, String)>,
}

/// The document of one pod of a template.
pub(crate) fn document(template: &Pod, own: &Own) -> Value {
    let mut value: Value = serde_json::from_str(&template.source).expect("what was read is JSON");
    let metadata = fields(&mut value, "metadata");
    metadata.insert("name".to_owned(), json!(own.name));
    for (map, more) in [("labels", &own.labels), ("annotations", &own.annotations)] {
        let into = entry(metadata, map);
        into.extend(more.iter().map(|(key, text)| (key.clone(), json!(text))));
    }
    let spec = fields(&mut value, "spec");
    for (field, text) in [("hostname", &own.hostname), ("subdomain", &own.subdomain)] {
        if let Some(text) = text {
            spec.entry(field).or_insert_with(|| json!(text));
        }
    }
    if let Some((name, text)) = &own.variable {
        for list in ["initContainers", "containers"] {
            let containers = spec.get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
                let env = container.entry("env").or_insert_with(|| json!([]));
                env.as_array_mut().into_iter().for_each(|env| env.push(json!({"name": name, "value": text})));
            }
        }
    }
    value
}

fn fields<'a>(value: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    let all = value.as_object_mut().expect("a pod is a mapping");
    entry(all, key)
}

fn entry<'a>(of: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    of.entry(key).or_insert_with(|| json!({})).as_object_mut().expect("it was read as a mapping")
}
