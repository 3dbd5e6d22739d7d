//! What containers use, and what happens to them.

use berth_engine::model::SandboxView;
use berth_engine::stats::{ContainerStats, PodStats};
use berth_engine::{EngineEvent, Events, Stamped};
use tokio::sync::mpsc;
use tonic::Status;

use super::target::{self, Target};
use super::{Service, refuse};
use crate::api;

/// What the containers of these targets use, or all.
pub(super) async fn stats(service: &Service, targets: &[String]) -> Result<api::StatsResponse, Status> {
    let mut wanted = Vec::new();
    for name in targets {
        match target::find(&service.engine, name)? {
            Target::Pod(view) => wanted.extend(view.containers.iter().map(|c| c.id.clone())),
            Target::Container(view) => wanted.push(view.id.clone()),
        }
    }
    let all = service.engine.pod_stats(service.engine.sandboxes(None)).await.map_err(refuse)?;
    let of_pod = |pod: &PodStats| pod.containers.iter().map(|one| usage(pod, one)).collect::<Vec<_>>();
    let usages = all.iter().flat_map(of_pod);
    let named =
        |one: &api::Usage| targets.is_empty() || wanted.iter().any(|id| id.as_str() == one.container_id);
    Ok(api::StatsResponse { usages: usages.filter(named).collect() })
}

fn usage(pod: &PodStats, of: &ContainerStats) -> api::Usage {
    let memory = of.usage.memory.unwrap_or_default();
    let sum = |count: fn(&berth_engine::stats::InterfaceCounters) -> u64| {
        pod.network.as_ref().map(|network| network.interfaces.iter().map(count).sum())
    };
    api::Usage {
        container_id: of.container.id.to_string(),
        pod: pod.sandbox.config.metadata.name.clone(),
        name: of.container.config.metadata.name.clone(),
        cpu_ns: of.usage.cpu_usage_ns.unwrap_or(0),
        cpu_nano_cores: of.usage.cpu_nano_cores,
        memory: memory.working_set,
        memory_limit: memory.limit.unwrap_or(0),
        received: sum(|counters| counters.rx_bytes),
        sent: sum(|counters| counters.tx_bytes),
        pids: pod.pids,
    }
}

/// Passes events on for as long as the client reads.
pub(super) async fn events(mut events: Events, sender: mpsc::Sender<Result<api::Happened, Status>>) {
    loop {
        let stamped = tokio::select! {
            stamped = events.next() => stamped,
            () = sender.closed() => return,
        };
        let Some(stamped) = stamped else { return };
        if sender.send(Ok(happened(stamped))).await.is_err() {
            return;
        }
    }
}

fn happened(stamped: Stamped) -> api::Happened {
    let Stamped { at, pod, event } = stamped;
    let of_pod = |pod: &SandboxView| pod.config.metadata.name.clone();
    let pod_name = pod.as_deref().map(of_pod).unwrap_or_default();
    let base = api::Happened { at, pod: pod_name.clone(), name: pod_name, ..api::Happened::default() };
    let text = |word: &str| word.to_owned();
    match event {
        EngineEvent::Sandbox { now, .. } => {
            api::Happened { kind: text("pod"), id: now.id.to_string(), state: text(now.state.word()), ..base }
        }
        EngineEvent::SandboxRemoved(id) => {
            api::Happened { kind: text("pod"), id: id.to_string(), state: text("removed"), ..base }
        }
        EngineEvent::Container { now, .. } => api::Happened {
            kind: text("container"),
            id: now.id.to_string(),
            name: now.config.metadata.name.clone(),
            state: text(now.state.word()),
            exit_code: now.exit.as_ref().map_or(0, |exit| exit.code),
            reason: now.exit.as_ref().map_or_else(String::new, |exit| text(exit.reason.word())),
            ..base
        },
        EngineEvent::ContainerRemoved { container, .. } => {
            let views = pod.iter().flat_map(|pod| &pod.containers);
            let name = views
                .filter(|view| view.id == container)
                .map(|view| view.config.metadata.name.clone())
                .next();
            api::Happened {
                kind: text("container"),
                id: container.to_string(),
                name: name.unwrap_or_default(),
                state: text("removed"),
                ..base
            }
        }
        EngineEvent::Resync => api::Happened { state: text("missed"), ..base },
    }
}
