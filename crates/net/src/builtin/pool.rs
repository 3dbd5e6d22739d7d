//! Which pod has which address and host ports: pure bookkeeping.
//!
//! Addresses are handed out in turn, so that a released one is unused as long as possible. An address
//! whose interface the kernel still has is *draining* and not used again before that is gone.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use berth_types::SandboxId;

use super::Lease;
use crate::cidr::{Cidr4, Cidr6};
use crate::port::PortMapping;

/// The first offset that a pod can have; the network and the gateway come before.
const FIRST: u32 = 2;

#[derive(Debug)]
pub(super) struct Pool {
    cidr4: Cidr4,
    cidr6: Option<Cidr6>,
    next: u32,
    leases: HashMap<SandboxId, Lease>,
    holders: HashMap<u32, Holder>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    Pod(SandboxId),
    Draining,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    AlreadyAttached,
    PortTaken { port: PortMapping, holder: SandboxId },
    Exhausted { leases: usize, draining: usize },
}

impl Pool {
    /// `after` is the offset that was handed out last.
    pub(super) fn new(cidr4: Cidr4, cidr6: Option<Cidr6>, after: u32) -> Self {
        let next = after.saturating_add(1);
        Self { cidr4, cidr6, next, leases: HashMap::new(), holders: HashMap::new() }
    }

    /// Puts back a lease of an earlier daemon; `false` when its address is outside or taken.
    pub(super) fn restore(&mut self, lease: Lease) -> bool {
        let Some(offset) = self.cidr4.offset(lease.address4) else { return false };
        if self.holders.contains_key(&offset) {
            return false;
        }
        self.holders.insert(offset, Holder::Pod(lease.sandbox.clone()));
        self.leases.insert(lease.sandbox.clone(), lease);
        true
    }

    /// Marks the address of an interface that belongs to no lease.
    pub(super) fn drain(&mut self, offset: u32) {
        self.holders.entry(offset).or_insert(Holder::Draining);
    }

    /// Gives `sandbox` an address (of both families with `ipv6`) and its ports. `gone` tells whether the interface of a draining
    /// address no longer exists; it is asked only when that address' turn has come.
    pub(super) fn take(
        &mut self,
        sandbox: &SandboxId,
        ports: &[PortMapping],
        ipv6: bool,
        gone: impl FnMut(u32) -> bool,
    ) -> Result<Lease, Refusal> {
        if self.leases.contains_key(sandbox) {
            return Err(Refusal::AlreadyAttached);
        }
        if let Some((port, holder)) = self.conflict(ports) {
            return Err(Refusal::PortTaken { port, holder });
        }
        let Some(offset) = self.find(gone) else {
            let leases = self.leases.len();
            return Err(Refusal::Exhausted { leases, draining: self.holders.len() - leases });
        };
        let lease = Lease {
            sandbox: sandbox.clone(),
            address4: self.cidr4.nth(offset).expect("find stays inside the block"),
            address6: self.cidr6.filter(|_| ipv6).and_then(|cidr6| cidr6.nth(offset)),
            ports: ports.to_vec(),
        };
        self.next = offset + 1;
        self.holders.insert(offset, Holder::Pod(sandbox.clone()));
        self.leases.insert(sandbox.clone(), lease.clone());
        Ok(lease)
    }

    fn conflict(&self, ports: &[PortMapping]) -> Option<(PortMapping, SandboxId)> {
        ports.iter().find_map(|port| {
            let holder = self.leases.values().find(|l| l.ports.iter().any(|taken| taken.conflicts(port)))?;
            Some((*port, holder.sandbox.clone()))
        })
    }

    fn find(&mut self, mut gone: impl FnMut(u32) -> bool) -> Option<u32> {
        let count = self.cidr4.pods();
        let start = self.next.saturating_sub(FIRST) % count.max(1);
        (0..count).map(|i| FIRST + (start + i) % count).find(|offset| match self.holders.get(offset) {
            None => true,
            Some(Holder::Pod(_)) => false,
            Some(Holder::Draining) => gone(*offset),
        })
    }

    /// Takes the lease of `sandbox` back. Its address drains when there was an interface.
    pub(super) fn give_back(&mut self, sandbox: &SandboxId, interface: bool) -> Option<Lease> {
        let lease = self.leases.remove(sandbox)?;
        let offset = self.offset(&lease);
        if interface {
            self.holders.insert(offset, Holder::Draining);
        } else {
            self.holders.remove(&offset);
        }
        Some(lease)
    }

    fn offset(&self, lease: &Lease) -> u32 {
        self.cidr4.offset(lease.address4).expect("leases are inside the block")
    }

    /// The offset of an address; `None` when it is not of this block.
    pub(super) fn offset_of(&self, address: Ipv4Addr) -> Option<u32> {
        self.cidr4.offset(address)
    }

    pub(super) fn get(&self, sandbox: &SandboxId) -> Option<&Lease> {
        self.leases.get(sandbox)
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }
}

#[cfg(test)]
mod tests;
