//! Changing a container's limits.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use berth_types::ContainerId;
use berth_types::lifecycle::container::State;

use super::owner::Owner;
use super::{Report, Waiter};
use crate::error::EngineError;
use crate::limits;
use crate::model::Resources;
use crate::oci::resources;
use crate::record::{self, ContainerRecord};
use crate::shared::Shared;

impl Owner {
    /// Somebody asks for other limits. One change is made at a time: each builds on the one before.
    pub(crate) fn update(&mut self, id: &ContainerId, change: Box<Resources>, reply: Waiter<()>) {
        let shared = Arc::clone(&self.desk.shared);
        let container = match self.container(id) {
            Ok(container) => container,
            Err(error) => return self.answer(reply, Err(error)),
        };
        if let Some(waiting) = &mut container.work.updating {
            waiting.push_back((change, reply));
            return;
        }
        let facts = match (container.state, &container.facts) {
            (State::Created | State::Starting | State::Running, Some(facts)) => Arc::clone(facts),
            (state, _) => {
                let refused = berth_types::lifecycle::Refused {
                    thing: "container",
                    event: "update",
                    state: state.word(),
                };
                let id = id.short().to_owned();
                return self.answer(reply, Err(EngineError::Refused { thing: "container", id, refused }));
            }
        };
        let change = resources::Change::of(&container.resources, &change, &shared.facts);
        container.work.updating = Some(VecDeque::new());
        let file = shared.layout.pod(&self.id).container_record(id);
        let (id, now) = (id.clone(), change.now.clone());
        self.desk.spawn(async move {
            let result = Shared::blocking(move || {
                let group = shared.cgroups.open(&facts.cgroup);
                limits::apply(&group, &change)?;
                let kept = keep(&file, &change);
                kept.inspect_err(|_| limits::take_back(&group, &change))
            })
            .await;
            Report::Updated(id, Box::new(now), result, reply)
        });
    }

    /// The limits are changed, or were refused.
    pub(crate) fn is_updated(
        &mut self,
        id: &ContainerId,
        now: Resources,
        result: Result<(), EngineError>,
        reply: Waiter<()>,
    ) {
        let least = self.desk.shared.facts.least_oom_score;
        let score = now.oom_score_adj.map(|score| score.max(least));
        let waiting = self.containers.get_mut(id).and_then(|container| {
            if result.is_ok() {
                // Exec sessions begin with the score that the container's processes have.
                if let Some(facts) = &mut container.facts {
                    Arc::make_mut(facts).process.set_oom_score_adj(score);
                }
                container.resources = now;
            }
            container.work.updating.take()
        });
        self.answer(reply, result);
        // The first of them starts, and the others wait for it again.
        for (change, reply) in waiting.into_iter().flatten() {
            self.update(id, change, reply);
        }
    }
}

/// Writes down what is in force now.
fn keep(file: &Path, change: &resources::Change) -> Result<(), EngineError> {
    let failed = |e| EngineError::system("write the container's record", e);
    let Some(mut record) = record::read::<ContainerRecord>(file).map_err(failed)? else { return Ok(()) };
    record.resources = change.now.clone();
    if let (Some(score), Some(process)) = (change.score, &mut record.process) {
        process.set_oom_score_adj(Some(score.now));
    }
    record::write(file, &record).map_err(failed)
}
