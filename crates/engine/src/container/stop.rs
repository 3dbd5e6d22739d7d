//! Stopping a container: its stop signal once, SIGKILL when the time is over, success when its processes
//! and its cgroup are gone. One that cannot be killed goes on being told as running.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_sys::cgroup::CgroupPath;
use berth_types::ContainerId;
use berth_types::lifecycle::container::Message;
use berth_types::shim::Request;
use tokio::sync::watch;
use tokio::time::Instant;

use super::exit;
use crate::error::EngineError;
use crate::oci::signal;
use crate::sandbox::Live;
use crate::shared::Shared;
use crate::shim::{Shim, ShimError};

/// The time that a shim has to pass a signal on.
const SIGNAL_LIMIT: Duration = Duration::from_secs(10);
/// The time from SIGKILL until the shim tells the end, before the cgroup is killed from here.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// Ends one container.
#[derive(Debug)]
pub(crate) struct Stopper {
    pub(crate) id: ContainerId,
    /// None kills by the cgroup.
    pub(crate) shim: Option<Shim>,
    /// None kills at once.
    pub(crate) signal: Option<i32>,
    pub(crate) deadline: watch::Receiver<Instant>,
    pub(crate) shared: Arc<Shared>,
    /// None where the container has no group of its own.
    pub(crate) cgroup: Option<CgroupPath>,
    /// The container's directory.
    pub(crate) dir: PathBuf,
}

impl Stopper {
    /// None when the container ended, as the owner knows already.
    pub(crate) async fn run(mut self) -> Option<Message<Live>> {
        if let Some(shim) = self.shim.clone() {
            if let Some(signal) = self.signal {
                // Whoever does not pass the signal on, the time to end by itself is the container's.
                if let Err(error) = self.send(&shim, signal, false).await {
                    self.note(&error);
                }
                self.wait().await?;
            }
            match self.send(&shim, signal::KILL, true).await {
                Ok(()) => {
                    let over = tokio::time::sleep(KILL_LIMIT);
                    tokio::select! {
                        () = over => {}
                        () = closed(&mut self.deadline) => return None,
                    }
                }
                Err(error) => self.note(&error),
            }
        }
        Some(self.by_cgroup().await)
    }

    async fn send(&self, shim: &Shim, signal: i32, all: bool) -> Result<(), ShimError> {
        let request = Request::Signal { container: self.id.clone(), signal, all };
        shim.tell(request, Vec::new(), SIGNAL_LIMIT).await
    }

    fn note(&self, error: &ShimError) {
        tracing::warn!(
            container = self.id.short(),
            error = berth_types::error::chain(error),
            "the shim does not pass a signal on"
        );
    }

    /// Waits for the deadline, which may be brought forward. None when the container ended.
    async fn wait(&mut self) -> Option<()> {
        loop {
            let deadline = *self.deadline.borrow_and_update();
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return Some(()),
                changed = self.deadline.changed() => changed.ok()?,
            }
        }
    }

    /// Kills from here what the shim does not.
    async fn by_cgroup(self) -> Message<Live> {
        let killed = Shared::blocking(move || {
            let Some(cgroup) = &self.cgroup else {
                return Err(EngineError::failed("kill the container", ShimError::Lost));
            };
            self.shared.placement.end(cgroup)?;
            Ok(exit::read_or(&self.dir, "it was killed without its shim"))
        });
        match killed.await {
            Ok((started_at, exit)) => Message::Exited(started_at, exit),
            Err(error) => Message::NotStopped(error),
        }
    }
}

/// Completes when the sender is gone.
async fn closed(deadline: &mut watch::Receiver<Instant>) {
    while deadline.changed().await.is_ok() {}
}
