//! Removing everything of one instance.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::EngineError;
use crate::host::doctor::mounts_below;
use crate::host::record;
use crate::host::shims;
use crate::recovery::orphans;
use crate::sandbox::Command;
use crate::sandbox::teardown::Failures;
use crate::shared::Shared;

/// The time for all owners to release what they share.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);

/// Pods first, then what they were made of, then the directories.
pub(crate) async fn everything(shared: Arc<Shared>) -> Vec<EngineError> {
    let mut failures = pods(&shared).await;
    let shared = match alone(shared).await {
        Ok(shared) => shared,
        Err(error) => {
            failures.push(error);
            return failures;
        }
    };
    match tokio::task::spawn_blocking(move || rest(*shared)).await {
        Ok(more) => failures.extend(more),
        Err(error) => failures.push(EngineError::system("remove what is left", error)),
    }
    failures
}

async fn pods(shared: &Arc<Shared>) -> Vec<EngineError> {
    let mut removals = tokio::task::JoinSet::new();
    for id in shared.pods.ids() {
        let Some(pod) = shared.pods.get(&id) else { continue };
        removals.spawn(async move { pod.ask(|reply| Command::Remove { reply }).await });
    }
    let mut failures = Vec::new();
    while let Some(result) = removals.join_next().await {
        failures.extend(result.ok().flatten().and_then(Result::err));
    }
    failures
}

/// Owners that have ended release what they share a moment after their last answer.
async fn alone(shared: Arc<Shared>) -> Result<Box<Shared>, EngineError> {
    let mut shared = shared;
    let deadline = Instant::now() + RELEASE_LIMIT;
    loop {
        match Arc::try_unwrap(shared) {
            Ok(alone) => return Ok(Box::new(alone)),
            Err(held) if Instant::now() < deadline => {
                shared = held;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(_) => {
                let error = std::io::Error::other("the engine is in use by other holders");
                return Err(EngineError::system("purge", error));
            }
        }
    }
}

fn rest(shared: Shared) -> Vec<EngineError> {
    let mut failures = Vec::new();
    let mut attempt = |result: Result<(), EngineError>| failures.extend(result.err());
    match shims::all(&shared) {
        Ok(all) => {
            for (_, sandbox) in all {
                attempt(shims::kill(&shared, &sandbox));
            }
        }
        Err(error) => attempt(Err(error)),
    }
    attempt(cgroups(&shared));
    let Shared { config, layout, images, networks, .. } = shared;
    drop(images);
    for network in networks.all() {
        attempt(network.purge().map_err(|e| EngineError::failed("remove a pod network", e)));
    }
    // Beside the state gVisor keeps one with its records of a pod, and pods of manifests have volumes in memory.
    let beside = [layout.sandboxes(), layout.local()];
    for mount in std::iter::once(&layout.state).chain(&beside).flat_map(|dir| mounts_below(dir)) {
        let flags = rustix::mount::UnmountFlags::DETACH;
        attempt(
            rustix::mount::unmount(&mount, flags)
                .map_err(|e| EngineError::system(format!("unmount {}", mount.display()), e)),
        );
    }
    for dir in [&layout.state, &layout.root] {
        let removed = match record::remove(dir) {
            // A mount point that the operator made for it stays, empty.
            Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => Ok(()),
            other => other,
        };
        attempt(removed.map_err(|e| EngineError::system(format!("remove {}", dir.display()), e)));
    }
    tracing::info!(instance = config.instance, "purged");
    failures
}

/// Kills whatever is left in the instance's cgroups and removes them with everything below.
fn cgroups(shared: &Shared) -> Result<(), EngineError> {
    let mut failures = Failures::default();
    // What lies in other programs' groups.
    failures.take(orphans::groups_of_none(shared, &HashSet::new()));
    for root in shared.roots.all() {
        failures.take(shared.placement.end(&root));
    }
    failures.result("remove the instance's cgroups")
}
