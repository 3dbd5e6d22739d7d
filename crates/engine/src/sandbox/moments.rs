//! What plugins are told of a pod and its containers, in the order in which it happens.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_types::ContainerId;
use berth_types::lifecycle::container::{Message, State};
use tokio::sync::oneshot;

use super::owner::Owner;
use super::{Command, Message as ToOwner, Report, Spawner, teardown};
use crate::about::About;
use crate::container::adjust::{Heard, Moment, What};
use crate::container::exit;
use crate::error::EngineError;
use crate::host::stages::Timeline;
use crate::model::SandboxView;
use crate::shared::Shared;

/// The containers' states before something happened; empty where nobody is told.
pub(super) type Before = BTreeMap<ContainerId, State>;

impl Owner {
    /// The states to compare with by [`Owner::tell_plugins`].
    pub(super) fn states(&self) -> Before {
        if !self.spawner.shared.has_plugins() && self.spawner.shared.observe.is_none() {
            return Before::new();
        }
        self.pod.containers().iter().map(|(id, life)| (id.clone(), life.state())).collect()
    }

    /// Tells plugins which containers were prepared, run and have ended since, and who counts of the ends.
    pub(super) fn tell_plugins(&self, before: &Before) {
        for (id, before) in before {
            let Some(life) = self.pod.containers().get(id) else { continue };
            for what in since(*before, life.state(), life.started_at().is_some()) {
                // Nobody waits for what they say: their answers are bounded by themselves.
                drop(self.announce(*what, Some(id)));
                if let (What::Ended, Some(observe), Some(exit)) =
                    (what, &self.spawner.shared.observe, life.exit())
                {
                    observe.ended(exit.view(life.started_at()).reason);
                }
            }
        }
    }

    /// Tells plugins of something; gives what they say.
    pub(super) fn announce(&self, what: What, container: Option<&ContainerId>) -> Option<Heard> {
        if !self.spawner.shared.has_plugins() {
            return None;
        }
        let pod = self.view();
        let container = match container {
            Some(id) => {
                let (item, life) = (self.items.get(id)?, self.pod.containers().get(id)?);
                Some(item.any_view(id, &self.id, life)?)
            }
            None => None,
        };
        let moment = Moment { what, pod: &pod, container: container.as_ref(), resources: None };
        self.spawner.shared.hear(moment)
    }
}

/// What happened to a container between two states. One that ends at once was prepared, and may have run.
fn since(before: State, now: State, ran: bool) -> &'static [What] {
    match (before, now) {
        (State::Creating, State::Created) => &[What::Created],
        (State::Starting, State::Running) => &[What::Started],
        (State::Starting, State::Exited | State::Removing) if ran => &[What::Started, What::Ended],
        (
            State::Creating
            | State::Created
            | State::Starting
            | State::Running
            | State::Stopping { .. }
            | State::Unknown,
            State::Exited | State::Removing,
        ) => &[What::Ended],
        _ => &[],
    }
}

impl Owner {
    /// How the pod is taken down: with plugins, its containers are seen to have ended before they are told of its own end.
    pub(super) fn down(&self, living: &[(ContainerId, Option<i64>)], why: &str) -> Down {
        let seen = self.spawner.shared.has_plugins();
        Down {
            spawner: self.spawner.clone(),
            ends: self.ends(),
            living: if seen { living.to_vec() } else { Vec::new() },
            why: why.to_owned(),
            pod: seen.then(|| self.view()),
        }
    }
}

/// Takes a pod down.
#[derive(Debug)]
pub(super) struct Down {
    spawner: Spawner,
    ends: exit::Place,
    living: Vec<(ContainerId, Option<i64>)>,
    why: String,
    /// None without plugins.
    pod: Option<SandboxView>,
}

impl Down {
    pub(super) async fn run(self, parts: &teardown::Parts, timeline: &Timeline) -> Result<(), EngineError> {
        let shared = Arc::clone(&self.spawner.shared);
        let ended = parts.end(&shared, timeline).await?;
        if ended.is_empty() && self.pod.is_some() {
            self.tell().await?;
        }
        parts.clear(&shared, timeline, ended).await
    }

    /// Tells the owner of its containers' ends, which tells plugins, and then them of the pod's.
    async fn tell(self) -> Result<(), EngineError> {
        let Self { spawner, ends, living, why, pod } = self;
        let read = Shared::blocking(move || {
            let end = |(id, started_at): (ContainerId, Option<i64>)| {
                let (started_at, exit) = ends.settle(&id, started_at, &why);
                Report::Container(id, Message::Exited(started_at, exit))
            };
            Ok(living.into_iter().map(end).collect::<Vec<_>>())
        });
        let (reply, heard) = oneshot::channel();
        let call = About::now().call().cloned();
        let reports = read.await?.into_iter().map(|report| ToOwner::Report(report, call.clone()));
        for message in reports.chain([ToOwner::Command(Command::Published { reply }, call.clone())]) {
            drop(spawner.inbox.send(Box::new(message)).await);
        }
        drop(heard.await);
        if let Some(pod) = pod {
            let moment = Moment { what: What::PodDown, pod: &pod, container: None, resources: None };
            told(spawner.shared.hear(moment)).await;
        }
        Ok(())
    }
}

/// Waits for what plugins say to something that goes on whatever they say.
pub(super) async fn told(heard: Option<Heard>) {
    if let Some(heard) = heard
        && let Err(error) = heard.await
    {
        let error = berth_types::error::chain(&error);
        tracing::warn!(error, "a plugin failed at something that goes on");
    }
}

/// Waits for whether plugins allow something.
pub(super) async fn allowed(heard: Option<Heard>) -> Result<(), EngineError> {
    match heard {
        Some(heard) => heard.await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
