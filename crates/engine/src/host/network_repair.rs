//! Putting the built-in network right after others have changed the host's: a firewall that was loaded
//! anew, a bridge that was deleted. Nothing runs while nothing changes.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use berth_net::Builtin;
use berth_sys::netlink::Monitor;
use tokio::io::Interest;

use crate::error::EngineError;
use crate::host::async_fd;

/// Changes come in bursts (a rule set that is loaded, pods that start), of which one look at the end is
/// enough; pods have no network for that long.
const SETTLE: Duration = Duration::from_millis(500);
/// The time after which what failed is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Looks after the network for as long as somebody else holds it.
pub(crate) fn begin(network: &Arc<Builtin>) -> Result<(), EngineError> {
    let monitors = network.monitors().map_err(|e| EngineError::failed("listen to the host's network", e))?;
    let network = Arc::downgrade(network);
    tokio::spawn(async move {
        if let Err(error) = heal(&network, &monitors).await {
            tracing::warn!(%error, "the host's network is not listened to any more");
        }
    });
    Ok(())
}

async fn heal(network: &Weak<Builtin>, monitors: &[Monitor; 2]) -> io::Result<()> {
    let wait =
        |monitor: &Monitor| async_fd::register(monitor.as_fd().try_clone_to_owned()?, Interest::READABLE);
    let [links, rules] = [wait(&monitors[0])?, wait(&monitors[1])?];
    // What failed last: told once, tried again also when nothing changes.
    let mut failed = String::new();
    loop {
        let ready = tokio::select! {
            ready = links.readable() => Some(ready?),
            ready = rules.readable() => Some(ready?),
            () = tokio::time::sleep(AGAIN), if !failed.is_empty() => None,
        };
        tokio::time::sleep(SETTLE).await;
        let heard = monitors.each_ref().map(Monitor::drain).contains(&true);
        if let Some(mut ready) = ready {
            ready.clear_ready();
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
            tracing::warn!(error = failure, "the pods' network is not as it should be");
        }
        failed = failure;
    }
}
