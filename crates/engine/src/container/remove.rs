//! Removing a container: what lives of it, its snapshot, cgroup and records. Its log stays.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_sys::cgroup::CgroupPath;
use berth_types::ContainerId;
use berth_types::shim::Request;

use crate::error::EngineError;
use crate::handler::{Handler, Places};
use crate::host::layout::PodDir;
use crate::host::record;
use crate::oci::signal;
use crate::sandbox::teardown::Failures;
use crate::shared::Shared;
use crate::shim::Shim;

/// The time that a shim has for each request.
const SHIM_LIMIT: Duration = Duration::from_secs(10);

/// What a container may have.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) id: ContainerId,
    pub(crate) shim: Option<Shim>,
    pub(crate) cgroup: Option<CgroupPath>,
    pub(crate) dir: PodDir,
    /// None where the pod's handler no longer exists.
    pub(crate) handler: Option<Arc<dyn Handler>>,
}

impl Parts {
    /// Removes everything that it has, going on past failures. Its record goes last and only when all else is gone:
    /// as long as it is there, removal is tried again.
    ///
    /// # Errors
    /// All failures in one.
    pub(crate) async fn remove(
        self,
        shared: &Arc<Shared>,
        records: &Arc<Mutex<()>>,
    ) -> Result<(), EngineError> {
        if let Some(shim) = &self.shim {
            let forget = Request::Forget { container: self.id.clone() };
            // A shim that does not know it any more has nothing to forget.
            drop(shim.ask(forget, Vec::new(), SHIM_LIMIT).await);
        }
        let mut failures = Failures::default();
        let snapshot = shared.images.remove_snapshot(&self.id).await;
        failures.take(snapshot.map_err(|e| EngineError::failed("remove the container's snapshot", e)));
        let (groups, records) = (Arc::clone(shared), Arc::clone(records));
        Shared::blocking(move || {
            if let Some(path) = &self.cgroup {
                failures.take(groups.placement.end(path));
            }
            if let Some(handler) = &self.handler {
                let (dir, root) = (self.dir.container(&self.id), self.dir.container_root(&self.id));
                failures.take(handler.forget(Places { dir: &dir, root: &root }));
            }
            failures.result("remove the container")?;
            let _one_writer = records.lock().unwrap_or_else(PoisonError::into_inner);
            for path in [self.dir.container_copy(&self.id), self.dir.container(&self.id)] {
                let failed = |e| EngineError::system(format!("remove {}", path.display()), e);
                record::remove(&path).map_err(failed)?;
            }
            Ok(())
        })
        .await
    }
}

/// Kills and forgets what a shim may have of a container; it need not know the container.
pub(crate) async fn end_in_shim(shim: &Shim, id: &ContainerId) {
    let kill = Request::Signal { container: id.clone(), signal: signal::KILL, all: true };
    drop(shim.ask(kill, Vec::new(), SHIM_LIMIT).await);
    drop(shim.ask(Request::Forget { container: id.clone() }, Vec::new(), SHIM_LIMIT).await);
}
