//! Looking up a container of the pod.

use std::sync::Arc;

use berth_types::ContainerId;
use berth_types::lifecycle::container::{Event, State};

use super::Target;
use super::container::Container;
use super::owner::Owner;
use crate::error::EngineError;

impl Owner {
    pub(crate) fn container(&mut self, id: &ContainerId) -> Result<&mut Container, EngineError> {
        self.containers.get_mut(id).ok_or_else(|| not_found(id))
    }

    /// What is needed to talk to a running container.
    pub(crate) fn target(&mut self, id: &ContainerId) -> Result<Target, EngineError> {
        let shim = self.link.shim.clone();
        let container = self.container(id)?;
        match (container.state, shim, &container.facts) {
            // A prepared container can be joined before it starts; the shim refuses what it cannot do yet.
            (
                State::Created | State::Starting | State::Running | State::Stopping { .. },
                Some(shim),
                Some(facts),
            ) => Ok(Target {
                container: container.id.clone(),
                config: Arc::clone(&container.config),
                facts: Arc::clone(facts),
                shim,
            }),
            (state, _, _) => Err(EngineError::Refused {
                thing: "container",
                id: id.short().to_owned(),
                refused: berth_types::lifecycle::Refused {
                    thing: "container",
                    event: "reach",
                    state: state.word(),
                },
            }),
        }
    }
}

pub(crate) fn not_found(id: &ContainerId) -> EngineError {
    EngineError::NotFound { thing: "container", key: id.to_string() }
}

/// The refusal of an event in a state, for what the tables do not decide.
pub(crate) fn refused(container: &Container, event: Event) -> EngineError {
    EngineError::Refused {
        thing: "container",
        id: container.id.short().to_owned(),
        refused: berth_types::lifecycle::Refused {
            thing: "container",
            event: event.word(),
            state: container.state.word(),
        },
    }
}
