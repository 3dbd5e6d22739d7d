//! Services: played, found by name, listed.

use berth_pod::controller::Progress;
use berth_pod::manifest::{PortProtocol, Service as Wanted, ServiceType, TargetPort};
use berth_pod::service::{Applied, Key, Shown};
use tonic::Status;

use super::pods::{Sender, tell};
use super::{Service, refuse};
use crate::api;

/// `service/web`
pub(super) fn word(key: &Key) -> String {
    format!("service/{}", key.name)
}

/// Makes or changes a service, and says what it has.
pub(super) async fn play(
    service: &Service,
    wanted: Wanted,
    replace: bool,
    sender: &Sender,
) -> Result<(), Status> {
    let (key, balanced) = (Key::of(&wanted), wanted.spec.kind == ServiceType::LoadBalancer);
    // It keeps its address unless another one is asked for.
    if replace && wanted.spec.asked.is_some() {
        service.services.down(&key).await.map_err(refuse)?;
    }
    let applied = service.services.apply(wanted).await.map_err(refuse)?;
    let shown = service.services.list().await.into_iter().find(|shown| Key::of(&shown.service) == key);
    tell(sender, Progress::Note(note(&key, applied, shown.as_ref()))).await;
    if balanced {
        let text = format!(
            "{}: nothing balances in front of this machine: LoadBalancer is taken as NodePort",
            word(&key)
        );
        tell(sender, Progress::Note(text)).await;
    }
    Ok(())
}

/// What is said of it at the end.
fn note(key: &Key, applied: Applied, shown: Option<&Shown>) -> String {
    let what = match applied {
        Applied::Made => "made",
        Applied::Changed => "changed",
        Applied::Same => "unchanged",
    };
    let has = shown.map_or_else(String::new, |shown| format!(", {}", address(shown)));
    format!("{} {what}{has} (berth services)", word(key))
}

fn address(shown: &Shown) -> String {
    let lease = &shown.lease;
    match (&shown.service.spec.external_name, lease.address4, lease.address6) {
        (Some(name), ..) => name.clone(),
        (None, Some(ip), _) => ip.to_string(),
        (None, None, Some(ip)) => ip.to_string(),
        (None, None, None) => "headless".to_owned(),
    }
}

/// The service that a name means, or else what was said of it before.
pub(super) async fn named(service: &Service, name: &str, missing: Status) -> Result<Key, Status> {
    let mut found = service.services.named(name).await;
    match found.len() {
        0 => Err(missing),
        1 => Ok(found.remove(0)),
        _ => {
            let all: Vec<_> = found.iter().map(|key| format!("{}/{}", key.namespace, key.name)).collect();
            let all = all.join(", ");
            Err(Status::invalid_argument(format!(
                "{name:?} is ambiguous: {all} (hint: NAMESPACE/NAME names one)"
            )))
        }
    }
}

/// All of them.
pub(super) async fn list(service: &Service) -> api::ServicesResponse {
    let services = service.services.list().await.iter().map(message).collect();
    api::ServicesResponse { services }
}

fn message(shown: &Shown) -> api::Service {
    let spec = &shown.service.spec;
    let ports = shown.ports().enumerate().map(|(index, (port, node_port))| api::ServicePort {
        name: port.name.clone(),
        protocol: match port.protocol {
            PortProtocol::Tcp => "TCP",
            PortProtocol::Udp => "UDP",
            PortProtocol::Sctp => "SCTP",
        }
        .to_owned(),
        port: u32::from(port.port),
        target_port: match &port.target {
            TargetPort::Number(number) => number.to_string(),
            TargetPort::Name(name) => name.clone(),
        },
        node_port: u32::from(node_port.unwrap_or(0)),
        endpoints: shown.endpoints.get(index).into_iter().flatten().map(ToString::to_string).collect(),
    });
    let (v4, v6) = (shown.lease.address4, shown.lease.address6);
    api::Service {
        namespace: shown.service.namespace.clone(),
        name: shown.service.name.clone(),
        r#type: spec.kind.word().to_owned(),
        created_at: shown.created_at,
        cluster_ips: v4.map(|ip| ip.to_string()).into_iter().chain(v6.map(|ip| ip.to_string())).collect(),
        headless: spec.headless,
        external_name: spec.external_name.clone().unwrap_or_default(),
        selector: spec.selector.clone().into_iter().collect(),
        ports: ports.collect(),
        pods: shown.pods.iter().map(ToString::to_string).collect(),
        message: shown.message.clone(),
    }
}
