//! The built-in network as a [`PodNetwork`].

use std::collections::HashSet;

use berth_sys::netlink::route::By;
use berth_types::SandboxId;

use super::{Builtin, Phase, link, lock};
use crate::error::{NetError, SweepError};
use crate::network::{AttachRequest, Attached, Changes, Inventory, NOT_READY, NetworkStatus, PodNetwork};
use crate::services::{ServiceNetwork, Services};

impl PodNetwork for Builtin {
    fn attach(&self, request: &AttachRequest<'_>) -> Result<Attached, NetError> {
        let attachment = Builtin::attach(self, request.sandbox, request.netns, request.ports)?;
        let interface = Some(attachment.interface.to_owned());
        Ok(Attached { interface, addresses: attachment.addresses, dns: None })
    }

    fn detach(&self, sandbox: &SandboxId) -> Result<(), NetError> {
        Ok(Builtin::detach(self, sandbox)?)
    }

    fn check(&self, sandbox: &SandboxId) -> Result<(), NetError> {
        let Some(attachment) = self.find(sandbox) else {
            return Err(NetError::NotAttached { sandbox: sandbox.clone() });
        };
        let interface = attachment.host_interface;
        let mut host = lock(&self.host);
        let found = link::find(&mut host.socket, By::Name(&interface));
        let bridge = host.index;
        drop(host);
        let what = "find the pod's interface";
        match found.map_err(|source| SweepError::Kernel { what, source })? {
            Some(link) if link.master == bridge && link.up => Ok(()),
            Some(_) | None => Err(NetError::Unplugged { sandbox: sandbox.clone(), interface }),
        }
    }

    fn service_network(&self) -> Option<ServiceNetwork> {
        Builtin::service_network(self)
    }

    fn set_services(&self, services: &Services) -> Result<(), NetError> {
        Ok(Builtin::set_services(self, services)?)
    }

    fn stray_services(&self) -> Option<String> {
        lock(&self.firewall).stray_services()
    }

    fn status(&self) -> NetworkStatus {
        let not_ready = |message| NetworkStatus::NotReady { reason: NOT_READY, message };
        // A purge that is at work is not waited for.
        if !matches!(self.phase.try_read(), Ok(phase) if *phase == Phase::Open) {
            return not_ready(format!("the pod network {} was removed", self.bridge()));
        }
        lock(&self.fault).clone().map_or(NetworkStatus::Ready, not_ready)
    }

    fn inventory(&self) -> Result<Inventory, NetError> {
        let sandboxes = self.leases().into_iter().map(|lease| lease.sandbox).collect();
        Ok(Inventory { sandboxes, orphans: self.orphans()? })
    }

    fn sweep(&self, known: &HashSet<SandboxId>) -> Result<Inventory, NetError> {
        let swept = Builtin::sweep(self, known)?;
        let sandboxes = swept.leases.into_iter().map(|lease| lease.sandbox).collect();
        Ok(Inventory { sandboxes, orphans: swept.interfaces })
    }

    fn changes(&self) -> Result<Vec<Changes>, NetError> {
        Ok(self.monitors()?.into_iter().map(Changes::of_kernel).collect())
    }

    fn verify(&self) -> Result<(), NetError> {
        Ok(Builtin::verify(self)?)
    }

    fn purge(&self) -> Result<(), NetError> {
        Ok(Builtin::purge(self)?)
    }
}
