//! Connecting to the shim of a pod that runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use berth_types::lifecycle::container::Found;
use berth_types::lifecycle::pod::{ContainerReport, Message as ToPod};
use berth_types::shim::{Known, Phase};
use berth_types::{ContainerId, SandboxId};
use tokio::sync::mpsc;

use crate::container::exit::{self, Exit};
use crate::error::EngineError;
use crate::host::layout::PodDir;
use crate::host::shims;
use crate::sandbox::{Live, Message, Report, Spawner};
use crate::shared::Shared;
use crate::shim::handshake::{Greeted, greet};
use crate::shim::{Reached, Shim, ShimError, reached, spawn};

/// The time that a shim has to say hello. A healthy one answers within a millisecond.
const HELLO_LIMIT: Duration = Duration::from_secs(2);
/// The same for one that did not say it in that time.
const LONG_HELLO_LIMIT: Duration = Duration::from_secs(60);
/// The time before the first further attempt; it doubles up to [`MAX_PAUSE`].
const PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// How to reach a pod's shim.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: SandboxId,
    pub(crate) dir: PodDir,
    pub(crate) ends: exit::Place,
    pub(crate) notices: mpsc::Sender<Box<Message>>,
    /// Those that the pod has, with when their commands began as far as is known: of each something is told.
    pub(crate) containers: Vec<(ContainerId, Option<i64>)>,
}

/// The outcome of an attempt.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It answered: what is known of every container now, with its process id.
    Connected(Shim, Vec<(ContainerId, ContainerReport<Live>, i32)>),
    /// It is dead.
    Dead,
    /// It does not answer, and is alive or may be.
    Silent,
}

/// Connects in the background until the shim answers or is dead, and reports.
pub(crate) fn connect(way: Way, spawner: &Spawner) {
    let again = spawner.clone();
    spawner.run(async move {
        let mut pause = PAUSE;
        let mut limit = HELLO_LIMIT;
        while !way.notices.is_closed() {
            match way.attempt(limit).await {
                Outcome::Connected(shim, reports) => return Some(Report::Connected(shim, reports)),
                Outcome::Dead => {
                    return Some(Report::Pod(ToPod::ShimDied(dead("the pod's shim ended"))));
                }
                Outcome::Silent => again.run(async { Some(Report::Pod(ToPod::Silent)) }),
            }
            limit = LONG_HELLO_LIMIT;
            tokio::time::sleep(pause).await;
            pause = MAX_PAUSE.min(pause * 2);
        }
        None
    });
}

/// What callers are told when a shim is dead.
pub(super) fn dead(message: &str) -> EngineError {
    EngineError::failed(message, ShimError::Lost)
}

impl Way {
    /// One attempt with the time that a healthy shim needs.
    pub(super) async fn first(&self) -> Outcome {
        self.attempt(HELLO_LIMIT).await
    }

    async fn attempt(&self, limit: Duration) -> Outcome {
        let connection = match reached(spawn::connect(&self.dir.socket())) {
            Reached::Alive(connection) => connection,
            Reached::Busy => return Outcome::Silent,
            Reached::Dead => return Outcome::Dead,
            Reached::Missing => return self.dead_or_silent().await,
            Reached::Unknown(error) => return self.silent(&error),
        };
        match greet(connection, self.notices.clone(), limit).await {
            Ok(Greeted { shim, known }) => match self.reports(known).await {
                Ok(reports) => Outcome::Connected(shim, reports),
                Err(error) => self.silent(&error),
            },
            // It may have died since.
            Err(ShimError::Lost) => match reached(spawn::connect(&self.dir.socket())) {
                Reached::Dead => Outcome::Dead,
                Reached::Missing => self.dead_or_silent().await,
                Reached::Alive(_) | Reached::Busy | Reached::Unknown(_) => Outcome::Silent,
            },
            Err(error) => self.silent(&error),
        }
    }

    fn silent(&self, error: &dyn std::error::Error) -> Outcome {
        let error = berth_types::error::chain(error);
        tracing::debug!(sandbox = self.id.short(), error, "a shim does not answer");
        Outcome::Silent
    }

    /// Its socket is missing: it is dead only when it has no process.
    async fn dead_or_silent(&self) -> Outcome {
        let (shared, id) = (Arc::clone(&self.shared), self.id.clone());
        match Shared::blocking(move || shims::lives(&shared, &id)).await {
            Ok(false) => Outcome::Dead,
            Ok(true) => Outcome::Silent,
            Err(error) => self.silent(&error),
        }
    }

    /// What is known of every container: by the shim, or by the record of its end.
    async fn reports(
        &self,
        known: Vec<Known>,
    ) -> Result<Vec<(ContainerId, ContainerReport<Live>, i32)>, EngineError> {
        let mut known: HashMap<_, _> =
            known.into_iter().map(|known| (known.container.clone(), known)).collect();
        let (ends, containers) = (self.ends.clone(), self.containers.clone());
        Shared::blocking(move || {
            let mut reports = Vec::with_capacity(containers.len());
            for (id, started_at) in containers {
                let (report, pid) = match known.remove(&id) {
                    Some(known) => report(known),
                    None => {
                        let (at, exit) = ends.settle(&id, started_at, "its shim does not know it");
                        (ContainerReport::Ended(at, exit), 0)
                    }
                };
                reports.push((id, report, pid));
            }
            reports.extend(known.into_iter().map(|(id, known)| {
                let (report, pid) = report(known);
                (id, report, pid)
            }));
            Ok(reports)
        })
        .await
    }
}

fn report(known: Known) -> (ContainerReport<Live>, i32) {
    let report = match known.phase {
        Phase::Created => ContainerReport::Lives(Found::Created),
        Phase::Running { started_at } => ContainerReport::Lives(Found::Running(started_at)),
        Phase::Exited { started_at, exit } => {
            ContainerReport::Ended(Some(started_at).filter(|at| *at != 0), Exit::Told(exit))
        }
    };
    (report, known.pid)
}
