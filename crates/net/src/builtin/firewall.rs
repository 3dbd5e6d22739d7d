//! The firewall at work: changes to the table, and repair after others have changed the rule set.
//!
//! The rule set of a host has one generation number. A change of ours is bound to the generation
//! that was seen last; when another program has changed something since then, the kernel refuses it,
//! and what we rely on is checked and repaired first.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use berth_sys::netlink::nft::{self, Batch, Exprs, Family, Hook, Verdict};
use berth_sys::netlink::{self, NetlinkError, Socket, conntrack, route};
use berth_types::SandboxId;
use rustix::io::Errno;

use super::ruleset::{Plan, Senders};
use super::{Lease, services};
use crate::port::{PortMapping, Protocol};
use crate::services::Services;

/// How often a change is tried again because others change the rule set at the same time.
const ATTEMPTS: u32 = 20;

/// The chains of iptables that may drop what pods send or get: those of docker, ufw and the like.
/// A verdict to accept in a table of ours cannot overrule them, so they get two rules of ours.
const FORWARD: [(Family, &str, &str); 2] =
    [(Family::Ip, "filter", "FORWARD"), (Family::Ip6, "filter", "FORWARD")];

/// The table of firewalld, which no other program can change (docs/adr/0032).
const FIREWALLD: &str = "firewalld";

#[derive(Debug)]
pub(super) struct Firewall {
    plan: Plan,
    socket: Socket,
    /// The pods that the maps have entries of, whatever happens to the tables.
    open: HashMap<SandboxId, Lease>,
    /// The generation of the rule set that was found, or made, to be right; 0 is none.
    generation: u32,
    /// The kernel's numbers of the tables and the count of their rules, when they were made.
    made: Option<(Vec<u64>, usize)>,
    /// What the table of services has; nothing until the first call says so, when it is left as it is.
    services: Option<(services::Plan, Services)>,
    /// The same of that table.
    services_made: Option<(u64, usize)>,
    /// Whether a chain of iptables did not take our rules, which is logged once.
    shut_out: bool,
}

impl Firewall {
    /// Makes the tables again with the entries of `leases`.
    pub(super) fn open(plan: Plan, leases: &[Lease]) -> Result<Self, NetlinkError> {
        let socket = Socket::open(netlink::Family::Netfilter)?;
        let open = leases.iter().map(|lease| (lease.sandbox.clone(), lease.clone())).collect();
        let (services, services_made) = (None, None);
        let mut firewall =
            Self { plan, socket, open, generation: 0, made: None, services, services_made, shut_out: false };
        match firewall.verify() {
            Err(error) if lacks_bridges(&error) => {
                let error = berth_types::error::chain(&error);
                tracing::warn!(
                    error,
                    "the kernel has no rules for bridges (CONFIG_NF_TABLES_BRIDGE): \
                    pods can send under each other's addresses"
                );
                firewall.plan.senders = Senders::Unbound;
                firewall.verify()?;
            }
            result => result?,
        }
        if nft::table_handle(&mut firewall.socket, (Family::Inet, FIREWALLD))?.is_some() {
            let bridge = firewall.plan.bridge.as_str();
            tracing::info!(
                "firewalld rejects what pods send, unless their bridge is in a zone that trusts them: \
                 firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload"
            );
        }
        Ok(firewall)
    }

    /// Repairs what other programs have changed; one small request when nothing was changed.
    pub(super) fn verify(&mut self) -> Result<(), NetlinkError> {
        for _ in 0..ATTEMPTS {
            let now = nft::generation(&mut self.socket)?;
            if now == self.generation {
                return Ok(());
            }
            match self.repair(now) {
                Err(error) if nft::is_outdated(&error) => {}
                result => return result,
            }
        }
        tracing::warn!("the firewall rules of the host change all the time");
        Ok(())
    }

    fn repair(&mut self, mut now: u32) -> Result<(), NetlinkError> {
        if !self.is_whole()? {
            if self.made.is_some() {
                tracing::info!(
                    table = self.plan.table,
                    "another program changed the firewall table; it is rebuilt"
                );
            }
            now = self.rebuild(now)?;
        }
        if let Some((plan, services)) = self.services.clone().filter(|(plan, _)| !self.has_services(plan)) {
            tracing::info!(
                table = plan.table,
                "another program changed the table of services; it is rebuilt"
            );
            now = self.build_services(now, &plan, &services)?;
        }
        self.generation = self.open_forward(now)?;
        Ok(())
    }

    /// Whether the table of services is the one that was made, with all its rules.
    fn has_services(&mut self, plan: &services::Plan) -> bool {
        let table = (Family::Inet, plan.table.as_str());
        let found = nft::table_handle(&mut self.socket, table).ok().flatten();
        let rules = nft::rules_of_table(&mut self.socket, table).map_or(0, |rules| rules.len());
        found.is_some() && found.map(|found| (found, rules)) == self.services_made
    }

    fn build_services(
        &mut self,
        generation: u32,
        plan: &services::Plan,
        services: &Services,
    ) -> Result<u32, NetlinkError> {
        let mut batch = Batch::new(Some(generation));
        plan.build(&mut batch, services);
        let rules = batch.rules();
        batch.commit(&mut self.socket)?;
        let handle = nft::table_handle(&mut self.socket, (Family::Inet, &plan.table))?;
        self.services_made = handle.map(|handle| (handle, rules));
        Ok(after(generation))
    }

    /// Makes these the services, or removes their table.
    pub(super) fn serve(&mut self, wanted: Option<(services::Plan, Services)>) -> Result<(), NetlinkError> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            self.verify()?;
            let generation = self.generation;
            let changed = match &wanted {
                Some((plan, services)) => self.build_services(generation, plan, services),
                None => self.remove_services(generation),
            };
            match changed {
                Ok(generation) => {
                    self.generation = generation;
                    let before = std::mem::replace(&mut self.services, wanted);
                    self.forget_served(&before.map(|(_, services)| services).unwrap_or_default());
                    return Ok(());
                }
                Err(error) if nft::is_outdated(&error) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        last.map_or(Ok(()), Err)
    }

    fn remove_services(&mut self, generation: u32) -> Result<u32, NetlinkError> {
        let table = services::table_of(&self.plan.table);
        self.services_made = None;
        if nft::table_handle(&mut self.socket, (Family::Inet, &table))?.is_none() {
            return Ok(generation);
        }
        let mut batch = Batch::new(Some(generation));
        batch.delete_table(Family::Inet, &table);
        batch.commit(&mut self.socket)?;
        Ok(after(generation))
    }

    /// Whether there are services.
    pub(super) fn serves(&self) -> bool {
        self.services.is_some()
    }

    /// The table of services that there is without any.
    pub(super) fn stray_services(&mut self) -> Option<String> {
        let table = services::table_of(&self.plan.table);
        let found = nft::table_handle(&mut self.socket, (Family::Inet, &table)).ok().flatten();
        found.filter(|_| !self.serves()).map(|_| table)
    }

    /// Flows end by what becomes of ports of UDP alone: a list of all connections is dear, and most changes are of others.
    fn forget_served(&mut self, before: &Services) {
        let now = self.services.as_ref().map(|(_, services)| services.clone()).unwrap_or_default();
        if services::udp_ports(before).eq(services::udp_ports(&now)) {
            return;
        }
        let forgotten =
            host_addresses().and_then(|host| services::forget_flows(&mut self.socket, (before, &now), &host));
        if let Err(error) = forgotten {
            let error = berth_types::error::chain(&error);
            tracing::warn!(error, "failed to remove connections to services from connection tracking");
        }
    }

    /// Whether the table is the one that was made, with all its rules. (A file that is loaded after
    /// `flush ruleset` may bring back an old copy of it, with the ports of removed pods.)
    fn is_whole(&mut self) -> Result<bool, NetlinkError> {
        let Some((handles, rules)) = &self.made else { return Ok(false) };
        let mut found = 0;
        for (table, made) in self.plan.tables().into_iter().zip(handles) {
            if nft::table_handle(&mut self.socket, table)? != Some(*made) {
                return Ok(false);
            }
            found += nft::rules_of_table(&mut self.socket, table)?.len();
        }
        Ok(found == *rules)
    }

    /// Makes the tables; gives the generation after that.
    fn rebuild(&mut self, generation: u32) -> Result<u32, NetlinkError> {
        let mut batch = Batch::new(Some(generation));
        self.plan.build(&mut batch, self.open.values());
        let rules = batch.rules();
        batch.commit(&mut self.socket)?;
        let mut handles = Vec::new();
        for table in self.plan.tables() {
            handles.push(nft::table_handle(&mut self.socket, table)?);
        }
        self.made = handles.into_iter().collect::<Option<_>>().map(|handles| (handles, rules));
        Ok(after(generation))
    }

    /// Adds our two rules to the FORWARD chains of iptables where they are missing; gives the
    /// generation after that. A chain that does not take them (another program may own its table) is
    /// up to its owner: it may let everything through.
    fn open_forward(&mut self, mut generation: u32) -> Result<u32, NetlinkError> {
        for chain in FORWARD {
            if nft::chain_hook(&mut self.socket, chain)? != Some(Hook::Forward as u32) {
                continue;
            }
            let ours = self.forward_rules(chain)?;
            if ours.len() == 2 {
                continue;
            }
            let bridge = self.plan.bridge.as_str();
            let mut batch = Batch::new(Some(generation));
            ours.into_iter().for_each(|handle| batch.delete_rule(chain, handle));
            let answers = Exprs::new().iptables_out(bridge).iptables_known_connection();
            batch.insert_rule(chain, &answers.counter().verdict(Verdict::Accept));
            let outgoing = Exprs::new().iptables_in(bridge);
            batch.insert_rule(chain, &outgoing.counter().verdict(Verdict::Accept));
            match batch.commit(&mut self.socket) {
                Ok(()) => generation = after(generation),
                Err(error) if nft::is_outdated(&error) => return Err(error),
                Err(error) => self.tell_shut_out(chain, &error),
            }
        }
        Ok(generation)
    }

    fn tell_shut_out(&mut self, (family, table, chain): (Family, &str, &str), error: &NetlinkError) {
        if !std::mem::replace(&mut self.shut_out, true) {
            let error = berth_types::error::chain(error);
            tracing::warn!(?family, table, chain, error, "this chain may block the traffic of pods");
        }
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

    /// Lets a pod send under its addresses, and opens its host ports.
    pub(super) fn admit(&mut self, lease: &Lease) -> Result<(), NetlinkError> {
        self.change(|plan, batch| plan.add_elements(batch, plan.elements(lease)))?;
        self.open.insert(lease.sandbox.clone(), lease.clone());
        self.forget_flows(&lease.ports);
        Ok(())
    }

    /// Closes the host ports of `sandbox`, and no longer lets it send.
    pub(super) fn dismiss(&mut self, sandbox: &SandboxId) -> Result<(), NetlinkError> {
        let Some(lease) = self.open.get(sandbox).cloned() else { return Ok(()) };
        match self.change(|plan, batch| plan.delete_elements(batch, &plan.elements(&lease))) {
            // Some of them are gone: others have edited the tables.
            Err(error) if nft::is_missing(&error) => {
                self.open.remove(sandbox);
                // Not the tables that were made: they are made again.
                (self.made, self.generation) = (None, 0);
                self.verify()?;
            }
            result => result?,
        }
        self.open.remove(sandbox);
        self.forget_flows(&lease.ports);
        Ok(())
    }

    fn change(&mut self, fill: impl Fn(&Plan, &mut Batch)) -> Result<(), NetlinkError> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            self.verify()?;
            let mut batch = Batch::new(Some(self.generation));
            fill(&self.plan, &mut batch);
            if batch.is_empty() {
                return Ok(());
            }
            match batch.commit(&mut self.socket) {
                Ok(()) => {
                    self.generation = after(self.generation);
                    return Ok(());
                }
                Err(error) if nft::is_outdated(&error) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// Flows of UDP and SCTP do not end by themselves: they would go on past a new mapping, or to a
    /// removed pod. Flows to the same port elsewhere are not affected. The mapping itself exists
    /// or is removed already, so that a kernel that cannot list its connections stops no pod.
    fn forget_flows(&mut self, ports: &[PortMapping]) {
        if let Err(error) = self.try_forget_flows(ports) {
            let error = berth_types::error::chain(&error);
            tracing::warn!(error, "failed to remove connections to host ports from connection tracking");
        }
    }

    fn try_forget_flows(&mut self, ports: &[PortMapping]) -> Result<(), NetlinkError> {
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

    /// Removes the tables and the rules in the chains of iptables.
    pub(super) fn purge(&mut self) -> Result<(), NetlinkError> {
        let mut batch = Batch::new(None);
        for (family, table) in self.plan.tables() {
            batch.add_table(family, table);
            batch.delete_table(family, table);
        }
        let services = services::table_of(&self.plan.table);
        batch.add_table(Family::Inet, &services);
        batch.delete_table(Family::Inet, &services);
        for chain in FORWARD {
            for handle in self.forward_rules(chain)? {
                batch.delete_rule(chain, handle);
            }
        }
        batch.commit(&mut self.socket)
    }
}

/// Whether the kernel refused because it was built without nftables for bridges.
fn lacks_bridges(error: &NetlinkError) -> bool {
    matches!(
        error.errno(),
        Some(Errno::NOENT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT)
    )
}

/// The addresses of the host.
fn host_addresses() -> Result<HashSet<IpAddr>, NetlinkError> {
    let mut socket = Socket::open(netlink::Family::Route)?;
    let addresses = socket.dump(&route::get_addresses())?;
    Ok(addresses.iter().filter_map(route::read_address).map(|address| address.ip).collect())
}

/// The generation after a change. 0 is none: the kernel leaves it out.
fn after(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(1)
}
