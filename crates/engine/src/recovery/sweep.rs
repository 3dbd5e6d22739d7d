//! Removing what belongs to no pod.

use std::collections::HashSet;
use std::sync::Arc;

use berth_types::{ContainerId, SandboxId};

use super::{again, orphans};
use crate::host::shims;
use crate::sandbox::teardown::Failures;
use crate::shared::Shared;

/// Removes what belongs to no pod: shims, cgroups, leases and snapshots of removed pods. Those in `left`
/// are not.
pub(crate) async fn sweep(shared: &Arc<Shared>, left: &HashSet<SandboxId>) {
    let mut known: HashSet<SandboxId> = shared.pods.ids().into_iter().collect();
    let mut containers: HashSet<ContainerId> =
        shared.views.containers(None).iter().map(|c| c.id.clone()).collect();
    known.extend(left.iter().cloned());
    // Those whose records cannot be read have no views, but have their directories.
    for id in &known {
        let entries = std::fs::read_dir(shared.layout.found(id).containers()).into_iter().flatten().flatten();
        containers.extend(entries.filter_map(|e| e.file_name().to_str()?.parse::<ContainerId>().ok()));
    }
    for id in shared.images.snapshots().into_iter().filter(|id| !containers.contains(id)) {
        if let Err(error) = shared.images.remove_snapshot(&id).await {
            let error = berth_types::error::chain(&error);
            tracing::warn!(container = id.short(), error, "failed to remove a snapshot without a container");
        }
    }
    let all = known.clone();
    let of_none = Arc::clone(shared);
    let swept = Shared::blocking(move || {
        let shared = of_none;
        for (_, sandbox) in shims::all(&shared)? {
            if !known.contains(&sandbox)
                && let Err(error) = orphans::end_shim(&shared, &sandbox)
            {
                let error = berth_types::error::chain(&error);
                tracing::warn!(
                    sandbox = sandbox.short(),
                    error,
                    "failed to end an orphaned shim and its processes"
                );
            }
        }
        // Each whatever becomes of the other: a manager of cgroups that does not answer keeps no addresses.
        let mut failures = Failures::default();
        failures.take(orphans::groups_of_none(&shared, &known));
        failures.take(shared.networks.sweep(&known));
        failures.result("remove what belongs to no pod")
    });
    if let Err(error) = swept.await {
        tracing::warn!(error = berth_types::error::chain(&error), "failed to remove orphans");
    }
    detach_later(shared, &all).await;
}

/// Goes on disconnecting pods that could not be disconnected now: no call will ask for it.
async fn detach_later(shared: &Arc<Shared>, known: &HashSet<SandboxId>) {
    let of = Arc::clone(shared);
    let held = Shared::blocking(move || Ok(of.networks.inventory()?.sandboxes)).await.unwrap_or_default();
    for sandbox in held.into_iter().filter(|sandbox| !known.contains(sandbox)) {
        let id = sandbox.clone();
        again::until_done(shared, sandbox, move |shared| {
            let id = id.clone();
            Shared::blocking(move || shared.networks.detach(&id))
        });
    }
}
