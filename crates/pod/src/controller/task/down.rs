//! The end of a pod.

use berth_engine::EngineError;
use berth_engine::model::SandboxView;
use berth_types::error::chain;
use berth_types::lifecycle::container::Listed;
use berth_types::{Classify as _, Kind, SandboxId};
use tokio::sync::mpsc;

use super::super::{Command, Down, PodError, Then, files};
use super::Task;
use crate::plan::RUN;

impl Task {
    /// Ends the containers, then the sandbox, for this caller and all that ask in the meantime. True when the pod is removed.
    pub(super) async fn down(
        &mut self,
        id: &SandboxId,
        commands: &mut mpsc::Receiver<Command>,
        first: Down,
    ) -> bool {
        let mut asked = vec![first];
        self.end_containers(id, commands, &mut asked).await;
        let then = asked.iter().map(|ask| ask.then).max().unwrap_or(Then::Stays);
        if then > Then::MakesWay {
            self.supersede().await;
        }
        let result = self.end_sandbox(id, then).await;
        let gone = then != Then::Stays && result.is_ok();
        if gone {
            commands.close();
        }
        while gone && let Ok(command) = commands.try_recv() {
            if let Command::Down(ask) = command {
                asked.push(ask);
            }
        }
        for ask in asked {
            drop(ask.done.send(result.as_ref().copied().map_err(PodError::again)));
        }
        gone
    }

    /// Ends the containers side by side. The shortest requested grace counts.
    async fn end_containers(
        &mut self,
        id: &SandboxId,
        commands: &mut mpsc::Receiver<Command>,
        asked: &mut Vec<Down>,
    ) {
        let Ok(view) = self.pods.inner.engine.sandbox(id.as_str()) else { return };
        self.health.stop_asking();
        let running = view.containers.iter().filter(|c| c.state.listed() == Some(Listed::Running));
        let running: Vec<_> = running.map(|c| (c.config.metadata.name.clone(), c.id.clone())).collect();
        let (mut grace, mut open) = (None, true);
        loop {
            let least = asked.iter().map(|ask| ask.grace.unwrap_or(self.plan.grace)).min().unwrap_or(0);
            if grace.is_none_or(|grace| least < grace) {
                grace = Some(least);
                self.health.end_all(&self.plan, &running, least);
            }
            if !self.health.ends() {
                return;
            }
            tokio::select! {
                report = self.health.next() => {
                    self.health.take(&self.plan, report);
                }
                command = commands.recv(), if open => match command {
                    Some(Command::Down(ask)) => asked.push(ask),
                    Some(Command::Left) => self.attended = false,
                    Some(Command::Release(_)) => {}
                    None => open = false,
                },
            }
        }
    }

    /// Ends the sandbox, and takes away all of a pod that does not stay.
    pub(super) async fn end_sandbox(&self, id: &SandboxId, then: Then) -> Result<(), PodError> {
        let engine = &self.pods.inner.engine;
        there(engine.stop_sandbox(id).await).map_err(PodError::engine("stop the pod"))?;
        if then > Then::MakesWay {
            there(engine.remove_sandbox(id).await).map_err(PodError::engine("remove the pod"))?;
            self.take_away(None).await;
            // A manifest's pod has only what its images ask for, which goes with it as it does under a kubelet.
            let made_by_run = self.plan.sandbox.annotations.contains_key(RUN);
            if then == Then::Goes && (self.options.remove || !made_by_run) {
                self.pods.remove_anonymous(&self.plan.sandbox).await;
            }
        }
        Ok(())
    }

    /// Removes what is left of a pod that could not be made, gives its name back to the pod that it was to go on with, and removes the volumes without a name that were made for it.
    pub(super) async fn undo(&self, view: Option<&SandboxView>) {
        self.take_away(view).await;
        self.pods.remove_all_anonymous(&self.new_volumes).await;
        self.come_back();
    }

    /// Removes what is left of the pod and frees its name.
    pub(super) async fn take_away(&self, view: Option<&SandboxView>) {
        if let Some(view) = view
            && let Err(e) = there(self.pods.inner.engine.remove_sandbox(&view.id).await)
        {
            tracing::warn!(pod = self.key.name, error = %chain(&e), "failed to remove its sandbox");
        }
        let place = self.place.clone();
        let removed = tokio::task::spawn_blocking(move || files::remove(&place)).await;
        if let Ok(Err(e)) = removed {
            tracing::warn!(pod = self.key.name, dir = %self.place.dir.display(), error = %e, "failed to remove its files");
        }
        self.pods.forget(&self.key);
    }
}

/// It may have been removed already.
pub(crate) fn there(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(e) if e.kind() != Kind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}
