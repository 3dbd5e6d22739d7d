//! Recovering the pods after a restart of the daemon, and their shims after a lost connection.
//!
//! ```text
//! record Making    -> undone: no caller was told of it
//! record Stopped   -> not ready, as it was
//! record Made      -> connect to the shim, Hello
//!    answers       -> its report is taken over
//!    is dead       -> its processes are killed, its containers ended 255 Unknown, the sandbox not ready
//!    does neither  -> its containers are Unknown until it answers or a caller stops them
//! no readable record, nor a second copy
//!    shim is dead  -> what is left of it is removed
//!    otherwise     -> not touched: it keeps running, and `doctor` reports it
//! ```
//!
//! A pod is put into its state by the same messages as at any other time: see `berth_types::lifecycle::pod`. Why a
//! pod goes with its shim, and lives on without its record, is in docs/adr/0061.

pub(crate) mod again;
mod connect;
pub(crate) mod orphans;
mod read;
mod rebuild;
mod sweep;

use std::collections::HashSet;
use std::sync::Arc;

use berth_types::{ContainerId, SandboxId};

use crate::about::{self, About};
use crate::container::remove;
use crate::error::EngineError;
use crate::host::record::Phase;
use crate::host::shims;
use crate::sandbox::Spawner;
use crate::shared::Shared;
use crate::shim::Shim;

pub(crate) use connect::{Way, connect};
pub(crate) use sweep::sweep;

/// Pods recovered in parallel.
const AT_ONCE: usize = 32;

/// Finds all pods on disk; returns those that are not touched.
pub(crate) async fn all(shared: &Arc<Shared>) -> Result<HashSet<SandboxId>, EngineError> {
    let ids = read::pods(shared)?;
    let permits = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut pods = tokio::task::JoinSet::new();
    for id in ids {
        let (shared, permits) = (Arc::clone(shared), Arc::clone(&permits));
        let about = About::default().of_pod(Arc::new(about::Pod { id: id.clone(), config: None }));
        pods.spawn(about.around(async move {
            let _permit = permits.acquire().await.expect("the semaphore is never closed");
            let error = one(&shared, &id).await.err()?;
            tracing::error!(
                sandbox = id.short(),
                error = berth_types::error::chain(&error),
                "failed to recover a pod; it is left as it is"
            );
            Some(id)
        }));
    }
    let mut left = HashSet::new();
    while let Some(result) = pods.join_next().await {
        left.extend(result.ok().flatten());
    }
    Ok(left)
}

async fn one(shared: &Arc<Shared>, id: &SandboxId) -> Result<(), EngineError> {
    let dir = shared.layout.found(id);
    let reading = dir.clone();
    let about = About::now();
    let read = tokio::task::spawn_blocking(move || about.within(|| read::records(&reading)));
    match read.await.map_err(|e| EngineError::system("read a pod's records", e))? {
        Ok(Some(found)) if found.sandbox.phase != Phase::Making => rebuild::pod(shared, id, dir, found).await,
        Ok(found) => rebuild::undo(shared, id, dir, found).await,
        // Nothing is known of it but its id; where its shim is dead, nothing of it can be in use.
        Err(error) if read::is_damaged(&error) && !shims::lives(shared, id)? => {
            tracing::error!(sandbox = id.short(), %error, "a pod without a readable record and without a shim");
            rebuild::undo(shared, id, dir, None).await
        }
        Err(error) => {
            Err(EngineError::system(format!("read the records in {}", dir.records.display()), error))
        }
    }
}

/// Ends a container that only its shim knows: it was removed, or undone, while the shim could not be told.
pub(crate) fn end_stranger(spawner: &Spawner, shim: &Shim, id: ContainerId) {
    let shim = shim.clone();
    spawner.run(async move {
        remove::end_in_shim(&shim, &id).await;
        None
    });
}
