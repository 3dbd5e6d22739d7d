//! `berth services`

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::json;

use crate::api;
use crate::client::{Client, Reach, told};
use crate::output::{Format, age, line, table, text_of, yaml};

/// `berth services`
#[derive(Debug, clap::Args)]
pub(crate) struct Services {
    /// Only service/NAME
    #[arg(short, long)]
    quiet: bool,
    /// Form of the answer; yaml is what `kubectl get services -o yaml` shows
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Services {
    /// Lists them.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let all = all(&mut client).await?;
        if self.quiet {
            all.iter().try_for_each(|one| line(format!("service/{}", one.name)))?;
        } else if self.output == Format::Yaml {
            let items: Vec<_> = all.iter().map(object).collect();
            yaml(&json!({ "apiVersion": "v1", "kind": "List", "items": items }))?;
        } else if !self.output.shows(
            &json!(all.iter().map(as_json).collect::<Vec<_>>()),
            Some(|of| format!("service/{}", text_of(of, "name"))),
        )? {
            let rows: Vec<_> = all.iter().map(row).collect();
            let head = ["NAME", "NAMESPACE", "TYPE", "CLUSTER-IP", "PORTS", "ENDPOINTS", "AGE", "MESSAGE"];
            self.output.table(&head, &rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) async fn all(client: &mut Client) -> anyhow::Result<Vec<api::Service>> {
    Ok(client.services(api::ServicesRequest {}).await.map_err(told)?.into_inner().services)
}

fn row(of: &api::Service) -> Vec<String> {
    vec![
        of.name.clone(),
        of.namespace.clone(),
        of.r#type.clone(),
        address(of),
        ports(of),
        endpoints(of),
        age(of.created_at),
        table::cut(&of.message, 80),
    ]
}

fn address(of: &api::Service) -> String {
    match () {
        () if !of.external_name.is_empty() => of.external_name.clone(),
        () if of.headless => "None".to_owned(),
        () => of.cluster_ips.join(","),
    }
}

/// As kubectl shows them: `80:30080/TCP`.
fn ports(of: &api::Service) -> String {
    let port = |port: &api::ServicePort| match port.node_port {
        0 => format!("{}/{}", port.port, port.protocol),
        node_port => format!("{}:{node_port}/{}", port.port, port.protocol),
    };
    let all: Vec<_> = of.ports.iter().map(port).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(",") }
}

/// The first three, and how many more.
fn endpoints(of: &api::Service) -> String {
    let mut all: Vec<&str> = of.ports.iter().flat_map(|port| &port.endpoints).map(String::as_str).collect();
    if of.ports.is_empty() {
        all = of.pods.iter().map(String::as_str).collect();
    }
    match all.as_slice() {
        [] if of.external_name.is_empty() => "none".to_owned(),
        [] => "-".to_owned(),
        [first @ .., _] if all.len() > 3 => format!("{} + {} more", first[..3].join(","), all.len() - 3),
        all => all.join(","),
    }
}

fn as_json(of: &api::Service) -> serde_json::Value {
    let port = |port: &api::ServicePort| {
        json!({
            "name": port.name, "protocol": port.protocol, "port": port.port, "targetPort": port.target_port,
            "nodePort": port.node_port, "endpoints": port.endpoints,
        })
    };
    let selector: BTreeMap<_, _> = of.selector.iter().collect();
    json!({
        "name": of.name, "namespace": of.namespace, "type": of.r#type, "createdAt": of.created_at,
        "clusterIPs": of.cluster_ips, "headless": of.headless, "externalName": of.external_name,
        "selector": selector, "ports": of.ports.iter().map(port).collect::<Vec<_>>(), "pods": of.pods,
        "message": of.message,
    })
}

/// As kubectl shows it.
fn object(of: &api::Service) -> serde_json::Value {
    let port = |port: &api::ServicePort| {
        let mut all = json!({ "port": port.port, "protocol": port.protocol });
        all["targetPort"] =
            port.target_port.parse::<u16>().map_or_else(|_| json!(port.target_port), |n| json!(n));
        if !port.name.is_empty() {
            all["name"] = json!(port.name);
        }
        if port.node_port != 0 {
            all["nodePort"] = json!(port.node_port);
        }
        all
    };
    let mut spec = json!({ "type": of.r#type, "sessionAffinity": "None" });
    let selector: BTreeMap<_, _> = of.selector.iter().collect();
    if !selector.is_empty() {
        spec["selector"] = json!(selector);
    }
    if of.external_name.is_empty() {
        let ips = if of.headless { vec!["None".to_owned()] } else { of.cluster_ips.clone() };
        spec["clusterIP"] = json!(ips.first());
        spec["clusterIPs"] = json!(ips);
    } else {
        spec["externalName"] = json!(of.external_name);
    }
    if !of.ports.is_empty() {
        spec["ports"] = of.ports.iter().map(port).collect();
    }
    let metadata =
        json!({ "name": of.name, "namespace": of.namespace, "creationTimestamp": rfc3339(of.created_at) });
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec,
        "status": { "loadBalancer": {} },
    })
}

/// Nanoseconds since 1970 as the API writes times.
fn rfc3339(at: i64) -> String {
    let at = jiff::Timestamp::from_nanosecond(i128::from(at)).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A service in words.
pub(super) fn described(of: &api::Service) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |depth: usize, key: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("{:depth$}{:<width$} {value}", "", format!("{key}:"), width = 13));
        }
    };
    add(0, "Name", of.name.clone());
    add(0, "Namespace", of.namespace.clone());
    add(0, "Kind", "Service".to_owned());
    add(0, "Type", of.r#type.clone());
    add(0, "Addresses", address(of));
    add(0, "DNS name", format!("{}.{}.svc.cluster.local", of.name, of.namespace));
    let selector: BTreeMap<_, _> = of.selector.iter().collect();
    let selector: Vec<_> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    add(0, "Selector", selector.join(", "));
    add(0, "Age", age(of.created_at));
    add(0, "Message", table::cut(&of.message, 500));
    for port in &of.ports {
        let name = if port.name.is_empty() { String::new() } else { format!("{} ", port.name) };
        add(0, "Port", format!("{name}{}/{}", port.port, port.protocol));
        add(2, "Target", port.target_port.clone());
        add(2, "Node port", if port.node_port == 0 { String::new() } else { port.node_port.to_string() });
        let none = "none: no pod with these labels is ready".to_owned();
        add(2, "Endpoints", if port.endpoints.is_empty() { none } else { port.endpoints.join(", ") });
    }
    lines
}

/// Where a service leads, and why to nowhere.
pub(super) fn explained(of: &api::Service, pods: &[api::Pod]) -> Vec<String> {
    let made = format!("service {} was made {} ago, as {}", of.name, age(of.created_at), of.r#type);
    let mut lines = vec![format!("{made}; it has the address {}", address(of))];
    if !of.message.is_empty() {
        lines.push(format!("the service says: {}", table::cut(&of.message, 500)));
    }
    if !of.external_name.is_empty() {
        lines.push(format!("its name is another one for {}", of.external_name));
        return lines;
    }
    let selected = |pod: &&api::Pod| {
        let has = |(key, value): (&String, &String)| pod.labels.get(key) == Some(value);
        pod.namespace == of.namespace && pod.owner == "local" && of.selector.iter().all(has)
    };
    let selected: Vec<_> = pods.iter().filter(selected).collect();
    let selector: BTreeMap<_, _> = of.selector.iter().collect();
    let labels: Vec<_> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if selected.is_empty() {
        lines.push(format!("no pod of namespace {} has its labels: {}", of.namespace, labels.join(", ")));
    }
    for pod in selected.iter().filter(|pod| pod.ready < pod.total || pod.status != "Running") {
        let (name, status) = (&pod.name, &pod.status);
        lines.push(format!(
            "pod {name} has its labels and is not ready: {status} (berth explain {name} tells why)"
        ));
    }
    for port in &of.ports {
        let to = match port.endpoints.as_slice() {
            [] => "refuses connections: it leads to no pod".to_owned(),
            all => format!("leads to {}", all.join(", ")),
        };
        lines.push(format!("port {}/{} {to}", port.port, port.protocol));
        let named = port.target_port.parse::<u16>().is_err();
        if named && port.endpoints.is_empty() && !selected.is_empty() {
            lines.push(format!("  its target is a port of the pods by the name {}", port.target_port));
        }
    }
    if of.ports.is_empty() {
        let to = if of.pods.is_empty() { "no pod".to_owned() } else { of.pods.join(", ") };
        lines.push(format!("its name leads to {to}"));
    }
    lines
}

/// The service that a name means: `service/NAME`, or, where no pod has it, `NAME`.
pub(super) async fn find(client: &mut Client, name: &str) -> anyhow::Result<Option<api::Service>> {
    let (kind, own) = name.split_once('/').map_or(("", name), |(kind, own)| (kind, own));
    let is = |of: &api::Service| {
        of.name == own && (["", "service", "services", "svc"].contains(&kind) || of.namespace == kind)
    };
    Ok(all(client).await?.into_iter().find(is))
}
