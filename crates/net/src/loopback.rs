//! No network: pods with nothing but `lo`.

use std::collections::HashSet;

use berth_sys::netlink::route::{self, By, LOOPBACK};
use berth_sys::netlink::{Family, Socket};
use berth_types::SandboxId;

use crate::error::{AttachError, NetError};
use crate::network::{AttachRequest, Attached, Changes, Inventory, NOT_READY, NetworkStatus, PodNetwork};

/// The network of `--network none`: each pod is isolated. It keeps no records, since a pod that was given nothing has
/// nothing to lose or to give back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loopback;

impl PodNetwork for Loopback {
    /// Sets `lo` up. Refuses host ports, which would lead nowhere.
    fn attach(&self, request: &AttachRequest<'_>) -> Result<Attached, NetError> {
        if let Some(port) = request.ports.first() {
            let reason = "a pod without a network has no ports to map";
            return Err(AttachError::BadPort { port: *port, reason }.into());
        }
        let up = || {
            let mut socket = Socket::open_in(request.netns, Family::Route)?;
            socket.exchange(vec![route::set_up(By::Index(LOOPBACK))]).map(drop)
        };
        up().map_err(|source| AttachError::Kernel { sandbox: request.sandbox.clone(), source })?;
        Ok(Attached::default())
    }

    fn detach(&self, _sandbox: &SandboxId) -> Result<(), NetError> {
        Ok(())
    }

    fn check(&self, _sandbox: &SandboxId) -> Result<(), NetError> {
        Ok(())
    }

    /// Never ready: a kubelet considers a pod without an address broken and makes it again forever, so it must not
    /// place such pods here at all.
    fn status(&self) -> NetworkStatus {
        let message =
            "pods get no addresses (--network none); only pods on the host's network can run".to_owned();
        NetworkStatus::NotReady { reason: NOT_READY, message }
    }

    fn inventory(&self) -> Result<Inventory, NetError> {
        Ok(Inventory::default())
    }

    fn sweep(&self, _known: &HashSet<SandboxId>) -> Result<Inventory, NetError> {
        Ok(Inventory::default())
    }

    fn changes(&self) -> Result<Vec<Changes>, NetError> {
        Ok(Vec::new())
    }

    fn verify(&self) -> Result<(), NetError> {
        Ok(())
    }

    fn purge(&self) -> Result<(), NetError> {
        Ok(())
    }
}
