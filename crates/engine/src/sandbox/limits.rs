//! Changes of limits, of a container and of the pod as a whole.

use std::sync::Arc;

use berth_types::ContainerId;
use berth_types::ability::{Ability, Maker};
use berth_types::lifecycle::sandbox::State;

use super::inbox::not_found;
use super::owner::Owner;
use super::{Caller, Report};
use crate::container::adjust::What;
use crate::container::update::{self, Asked};
use crate::error::EngineError;
use crate::model::Resources;

impl Owner {
    /// Other limits are asked for.
    pub(super) fn update(&mut self, id: &ContainerId, change: Box<Resources>, caller: Caller) {
        let facts = match self.alive(id, "update") {
            Ok(facts) => facts,
            Err(refused) => return self.answer_caller(caller, Err(refused)),
        };
        if self.kernel().is_some()
            && let Err(why) = Ability::LimitChanges.need(Maker::Gvisor)
        {
            let message = format!(
                "handler {:?} has the pod's containers in one sandbox, whose limits are set when they are created: {why}",
                self.config.handler
            );
            return self.answer_caller(caller, Err(EngineError::unsupported("resources", message)));
        }
        let Some(item) = self.items.get_mut(id) else {
            return self.answer_caller(caller, Err(not_found(id)));
        };
        let (change, caller) = match item.limits.ask(change, caller) {
            Asked::Begin(change, caller) => (change, caller),
            Asked::Waits => return,
            Asked::TooMany(caller) => {
                return self.answer_caller(caller, Err(too_many()));
            }
        };
        let (now, file) = (item.limits.now().clone(), self.dir.container_record(id));
        let (shared, records, id) = (Arc::clone(&self.spawner.shared), Arc::clone(&self.records), id.clone());
        self.spawner.run(async move {
            let result = update::make(shared, facts, now, change, file, records).await;
            Some(Report::Updated(id, result, caller))
        });
    }

    pub(super) fn is_updated(
        &mut self,
        id: &ContainerId,
        result: Result<Resources, EngineError>,
        caller: Caller,
    ) {
        let (made, result) = match result {
            Ok(made) => (Some(made), Ok(())),
            // One that has ended meanwhile took its cgroup away.
            Err(error) => (None, Err(self.alive(id, "update").err().unwrap_or(error))),
        };
        let waiting = self.items.get_mut(id).map(|item| item.limits.over(made)).unwrap_or_default();
        if result.is_ok() {
            drop(self.announce(What::Changed, Some(id)));
        }
        self.answer_caller(caller, result);
        // The first of them starts, and the others wait for it again.
        for (change, caller) in waiting {
            self.update(id, change, caller);
        }
    }

    /// Other limits of the pod as a whole are asked for.
    pub(super) fn update_pod(&mut self, change: Box<Resources>, caller: Caller) {
        if let Err(refused) = self.pod_updatable() {
            return self.answer_caller(caller, Err(refused));
        }
        // The group is the caller's, who has changed it.
        if self.config.cgroup_parent.is_some() {
            return self.answer_caller(caller, Ok(()));
        }
        let (change, caller) = match self.limits.ask(change, caller) {
            Asked::Begin(change, caller) => (change, caller),
            Asked::Waits => return,
            Asked::TooMany(caller) => return self.answer_caller(caller, Err(too_many())),
        };
        let (now, file, cgroup) = (self.limits.now().clone(), self.dir.record(), self.cgroups.pod.clone());
        let (shared, records) = (Arc::clone(&self.spawner.shared), Arc::clone(&self.records));
        self.spawner.run(async move {
            let result = update::make_of_pod(shared, cgroup, now, change, file, records).await;
            Some(Report::PodUpdated(result, caller))
        });
    }

    fn pod_updatable(&self) -> Result<(), EngineError> {
        match self.state() {
            State::Ready => Ok(()),
            _ => Err(self.refused(self.pod.sandbox().refuse("update"))),
        }
    }

    pub(super) fn pod_is_updated(&mut self, result: Result<Resources, EngineError>, caller: Caller) {
        let (made, result) = match result {
            Ok(made) => (Some(made), Ok(())),
            Err(error) => (None, Err(self.pod_updatable().err().unwrap_or(error))),
        };
        let waiting = self.limits.over(made);
        self.answer_caller(caller, result);
        for (change, caller) in waiting {
            self.update_pod(change, caller);
        }
    }
}

fn too_many() -> EngineError {
    EngineError::invalid("resources", "too many changes are waiting")
}
