//! Stopping and removing a sandbox. Every step is tried, whatever became of the others; a sandbox that
//! could not be taken down completely says so and may be stopped again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_sys::cgroup::CgroupPath;
use berth_types::lifecycle::container;
use berth_types::lifecycle::sandbox::{Event, State};
use berth_types::shim::Request;
use berth_types::{ContainerId, SandboxId};

use super::owner::{Owner, SandboxWork};
use super::{Report, Waiter, namespaces, procs, remove};
use crate::error::EngineError;
use crate::layout::PodDir;
use crate::record::{self, Phase, SandboxRecord};
use crate::shared::Shared;
use crate::shim::Shim;
use crate::stages::Timeline;

/// The time that a shim has to end its pod.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(20);
/// The time for the processes of one cgroup to die.
const KILL_LIMIT: Duration = Duration::from_secs(10);

impl Owner {
    /// Somebody asks to stop the sandbox.
    pub(crate) fn stop(&mut self, reply: Waiter<()>) {
        match self.apply(Event::Stop).expect("the table takes a stop in every state") {
            State::NotReady | State::Removing | State::Gone => self.answer(reply, Ok(())),
            State::Starting | State::Ready | State::Stopping { .. } | State::StopFailed => {
                self.waiting.stop.push(reply);
            }
        }
    }

    /// Somebody asks to remove the sandbox.
    pub(crate) fn remove(&mut self, reply: Waiter<()>) {
        if self.waiting.work == SandboxWork::Failed {
            self.waiting.work = SandboxWork::Idle;
        }
        match self.apply(Event::Remove).expect("the table takes a removal in every state") {
            State::Gone => self.answer(reply, Ok(())),
            State::Starting
            | State::Ready
            | State::Stopping { .. }
            | State::StopFailed
            | State::NotReady
            | State::Removing => self.waiting.remove.push(reply),
        }
    }

    /// The connection to the shim is gone: the shim is dead or of no use, and its pod ends.
    pub(crate) fn shim_lost(&mut self) {
        if self.waiting.work == SandboxWork::Down || self.link.shim.is_none() {
            // The shim was asked to end, or a connection of before has nothing more to say.
            return;
        }
        tracing::warn!(sandbox = self.id.short(), "the pod's shim is gone; its processes are killed");
        self.end_without_shim("the pod's shim ended");
    }

    /// The pod's own init ended, and with it every container.
    pub(crate) fn pod_ended(&mut self) {
        if self.waiting.work == SandboxWork::Down {
            return;
        }
        "the pod's init process ended".clone_into(&mut self.message);
        self.apply(Event::Stop).expect("the table takes a stop in every state");
    }

    /// Takes the pod down without its shim.
    pub(crate) fn end_without_shim(&mut self, why: &str) {
        why.clone_into(&mut self.message);
        self.link.shim = None;
        self.link.shim_pid = None;
        for container in self.containers.values_mut().filter(|c| c.alive()) {
            container.apply(container::Event::ShimLost).expect("the table takes the loss of a shim");
        }
        self.apply(Event::ShimLost).expect("the table takes the loss of a shim");
    }

    /// Starts the work of taking the sandbox down.
    pub(crate) fn take_down(&mut self) {
        self.waiting.work = SandboxWork::Down;
        let down = Down {
            shared: Arc::clone(&self.desk.shared),
            id: self.id.clone(),
            shim: self.link.shim.clone(),
            shim_pid: self.link.shim_pid,
            containers: self
                .containers
                .values()
                .filter_map(|c| c.facts.as_ref().map(|facts| facts.cgroup.clone()))
                .collect(),
            pod: self.cgroups.pod.clone(),
        };
        self.desk.spawn(async move { Report::Down(down.run().await) });
    }

    /// The work of taking it down is over.
    pub(crate) fn is_down(&mut self, result: Result<(), EngineError>) {
        match result {
            Ok(()) => {
                self.link.shim = None;
                self.link.shim_pid = None;
                self.waiting.work = SandboxWork::Settling;
            }
            Err(error) => {
                self.waiting.work = SandboxWork::Idle;
                self.message = berth_types::error::chain(&error);
                tracing::warn!(sandbox = self.id.short(), error = self.message, "pod not taken down");
                self.apply(Event::StopFailed).expect("it was stopping");
                let waiters = std::mem::take(&mut self.waiting.stop);
                self.answer_all(waiters, &Err(error.clone()));
                let waiters = std::mem::take(&mut self.waiting.remove);
                self.answer_all(waiters, &Err(error));
            }
        }
    }

    /// Nothing of the pod lives and nothing of it is being made.
    pub(crate) fn settled(&mut self) {
        self.waiting.work = SandboxWork::Idle;
        let alive: Vec<ContainerId> =
            self.containers.values().filter(|c| c.alive()).map(|c| c.id.clone()).collect();
        let why = if self.message.is_empty() { "its pod was stopped" } else { &self.message }.to_owned();
        for id in alive {
            self.end_by_record(&id, &why);
        }
        self.link.addresses.clear();
        self.apply(Event::Stopped).expect("it was stopping");
        let waiters = std::mem::take(&mut self.waiting.stop);
        self.answer_all(waiters, &Ok(()));
    }

    /// Starts the work of removing the sandbox's files.
    pub(crate) fn clear(&mut self) {
        self.waiting.work = SandboxWork::Clear;
        let shared = Arc::clone(&self.desk.shared);
        let id = self.id.clone();
        let containers: Vec<_> = self
            .containers
            .values()
            .map(|c| (c.id.clone(), c.facts.as_ref().map(|facts| facts.cgroup.clone())))
            .collect();
        let pod = self.cgroups.pod.clone();
        self.desk.spawn(async move { Report::Cleared(clear(shared, id, pod, containers).await) });
    }

    /// The files are gone, or not all of them: then removing may be asked for again.
    pub(crate) fn is_cleared(&mut self, result: &Result<(), EngineError>) {
        let waiters = std::mem::take(&mut self.waiting.remove);
        match result {
            Ok(()) => {
                self.waiting.work = SandboxWork::Idle;
                self.apply(Event::Removed).expect("it was being removed");
            }
            Err(error) => {
                self.message = berth_types::error::chain(error);
                tracing::warn!(sandbox = self.id.short(), error = self.message, "pod not removed");
                // Not tried again by itself: the next request to remove it does.
                self.waiting.work = SandboxWork::Failed;
            }
        }
        self.answer_all(waiters, result);
    }
}

async fn clear(
    shared: Arc<Shared>,
    id: SandboxId,
    pod: CgroupPath,
    containers: Vec<(ContainerId, Option<CgroupPath>)>,
) -> Result<(), EngineError> {
    let timeline = Timeline::begin();
    let dir = shared.layout.pod(&id);
    let mut first = Ok(());
    for (container, cgroup) in containers {
        let result = remove::files(&shared, None, &container, cgroup, dir.container(&container)).await;
        first = first.and(result);
    }
    first?;
    timeline.stage("containers", timeline.began());
    let since = Instant::now();
    let groups = Arc::clone(&shared);
    Shared::blocking(move || {
        // A container that was half made when the pod was taken down may have made it again.
        end_cgroup(&groups, &pod)?;
        record::remove(dir.path()).map_err(|e| EngineError::system("remove the pod's directory", e))
    })
    .await?;
    timeline.stage("files", since);
    shared.stages.add(&id, "remove sandbox", &timeline);
    Ok(())
}

struct Down {
    shared: Arc<Shared>,
    id: SandboxId,
    shim: Option<Shim>,
    shim_pid: Option<i32>,
    containers: Vec<CgroupPath>,
    pod: CgroupPath,
}

impl Down {
    async fn run(self) -> Result<(), EngineError> {
        let timeline = Timeline::begin();
        let asked = match &self.shim {
            Some(shim) => shim.tell(Request::Shutdown, Vec::new(), SHUTDOWN_LIMIT).await.is_ok(),
            None => false,
        };
        timeline.stage("shim", timeline.began());
        let (shared, id, times) = (Arc::clone(&self.shared), self.id.clone(), timeline.clone());
        let result = Shared::blocking(move || self.rest(asked, &times)).await;
        shared.stages.add(&id, "stop sandbox", &timeline);
        result
    }

    /// Everything that is not the shim's, in this order: processes, then what they used.
    fn rest(&self, shim_ended: bool, timeline: &Timeline) -> Result<(), EngineError> {
        let since = Instant::now();
        if shim_ended {
            procs::await_end(&self.shared, &self.id, self.shim_pid, KILL_LIMIT);
        } else {
            procs::kill_shim(&self.shared, &self.id);
        }
        timeline.stage("shim ended", since);
        let since = Instant::now();
        let dir = self.shared.layout.pod(&self.id);
        let mut failures: Vec<EngineError> = Vec::new();
        let mut attempt = |result: Result<(), EngineError>| failures.extend(result.err());
        for cgroup in self.containers.iter().chain([&self.pod]) {
            attempt(end_cgroup(&self.shared, cgroup));
        }
        timeline.stage("cgroups", since);
        let since = Instant::now();
        // Asked of the network that is there, whichever pods are given one now: it knows who was.
        if let Some(network) = &self.shared.network {
            attempt(network.detach(&self.id).map_err(|e| EngineError::failed("disconnect the pod", e)));
        }
        timeline.stage("network", since);
        let since = Instant::now();
        attempt(namespaces::unpin(&dir.netns()));
        attempt(namespaces::unmount(&dir.shm()));
        attempt(
            record::remove(&dir.socket()).map_err(|e| EngineError::system("remove the shim's socket", e)),
        );
        timeline.stage("mounts", since);
        if let Some(first) = failures.into_iter().reduce(|first, next| {
            tracing::warn!(
                sandbox = self.id.short(),
                error = berth_types::error::chain(&next),
                "a further failure while taking the pod down"
            );
            first
        }) {
            return Err(first);
        }
        // A disk that is full does not keep a pod alive. A daemon that finds the old record looks for the shim,
        // finds it gone, and stops the pod once more.
        if let Err(error) = stopped(&dir) {
            let error = berth_types::error::chain(&error);
            tracing::warn!(
                sandbox = self.id.short(),
                error,
                "the record does not say that the pod is stopped"
            );
        }
        Ok(())
    }
}

/// Kills and removes a cgroup; one that is not there is done.
pub(crate) fn end_cgroup(shared: &Shared, path: &CgroupPath) -> Result<(), EngineError> {
    let cgroup = shared.cgroups.open(path);
    if !cgroup.dirs().iter().any(|dir| dir.exists()) {
        return Ok(());
    }
    cgroup
        .kill_all(Instant::now() + KILL_LIMIT)
        .map_err(|e| EngineError::failed(format!("kill the processes of {path}"), e))?;
    cgroup.remove().map_err(|e| EngineError::failed(format!("remove cgroup {path}"), e))
}

/// The record that nothing of it runs.
fn stopped(dir: &PodDir) -> Result<(), EngineError> {
    let failed = |e| EngineError::system("write the pod's record", e);
    if let Some(mut record) = record::read::<SandboxRecord>(&dir.record()).map_err(failed)? {
        record.phase = Phase::Stopped;
        record.shim_pid = None;
        record.addresses.clear();
        record::write(&dir.record(), &record).map_err(failed)?;
    }
    Ok(())
}
