//! What a pod may know of itself and of its node: `fieldRef` and `resourceFieldRef`.

use std::net::IpAddr;

use super::{Fault, FaultKind, Place, wrong};
use crate::manifest::{Container, FieldSelector, Pod, Quantity, ResourceSelector};

/// The machine, as a kubelet would describe it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Its host name.
    pub name: String,
    /// Its addresses, the primary first.
    pub addresses: Vec<IpAddr>,
    /// Its processors.
    pub cpus: u64,
    /// Its memory in bytes.
    pub memory: u64,
}

/// The fields of `status` that are addresses of the pod.
const POD_ADDRESSES: &[&str] = &["status.podIP", "status.podIPs"];
/// The divisors of memory that the API server takes.
const MEMORY: &[u64] = &[
    1,
    1000,
    1000_u64.pow(2),
    1000_u64.pow(3),
    1000_u64.pow(4),
    1000_u64.pow(5),
    1000_u64.pow(6),
    1 << 10,
    1 << 20,
    1 << 30,
    1 << 40,
    1 << 50,
    1 << 60,
];

/// Whether the plan of a pod depends on the addresses that its sandbox will have.
pub(crate) fn needs_addresses(pod: &Pod) -> bool {
    let containers = pod.spec.init_containers.iter().chain(&pod.spec.containers);
    let mut sources =
        containers.flat_map(|c| &c.env).filter_map(|env| env.value_from.as_ref()?.field_ref.as_ref());
    sources.any(|field| POD_ADDRESSES.contains(&field.field_path.as_str()))
}

/// A pod and where it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) pod: &'a Pod,
    pub(super) place: &'a Place,
}

impl Facts<'_> {
    /// What a variable gets of a `fieldRef`, whose path in the manifest is `at`.
    pub(super) fn variable(&self, field: &FieldSelector, at: &str) -> Result<String, Fault> {
        let node = &self.place.node;
        let own = if self.pod.spec.host_network { &node.addresses } else { &self.place.addresses };
        let first = |all: &[IpAddr]| all.first().map(ToString::to_string).unwrap_or_default();
        let all = |all: &[IpAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        Ok(match field.field_path.as_str() {
            "spec.nodeName" => node.name.clone(),
            // What a cluster gives to a pod that names none.
            "spec.serviceAccountName" => "default".to_owned(),
            "status.hostIP" => first(&node.addresses),
            "status.hostIPs" => all(&node.addresses),
            "status.podIP" => first(own),
            "status.podIPs" => all(own),
            _ => return self.metadata(field, at, false),
        })
    }

    /// The fields that files may have too; these may have all labels and annotations.
    pub(super) fn metadata(&self, field: &FieldSelector, at: &str, whole: bool) -> Result<String, Fault> {
        if let Some(version) = field.api_version.as_deref().filter(|version| !["", "v1"].contains(version)) {
            return Err(wrong(
                format!("{at}.apiVersion"),
                format!("Unsupported value: {version:?}: it is v1"),
            ));
        }
        let (metadata, path) = (&self.pod.metadata, field.field_path.as_str());
        let of = |map: &std::collections::BTreeMap<String, String>, key: &str| {
            map.get(key).cloned().unwrap_or_default()
        };
        Ok(match path {
            "metadata.name" => metadata.name.clone(),
            "metadata.namespace" => metadata.namespace.clone().unwrap_or_else(|| "default".to_owned()),
            "metadata.uid" => self.place.uid.clone(),
            "metadata.labels" if whole => lines(&metadata.labels),
            "metadata.annotations" if whole => lines(&metadata.annotations),
            _ => match subscript(path) {
                Some(("metadata.labels", key)) => of(&metadata.labels, key),
                Some(("metadata.annotations", key)) => of(&metadata.annotations, key),
                _ => {
                    let message = format!("Unsupported value: {path:?}: no field that a pod may be told");
                    return Err(wrong(format!("{at}.fieldPath"), message));
                }
            },
        })
    }

    /// A limit or request of a container: of `own` where the selector names none.
    pub(super) fn resource(
        &self,
        field: &ResourceSelector,
        own: Option<&Container>,
        at: &str,
    ) -> Result<String, Fault> {
        let all = || self.pod.spec.init_containers.iter().chain(&self.pod.spec.containers);
        let container = match field.container_name.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => all().find(|c| c.name == name).ok_or_else(|| {
                wrong(
                    format!("{at}.containerName"),
                    format!("Not found: {name:?}: the pod has no such container"),
                )
            })?,
            None => own.ok_or_else(|| wrong(format!("{at}.containerName"), "Required value"))?,
        };
        let (limits, requests) = (&container.resources.limits, &container.resources.requests);
        let node = &self.place.node;
        let millis = |q: Option<Quantity>| q.map(Quantity::millis);
        let units = |q: Option<Quantity>| q.map(Quantity::units);
        let (amount, divisor) = match field.resource.as_str() {
            // Without a limit the node is one.
            "limits.cpu" => (millis(limits.cpu).unwrap_or(node.cpus * 1000), processors(field, at)?),
            "limits.memory" => (units(limits.memory).unwrap_or(node.memory), bytes(field, at)?),
            "requests.cpu" => (millis(requests.cpu.or(limits.cpu)).unwrap_or(0), processors(field, at)?),
            "requests.memory" => (units(requests.memory.or(limits.memory)).unwrap_or(0), bytes(field, at)?),
            other if ["ephemeral-storage", "hugepages-"].iter().any(|later| other.contains(later)) => {
                return Err((format!("{at}.resource"), FaultKind::Later));
            }
            other => {
                let known = "limits.cpu, limits.memory, requests.cpu, requests.memory";
                let message = format!("Unsupported value: {other:?}: supported values: {known}");
                return Err(wrong(format!("{at}.resource"), message));
            }
        };
        Ok(amount.div_ceil(divisor).to_string())
    }
}

/// The divisor in thousandths of a processor.
fn processors(field: &ResourceSelector, at: &str) -> Result<u64, Fault> {
    match field.divisor.map_or(0, Quantity::millis) {
        0 | 1000 => Ok(1000),
        1 => Ok(1),
        _ => Err(wrong(format!("{at}.divisor"), "Invalid value: of CPU it is 1m or 1")),
    }
}

/// The divisor in bytes.
fn bytes(field: &ResourceSelector, at: &str) -> Result<u64, Fault> {
    let Some(divisor) = field.divisor.filter(|divisor| divisor.millis() != 0) else { return Ok(1) };
    let bytes = divisor.units();
    if divisor.millis() >= 1000 && MEMORY.contains(&bytes) {
        return Ok(bytes);
    }
    let message = "Invalid value: of memory it is 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi or 1Ei";
    Err(wrong(format!("{at}.divisor"), message))
}

/// `path['key']`
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

/// A line for each, `key="value"`.
fn lines(map: &std::collections::BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect::<Vec<_>>().join("\n")
}

/// As Go quotes a string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
