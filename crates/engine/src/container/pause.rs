//! Stopping everything in a container where it is, and letting it go on. Nothing but the container's cgroup says that it is
//! paused, so that no record can be wrong: a pod whose daemon or shim was lost is as it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_sys::cgroup::CgroupPath;
use berth_types::ContainerId;
use berth_types::lifecycle::container::State;

use super::exec::Target;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::model::ContainerView;
use crate::shared::Shared;

/// The time for all processes of a container to stop.
const LIMIT: Duration = Duration::from_secs(10);

impl Engine {
    /// Stops every process of a running container where it is. It is told as running on; [`Engine::is_paused`] says more.
    ///
    /// # Errors
    /// `NotFound`; `Pause` when it does not run or is paused; `Unsupported` where its processes are another kernel's; or one of them cannot be
    /// stopped, and all of them go on.
    pub async fn pause_container(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.refuse_own_kernel(id, "pause").await?;
        let paused = set(&self.shared, self.container(id.as_str())?, true).await;
        self.settled(id, paused).await
    }

    /// Lets a paused container go on.
    ///
    /// # Errors
    /// `NotFound`, `Pause` when it is not paused.
    pub async fn unpause_container(&self, id: &ContainerId) -> Result<(), EngineError> {
        set(&self.shared, self.container(id.as_str())?, false).await
    }

    /// Whether a container is paused.
    pub fn is_paused(&self, view: &ContainerView) -> bool {
        is_paused(&self.shared, view)
    }

    /// What needs the container's processes is refused where they are another kernel's.
    pub(crate) async fn refuse_own_kernel(
        &self,
        id: &ContainerId,
        what: &'static str,
    ) -> Result<(), EngineError> {
        if !self.target(id).await?.handler.has_own_kernel() {
            return Ok(());
        }
        let message = "its processes are those of another kernel (hint: run ps in it by exec)".to_owned();
        Err(EngineError::unsupported(what, message))
    }

    /// The way to a container for a further process, which would wait for ever in one that is paused.
    pub(crate) async fn entered(&self, id: &ContainerId) -> Result<Target, EngineError> {
        let target = self.target(id).await?;
        let view = self.container(id.as_str())?;
        if self.is_paused(&view) {
            return Err(EngineError::Pause { id: id.short().to_owned(), how: "is paused" });
        }
        Ok(target)
    }
}

/// Whether the container was told to stop where it is. One without a cgroup to itself never is.
fn is_paused(shared: &Shared, view: &ContainerView) -> bool {
    let lives = matches!(view.state, State::Running | State::Stopping { .. });
    lives && CgroupPath::new(&view.cgroup).is_ok_and(|path| is_to_freeze(shared, &path))
}

fn is_to_freeze(shared: &Shared, path: &CgroupPath) -> bool {
    // A group that cannot be read has nothing in it that waits.
    shared.cgroups.open(path).is_to_freeze().unwrap_or(false)
}

/// Stops every process of a running container, or lets all of them go on.
async fn set(shared: &Arc<Shared>, view: Arc<ContainerView>, paused: bool) -> Result<(), EngineError> {
    let refuse = |how| Err(EngineError::Pause { id: view.id.short().to_owned(), how });
    if view.state != State::Running {
        return refuse("is not running");
    }
    match (is_paused(shared, &view), paused) {
        (true, true) => return refuse("is paused already"),
        (false, false) => return refuse("is not paused"),
        (true, false) | (false, true) => {}
    }
    let shared = Arc::clone(shared);
    Shared::blocking(move || {
        let what = if paused { "pause the container" } else { "let the container go on" };
        let failed = |e| EngineError::failed(what, e);
        let group = shared.cgroups.open(&CgroupPath::new(&view.cgroup).map_err(failed)?);
        let done = if paused { group.freeze(Instant::now() + LIMIT) } else { group.thaw() };
        done.map_err(failed)
    })
    .await
}

/// Lets what was told to end go on, which it has to for that.
pub(crate) async fn thaw(shared: &Arc<Shared>, path: Option<&CgroupPath>) {
    let Some(path) = path.cloned() else { return };
    let shared = Arc::clone(shared);
    let thawed = Shared::blocking(move || {
        if !is_to_freeze(&shared, &path) {
            return Ok(());
        }
        shared.cgroups.open(&path).thaw().map_err(|e| EngineError::failed(format!("thaw {path}"), e))
    });
    if let Err(error) = thawed.await {
        // It is killed when its time is over, which ends it as it is.
        tracing::warn!(error = berth_types::error::chain(&error), "a paused container cannot go on");
    }
}
