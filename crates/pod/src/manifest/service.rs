//! Services of `core/v1`, defaulted and checked as the API server does.

mod check;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::{ManifestError, Metadata, PortProtocol, refused};

/// The ports of the machine that a service may have.
pub const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;
/// The most ports of a service.
pub const MAX_SERVICE_PORTS: usize = 100;
/// How long a client stays with a pod, unless the service says it: three hours.
const AFFINITY: u32 = 10_800;

/// A Service: a name and an address for pods with certain labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it wants.
    pub spec: ServiceSpec,
    /// The document as JSON.
    pub source: String,
}

/// What a service wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// How it is reached.
    pub kind: ServiceType,
    /// Whether it has names alone and no address.
    pub headless: bool,
    /// The address that it asks for.
    pub asked: Option<IpAddr>,
    /// Of which families its addresses are.
    pub families: Families,
    /// The labels of its pods.
    pub selector: BTreeMap<String, String>,
    /// Its ports, in the order of the manifest.
    pub ports: Vec<ServicePort>,
    /// For how many seconds a client stays with the pod that it had.
    pub affinity: Option<u32>,
    /// Whether pods that are not ready are among its endpoints.
    pub publish_not_ready: bool,
    /// The name that it stands for.
    pub external_name: Option<String>,
}

/// How a service is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceType {
    /// By an address of its own, from pods and this machine.
    ClusterIp,
    /// By a port of this machine, too.
    NodePort,
    /// The same here: nothing balances in front of this machine.
    LoadBalancer,
    /// It is another name of something elsewhere.
    ExternalName,
}

impl ServiceType {
    /// As manifests spell it.
    pub fn word(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
            Self::ExternalName => "ExternalName",
        }
    }

    /// Whether it has ports of the machine.
    pub fn has_node_ports(self) -> bool {
        matches!(self, Self::NodePort | Self::LoadBalancer)
    }
}

/// The families of a service's addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Families {
    /// Those of the pod network.
    #[default]
    OfNetwork,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both, or it is refused.
    Both,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; may be empty where it is the only one.
    pub name: String,
    /// TCP or UDP.
    pub protocol: PortProtocol,
    /// Of the service's address.
    pub port: u16,
    /// Of its pods.
    pub target: TargetPort,
    /// Of this machine, as the manifest says it.
    pub node_port: Option<u16>,
}

/// A port of pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// The same of all pods.
    Number(u16),
    /// That which a container calls so.
    Name(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    spec: Given,
}

/// The fields as they are written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Given {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default, rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(default, rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    #[serde(default)]
    ip_families: Vec<String>,
    #[serde(default)]
    ip_family_policy: Option<String>,
    #[serde(default)]
    selector: BTreeMap<String, String>,
    #[serde(default)]
    ports: Vec<GivenPort>,
    #[serde(default)]
    session_affinity: Option<String>,
    #[serde(default)]
    session_affinity_config: Option<AffinityConfig>,
    #[serde(default)]
    publish_not_ready_addresses: bool,
    #[serde(default)]
    external_name: Option<String>,
    /// All pods are on this machine: what is of this machine alone is all there is.
    #[serde(default)]
    internal_traffic_policy: Option<String>,
    #[serde(default)]
    external_traffic_policy: Option<String>,
    #[serde(default, rename = "trafficDistribution")]
    _traffic_distribution: Option<String>,
    #[serde(default)]
    allocate_load_balancer_node_ports: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GivenPort {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    protocol: Option<String>,
    #[serde(default)]
    port: i64,
    #[serde(default)]
    target_port: Option<GivenTarget>,
    #[serde(default)]
    node_port: Option<i64>,
    /// What a proxy may make of it.
    #[serde(default, rename = "appProtocol")]
    _app_protocol: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "invalid type: expected a number or the name of a port")]
enum GivenTarget {
    Number(i64),
    Name(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AffinityConfig {
    #[serde(default, rename = "clientIP")]
    client_ip: Option<ClientIp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClientIp {
    #[serde(default)]
    timeout_seconds: Option<i64>,
}

/// Reads a service, or names all its faults.
pub(super) fn read_service(document: usize, value: &Value) -> Result<Service, Vec<ManifestError>> {
    let read: Document = refused::read(document, "v1 Service", value)?;
    let mut faults = check::Faults::new(document);
    let namespace = read.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
    check::names(&read.metadata.name, &namespace, &mut faults);
    let spec = check::spec(read.spec, &mut faults);
    match spec {
        Some(spec) if faults.all.is_empty() => {
            Ok(Service { namespace, name: read.metadata.name, spec, source: value.to_string() })
        }
        _ => Err(faults.all),
    }
}

/// A service as an earlier daemon kept it: [`Service::source`].
pub fn resume_service(text: &str) -> Result<Service, ManifestError> {
    let value: Value = serde_json::from_str(text).map_err(|e| ManifestError::Syntax(e.to_string()))?;
    read_service(1, &value).map_err(|mut faults| match faults.len() {
        1 => faults.remove(0),
        _ => ManifestError::Several(faults),
    })
}

#[cfg(test)]
mod tests;
