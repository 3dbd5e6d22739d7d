//! The end of a pod that has run for as long as it may: `activeDeadlineSeconds`.

use berth_engine::model::SandboxView;
use berth_engine::now;
use berth_types::SandboxId;
use berth_types::error::chain;
use berth_types::lifecycle::sandbox;
use tokio::sync::{mpsc, oneshot};

use super::super::{Command, Down, Then};
use super::{RETRY, Task, after};

impl Task {
    /// Whether the pod, which runs, has run for as long as it may.
    pub(super) fn is_overdue(&mut self, view: &SandboxView) -> bool {
        if view.state != sandbox::State::Ready {
            self.deadline = None;
        } else if self.deadline.is_none() {
            self.deadline = self.plan.deadline.map(|limit| after(view.created_at, limit));
        }
        self.deadline.is_some_and(|deadline| deadline <= now())
    }

    /// Ends the containers as a stop would. True when the pod is removed meanwhile.
    pub(super) async fn expire(&mut self, id: &SandboxId, commands: &mut mpsc::Receiver<Command>) -> bool {
        tracing::info!(pod = self.key.name, "the pod was active longer than its activeDeadlineSeconds");
        // When it cannot be ended now.
        self.deadline = Some(after(now(), RETRY));
        let (done, ended) = oneshot::channel();
        let gone = self.down(id, commands, Down { grace: None, then: Then::Stays, done }).await;
        if let Ok(Err(error)) = ended.await {
            tracing::warn!(pod = self.key.name, error = %chain(&error), "failed to end a pod; trying again later");
        }
        gone
    }
}
