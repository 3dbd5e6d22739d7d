//! A shim that did not say hello in time: it is asked on until it answers or is gone.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use berth_types::ContainerId;
use berth_types::lifecycle::container::State as ContainerState;
use berth_types::lifecycle::sandbox::State;
use berth_types::shim::{self, Known, Request};
use tokio::sync::mpsc;

use super::container::{ExitOf, unknown_exit};
use super::owner::Owner;
use super::recover::take;
use super::{Message, Report};
use crate::oci::signal;
use crate::shim::{Shim, ShimError, spawn};

/// How long one hello is waited for, and how long after a failure the next is tried.
const HELLO: Duration = Duration::from_secs(60 * 60);
const AGAIN: Duration = Duration::from_secs(5);

/// What a shim says that was silent: None when it is gone.
pub(crate) type Answered = Option<Box<(Shim, HashMap<ContainerId, Known>)>>;

impl Owner {
    /// Asks the silent shim of this pod on, in the background.
    pub(crate) fn ask_on(&self) {
        let (notices, socket) = (self.notices(), self.desk.shared.layout.pod(&self.id).socket());
        self.desk.spawn(async move { Report::Answered(hello(notices, socket).await) });
    }

    /// It speaks, or it is gone.
    pub(crate) fn has_answered(&mut self, answered: Answered) {
        // A pod that is going down needs no shim any more: what is left of it is killed.
        if self.state != State::Ready || self.link.shim.is_some() {
            return;
        }
        let Some((shim, known)) = answered.map(|answered| *answered) else {
            return self.end_without_shim("the pod's shim ended");
        };
        tracing::info!(sandbox = self.id.short(), "the pod's shim answers again");
        for id in known.keys().filter(|id| !self.containers.contains_key(*id)) {
            // Removed, or undone, while it could not be told.
            shim.post(Request::Signal { container: id.clone(), signal: signal::KILL, all: true });
            shim.post(Request::Forget { container: id.clone() });
        }
        self.link.shim = Some(shim);
        self.message.clear();
        let unknown = |state| matches!(state, ContainerState::Unknown | ContainerState::Stopping { .. });
        let ids: Vec<ContainerId> =
            self.containers.values().filter(|c| unknown(c.state)).map(|c| c.id.clone()).collect();
        for id in ids {
            self.learn(&id, known.get(&id));
        }
        // The word that it is gone may have come before it was known here.
        if self.link.shim.as_ref().is_some_and(Shim::is_gone) {
            self.shim_lost();
        }
    }

    fn learn(&mut self, id: &ContainerId, known: Option<&Known>) {
        let dir = self.desk.shared.layout.pod(&self.id).container(id);
        let Some(container) = self.containers.get_mut(id) else { return };
        match known {
            Some(Known { phase: shim::Phase::Exited { started_at, exit }, .. }) => {
                container.started_at = Some(*started_at).filter(|at| *at != 0);
                let view = super::container::exit_view(exit, *started_at == 0);
                self.end(id, view);
            }
            // One that is being stopped goes on being stopped.
            Some(known) if container.state == ContainerState::Unknown => take(container, known),
            Some(_) => {}
            None => {
                let exit = ExitOf::read(&dir);
                let view = exit.map_or_else(|| unknown_exit("its shim does not know it"), |exit| exit.view);
                self.end(id, view);
            }
        }
    }
}

async fn hello(notices: mpsc::Sender<Message>, socket: PathBuf) -> Answered {
    while !notices.is_closed() {
        match spawn::connect(&socket) {
            Ok(connection) => match greet(connection, notices.clone()).await {
                Ok(answer) => return Some(Box::new(answer)),
                Err(ShimError::Lost) => return None,
                Err(error) => {
                    tracing::debug!(error = berth_types::error::chain(&error), "a shim stays silent");
                }
            },
            // It has as many callers waiting as it may have.
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
        tokio::time::sleep(AGAIN).await;
    }
    None
}

async fn greet(
    connection: crate::shim::Connection,
    notices: mpsc::Sender<Message>,
) -> Result<(Shim, HashMap<ContainerId, Known>), ShimError> {
    let shim = connection.serve(notices).map_err(|_| ShimError::Unexpected { request: "Hello" })?;
    let greeting = shim.hello(HELLO).await?;
    Ok((shim, greeting.containers.into_iter().map(|known| (known.container.clone(), known)).collect()))
}
