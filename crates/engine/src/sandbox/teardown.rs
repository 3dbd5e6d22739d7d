//! Taking a pod down, and removing its records. There is one teardown, whether the pod was stopped, could not
//! be made, was partly created by a daemon that was killed, or has no record: every step is tried, whatever the result of the
//! others, succeeds where nothing is left, and all failures are reported.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use berth_sys::cgroup::CgroupPath;
use berth_types::shim::{Abilities, Request};
use berth_types::{ContainerId, SandboxId};

use super::namespaces;
use crate::container::remove;
use crate::error::EngineError;
use crate::handler::{Handler, foreign};
use crate::host::layout::PodDir;
use crate::host::record::{self, Phase, SandboxRecord};
use crate::host::shims;
use crate::host::stages::Timeline;
use crate::recovery::{again, orphans};
use crate::shared::Shared;
use crate::shim::{Shim, ShimError};

/// The time that a shim has to end its pod.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(20);
/// The time for a shim to end after it said that it ends.
const END_LIMIT: Duration = Duration::from_secs(10);

/// What a pod may have that runs or is mounted.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) id: SandboxId,
    pub(crate) dir: PodDir,
    /// The connection to its shim, if there is one.
    pub(crate) shim: Option<Shim>,
    pub(crate) shim_pid: Option<i32>,
    /// The groups of its containers, then its own.
    pub(crate) cgroups: Vec<CgroupPath>,
}

impl Parts {
    /// Ends everything of the pod that lives or is mounted. Its records stay, and say that it is stopped.
    ///
    /// # Errors
    /// All failures in one; asked again, it tries again.
    pub(crate) async fn take_down(
        &self,
        shared: &Arc<Shared>,
        timeline: &Timeline,
    ) -> Result<(), EngineError> {
        let ended = self.end(shared, timeline).await?;
        self.clear(shared, timeline, ended).await
    }

    /// The first half: ends everything that lives.
    ///
    /// # Errors
    /// Something of it cannot be ended, and the pod's shim goes on. Other failures are handed on.
    pub(crate) async fn end(
        &self,
        shared: &Arc<Shared>,
        timeline: &Timeline,
    ) -> Result<Failures, EngineError> {
        let asked = self.ask_to_end().await?;
        timeline.stage("shim", timeline.began());
        let steps = self.steps(asked);
        let (shared, timeline) = (Arc::clone(shared), timeline.clone());
        Shared::blocking(move || Ok(steps.end(&shared, &timeline))).await
    }

    /// The second half: what they used, with the failures of the first.
    ///
    /// # Errors
    /// As [`Parts::take_down`].
    pub(crate) async fn clear(
        &self,
        shared: &Arc<Shared>,
        timeline: &Timeline,
        ended: Failures,
    ) -> Result<(), EngineError> {
        let steps = self.steps(false);
        let (shared, timeline) = (Arc::clone(shared), timeline.clone());
        Shared::blocking(move || steps.clear(&shared, &timeline, ended)).await
    }

    fn steps(&self, asked: bool) -> Steps {
        Steps {
            id: self.id.clone(),
            dir: self.dir.clone(),
            shim_pid: self.shim_pid.filter(|_| asked),
            cgroups: self.cgroups.clone(),
        }
    }
}

impl Parts {
    /// Whether the shim says that it ends with everything of its pod.
    ///
    /// # Errors
    /// Something of the pod cannot be killed. Its shim goes on watching it, and is not killed while it does.
    async fn ask_to_end(&self) -> Result<bool, EngineError> {
        let Some(shim) = &self.shim else { return Ok(false) };
        match shim.tell(Request::Shutdown, Vec::new(), SHUTDOWN_LIMIT).await {
            Ok(()) => Ok(true),
            Err(error @ ShimError::Failed(_)) if shim.peer().abilities.has(Abilities::ENDS_EMPTY) => {
                Err(EngineError::failed("end the pod's processes", error))
            }
            // It cannot help: what is left is killed without it.
            Err(_) => Ok(false),
        }
    }
}

struct Steps {
    id: SandboxId,
    dir: PodDir,
    /// The shim that said it ends.
    shim_pid: Option<i32>,
    cgroups: Vec<CgroupPath>,
}

impl Steps {
    /// Processes that are not the shim's.
    fn end(self, shared: &Shared, timeline: &Timeline) -> Failures {
        let mut failures = Failures::default();
        let since = Instant::now();
        match self.shim_pid {
            Some(pid) => shims::await_end(shared, &self.id, pid, END_LIMIT),
            None => failures.take(orphans::end_shim(shared, &self.id)),
        }
        failures.take(shared.placement.end_shim(&self.id));
        timeline.stage("shim ended", since);
        let since = Instant::now();
        for cgroup in &self.cgroups {
            failures.take(shared.placement.end(cgroup));
        }
        foreign::clear(&self.dir.runtime().join(self.id.as_str()));
        timeline.stage("cgroups", since);
        failures
    }

    /// What they used.
    fn clear(self, shared: &Shared, timeline: &Timeline, mut failures: Failures) -> Result<(), EngineError> {
        let since = Instant::now();
        let detached = shared.networks.detach(&self.id);
        timeline.stage("network", since);
        let since = Instant::now();
        // What could not be disconnected is tried again, and finds the namespace as it was.
        if detached.is_ok() {
            failures.take(namespaces::unpin(&self.dir.netns()));
        }
        failures.take(detached);
        failures.take(namespaces::unmount(&self.dir.shm()));
        failures.take(namespaces::unmount(&self.dir.gofers_netns()));
        let socket = record::remove(&self.dir.socket());
        failures.take(socket.map_err(|e| EngineError::system("remove the shim's socket", e)));
        timeline.stage("mounts", since);
        failures.result("tear down the pod")?;
        // A disk that is full does not keep a pod alive. A daemon that finds the old record looks for the shim,
        // does not find it, and stops the pod once more.
        if let Err(error) = stopped(&self.dir) {
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

/// What is left of a pod that was taken down.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) id: SandboxId,
    pub(crate) dir: PodDir,
    pub(crate) pod: CgroupPath,
    /// The group of its own kernel, or of what serves its containers, where it has one.
    pub(crate) beside: Option<CgroupPath>,
    pub(crate) containers: Vec<(ContainerId, Option<CgroupPath>)>,
    pub(crate) handler: Option<Arc<dyn Handler>>,
}

impl Rest {
    /// Removes the containers with their layers, and all files of the pod; its records are removed last.
    ///
    /// # Errors
    /// All failures in one; asked again, it tries again.
    pub(crate) async fn remove(
        self,
        shared: &Arc<Shared>,
        records: &Arc<Mutex<()>>,
    ) -> Result<(), EngineError> {
        let timeline = Timeline::begin();
        let mut failures = Failures::default();
        for (id, cgroup) in self.containers {
            let handler = self.handler.clone();
            let parts = remove::Parts { id, shim: None, cgroup, dir: self.dir.clone(), handler };
            failures.take(parts.remove(shared, records).await);
        }
        failures.result("remove the pod's containers")?;
        timeline.stage("containers", timeline.began());
        let since = Instant::now();
        let (groups, dir, pod, beside) = (Arc::clone(shared), self.dir, self.pod, self.beside);
        Shared::blocking(move || {
            // A container that was partly created when the pod was taken down may have made it again.
            beside.map_or(Ok(()), |group| groups.placement.end(&group))?;
            groups.placement.end(&pod)?;
            // Likewise.
            namespaces::unmount(&dir.gofers_netns())?;
            for dir in dir.all() {
                let failed = |e| EngineError::system(format!("remove {}", dir.display()), e);
                record::remove(dir).map_err(failed)?;
            }
            Ok(())
        })
        .await?;
        timeline.stage("files", since);
        shared.stages.add(&self.id, "remove sandbox", &timeline);
        Ok(())
    }
}

/// A pod that could not be made, or that a killed daemon had partly made.
#[derive(Debug, Clone)]
pub(crate) struct Unmade {
    pub(crate) id: SandboxId,
    pub(crate) dir: PodDir,
    /// All groups that it may have.
    pub(crate) cgroups: Vec<CgroupPath>,
    /// The pod's own.
    pub(crate) pod: CgroupPath,
}

impl Unmade {
    /// Removes everything of it. Where that fails, it is tried again until it succeeds or another daemon does it.
    ///
    /// # Errors
    /// Those of the first attempt.
    pub(crate) async fn undo_or_later(self, shared: &Arc<Shared>) -> Result<(), EngineError> {
        let undone = self.undo(shared).await;
        if let Err(error) = &undone {
            let error = berth_types::error::chain(error);
            tracing::warn!(
                sandbox = self.id.short(),
                error,
                "failed to clean up after a pod that was not created"
            );
            again::until_done(shared, self.id.clone(), move |shared| {
                let unmade = self.clone();
                async move { unmade.undo(&shared).await }
            });
        }
        undone
    }

    async fn undo(&self, shared: &Arc<Shared>) -> Result<(), EngineError> {
        let (id, dir, pod) = (self.id.clone(), self.dir.clone(), self.pod.clone());
        let cgroups = self.cgroups.clone();
        let parts = Parts { id: id.clone(), dir: dir.clone(), shim: None, shim_pid: None, cgroups };
        parts.take_down(shared, &Timeline::begin()).await?;
        let rest = Rest { id, dir, pod, beside: None, containers: Vec::new(), handler: None };
        rest.remove(shared, &Arc::default()).await
    }
}

/// Failures of steps that do not depend on each other.
#[derive(Debug, Default)]
pub(crate) struct Failures(Vec<EngineError>);

impl Failures {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the result of a step.
    pub(crate) fn take(&mut self, result: Result<(), EngineError>) {
        self.0.extend(result.err());
    }

    /// Success, the only failure, or one that lists all of them.
    pub(crate) fn result(mut self, what: &str) -> Result<(), EngineError> {
        if self.0.len() > 1 {
            return Err(EngineError::several(what, &self.0));
        }
        self.0.pop().map_or(Ok(()), Err)
    }
}

/// The record that nothing of it runs.
fn stopped(dir: &PodDir) -> Result<(), EngineError> {
    let failed = |e| EngineError::system("write the pod's record", e);
    if let Some(mut record) = record::read::<SandboxRecord>(&dir.record()).map_err(failed)? {
        record.phase = Phase::Stopped;
        record.shim_pid = None;
        record.interface = None;
        record.addresses.clear();
        record::write(&dir.record(), &record).map_err(failed)?;
    }
    Ok(())
}
