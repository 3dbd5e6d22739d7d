//! What a pod finds by name.

use std::net::IpAddr;

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostAlias {
    pub ip: IpAddr,
    #[serde(default)]
    pub hostnames: Vec<String>,
}

/// Where there are no services there is no DNS of theirs: without it a kubelet takes `ClusterFirst` and `ClusterFirstWithHostNet` for
/// `Default` too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum DnsPolicy {
    #[default]
    ClusterFirst,
    ClusterFirstWithHostNet,
    Default,
    None,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsConfig {
    #[serde(default)]
    pub nameservers: Vec<IpAddr>,
    #[serde(default)]
    pub searches: Vec<String>,
    #[serde(default)]
    pub options: Vec<DnsOption>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsOption {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub value: Option<String>,
}
