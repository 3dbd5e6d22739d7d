//! The firewall at work: changes to the table, and repair after others have changed the rule set.
//!
//! The rule set of a host has one generation number. A change of ours is bound to the generation
//! that was seen last; when somebody else has changed something meanwhile, the kernel refuses it,
//! and what we rely on is looked at and put right first.

use std::collections::HashSet;
use std::net::IpAddr;

use berth_sys::netlink::nft::{self, Batch, Exprs, Family, Hook, Verdict};
use berth_sys::netlink::{self, NetlinkError, Socket, conntrack, route};

use super::ruleset::{LAST_CHAIN, Map, Plan, add_elements, elements};
use super::{Lease, bridge};
use crate::port::{PortMapping, Protocol};

/// How often a change is tried again because others change the rule set at the same time.
const ATTEMPTS: u32 = 20;

/// The chains of iptables that may drop what pods send or get: those of docker, ufw and the like.
/// A verdict to accept in a table of ours cannot overrule them, so they get two rules of ours.
const FORWARD: [(Family, &str, &str); 2] =
    [(Family::Ip, "filter", "FORWARD"), (Family::Ip6, "filter", "FORWARD")];

/// Gives all leases, for when the table must be made anew.
pub(super) type Leases<'a> = &'a dyn Fn() -> Vec<Lease>;

#[derive(Debug)]
pub(super) struct Firewall {
    plan: Plan,
    socket: Socket,
    generation: u32,
}

impl Firewall {
    /// Makes the table anew with the ports of all leases.
    pub(super) fn open(plan: Plan, leases: Leases<'_>) -> Result<Self, NetlinkError> {
        let socket = Socket::open(netlink::Family::Netfilter)?;
        let mut firewall = Self { plan, socket, generation: 0 };
        let mut batch = Batch::new(None);
        firewall.plan.build(&mut batch, leases().iter());
        batch.commit(&mut firewall.socket)?;
        // An impossible generation: the first look finds a change.
        firewall.generation = nft::generation(&mut firewall.socket)?.wrapping_sub(1);
        firewall.verify(leases)?;
        Ok(firewall)
    }

    /// Puts right what others have undone; one small request when nothing was changed.
    pub(super) fn verify(&mut self, leases: Leases<'_>) -> Result<(), NetlinkError> {
        for _ in 0..ATTEMPTS {
            let now = nft::generation(&mut self.socket)?;
            if now == self.generation {
                return Ok(());
            }
            let mut batch = Batch::new(Some(now));
            if !nft::has_chain(&mut self.socket, (Family::Inet, &self.plan.table, LAST_CHAIN))? {
                tracing::info!(table = self.plan.table, "firewall table is gone, made anew");
                self.plan.build(&mut batch, leases().iter());
            }
            self.open_forward(&mut batch)?;
            match self.commit(batch, now) {
                Err(error) if nft::is_outdated(&error) => {}
                result => return result,
            }
        }
        tracing::warn!("the firewall rules of the host change all the time");
        Ok(())
    }

    fn commit(&mut self, batch: Batch, generation: u32) -> Result<(), NetlinkError> {
        let changed = !batch.is_empty();
        if changed {
            batch.commit(&mut self.socket)?;
        }
        // 0 is no generation: the kernel leaves it out.
        self.generation = match generation.wrapping_add(u32::from(changed)) {
            0 => 1,
            next => next,
        };
        Ok(())
    }

    /// Adds our two rules to the FORWARD chains of iptables where they are missing.
    fn open_forward(&mut self, batch: &mut Batch) -> Result<(), NetlinkError> {
        for chain in FORWARD {
            if nft::chain_hook(&mut self.socket, chain)? != Some(Hook::Forward as u32)
                || self.forward_rules(chain)?.len() >= 2
            {
                continue;
            }
            let bridge = self.plan.bridge.as_str();
            let answers = Exprs::new().iptables_out(bridge).iptables_known_connection();
            batch.insert_rule(chain, &answers.counter().verdict(Verdict::Accept));
            let outgoing = Exprs::new().iptables_in(bridge);
            batch.insert_rule(chain, &outgoing.counter().verdict(Verdict::Accept));
        }
        Ok(())
    }

    /// The handles of our rules in a chain of iptables, known by the name of the bridge.
    fn forward_rules(&mut self, chain: (Family, &str, &str)) -> Result<Vec<u64>, NetlinkError> {
        let mut name = self.plan.bridge.as_bytes().to_vec();
        name.push(0);
        // In an attribute, the name stands behind its type; so no longer name is taken for it.
        name.splice(0..0, [1, 0]);
        let rules = nft::rules(&mut self.socket, chain)?;
        let ours = rules.iter().filter(|rule| rule.exprs.windows(name.len()).any(|part| part == name));
        Ok(ours.map(|rule| rule.handle).collect())
    }

    /// Opens the host ports of `lease`. `leases` are all leases, `lease` among them.
    pub(super) fn open_ports(&mut self, lease: &Lease, leases: Leases<'_>) -> Result<(), NetlinkError> {
        self.change(leases, |batch, table| {
            add_elements(batch, table, elements(lease));
        })?;
        self.forget_flows(&lease.ports)
    }

    /// Closes the host ports of `lease`. `leases` are the remaining leases.
    pub(super) fn close_ports(&mut self, lease: &Lease, leases: Leases<'_>) -> Result<(), NetlinkError> {
        if lease.ports.is_empty() {
            return Ok(());
        }
        let list = elements(lease);
        let removed = self.change(leases, |batch, table| {
            for map in [Map::Any4, Map::One4, Map::Any6, Map::One6] {
                let keys: Vec<_> = list.iter().filter(|e| e.map == map).map(|e| e.key.clone()).collect();
                if !keys.is_empty() {
                    batch.delete_elements((Family::Inet, table, map.name()), keys);
                }
            }
        });
        match removed {
            // Half of them are gone: someone has edited the table.
            Err(error) if nft::is_missing(&error) => {
                let mut batch = Batch::new(None);
                self.plan.build(&mut batch, leases().iter());
                batch.commit(&mut self.socket)?;
            }
            result => result?,
        }
        self.forget_flows(&lease.ports)
    }

    fn change(&mut self, leases: Leases<'_>, fill: impl Fn(&mut Batch, &str)) -> Result<(), NetlinkError> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            self.verify(leases)?;
            let mut batch = Batch::new(Some(self.generation));
            fill(&mut batch, &self.plan.table);
            match self.commit(batch, self.generation) {
                Err(error) if nft::is_outdated(&error) => last = Some(error),
                result => return result,
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// Flows of UDP and SCTP do not end by themselves: they would go on past a new mapping, or to a
    /// pod that is gone. Flows to the same port elsewhere are left alone.
    fn forget_flows(&mut self, ports: &[PortMapping]) -> Result<(), NetlinkError> {
        let mut host = None;
        for protocol in [Protocol::Udp, Protocol::Sctp] {
            let ports: Vec<u16> =
                ports.iter().filter(|port| port.protocol == protocol).map(|port| port.host_port).collect();
            if ports.is_empty() {
                continue;
            }
            let host = match &host {
                Some(host) => host,
                None => host.insert(host_addresses()?),
            };
            let ours = |ip: IpAddr| ip.is_loopback() || host.contains(&ip);
            conntrack::forget(&mut self.socket, protocol.number(), &ports, ours)?;
        }
        Ok(())
    }

    /// Removes the table and the rules in the chains of iptables.
    pub(super) fn purge(&mut self) -> Result<(), NetlinkError> {
        let mut batch = Batch::new(None);
        batch.add_table(Family::Inet, &self.plan.table);
        batch.delete_table(Family::Inet, &self.plan.table);
        for chain in FORWARD {
            for handle in self.forward_rules(chain)? {
                batch.delete_rule(chain, handle);
            }
        }
        batch.commit(&mut self.socket)
    }
}

/// The addresses of the host.
fn host_addresses() -> Result<HashSet<IpAddr>, NetlinkError> {
    let mut socket = Socket::open(netlink::Family::Route)?;
    let addresses = bridge::dump(&mut socket, route::get_addresses, route::read_address)?;
    Ok(addresses.into_iter().map(|address| address.ip).collect())
}
