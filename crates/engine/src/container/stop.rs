//! Stopping a container: its stop signal once, SIGKILL when the time is over, success when its processes
//! and its cgroup are gone. One that cannot be killed goes on being told as running.

use std::sync::Arc;
use std::time::Duration;

use berth_sys::cgroup::CgroupPath;
use berth_types::ContainerId;
use berth_types::lifecycle::container::{Ask, Message};
use berth_types::shim::Request;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{exit, pause};
use crate::error::EngineError;
use crate::host::stages::Timeline;
use crate::oci::signal;
use crate::sandbox::Live;
use crate::shared::Shared;
use crate::shim::{Shim, ShimError};

/// The time that a shim has to pass a signal on.
const SIGNAL_LIMIT: Duration = Duration::from_secs(10);
/// The time from SIGKILL until the shim tells the end, before the cgroup is killed from here. Longer than the shim waits for one of others,
/// which says how its containers ended.
const KILL_LIMIT: Duration = Duration::from_secs(15);
/// The same for one in a pod's own kernel, which its shim has taken out of there, within a time of its own: what is done from here
/// costs the other containers.
const MEMBER_KILL_LIMIT: Duration = Duration::from_secs(180);

/// Ends one container.
#[derive(Debug)]
pub(crate) struct Stopper {
    pub(crate) id: ContainerId,
    /// The pod's shim, as it is connected now.
    pub(crate) shim: watch::Receiver<Option<Shim>>,
    /// Whether that is asked, or the kernel at once.
    pub(crate) ask: Ask,
    /// None kills at once.
    pub(crate) signal: Option<i32>,
    pub(crate) deadline: watch::Receiver<Instant>,
    pub(crate) shared: Arc<Shared>,
    /// None where the container has no group of its own.
    pub(crate) cgroup: Option<CgroupPath>,
    /// The group of the pod's own kernel, which alone has what the container does: where the shim does not end it, that is ended as a whole.
    pub(crate) kernel: Option<CgroupPath>,
    /// When its command began, as far as is known.
    pub(crate) started_at: Option<i64>,
    pub(crate) ends: exit::Place,
    pub(crate) timeline: Timeline,
}

/// The container has ended, as the owner knows already: there is nothing more to do.
struct Over;

impl Stopper {
    /// None when the container ended, as the owner knows already.
    pub(crate) async fn run(mut self) -> Option<Message<Live>> {
        match self.by_shim().await {
            Ok(()) => Some(self.by_cgroup().await),
            Err(Over) => None,
        }
    }

    /// Ends it by the shim, if that is asked and does it.
    async fn by_shim(&mut self) -> Result<(), Over> {
        if self.ask == Ask::Kernel {
            return Ok(());
        }
        if let Some(signal) = self.signal {
            let since = std::time::Instant::now();
            self.ask_to_end(signal).await?;
            self.timeline.stage("stop signal", since);
            pause::thaw(&self.shared, self.cgroup.as_ref()).await;
            let since = std::time::Instant::now();
            let is_over = self.wait_out().await;
            self.timeline.stage("grace", since);
            is_over?;
        }
        let Some(shim) = self.shim.borrow().clone() else { return Ok(()) };
        let since = std::time::Instant::now();
        let sent = self.send(&shim, signal::KILL, true).await;
        pause::thaw(&self.shared, self.cgroup.as_ref()).await;
        match sent {
            Ok(()) => {
                let limit = if self.kernel.is_some() { MEMBER_KILL_LIMIT } else { KILL_LIMIT };
                let over = tokio::time::sleep(limit);
                let ended = tokio::select! {
                    () = over => Ok(()),
                    () = closed(&mut self.deadline) => Err(Over),
                };
                self.timeline.stage("kill", since);
                ended
            }
            Err(error) => {
                self.note(&error);
                Ok(())
            }
        }
    }

    /// Sends the stop signal once, by a new connection if the one there was is lost. When it cannot be delivered, the time
    /// to end by itself is the container's.
    async fn ask_to_end(&mut self, signal: i32) -> Result<(), Over> {
        loop {
            let shim = self.shim.borrow_and_update().clone();
            let sent = match &shim {
                Some(shim) => self.send(shim, signal, false).await,
                None => Err(ShimError::Lost),
            };
            match sent {
                Ok(()) => return Ok(()),
                Err(ShimError::Lost) => {}
                Err(error) => {
                    self.note(&error);
                    return Ok(());
                }
            }
            tokio::select! {
                changed = self.shim.changed() => changed.map_err(|_| Over)?,
                time = is_time(&mut self.deadline) => if time? { return Ok(()) },
            }
        }
    }

    async fn send(&self, shim: &Shim, signal: i32, all: bool) -> Result<(), ShimError> {
        let request = Request::Signal { container: self.id.clone(), signal, all };
        shim.tell(request, Vec::new(), SIGNAL_LIMIT).await
    }

    fn note(&self, error: &ShimError) {
        tracing::warn!(
            container = self.id.short(),
            error = berth_types::error::chain(error),
            "the shim did not deliver a signal"
        );
    }

    /// Waits until its time is over.
    async fn wait_out(&mut self) -> Result<(), Over> {
        while !is_time(&mut self.deadline).await? {}
        Ok(())
    }

    /// Kills without the shim what the shim does not kill.
    async fn by_cgroup(self) -> Message<Live> {
        let killed = Shared::blocking(move || {
            let Some(cgroup) = &self.cgroup else {
                return Err(EngineError::failed("kill the container", ShimError::Lost));
            };
            self.kernel.as_ref().map_or(Ok(()), |kernel| self.shared.placement.end(kernel))?;
            self.shared.placement.end(cgroup)?;
            Ok(self.ends.settle(&self.id, self.started_at, "it was killed without its shim"))
        });
        match killed.await {
            Ok((started_at, exit)) => Message::Exited(started_at, exit),
            Err(error) => Message::NotStopped(error),
        }
    }
}

/// Waits for the deadline, or until it is brought forward (false).
async fn is_time(deadline: &mut watch::Receiver<Instant>) -> Result<bool, Over> {
    let until = *deadline.borrow_and_update();
    tokio::select! {
        () = tokio::time::sleep_until(until) => Ok(true),
        changed = deadline.changed() => changed.map(|()| false).map_err(|_| Over),
    }
}

/// Completes when the sender is gone.
async fn closed(deadline: &mut watch::Receiver<Instant>) {
    while deadline.changed().await.is_ok() {}
}
