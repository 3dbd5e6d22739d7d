//! What the API server adds to a pod's `spec`: defaults, and the class of its service.

use std::sync::Arc;

use berth_engine::model::ContainerView;
use serde_json::{Map, Value, json};

use crate::manifest::Quantity;
use crate::plan::DEFAULT_GRACE;

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// The `spec` of a manifest with what was left out.
pub(super) fn with_defaults(mut spec: Map<String, Value>, node: &str) -> Value {
    let mut put = |key: &str, value: Value| {
        spec.entry(key).or_insert(value);
    };
    put("dnsPolicy", json!("ClusterFirst"));
    put("nodeName", json!(node));
    put("restartPolicy", json!("Always"));
    put("schedulerName", json!("default-scheduler"));
    put("securityContext", json!({}));
    put("terminationGracePeriodSeconds", json!(DEFAULT_GRACE));
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        containers.filter_map(Value::as_object_mut).for_each(container);
    }
    Value::Object(spec)
}

fn container(fields: &mut Map<String, Value>) {
    let image = fields.get("image").and_then(Value::as_str).unwrap_or_default();
    let tagged = image.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    let policy = if tagged && !image.ends_with(":latest") { "IfNotPresent" } else { "Always" };
    let mut put = |key: &str, value: Value| {
        fields.entry(key).or_insert(value);
    };
    put("imagePullPolicy", json!(policy));
    put("resources", json!({}));
    put("terminationMessagePath", json!("/dev/termination-log"));
    put("terminationMessagePolicy", json!("File"));
    for port in fields.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            port.entry("protocol").or_insert(json!("TCP"));
        }
    }
    for name in PROBES {
        let Some(probe) = fields.get_mut(name).and_then(Value::as_object_mut) else { continue };
        let numbers =
            [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)];
        for (key, value) in numbers {
            probe.entry(key).or_insert(json!(value));
        }
    }
}

/// What is known of the `spec` of a kubelet's pod: its containers.
pub(super) fn of_containers(views: &[Arc<ContainerView>]) -> Value {
    let all = super::super::newest(views);
    let one = |view: &&ContainerView| {
        let image = &view.config.image;
        let named = if image.user_specified.is_empty() { &image.image } else { &image.user_specified };
        json!({ "name": view.config.metadata.name, "image": named })
    };
    json!({ "containers": all.iter().map(one).collect::<Vec<_>>() })
}

/// `Guaranteed` where every container has limits of processors and memory, and requests no less; `BestEffort` where none has any.
pub(super) fn qos_class(manifest: Option<&String>) -> Value {
    let Some(source) = manifest.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return Value::Null;
    };
    let of = |list: &str| source["spec"][list].as_array().cloned().unwrap_or_default();
    let containers: Vec<Value> = of("initContainers").into_iter().chain(of("containers")).collect();
    let amount = |container: &Value, list: &str, of: &str| {
        let quantity = match &container["resources"][list][of] {
            Value::String(text) => text.parse::<Quantity>().ok(),
            Value::Number(number) => number.to_string().parse::<Quantity>().ok(),
            _ => None,
        };
        quantity.map(Quantity::millis).filter(|millis| *millis > 0)
    };
    // The pod's own count for all of them.
    let own = &source["spec"];
    let has_own = own["resources"]["limits"].is_object() || own["resources"]["requests"].is_object();
    let containers = if has_own { vec![own.clone()] } else { containers };
    let (mut any, mut guaranteed) = (false, true);
    for container in &containers {
        for resource in ["cpu", "memory"] {
            let limit = amount(container, "limits", resource);
            let request = amount(container, "requests", resource);
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    json!(match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    })
}
