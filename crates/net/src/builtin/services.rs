//! Services at work: their rules in a table of their own, the route to their addresses, and their host ports.
//!
//! ```text
//! prerouting   nat     from the bridge: (address, protocol, port) -> chain of the port
//!                      to an address of this host: (protocol, port) -> chain of the port
//! output       nat     the same for connections of the host itself
//! NNN          -       one rule for each place: with a chance of 1 in what is left, translate the destination
//! unserved     filter  forward and output: what is still for an address of the block is refused
//! ```
//! The table is apart from that of the network, so that a daemon that starts leaves it as it is until it knows the pods again.
//! It is made as a whole in one transaction at each change: connections that exist do not pass it. See docs/adr/0100.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use berth_sys::netlink::nft::{Address, Batch, ChainType, Exprs, Family, Fields, Hook, Op, Type, Verdict};
use berth_sys::netlink::route::{self, MAIN_TABLE, Route};
use berth_sys::netlink::{NetlinkError, Socket, conntrack};
use rustix::io::Errno;

use super::bridge::{self, Host, Side};
use super::store::Store;
use super::{Builtin, Phase, lock, reserve};
use crate::cidr::{Cidr4, Cidr6};
use crate::config::Config;
use crate::error::{AttachError, OpenError, ServiceError};
use crate::port::{PortMapping, Protocol};
use crate::services::{Balanced, Front, MAX_TARGETS, ServiceNetwork, Services};

const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
/// The length of the IPv6 block: more addresses than services.
const PREFIX6: u8 = 112;

/// Host ports of services, held as those of pods are.
pub(super) type Held = HashMap<(Protocol, u16), Vec<OwnedFd>>;

/// Where services have their addresses. A block that was chosen earlier stays while it overlaps nothing.
pub(super) fn network(
    config: &Config,
    store: &Store,
    (socket, host): (&mut Socket, &Host),
    (pods4, pods6): (Cidr4, Option<Cidr6>),
) -> Result<Option<ServiceNetwork>, OpenError> {
    let chosen = store.services();
    let choice = bridge::choose_services(config, chosen, host, pods4)?;
    if let Some(old) = chosen.filter(|_| chosen != choice) {
        leave(socket, (host, &config.bridge), old);
    }
    let Some(cidr4) = choice else {
        tracing::warn!(
            "every block for the addresses of services overlaps a network of the host: there can be no services"
        );
        return Ok(None);
    };
    if chosen != Some(cidr4) {
        store.set_services(cidr4)?;
    }
    let gateways = bridge::Gateways::of(pods4, pods6);
    // The subnet beside that of pods (RFC 4193).
    let beside = |pods: Cidr6| {
        let base = Ipv6Addr::from_bits(pods.base().to_bits() ^ (1 << 64));
        Cidr6::new(base, PREFIX6).filter(|cidr| !cidr.overlaps(&pods))
    };
    let (gateway4, gateway6) = (gateways.v4.0, gateways.v6.map(|(ip, _)| ip));
    Ok(Some(ServiceNetwork { cidr4, cidr6: pods6.and_then(beside), pods4, pods6, gateway4, gateway6 }))
}

/// Removes the route to a block that services no longer have: it may be a network of the host by now.
fn leave(socket: &mut Socket, (host, bridge): (&Host, &str), old: Cidr4) {
    let Some(link) = host.links.iter().find(|link| link.name == bridge) else { return };
    match socket.exchange(vec![route::delete_link_route(link.index, old.base().into(), old.prefix())]) {
        Ok(_) => {
            tracing::info!(block = %old, bridge, "services have another block; the route to this one is removed")
        }
        Err(error) if is_gone(&error) => {}
        Err(error) => {
            let error = berth_types::error::chain(&error);
            tracing::warn!(block = %old, bridge, error, "failed to remove the route to addresses that services had");
        }
    }
}

/// Whether there is no such route, or no bridge any more.
fn is_gone(error: &NetlinkError) -> bool {
    matches!(error.errno(), Some(Errno::SRCH | Errno::NODEV))
}

/// The services' table as a value.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) table: String,
    pub(super) bridge: String,
    pub(super) network: ServiceNetwork,
}

impl Plan {
    fn chain<'a>(&'a self, name: &'a str) -> (Family, &'a str, &'a str) {
        (Family::Inet, self.table.as_str(), name)
    }

    fn families(&self) -> impl Iterator<Item = bool> {
        [false, true].into_iter().filter(|v6| !v6 || self.network.cidr6.is_some())
    }

    fn blocks(&self) -> Vec<(IpAddr, u8)> {
        let v4 = (self.network.cidr4.base().into(), self.network.cidr4.prefix());
        let v6 = self.network.cidr6.map(|cidr| (cidr.base().into(), cidr.prefix()));
        std::iter::once(v4).chain(v6).collect()
    }

    /// Makes the table, whatever was there.
    pub(super) fn build(&self, batch: &mut Batch, services: &Services) {
        let table = self.table.as_str();
        batch.add_table(Family::Inet, table);
        batch.delete_table(Family::Inet, table);
        batch.add_table(Family::Inet, table);
        for v6 in self.families() {
            let address = if v6 { Type::Ipv6 } else { Type::Ipv4 };
            batch.add_verdict_map(
                Family::Inet,
                table,
                services_map(v6),
                &[address, Type::Protocol, Type::Port],
            );
        }
        batch.add_verdict_map(Family::Inet, table, HOST_MAP, &[Type::Protocol, Type::Port]);
        self.add_ports(batch, services);
        self.add_entries(batch);
        self.add_unserved(batch);
    }

    /// A chain for each port that leads somewhere.
    fn add_ports(&self, batch: &mut Batch, services: &Services) {
        let mut leads: [Vec<(Fields, String)>; 3] = Default::default();
        for (number, port) in services.ports.iter().enumerate() {
            let rules: Vec<Exprs> = self.families().flat_map(|v6| rules(port, v6)).collect();
            if rules.is_empty() {
                continue;
            }
            let name = format!("port-{number}");
            batch.add_chain(Family::Inet, &self.table, &name);
            rules.iter().for_each(|rule| batch.append_rule(self.chain(&name), rule));
            let (map, address) = match port.front {
                Front::Address(IpAddr::V4(ip)) => (0, ip.octets().to_vec()),
                Front::Address(IpAddr::V6(ip)) => (1, ip.octets().to_vec()),
                Front::Host => (2, Vec::new()),
            };
            leads[map].push((key(address, port.protocol, port.port), name));
        }
        let maps = [services_map(false), services_map(true), HOST_MAP];
        for (map, leads) in maps.into_iter().zip(&leads).filter(|(_, leads)| !leads.is_empty()) {
            batch.add_verdicts(self.chain(map), leads);
        }
    }

    /// The ways in: from pods and from the host itself, and to the host's ports from anywhere.
    fn add_entries(&self, batch: &mut Batch) {
        for (name, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
            let chain = self.chain(name);
            batch.add_base_chain(chain, ChainType::Nat, hook, DSTNAT);
            for v6 in self.families() {
                let from = match hook {
                    // Who sets a route to the block on another machine reaches nothing.
                    Hook::Prerouting => Exprs::new().iifname(Op::Eq, &self.bridge),
                    _ => Exprs::new(),
                };
                batch.append_rule(chain, &from.verdict_by_map(services_map(v6), Some(v6)));
            }
            // As for host ports of pods: from the wire such a packet is forged, and ::1 cannot be routed.
            if hook == Hook::Prerouting {
                let loopback = Exprs::new().address(Address::Destination, LOOPBACK.into(), 8);
                batch.append_rule(chain, &loopback.verdict(Verdict::Accept));
            } else {
                let loopback = Exprs::new().address(Address::Destination, Ipv6Addr::LOCALHOST.into(), 128);
                batch.append_rule(chain, &loopback.verdict(Verdict::Accept));
            }
            batch.append_rule(chain, &Exprs::new().to_this_host().verdict_by_map(HOST_MAP, None));
        }
    }

    /// What no port has is refused at once, as by kube-proxy.
    fn add_unserved(&self, batch: &mut Batch) {
        for (name, hook) in [("unserved", Hook::Forward), ("unserved-here", Hook::Output)] {
            let chain = self.chain(name);
            batch.add_base_chain(chain, ChainType::Filter, hook, FILTER);
            for (block, prefix) in self.blocks() {
                let unserved = || Exprs::new().address(Address::Destination, block, prefix);
                batch.append_rule(chain, &unserved().reset());
                batch.append_rule(chain, &unserved().refuse_port());
            }
        }
    }
}

const LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 0);
const HOST_MAP: &str = "host-ports";

fn services_map(v6: bool) -> &'static str {
    if v6 { "services6" } else { "services4" }
}

fn key(mut address: Vec<u8>, protocol: Protocol, port: u16) -> Fields {
    let [high, low] = port.to_be_bytes();
    address.extend_from_slice(&[protocol.number(), 0, 0, 0, high, low, 0, 0]);
    address
}

/// One rule for each place of a family: the first is taken with a chance of one in all, the next with one in the rest.
fn rules(port: &Balanced, v6: bool) -> Vec<Exprs> {
    let places: Vec<SocketAddr> = port.of_family(v6).collect();
    let count = places.len();
    let rule = |(index, to): (usize, SocketAddr)| {
        let left = u32::try_from(count - index).unwrap_or(u32::MAX);
        let exprs = Exprs::new().family_of(to.ip()).transport(Op::Eq, port.protocol.number());
        if left > 1 { exprs.chance(left).dnat_to(to) } else { exprs.dnat_to(to) }
    };
    places.into_iter().enumerate().map(rule).collect()
}

impl Builtin {
    /// Where services have their addresses; nothing where there can be none.
    pub fn service_network(&self) -> Option<ServiceNetwork> {
        self.services
    }

    /// Makes these the services of the network, in one step; those that were are no longer. Flows of UDP to places that are no
    /// longer among a port's are forgotten.
    pub fn set_services(&self, services: &Services) -> Result<(), ServiceError> {
        let phase = self.phase();
        if *phase == Phase::Purged {
            return Err(ServiceError::Purged { bridge: self.config.bridge.clone() });
        }
        let Some(network) = self.services else {
            return if services.active { Err(ServiceError::NoBlock) } else { Ok(()) };
        };
        if services.targets() > MAX_TARGETS {
            return Err(ServiceError::TooMany { targets: services.targets() });
        }
        let kernel = |what| move |source| ServiceError::Kernel { what, source };
        let fresh = self.hold_host_ports(services)?;
        if services.active {
            self.route(&network).map_err(|source| match source.errno() {
                Some(Errno::EXIST) => {
                    let blocks: Vec<_> =
                        blocks(&network).map(|(block, prefix)| format!("{block}/{prefix}")).collect();
                    ServiceError::RouteTaken { blocks: blocks.join(" and "), source }
                }
                _ => kernel("add the route to the addresses of services")(source),
            })?;
        }
        let plan = self.services_plan(network);
        lock(&self.firewall)
            .serve(services.active.then(|| (plan, services.clone())))
            .map_err(kernel("change the rules of services"))?;
        if !services.active {
            self.unroute(&network).map_err(kernel("remove the route to the addresses of services"))?;
        }
        // Only now are those free that no service has any more.
        let ports: HashSet<_> = host_ports(services).collect();
        let held = &mut lock(&self.state).service_ports;
        held.extend(fresh);
        held.retain(|port, _| ports.contains(port));
        Ok(())
    }

    fn services_plan(&self, network: ServiceNetwork) -> Plan {
        let (table, bridge) = (table_of(&self.config.table), self.config.bridge.clone());
        Plan { table, bridge, network }
    }

    /// Binds the host ports that are new.
    fn hold_host_ports(&self, services: &Services) -> Result<Held, ServiceError> {
        let mut fresh = Held::new();
        for (protocol, port) in host_ports(services) {
            if lock(&self.state).service_ports.contains_key(&(protocol, port)) {
                continue;
            }
            let mapping = PortMapping { protocol, host_ip: None, host_port: port, container_port: port };
            let ours = |lease: &&super::Lease| lease.ports.iter().any(|taken| taken.conflicts(&mapping));
            let holder = lock(&self.state).pool.leases().find(ours).map(|lease| lease.sandbox.clone());
            if let Some(holder) = holder {
                return Err(ServiceError::Port(AttachError::PortTaken { port: mapping, holder }));
            }
            let sockets = reserve::bind_all(&[mapping], self.cidr6.is_some()).map_err(ServiceError::Port)?;
            fresh.insert((protocol, port), sockets);
        }
        Ok(fresh)
    }

    /// The way to the addresses of services: the host must have one before it translates them.
    fn route(&self, network: &ServiceNetwork) -> Result<(), NetlinkError> {
        lock(&self.host).route(network)
    }

    fn unroute(&self, network: &ServiceNetwork) -> Result<(), NetlinkError> {
        let mut host = lock(&self.host);
        let index = host.index;
        for (block, prefix) in blocks(network) {
            match host.socket.exchange(vec![route::delete_link_route(index, block, prefix)]) {
                // It is gone, with its bridge perhaps.
                Err(error) if is_gone(&error) => {}
                result => drop(result?),
            }
        }
        Ok(())
    }

    /// Puts the route back that went with the bridge.
    pub(super) fn verify_route(&self) -> Result<(), NetlinkError> {
        match self.services.filter(|_| lock(&self.firewall).serves()) {
            Some(network) => self.route(&network),
            None => Ok(()),
        }
    }
}

/// The name of the services' table of a network.
pub(super) fn table_of(table: &str) -> String {
    format!("{table}-services")
}

impl Side {
    /// A route of somebody else to the same network stays, and is an error (`EEXIST`).
    fn route(&mut self, network: &ServiceNetwork) -> Result<(), NetlinkError> {
        for (block, prefix) in blocks(network) {
            match self.socket.exchange(vec![route::add_link_route(self.index, block, prefix)]) {
                Err(error) if error.errno() == Some(Errno::EXIST) && self.has_route(block, prefix)? => {}
                result => drop(result?),
            }
        }
        Ok(())
    }

    /// Whether a route to this network leads to the bridge.
    fn has_route(&mut self, network: IpAddr, prefix: u8) -> Result<bool, NetlinkError> {
        let replies = self.socket.dump(&route::get_routes(network.is_ipv6()))?;
        let ours = |route: Route| {
            (route.network, route.prefix, route.index) == (network, prefix, self.index)
                && route.table == MAIN_TABLE
                && !route.gateway
        };
        Ok(replies.iter().filter_map(route::read_route).any(ours))
    }
}

fn blocks(network: &ServiceNetwork) -> impl Iterator<Item = (IpAddr, u8)> {
    let v4 = (IpAddr::from(network.cidr4.base()), network.cidr4.prefix());
    let v6 = network.cidr6.map(|cidr| (IpAddr::from(cidr.base()), cidr.prefix()));
    std::iter::once(v4).chain(v6)
}

fn host_ports(services: &Services) -> impl Iterator<Item = (Protocol, u16)> {
    services.ports.iter().filter(|port| port.front == Front::Host).map(|port| (port.protocol, port.port))
}

/// The ports whose flows do not end by themselves.
pub(super) fn udp_ports(services: &Services) -> impl Iterator<Item = &Balanced> {
    services.ports.iter().filter(|port| port.protocol == Protocol::Udp)
}

/// Forgets flows of UDP that began under other services: to places that their port no longer leads to, and untranslated ones.
pub(super) fn forget_flows(
    socket: &mut Socket,
    (before, now): (&Services, &Services),
    host: &HashSet<IpAddr>,
) -> Result<(), NetlinkError> {
    let known = udp_ports(before).chain(udp_ports(now));
    // The places of each front that was or is there, as they are now.
    let mut places: HashMap<(Front, u16), HashSet<SocketAddr>> = HashMap::new();
    for port in known {
        places.entry((port.front, port.port)).or_default();
    }
    for port in udp_ports(now) {
        places.entry((port.front, port.port)).or_default().extend(&port.to);
    }
    if places.is_empty() {
        return Ok(());
    }
    conntrack::forget_flows(socket, |flow| {
        let of = |front| places.get(&(front, flow.to.port()));
        let ip = flow.to.ip();
        let known = of(Front::Address(ip))
            .or_else(|| of(Front::Host).filter(|_| ip.is_loopback() || host.contains(&ip)));
        flow.protocol == Protocol::Udp.number()
            && known.is_some_and(|places| !flow.answered_by.is_some_and(|by| places.contains(&by)))
    })
    .map(drop)
}

#[cfg(test)]
mod tests;
