//! What is done to pods and containers beside stop and remove: signals, a new run, a look at processes.

use std::sync::Arc;

use berth_engine::model::{Owner, SandboxView};
use berth_pod::manifest::WorkloadKind;
use berth_types::lifecycle::container::{Listed, State};
use tonic::Status;

use super::pods::{grace, outcome, run_again, stop_one, take_down};
use super::target::{self, Target};
use super::{Service, refuse, workloads};
use crate::api;

/// Signals each target; goes on past failures.
pub(super) async fn kill(service: &Service, request: api::KillRequest) -> api::KillResponse {
    let mut outcomes = Vec::new();
    for name in &request.targets {
        outcomes.push(outcome(name, kill_one(service, name, &request.signal).await));
    }
    api::KillResponse { outcomes }
}

async fn kill_one(service: &Service, name: &str, signal: &str) -> Result<(), Status> {
    let upper = signal.to_ascii_uppercase();
    // What was killed by hand is not run again, as docker has it.
    if matches!(upper.strip_prefix("SIG").unwrap_or(&upper), "" | "KILL" | "9") {
        let container = target::container(&service.engine, name)?;
        if container.state.listed() != Some(Listed::Running) {
            return Err(Status::failed_precondition(format!("{name} is not running")));
        }
        return stop_one(service, name, Some(0)).await;
    }
    let container = target::container(&service.engine, name)?;
    if container.state != State::Running {
        return Err(Status::failed_precondition(format!("{name} is not running")));
    }
    service.engine.signal_container(&container.id, signal).await.map_err(refuse)
}

/// Runs each local pod anew; goes on past failures.
pub(super) async fn restart(service: &Service, request: api::RestartRequest) -> api::RestartResponse {
    let mut outcomes = Vec::new();
    for name in &request.targets {
        let done = restart_one(service, name, grace(request.grace_seconds), request.stopped).await;
        outcomes.push(outcome(name, done));
    }
    api::RestartResponse { outcomes }
}

async fn restart_one(service: &Service, name: &str, grace: Option<u64>, stopped: bool) -> Result<(), Status> {
    let view = pod_alone(service, name)?;
    if view.config.owner != Owner::Local {
        return Err(Status::failed_precondition(format!(
            "{name} belongs to a kubelet, which alone starts its containers (hint: berth stop ends one; the kubelet runs it again)"
        )));
    }
    let runs = view.containers.iter().any(|container| container.state.listed() == Some(Listed::Running));
    if stopped && runs {
        return Ok(());
    }
    if let Some(key) = service.workloads.of(&view) {
        let word = workloads::word(&key);
        if key.kind == WorkloadKind::Job {
            return Err(Status::failed_precondition(format!(
                "{name} belongs to {word}, which counts how its pods end (hint: berth down {word} and berth play run all of it again)"
            )));
        }
        // Its workload makes another: two would be one too many.
        return take_down(service, &view, grace, true).await;
    }
    let (pod, options) = service.pods.kept(&view).map_err(refuse)?;
    // Before anything is ended: a pod that cannot be run anew is better than none.
    service.pods.check(std::slice::from_ref(&pod)).map_err(refuse)?;
    take_down(service, &view, grace, true).await?;
    run_again(service, pod, options).await
}

/// The pod of this name, or of a container that is all of its pod.
fn pod_alone(service: &Service, name: &str) -> Result<Arc<SandboxView>, Status> {
    let pod = target::pod(&service.engine, name)?;
    match target::find(&service.engine, name)? {
        Target::Container(_) if target::current(&pod).len() > 1 => Err(Status::failed_precondition(format!(
            "{name} is one of several containers of pod {pod} (hint: berth restart {pod} runs all of them anew; berth stop {name} ends it, and it is run again as its restartPolicy says)",
            pod = pod.config.metadata.name
        ))),
        Target::Pod(_) | Target::Container(_) => Ok(pod),
    }
}

/// The processes of a container.
pub(super) async fn processes(service: &Service, name: &str) -> Result<api::ProcessesResponse, Status> {
    let container = target::container(&service.engine, name)?;
    if container.state != State::Running {
        return Err(Status::failed_precondition(format!("{name} is not running")));
    }
    let processes = service.engine.processes(&container.id).await.map_err(refuse)?;
    let message = |process: berth_engine::Process| api::Process {
        pid: process.pid,
        parent: process.parent,
        uid: process.uid,
        // The kernel counts in hundredths for programs.
        cpu_ms: process.ticks.saturating_mul(10),
        resident: process.resident,
        command: process.command,
    };
    Ok(api::ProcessesResponse { processes: processes.into_iter().map(message).collect() })
}
