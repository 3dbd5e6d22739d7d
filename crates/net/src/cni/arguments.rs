//! What plugins are told of a pod beside its namespace: `CNI_ARGS` and the arguments of capabilities. Everything here is
//! pure.
//!
//! Capabilities are those of CNI's CONVENTIONS.md; the names in `CNI_ARGS` and the annotations for bandwidth are those
//! that kubelets have always used.

use std::collections::BTreeMap;

use berth_types::quantity::Quantity;
use serde_json::{Map, Value, json};

use super::error::{BandwidthError, CniError};
use crate::cidr::Cidr;
use crate::network::AttachRequest;
use crate::port::PortMapping;
use crate::resolv::Dns;

/// The annotations that ask for a bandwidth, in bits per second, with the capability's keys.
const BANDWIDTH: [(&str, &str, &str); 2] = [
    ("kubernetes.io/ingress-bandwidth", "ingressRate", "ingressBurst"),
    ("kubernetes.io/egress-bandwidth", "egressRate", "egressBurst"),
];
/// The least and the most that may be asked for: what a kubelet accepts.
const RATES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;
/// The size of bursts, in bits: no limit, as kubelets have asked for.
const BURST: i32 = i32::MAX;
/// The capability of host ports.
pub(super) const PORTS: &str = "portMappings";

/// `CNI_ARGS` for a pod. Plugins that know none of it ignore it.
pub(super) fn args(request: &AttachRequest<'_>) -> Result<String, CniError> {
    let named = [
        ("K8S_POD_NAMESPACE", "the pod's namespace", request.namespace),
        ("K8S_POD_NAME", "the pod's name", request.name),
        ("K8S_POD_INFRA_CONTAINER_ID", "the pod's id", request.sandbox.as_str()),
        ("K8S_POD_UID", "the pod's uid", request.uid),
    ];
    let mut args = "IgnoreUnknown=1".to_owned();
    for (key, what, value) in named {
        if value.contains([';', '=', '\0']) {
            return Err(CniError::BadName { what, value: value.to_owned() });
        }
        args.push_str(&format!(";{key}={value}"));
    }
    Ok(args)
}

/// The arguments of all capabilities that Berth knows; a plugin gets those that it asks for.
pub(super) fn capabilities(
    request: &AttachRequest<'_>,
    blocks: &[Cidr],
) -> Result<Map<String, Value>, CniError> {
    let mut all = Map::new();
    if !request.ports.is_empty() {
        all.insert(PORTS.to_owned(), request.ports.iter().map(port).collect());
    }
    if !blocks.is_empty() {
        // One address of each.
        all.insert(
            "ipRanges".to_owned(),
            blocks.iter().map(|block| json!([{ "subnet": block.to_string() }])).collect(),
        );
    }
    all.extend(bandwidth(request.annotations)?.map(|value| ("bandwidth".to_owned(), value)));
    all.extend(request.dns.map(|of| ("dns".to_owned(), dns(of))));
    Ok(all)
}

fn port(of: &PortMapping) -> Value {
    let mut port = json!({
        "hostPort": of.host_port,
        "containerPort": of.container_port,
        "protocol": of.protocol.to_string(),
    });
    if let Some(ip) = of.host_ip {
        port["hostIP"] = ip.to_string().into();
    }
    port
}

fn dns(of: &Dns) -> Value {
    json!({ "servers": of.servers, "searches": of.searches, "options": of.options })
}

fn bandwidth(annotations: &BTreeMap<String, String>) -> Result<Option<Value>, CniError> {
    let mut limits = Map::new();
    for (annotation, rate, burst) in BANDWIDTH {
        let Some(text) = annotations.get(annotation) else { continue };
        let bits = bits(text).map_err(|source| CniError::BadBandwidth { annotation, source })?;
        limits.insert(rate.to_owned(), bits.into());
        limits.insert(burst.to_owned(), BURST.into());
    }
    Ok((!limits.is_empty()).then(|| limits.into()))
}

fn bits(text: &str) -> Result<u64, BandwidthError> {
    let bits = text.parse::<Quantity>()?.units();
    if RATES.contains(&bits) { Ok(bits) } else { Err(BandwidthError::Range(text.to_owned())) }
}

#[cfg(test)]
mod tests;
