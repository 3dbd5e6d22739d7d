//! The end of a workload: its pods first, then what is kept of it.

use tokio::sync::mpsc;

use super::super::keep;
use super::super::model::{Action, State};
use super::{Command, Done, Task, WorkloadError};
use crate::controller::PodError;

impl Task {
    /// Remembers that all of it goes, also over a restart.
    pub(super) async fn begin_down(&mut self, grace: Option<u64>, done: Done) {
        self.downs.push(done);
        self.grace = match (self.grace, grace) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        // Somebody waits: what could not be removed is tried at once.
        (self.failures, self.retry_at) = (0, None);
        self.mark_removing().await;
        for waiting in std::mem::take(&mut self.waiting) {
            drop(waiting.done.send(Err(WorkloadError::Down(self.key.title()))));
        }
    }

    pub(super) async fn mark_removing(&mut self) {
        if self.record.removing && !self.unsaid {
            return;
        }
        self.record.removing = true;
        if self.record.document.is_empty() {
            return;
        }
        let saved = self.save(&self.record.clone()).await;
        self.unsaid = saved.is_err();
        if let Err(e) = saved {
            // What is not written is tried again by the next `down`.
            tracing::warn!(workload = self.key.title(), error = %berth_types::error::chain(&e), "failed to write that a workload is removed");
        }
    }

    /// A pod could not be removed. It is tried again, and those who wait for the end of all of it are told.
    pub(super) fn not_removed(&mut self, error: &PodError) {
        self.message = berth_types::error::chain(error);
        self.again_later();
        tracing::warn!(
            workload = self.key.title(),
            error = self.message,
            "failed to remove a pod; trying again later"
        );
        let title = self.key.title();
        self.answer_downs(|| WorkloadError::pod(title.clone(), error));
    }

    pub(super) fn answer_downs(&mut self, error: impl Fn() -> WorkloadError) {
        for done in std::mem::take(&mut self.downs) {
            drop(done.send(Err(error())));
        }
    }

    /// One look at what is left. The time of the next look; nothing when nothing is.
    pub(super) fn step_down(&mut self) -> Option<Option<i64>> {
        let gone = self.remove_all();
        (!gone).then(|| self.retry_at.filter(|at| *at > berth_engine::now()))
    }

    /// Begins the removal of what is there. True when nothing is left.
    fn remove_all(&mut self) -> bool {
        let pods = self.look();
        self.publish(&pods, None);
        let there: Vec<_> =
            pods.iter().filter(|pod| pod.state != State::Leaving).map(|pod| pod.name.clone()).collect();
        let jobs: Vec<_> =
            self.workloads.jobs_of(&self.record.uid).into_iter().map(|(key, _)| key.name).collect();
        let early = self.retry_at.is_some_and(|at| at > berth_engine::now());
        let actions = there.into_iter().map(Action::Remove).chain(jobs.into_iter().map(Action::RemoveJob));
        let begun = !early && !self.act(actions.collect());
        !begun
            && self.work.is_empty()
            && pods.is_empty()
            && self.workloads.jobs_of(&self.record.uid).is_empty()
    }

    /// Removes what is kept, frees the name, and tells all that wait.
    pub(super) async fn end(mut self, commands: &mut mpsc::Receiver<Command>) {
        let (dir, uid) = (self.workloads.inner.dir.clone(), self.record.uid.clone());
        let removed = tokio::task::spawn_blocking(move || keep::remove(&dir, &uid)).await;
        if let Ok(Err(e)) = removed {
            tracing::warn!(workload = self.key.title(), error = %e, "failed to remove what is kept of a workload");
        }
        self.workloads.forget(&self.key, &self.record.uid);
        while let Some(command) = commands.recv().await {
            match command {
                Command::Down { done, .. } => self.downs.push(done),
                Command::Apply { done, .. } => {
                    drop(done.send(Err(WorkloadError::Down(self.key.title()))));
                }
            }
        }
        for done in self.downs {
            drop(done.send(Ok(())));
        }
    }
}
