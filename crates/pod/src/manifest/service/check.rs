//! From the fields of a service as they are written to what it wants, with the faults that the API server finds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::ManifestError;
use super::{
    AFFINITY, Families, Given, GivenPort, GivenTarget, MAX_SERVICE_PORTS, NODE_PORTS, PortProtocol,
    ServicePort, ServiceSpec, ServiceType, TargetPort,
};

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SERVICE_NAME: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const PORT: &str = "must be between 1 and 65535, inclusive";

/// What is wrong with a document.
pub(super) struct Faults {
    document: usize,
    pub(super) all: Vec<ManifestError>,
}

impl Faults {
    pub(super) fn new(document: usize) -> Self {
        Self { document, all: Vec::new() }
    }

    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        let (path, message) = (path.into(), message.into());
        self.all.push(ManifestError::Field { document: self.document, path, message });
    }

    fn later(&mut self, path: impl Into<String>) {
        self.all.push(ManifestError::Later { document: self.document, path: path.into() });
    }

    fn choice<T: Copy>(&mut self, path: &str, given: Option<&str>, default: T, known: &[(&str, T)]) -> T {
        let Some(given) = given else { return default };
        if let Some((_, value)) = known.iter().find(|(word, _)| *word == given) {
            return *value;
        }
        let words: Vec<_> = known.iter().map(|(word, _)| format!("{word:?}")).collect();
        self.add(path, format!("Unsupported value: {given:?}: supported values: {}", words.join(", ")));
        default
    }
}

fn label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

pub(super) fn names(name: &str, namespace: &str, faults: &mut Faults) {
    if !label(name) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        faults.add("metadata.name", format!("Invalid value: {name:?}: {SERVICE_NAME}"));
    }
    if !label(namespace) {
        faults.add("metadata.namespace", format!("Invalid value: {namespace:?}: {LABEL}"));
    }
}

pub(super) fn spec(given: Given, faults: &mut Faults) -> Option<ServiceSpec> {
    let types = [
        ("ClusterIP", ServiceType::ClusterIp),
        ("ExternalName", ServiceType::ExternalName),
        ("LoadBalancer", ServiceType::LoadBalancer),
        ("NodePort", ServiceType::NodePort),
    ];
    let kind = faults.choice("spec.type", given.kind.as_deref(), ServiceType::ClusterIp, &types);
    let before = faults.all.len();
    let (headless, asked) = addresses(&given, kind, faults);
    let families = families(&given, kind, faults);
    let affinity = affinity(&given, faults);
    policies(&given, faults);
    selector(&given.selector, faults);
    let external_name = external_name(&given, kind, faults);
    if given.selector.is_empty() && kind != ServiceType::ExternalName {
        faults.add(
            "spec.selector",
            "Required value: a service without one has its endpoints from Endpoints objects, which are not supported",
        );
    }
    let ports = ports(&given.ports, kind, headless, faults);
    (faults.all.len() == before).then_some(ServiceSpec {
        kind,
        headless,
        asked,
        families,
        selector: given.selector,
        ports,
        affinity,
        publish_not_ready: given.publish_not_ready_addresses,
        external_name,
    })
}

/// Whether it is headless, and the address that it asks for.
fn addresses(given: &Given, kind: ServiceType, faults: &mut Faults) -> (bool, Option<IpAddr>) {
    let one = given.cluster_ip.as_deref().filter(|text| !text.is_empty());
    let all: Vec<&str> = match (one, given.cluster_ips.as_slice()) {
        (None, list) => list.iter().map(String::as_str).collect(),
        (Some(one), []) => vec![one],
        (Some(one), list) => {
            if list[0] != one {
                let message = format!("Invalid value: {one:?}: must be equal to clusterIPs[0] when set");
                faults.add("spec.clusterIP", message);
            }
            list.iter().map(String::as_str).collect()
        }
    };
    if all.is_empty() {
        return (false, None);
    }
    if kind == ServiceType::ExternalName {
        faults.add("spec.clusterIPs", "Forbidden: may not be set for ExternalName services");
        return (false, None);
    }
    if all.contains(&"None") {
        if all.len() > 1 {
            faults.add("spec.clusterIPs", "Invalid value: 'None' must be the first and only value");
        }
        if kind != ServiceType::ClusterIp {
            let message =
                format!("Invalid value: \"None\": may not be set to 'None' for {} services", kind.word());
            faults.add("spec.clusterIPs[0]", message);
        }
        return (true, None);
    }
    if all.len() > 1 {
        faults.later("spec.clusterIPs[1]");
    }
    match all[0].parse() {
        Ok(address) => (false, Some(address)),
        Err(_) => {
            let message = format!(
                "Invalid value: {:?}: must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                all[0]
            );
            faults.add("spec.clusterIPs[0]", message);
            (false, None)
        }
    }
}

fn families(given: &Given, kind: ServiceType, faults: &mut Faults) -> Families {
    let known = [("IPv4", Families::V4), ("IPv6", Families::V6)];
    let mut list = Vec::new();
    for (index, family) in given.ip_families.iter().enumerate() {
        list.push(faults.choice(&format!("spec.ipFamilies[{index}]"), Some(family), Families::V4, &known));
    }
    if list.len() > 2 {
        faults.add("spec.ipFamilies", "Invalid value: may only hold up to 2 values");
    } else if list.len() == 2 && list[0] == list[1] {
        let message = format!("Duplicate value: {:?}", given.ip_families[1]);
        faults.add("spec.ipFamilies[1]", message);
    }
    if kind == ServiceType::ExternalName && (!list.is_empty() || given.ip_family_policy.is_some()) {
        faults.add("spec.ipFamilies", "Forbidden: may not be set for ExternalName services");
    }
    let first = list.first().copied();
    let policies = [("PreferDualStack", 1), ("RequireDualStack", 2), ("SingleStack", 0)];
    let policy = given.ip_family_policy.as_deref();
    match policy.map(|policy| faults.choice("spec.ipFamilyPolicy", Some(policy), 1, &policies)) {
        Some(2) => Families::Both,
        Some(0) => first.unwrap_or(Families::V4),
        Some(_) => Families::OfNetwork,
        None if list.len() == 2 => Families::OfNetwork,
        None => first.unwrap_or_default(),
    }
}

fn affinity(given: &Given, faults: &mut Faults) -> Option<u32> {
    let known = [("ClientIP", true), ("None", false)];
    let sticky = faults.choice("spec.sessionAffinity", given.session_affinity.as_deref(), false, &known);
    let at = "spec.sessionAffinityConfig";
    let Some(config) = &given.session_affinity_config else { return sticky.then_some(AFFINITY) };
    if !sticky {
        faults.add(at, "Forbidden: must not be set when session affinity is None");
        return None;
    }
    let at = format!("{at}.clientIP.timeoutSeconds");
    match config.client_ip.as_ref().and_then(|client| client.timeout_seconds) {
        None => {
            faults.add(at, "Required value");
            None
        }
        Some(seconds) => match u32::try_from(seconds).ok().filter(|seconds| (1..=86_400).contains(seconds)) {
            Some(seconds) => Some(seconds),
            None => {
                faults
                    .add(at, format!("Invalid value: {seconds}: must be greater than 0 and less than 86400"));
                None
            }
        },
    }
}

/// What is of this machine alone is all there is: either policy is obeyed.
fn policies(given: &Given, faults: &mut Faults) {
    let known = [("Cluster", ()), ("Local", ())];
    faults.choice("spec.internalTrafficPolicy", given.internal_traffic_policy.as_deref(), (), &known);
    faults.choice("spec.externalTrafficPolicy", given.external_traffic_policy.as_deref(), (), &known);
    if given.allocate_load_balancer_node_ports == Some(false) {
        faults.later("spec.allocateLoadBalancerNodePorts");
    }
}

fn selector(given: &BTreeMap<String, String>, faults: &mut Faults) {
    for (key, value) in given {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let ends = |text: &str| {
            let end = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
            end(text.chars().next()) && end(text.chars().last())
        };
        if value.len() > 63 {
            faults.add("spec.selector", format!("Invalid value: {value:?}: must be no more than 63 bytes"));
        } else if !value.bytes().all(inner) || !ends(value) {
            faults.add("spec.selector", format!("Invalid value: {value:?}: {LABEL_VALUE}"));
        }
        let name = key.rsplit('/').next().unwrap_or_default();
        if name.is_empty() || name.len() > 63 || !name.bytes().all(inner) || !ends(name) {
            faults.add("spec.selector", format!("Invalid value: {key:?}: it is no key of a label"));
        }
    }
}

fn external_name(given: &Given, kind: ServiceType, faults: &mut Faults) -> Option<String> {
    let at = "spec.externalName";
    let name = given.external_name.as_deref().filter(|name| !name.is_empty());
    if kind != ServiceType::ExternalName {
        // As with the API server it has no effect for other types.
        return None;
    }
    let Some(name) = name else {
        faults.add(at, "Required value");
        return None;
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 || !name.split('.').all(label) {
        faults.add(at, format!("Invalid value: {name:?}: {SUBDOMAIN}"));
    }
    Some(name.to_owned())
}

fn ports(given: &[GivenPort], kind: ServiceType, headless: bool, faults: &mut Faults) -> Vec<ServicePort> {
    if given.is_empty() && !headless && kind != ServiceType::ExternalName {
        faults.add("spec.ports", "Required value");
    }
    if given.len() > MAX_SERVICE_PORTS {
        faults.add(
            "spec.ports",
            format!("Too many: {}: must have at most {MAX_SERVICE_PORTS} items", given.len()),
        );
        return Vec::new();
    }
    let (mut names, mut seen, mut nodes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut ports = Vec::new();
    for (index, port) in given.iter().enumerate() {
        let at = format!("spec.ports[{index}]");
        let Some(read) = one(port, &at, (given.len() > 1, kind, headless), faults) else { continue };
        if !read.name.is_empty() && !names.insert(read.name.clone()) {
            faults.add(format!("{at}.name"), format!("Duplicate value: {:?}", read.name));
        }
        let key = (read.protocol == PortProtocol::Udp, read.port);
        if !seen.insert(key) {
            let protocol = if key.0 { "UDP" } else { "TCP" };
            let message = format!("Duplicate value: {{\"protocol\":{protocol:?},\"port\":{}}}", read.port);
            faults.add(at.clone(), message);
        }
        if let Some(node_port) = read.node_port.filter(|port| !nodes.insert((key.0, *port))) {
            faults.add(format!("{at}.nodePort"), format!("Duplicate value: {node_port}"));
        }
        ports.push(read);
    }
    ports
}

fn number(at: String, given: i64, faults: &mut Faults) -> u16 {
    match u16::try_from(given).ok().filter(|port| *port != 0) {
        Some(port) => port,
        None => {
            faults.add(at, format!("Invalid value: {given}: {PORT}"));
            1
        }
    }
}

fn one(
    given: &GivenPort,
    at: &str,
    (several, kind, headless): (bool, ServiceType, bool),
    faults: &mut Faults,
) -> Option<ServicePort> {
    let name = given.name.clone().unwrap_or_default();
    match name.as_str() {
        "" if several => faults.add(format!("{at}.name"), "Required value"),
        "" => {}
        name if !label(name) => faults.add(format!("{at}.name"), format!("Invalid value: {name:?}: {LABEL}")),
        _ => {}
    }
    let protocols = [("SCTP", PortProtocol::Sctp), ("TCP", PortProtocol::Tcp), ("UDP", PortProtocol::Udp)];
    let protocol_at = format!("{at}.protocol");
    let protocol = faults.choice(&protocol_at, given.protocol.as_deref(), PortProtocol::Tcp, &protocols);
    if protocol == PortProtocol::Sctp {
        faults.later(protocol_at);
        return None;
    }
    let port = number(format!("{at}.port"), given.port, faults);
    let target_at = format!("{at}.targetPort");
    let target = match &given.target_port {
        // What a headless service leads to is asked for by the port of the pod.
        None | Some(GivenTarget::Number(0)) => TargetPort::Number(port),
        Some(GivenTarget::Number(given)) => TargetPort::Number(number(target_at, *given, faults)),
        Some(GivenTarget::Name(name)) if name.is_empty() => TargetPort::Number(port),
        Some(GivenTarget::Name(name)) => {
            for reason in port_name(name) {
                faults.add(target_at.clone(), format!("Invalid value: {name:?}: {reason}"));
            }
            TargetPort::Name(name.clone())
        }
    };
    let node_at = format!("{at}.nodePort");
    let node_port = match given.node_port.filter(|port| *port != 0) {
        Some(_) if !kind.has_node_ports() || headless => {
            let message = format!("Forbidden: may not be used when `type` is '{}'", kind.word());
            faults.add(node_at, message);
            None
        }
        Some(given) => match u16::try_from(given).ok().filter(|port| NODE_PORTS.contains(port)) {
            Some(port) => Some(port),
            None => {
                let range = format!("{}-{}", NODE_PORTS.start(), NODE_PORTS.end());
                let message = format!(
                    "Invalid value: {given}: provided port is not in the valid range. The range of valid ports is {range}"
                );
                faults.add(node_at, message);
                None
            }
        },
        None => None,
    };
    Some(ServicePort { name, protocol, port, target, node_port })
}

/// What is wrong with the name of a port (RFC 6335).
fn port_name(name: &str) -> Vec<&'static str> {
    let wrong = [
        (name.len() > 15, "must be no more than 15 characters"),
        (
            !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (!name.bytes().any(|b| b.is_ascii_lowercase()), "must contain at least one letter (a-z)"),
        (name.contains("--"), "must not contain consecutive hyphens"),
        (name.starts_with('-') || name.ends_with('-'), "must not begin or end with a hyphen"),
    ];
    wrong.into_iter().filter(|(is, _)| *is).map(|(_, reason)| reason).collect()
}
