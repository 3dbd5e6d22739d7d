//! What is done to pods and containers beside stop and remove: signals, a new run, a look at processes.

use std::sync::Arc;

use berth_engine::model::{ExitReason, Owner, SandboxView};
use berth_pod::controller::Then;
use berth_pod::manifest::WorkloadKind;
use berth_types::lifecycle::container::{Listed, State};
use berth_types::lifecycle::sandbox;
use tonic::Status;

use super::pods::{grace, outcome, run_again, stop_one, take_down, unwatched};
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
    service.engine.signal_container(&container.id, signal).await.map_err(refuse)?;
    // As docker: what asks a container to end lets it go on.
    let ends = upper.strip_prefix("SIG").unwrap_or(&upper) == container.stop_signal.trim_start_matches("SIG");
    if ends && service.engine.is_paused(&container) {
        service.engine.unpause_container(&container.id).await.map_err(refuse)?;
        service.services.look_again();
    }
    Ok(())
}

/// Pauses each target, or lets it go on; goes on past failures.
pub(super) async fn pause(service: &Service, request: api::PauseRequest) -> api::PauseResponse {
    let mut outcomes = Vec::new();
    for name in &request.targets {
        outcomes.push(outcome(name, pause_one(service, name, request.unpause).await));
    }
    service.services.look_again();
    api::PauseResponse { outcomes }
}

/// A container, or all of a pod that are not as they are to be.
async fn pause_one(service: &Service, name: &str, unpause: bool) -> Result<(), Status> {
    let engine = &service.engine;
    let containers = match target::find(engine, name)? {
        Target::Container(view) => vec![view],
        Target::Pod(pod) => target::current(&pod),
    };
    let running: Vec<_> = containers.into_iter().filter(|view| view.state == State::Running).collect();
    let refuse_all = |how: &str| Err(Status::failed_precondition(format!("{name} is {how}")));
    if running.is_empty() {
        return refuse_all("not running");
    }
    let meant: Vec<_> = running.iter().filter(|view| engine.is_paused(view) == unpause).collect();
    if meant.is_empty() {
        return refuse_all(if unpause {
            "not paused"
        } else {
            "paused already (hint: berth unpause lets it go on)"
        });
    }
    for view in meant {
        let done = match unpause {
            true => engine.unpause_container(&view.id).await,
            false => engine.pause_container(&view.id).await,
        };
        done.map_err(refuse)?;
    }
    Ok(())
}

/// Runs each local pod anew; goes on past failures.
pub(super) async fn restart(service: &Service, request: api::RestartRequest) -> api::RestartResponse {
    let mut outcomes = Vec::new();
    for name in &request.targets {
        let wish = Wish { grace: grace(request.grace_seconds), stopped: request.stopped, hold: request.hold };
        let done = restart_one(service, name, &wish).await;
        outcomes.push(outcome(name, done));
    }
    api::RestartResponse { outcomes }
}

/// How a pod is run anew.
struct Wish {
    grace: Option<u64>,
    /// Only when it does not run.
    stopped: bool,
    /// Leave it waiting for a client.
    hold: bool,
}

/// Starts the container of a pod that waits for it, and answers when its command runs.
async fn start_waiting(service: &Service, pod: &SandboxView, name: &str) -> Result<(), Status> {
    let engine = &service.engine;
    let mut events = engine.events();
    let of_name = |view: &SandboxView| {
        target::current(view).into_iter().find(|container| container.config.metadata.name == name)
    };
    // It is made by the pod's task, which a new daemon has only just begun.
    let mut container = of_name(pod);
    let mut released = false;
    loop {
        match &container {
            Some(view) if view.state == State::Created && !released => {
                service.pods.release(view).await.map_err(refuse)?;
                released = true;
            }
            Some(view) if matches!(view.state, State::Creating | State::Created | State::Starting) => {}
            Some(view) => {
                return match &view.exit {
                    Some(exit) if exit.reason == ExitReason::StartError => {
                        Err(Status::failed_precondition(exit.message.clone()))
                    }
                    Some(_) | None => Ok(()),
                };
            }
            None => {}
        }
        if events.next().await.is_none() {
            return Err(Status::unavailable("the daemon ends"));
        }
        container = of_name(&*engine.sandbox(pod.id.as_str()).map_err(refuse)?);
    }
}

async fn restart_one(service: &Service, name: &str, wish: &Wish) -> Result<(), Status> {
    let (grace, stopped) = (wish.grace, wish.stopped);
    let view = pod_alone(service, name)?;
    if view.config.owner != Owner::Local {
        return Err(Status::failed_precondition(format!(
            "{name} belongs to a kubelet, which alone starts its containers (hint: berth stop ends one; the kubelet runs it again)"
        )));
    }
    if stopped && view.containers.iter().any(|container| service.engine.is_paused(container)) {
        return Err(Status::failed_precondition(format!(
            "{name} is paused (hint: berth unpause {name} lets it go on)"
        )));
    }
    if let Some(container) = service.pods.waiting(&view).filter(|_| view.state == sandbox::State::Ready) {
        return if wish.hold { Ok(()) } else { start_waiting(service, &view, &container).await };
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
        return take_down(service, &view, grace, Then::Goes).await;
    }
    let (pod, mut options) = service.pods.kept(&view).map_err(refuse)?;
    if wish.hold {
        let [only] = pod.spec.containers.as_slice() else {
            return Err(Status::failed_precondition(format!(
                "pod {name} has several containers, of which one output cannot be shown (hint: berth start {name}, and berth logs -f)"
            )));
        };
        (options.hold, options.waits) = (Some(only.name.clone()), true);
    }
    if service.pods.keeps_files(&view) {
        let (watch, steps) = tokio::sync::mpsc::channel(64);
        return unwatched(service, service.pods.again(&view, grace, options.hold, watch), steps).await;
    }
    // Before anything is ended: a pod that cannot be run anew is better than none.
    service.pods.check(std::slice::from_ref(&pod)).map_err(refuse)?;
    take_down(service, &view, grace, Then::ComesAgain).await?;
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
