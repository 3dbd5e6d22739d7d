//! Repairing a network after other programs have changed the host's: a firewall that was loaded
//! again, a bridge that was deleted. Nothing runs while nothing changes.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use berth_net::{Changes, PodNetwork};
use futures_util::FutureExt;
use tokio::io::Interest;

use crate::error::EngineError;
use crate::host::async_fd;

/// Changes come in bursts (a rule set that is loaded, pods that start), of which one check at the end is
/// enough; pods have no network for that long.
const SETTLE: Duration = Duration::from_millis(500);
/// The time after which what failed is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Keeps the network in repair for as long as another holds it.
pub(crate) fn begin(network: &Arc<dyn PodNetwork>) -> Result<(), EngineError> {
    let changes = network.changes().map_err(|e| EngineError::failed("monitor the host's network", e))?;
    if changes.is_empty() {
        return Ok(());
    }
    let network = Arc::downgrade(network);
    tokio::spawn(async move {
        if let Err(error) = repair(&network, changes).await {
            tracing::warn!(%error, "the host's network is no longer monitored");
        }
    });
    Ok(())
}

async fn repair(network: &Weak<dyn PodNetwork>, changes: Vec<Changes>) -> io::Result<()> {
    let mut sources = Vec::with_capacity(changes.len());
    for change in changes {
        let fd = change.as_fd().try_clone_to_owned()?;
        sources.push((async_fd::register(fd, Interest::READABLE)?, change));
    }
    // What failed last: logged once, tried again even when nothing changes.
    let mut failed = String::new();
    loop {
        let readable = sources.iter().map(|(fd, _)| Box::pin(fd.readable()));
        tokio::select! {
            (ready, ..) = futures_util::future::select_all(readable) => ready?.retain_ready(),
            () = tokio::time::sleep(AGAIN), if !failed.is_empty() => {}
        }
        tokio::time::sleep(SETTLE).await;
        let mut heard = false;
        for (fd, change) in &sources {
            heard |= change.drain();
            if let Some(ready) = fd.readable().now_or_never() {
                ready?.clear_ready();
            }
        }
        if !heard && failed.is_empty() {
            continue;
        }
        let Some(network) = network.upgrade() else { return Ok(()) };
        let failure = match tokio::task::spawn_blocking(move || network.verify()).await? {
            Ok(()) => String::new(),
            Err(error) => berth_types::error::chain(&error),
        };
        if failure != failed && !failure.is_empty() {
            tracing::warn!(error = failure, "failed to repair the pod network");
        }
        failed = failure;
    }
}
