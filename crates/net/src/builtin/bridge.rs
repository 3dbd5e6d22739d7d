//! Making the bridge, or taking over the one of an earlier daemon; choosing its addresses. See docs/adr/0031.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use berth_sys::netlink::route::{self, By, LOOPBACK, Link, MAIN_TABLE, PROTOCOL_RA, Route};
use berth_sys::netlink::{Message, NetlinkError, Reply, Socket};

use super::Lease;
use super::link::{find, host_name, mac};
use crate::cidr::{Cidr4, Cidr6};
use crate::config::{Config, MAX_INTERFACE_NAME};
use crate::error::OpenError;

/// Where no default route tells the size of packets.
const DEFAULT_MTU: u32 = 1500;
/// The smallest MTU that IPv6 works with (RFC 8200).
const MIN_MTU: u32 = 1280;
/// The shortest prefix of a network that one host or company may have.
const SHORTEST: u8 = 8;
/// The longest table name (`NFT_NAME_MAXLEN` less the final zero; far less is enough).
const MAX_TABLE_NAME: usize = 64;

/// What the host looks like before anything is done.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) links: Vec<Link>,
    routes4: Vec<Route>,
    routes6: Vec<Route>,
}

impl Host {
    pub(super) fn look(socket: &mut Socket) -> Result<Self, NetlinkError> {
        let links = list(socket, &route::get_links(), route::read_link)?;
        let routes4 = list(socket, &route::get_routes(false), route::read_route)?;
        let routes6 = list(socket, &route::get_routes(true), route::read_route)?;
        Ok(Self { links, routes4, routes6 })
    }

    fn name_of(&self, index: u32) -> String {
        let link = self.links.iter().find(|link| link.index == index);
        link.map_or_else(|| format!("number {index}"), |link| link.name.clone())
    }

    /// The size of packets on the way out: that of the default route's interface.
    pub(super) fn mtu(&self) -> u32 {
        let is_default = |route: &&Route| route.prefix == 0 && route.table == MAIN_TABLE;
        let default = self.routes4.iter().find(is_default).or_else(|| self.routes6.iter().find(is_default));
        let link = default.and_then(|route| self.links.iter().find(|link| link.index == route.index));
        link.map_or(DEFAULT_MTU, |link| link.mtu).clamp(MIN_MTU, 65_535)
    }

    /// Interfaces by which the host itself may learn IPv6 routes, and whether it has learnt a default
    /// route by them: all but the bridge and what leads to containers.
    pub(super) fn listeners(&self, bridge: &str) -> Vec<(&str, bool)> {
        let own = |link: &&Link| link.index != LOOPBACK && link.master == 0 && link.kind != "veth";
        let learnt = |index| {
            self.routes6.iter().any(|r| r.prefix == 0 && r.protocol == PROTOCOL_RA && r.index == index)
        };
        let links = self.links.iter().filter(own).filter(|link| link.name != bridge);
        links.map(|link| (link.name.as_str(), learnt(link.index))).collect()
    }

    /// A route that conflicts with using `cidr` on `bridge`. A block that was asked for may be a
    /// part of a network that lies behind a gateway, since it then takes precedence as wanted. Half of
    /// the internet is not a network of the host: VPNs replace the default route by two such halves.
    fn obstacle(&self, bridge: &str, cidr: Cidr4, asked: bool) -> Option<(Cidr4, String)> {
        self.routes4.iter().find_map(|route| {
            let IpAddr::V4(network) = route.network else { return None };
            let network = Cidr4::new(network, route.prefix)?;
            let within = asked && route.gateway && network.prefix() < cidr.prefix();
            let name = self.name_of(route.index);
            let counts = route.table == MAIN_TABLE && route.prefix >= SHORTEST && name != bridge && !within;
            (counts && network.overlaps(&cidr)).then_some((network, name))
        })
    }
}

fn list<T>(
    socket: &mut Socket,
    request: &Message,
    read: impl Fn(&Reply) -> Option<T>,
) -> Result<Vec<T>, NetlinkError> {
    Ok(socket.dump(request)?.iter().filter_map(read).collect())
}

/// Checks what the kernel would refuse or interpret differently.
pub(super) fn check(config: &Config) -> Result<(), OpenError> {
    let bad = |what: String| Err(OpenError::Config { what });
    let plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let Config { bridge, table, cidr4, cidr6, services4: _, dir: _ } = config;
    if !plain(bridge) || bridge.len() > MAX_INTERFACE_NAME || bridge == "." || bridge == ".." {
        return bad(format!("{bridge:?} cannot be the name of a bridge: 1 to 15 letters, digits, - _ ."));
    }
    if !plain(table) || table.len() > MAX_TABLE_NAME {
        return bad(format!("{table:?} cannot be the name of a table: 1 to 64 letters, digits, - _ ."));
    }
    if let Some(cidr) = cidr4 {
        if cidr.pods() == 0 || cidr.prefix() < SHORTEST {
            return bad(format!("the length of pod addresses {cidr} is not between 8 and 30"));
        }
        let base = cidr.base();
        if base.is_loopback() || base.is_multicast() || base.is_unspecified() || base.is_link_local() {
            return bad(format!("{cidr} cannot be addresses of pods"));
        }
    }
    if let crate::config::Ipv6::IfAvailable(cidr) = cidr6
        && cidr.prefix() > 96
    {
        return bad(format!(
            "{cidr} has not as many addresses as IPv4 blocks: the length must be at most 96"
        ));
    }
    Ok(())
}

/// The block of IPv4 addresses: the one asked for, the one chosen earlier, or a free one.
pub(super) fn choose(config: &Config, chosen: Option<Cidr4>, host: &Host) -> Result<Cidr4, OpenError> {
    let free = |cidr: &Cidr4| host.obstacle(&config.bridge, *cidr, false).is_none();
    if let Some(cidr) = config.cidr4 {
        return match host.obstacle(&config.bridge, cidr, true) {
            Some((route, interface)) => Err(OpenError::Overlap { cidr, route, interface }),
            None => Ok(cidr),
        };
    }
    chosen.filter(free).or_else(|| config.candidates().find(free)).ok_or(OpenError::NoFreeBlock)
}

/// The block of the addresses of services, chosen in the same way; nothing where none is free.
pub(super) fn choose_services(
    config: &Config,
    chosen: Option<Cidr4>,
    host: &Host,
    pods: Cidr4,
) -> Result<Option<Cidr4>, OpenError> {
    let free = |cidr: &Cidr4| !cidr.overlaps(&pods) && host.obstacle(&config.bridge, *cidr, false).is_none();
    let Some(cidr) = config.services4 else {
        return Ok(chosen.filter(free).or_else(|| config.service_candidates().find(free)));
    };
    if cidr.overlaps(&pods) || cidr.pods() < 14 || cidr.prefix() < SHORTEST {
        let what = format!(
            "addresses of services {cidr} must be apart from those of pods, {pods}, with a length between 8 and 28"
        );
        return Err(OpenError::Config { what });
    }
    match host.obstacle(&config.bridge, cidr, true) {
        Some((route, interface)) => Err(OpenError::Overlap { cidr, route, interface }),
        None => Ok(Some(cidr)),
    }
}

/// The addresses of the host on the bridge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gateways {
    pub(super) v4: (Ipv4Addr, u8),
    pub(super) v6: Option<(Ipv6Addr, u8)>,
}

impl Gateways {
    pub(super) fn of(cidr4: Cidr4, cidr6: Option<Cidr6>) -> Self {
        let v4 = (cidr4.nth(1).expect("blocks have at least four addresses"), cidr4.prefix());
        let v6 = cidr6.map(|c| (c.nth(1).expect("blocks have at least four addresses"), c.prefix()));
        Self { v4, v6 }
    }

    fn list(&self) -> Vec<(IpAddr, u8)> {
        let v6 = self.v6.map(|(ip, prefix)| (ip.into(), prefix));
        std::iter::once((self.v4.0.into(), self.v4.1)).chain(v6).collect()
    }
}

/// What the bridge of this configuration is described by.
fn alias(config: &Config) -> String {
    let mut alias = format!("berth pod network {}", config.dir.display());
    let end = (0..=alias.len().min(255)).rev().find(|end| alias.is_char_boundary(*end)).unwrap_or(0);
    alias.truncate(end);
    alias
}

/// The host's side of the network: a socket there, and the bridge.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) socket: Socket,
    /// The index of the bridge.
    pub(super) index: u32,
    /// The group that its ports of pods are in.
    pub(super) group: u32,
}

/// Makes the bridge or takes it over; gives its index. `prepare` is called before it is up.
pub(super) fn ensure(
    socket: &mut Socket,
    config: &Config,
    host: &Host,
    (gateways, mtu): (Gateways, u32),
    prepare: impl FnOnce() -> Result<(), OpenError>,
) -> Result<u32, OpenError> {
    let kernel = |source| OpenError::Kernel { bridge: config.bridge.clone(), source };
    let alias = alias(config);
    let index = match host.links.iter().find(|link| link.name == config.bridge) {
        Some(link) if link.kind == "bridge" && link.alias == alias => link.index,
        Some(link) => {
            let kind = if link.kind.is_empty() { "hardware" } else { &link.kind };
            let found = if kind == "bridge" { "a bridge made by something else" } else { kind };
            return Err(OpenError::ForeignInterface {
                bridge: config.bridge.clone(),
                found: found.to_owned(),
            });
        }
        None => {
            let mac = mac(gateways.v4.0);
            socket.exchange(vec![route::add_bridge(&config.bridge, mac, mtu)]).map_err(kernel)?;
            let link = find(socket, By::Name(&config.bridge)).map_err(kernel)?;
            link.ok_or_else(|| kernel(NetlinkError::Malformed { what: "find the bridge" }))?.index
        }
    };
    socket.exchange(vec![route::describe_bridge(index, &alias, mtu)]).map_err(kernel)?;
    prepare()?;
    set_addresses(socket, index, &gateways.list()).map_err(kernel)?;
    socket.exchange(vec![route::set_up(By::Index(index))]).map_err(kernel)?;
    Ok(index)
}

impl Side {
    /// Whether the bridge is the one that was made, and is intact.
    pub(super) fn is_whole(&mut self, name: &str, gateways: Gateways) -> Result<bool, NetlinkError> {
        let bridge = find(&mut self.socket, By::Name(name))?;
        if !bridge.is_some_and(|link| link.index == self.index && link.up) {
            return Ok(false);
        }
        let present = list(&mut self.socket, &route::get_addresses(), route::read_address)?;
        let has =
            |(ip, prefix)| present.iter().any(|a| (a.index, a.ip, a.prefix) == (self.index, ip, prefix));
        Ok(gateways.list().into_iter().all(has))
    }

    /// Makes the pods' interfaces ports of the bridge and members of the group, where they are not: the bridge was
    /// deleted, or an earlier version made them. Goes on past failures.
    pub(super) fn plug(&mut self, host: &Host, leases: &[Lease]) {
        for lease in leases {
            let name = host_name(lease.address4);
            let wrong = |link: &Link| link.master != self.index || link.group != self.group;
            let loose = |link: &&Link| link.name == name && wrong(link);
            let Some(link) = host.links.iter().find(loose) else { continue };
            let plug = vec![route::set_master(link.index, self.index, self.group), route::set_port_up(&name)];
            if let Err(error) = self.socket.exchange(plug) {
                let error = berth_types::error::chain(&error);
                tracing::warn!(sandbox = lease.sandbox.short(), error, "the pod has no network");
            }
        }
    }
}

/// Makes `wanted` the addresses of an interface, apart from link-local ones.
fn set_addresses(socket: &mut Socket, index: u32, wanted: &[(IpAddr, u8)]) -> Result<(), NetlinkError> {
    let present = list(socket, &route::get_addresses(), route::read_address)?;
    let link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let mut messages = Vec::new();
    for address in present.iter().filter(|a| a.index == index && !link_local(a.ip)) {
        if !wanted.contains(&(address.ip, address.prefix)) {
            messages.push(route::delete_address(index, address.ip, address.prefix));
        }
    }
    messages.extend(wanted.iter().map(|(ip, prefix)| route::add_address(index, *ip, *prefix)));
    socket.exchange(messages).map(drop)
}

#[cfg(test)]
mod tests;
