//! What a pod is called, and what it finds by name: host name, /etc/hosts and resolv.conf as the kubelet makes them.

use berth_engine::model::{Dns, Names};

use super::{Cluster, Faults, name, wrong};
use crate::manifest::{DnsConfig, DnsPolicy, Pod};

/// The domain of clusters that do not say another.
pub(crate) const CLUSTER: &str = "cluster.local";
/// The longest host name that the kernel takes.
const MAX_HOSTNAME: usize = 64;
/// The most of a pod's own settings.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_BYTES: usize = 2048;
/// The most lines of `hostAliases`, and names in one.
const MAX_ALIASES: usize = 1000;

/// What the sandbox is asked for.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// Its host name; empty with the host's network.
    pub(super) hostname: String,
    /// All of resolv.conf, where the manifest says it.
    pub(super) dns: Option<Dns>,
    /// What is added to the files.
    pub(super) more: Names,
}

pub(super) fn plan(pod: &Pod, cluster: Option<&Cluster>, faults: &mut Faults) -> Planned {
    let spec = &pod.spec;
    let (mut own, mut hostname) = (Vec::new(), short(pod));
    if let Some(subdomain) = spec.subdomain.as_deref().filter(|_| !spec.host_network) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let whole = format!("{hostname}.{subdomain}.{namespace}.svc.{CLUSTER}");
        own = vec![whole.clone(), hostname.clone()];
        if spec.set_hostname_as_fqdn {
            if whole.len() > MAX_HOSTNAME {
                let message = format!(
                    "Invalid value: {whole:?} has {} characters, {MAX_HOSTNAME} are allowed",
                    whole.len()
                );
                faults.add(wrong("spec.setHostnameAsFQDN", message));
            }
            hostname = whole;
        }
    }
    let hosts = aliases(pod, faults);
    let dns = dns(pod, faults);
    let (dns, added) = match spec.dns_policy {
        DnsPolicy::None => (Some(dns), Dns::default()),
        DnsPolicy::ClusterFirst if !spec.host_network => (cluster.map(|c| of_cluster(pod, c)), dns),
        DnsPolicy::ClusterFirstWithHostNet => (cluster.map(|c| of_cluster(pod, c)), dns),
        // With the host's network a kubelet takes ClusterFirst for Default.
        DnsPolicy::ClusterFirst | DnsPolicy::Default => (None, dns),
    };
    Planned { hostname, dns, more: Names { own, hosts, dns: added } }
}

/// As a kubelet says it: names of services need not be whole, the host's come after them.
fn of_cluster(pod: &Pod, cluster: &Cluster) -> Dns {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let own = [format!("{namespace}.svc.{CLUSTER}"), format!("svc.{CLUSTER}"), CLUSTER.to_owned()];
    let host = cluster.searches.iter().filter(|search| !own.contains(search)).cloned();
    let mut searches: Vec<String> = own.iter().cloned().chain(host).take(MAX_SEARCHES).collect();
    while searches.join(" ").len() > MAX_SEARCH_BYTES {
        searches.pop();
    }
    Dns { servers: vec![cluster.server.to_string()], searches, options: vec!["ndots:5".to_owned()] }
}

/// The pod's host name: its own, or its name's beginning.
fn short(pod: &Pod) -> String {
    if pod.spec.host_network {
        return String::new();
    }
    let name = pod.spec.hostname.as_deref().unwrap_or(&pod.metadata.name);
    let end = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= 63).last();
    name[..end.unwrap_or(0)].trim_end_matches(['-', '.']).to_owned()
}

fn aliases(pod: &Pod, faults: &mut Faults) -> Vec<(std::net::IpAddr, Vec<String>)> {
    let aliases = &pod.spec.host_aliases;
    let names = aliases.iter().map(|alias| alias.hostnames.len()).sum::<usize>();
    if aliases.len().max(names) > MAX_ALIASES {
        faults.add(wrong("spec.hostAliases", format!("Too many: {MAX_ALIASES} lines and names are allowed")));
        return Vec::new();
    }
    for (index, alias) in aliases.iter().enumerate() {
        for (number, host) in alias.hostnames.iter().enumerate() {
            faults.take(name(&format!("spec.hostAliases[{index}].hostnames[{number}]"), host, 253, true));
        }
    }
    // A line without names says nothing.
    let named = aliases.iter().filter(|alias| !alias.hostnames.is_empty());
    named.map(|alias| (alias.ip, alias.hostnames.clone())).collect()
}

fn dns(pod: &Pod, faults: &mut Faults) -> Dns {
    let at = "spec.dnsConfig";
    let none = pod.spec.dns_policy == DnsPolicy::None;
    let Some(config) = &pod.spec.dns_config else {
        if none {
            faults.add(wrong(at, "Required value: must provide `dnsConfig` when `dnsPolicy` is None"));
        }
        return Dns::default();
    };
    if none && config.nameservers.is_empty() {
        let message = "Required value: must provide at least one DNS nameserver when `dnsPolicy` is None";
        faults.add(wrong(format!("{at}.nameservers"), message));
    }
    check(config, at, faults);
    let option = |option: &crate::manifest::DnsOption| match option.value.as_deref() {
        None | Some("") => option.name.clone(),
        Some(value) => format!("{}:{value}", option.name),
    };
    Dns {
        servers: config.nameservers.iter().map(ToString::to_string).collect(),
        searches: config.searches.clone(),
        options: config.options.iter().map(option).collect(),
    }
}

fn check(config: &DnsConfig, at: &str, faults: &mut Faults) {
    if config.nameservers.len() > MAX_SERVERS {
        let message = format!("Invalid value: must not have more than {MAX_SERVERS} nameservers");
        faults.add(wrong(format!("{at}.nameservers"), message));
    }
    if config.searches.len() > MAX_SEARCHES {
        let message = format!("Invalid value: must not have more than {MAX_SEARCHES} search paths");
        faults.add(wrong(format!("{at}.searches"), message));
    } else if config.searches.join(" ").len() > MAX_SEARCH_BYTES {
        let message = format!(
            "Invalid value: must not have more than {MAX_SEARCH_BYTES} characters (including spaces)"
        );
        faults.add(wrong(format!("{at}.searches"), message));
    }
    for (index, search) in config.searches.iter().take(MAX_SEARCHES).enumerate() {
        // A dot alone ends the search; a name may end with one, and have `_`.
        let domain = search.strip_suffix('.').unwrap_or(search).replace('_', "a");
        if search != "." {
            let checked = name(&format!("{at}.searches[{index}]"), &domain, 253, true);
            faults.take(
                checked.map_err(|(at, _)| wrong(at, format!("Invalid value: {search:?}: it is no domain"))),
            );
        }
    }
    for (index, option) in config.options.iter().enumerate() {
        let at = format!("{at}.options[{index}]");
        let word = |text: &str| !text.contains(|c: char| c.is_whitespace() || c.is_control());
        if option.name.is_empty() {
            faults.add(wrong(at, "Required value: must not be empty"));
        } else if !word(&option.name) || !option.value.as_deref().is_none_or(word) {
            faults.add(wrong(at, format!("Invalid value: {:?}: it is not one word", option.name)));
        }
    }
}

#[cfg(test)]
mod tests;
