//! Fields of a manifest without an effect: tools that write manifests leave them there.

use serde_json::{Map, Value, json};

/// Removes fields without a value, as the Kubernetes API reads them, and those whose value is what Berth does in any case.
pub(super) fn drop_what_says_nothing(document: &mut Value) {
    drop_nulls(document);
    let Some(document) = document.as_object_mut() else { return };
    drop_if(document, "status", &[json!({})]);
    if let Some(spec) = document.get_mut("spec").and_then(Value::as_object_mut) {
        drop_if(spec, "dnsPolicy", &[json!("ClusterFirst")]);
        // There are no variables for services, no tokens and no other scheduler.
        drop_if(spec, "enableServiceLinks", &[json!(true), json!(false)]);
        drop_if(spec, "automountServiceAccountToken", &[json!(false)]);
        drop_if(spec, "schedulerName", &[json!("default-scheduler")]);
        drop_if(spec, "os", &[json!({ "name": "linux" })]);
        drop_if(spec, "hostUsers", &[json!(true)]);
    }
}

fn drop_if(object: &mut Map<String, Value>, key: &str, values: &[Value]) {
    if object.get(key).is_some_and(|value| values.contains(value)) {
        object.remove(key);
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
