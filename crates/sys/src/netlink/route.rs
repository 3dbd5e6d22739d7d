//! rtnetlink: interfaces, addresses, routes.
//!
//! Functions make requests for [`Socket::exchange`](super::Socket::exchange), which several of them
//! share; the `read` functions take its answers apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::message::{ACK, AttrIter, Attrs, CREATE, DUMP, EXCL, Message, REPLACE, Reply, text_of, u32_of};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GETROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BR_MULTI_BOOLOPT: u16 = 46;
const BR_BOOLOPT_NO_LL_LEARN: u32 = 1 << 0;
const VETH_INFO_PEER: u16 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 0x02;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;

const LINK: usize = 16;
const ADDR: usize = 8;
const ROUTE: usize = 12;

const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;
const RT_SCOPE_LINK: u8 = 253;

/// The routing table that ordinary routes are in.
pub const MAIN_TABLE: u32 = 254;
/// The protocol of routes learnt from IPv6 router advertisements.
pub const PROTOCOL_RA: u8 = 9;
/// The index of the loopback interface in every network namespace.
pub const LOOPBACK: u32 = 1;

/// A hardware address.
pub type Mac = [u8; 6];

/// An interface, named by what is known of it.
#[derive(Debug, Clone, Copy)]
pub enum By<'a> {
    /// Its index.
    Index(u32),
    /// Its name.
    Name(&'a str),
}

fn link_fixed(index: u32, flags: u32, change: u32) -> [u8; LINK] {
    let mut fixed = [0; LINK];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..].copy_from_slice(&change.to_ne_bytes());
    fixed
}

fn link_by(by: By<'_>, flags: u32, change: u32) -> ([u8; LINK], Attrs) {
    match by {
        By::Index(index) => (link_fixed(index, flags, change), Attrs::new()),
        By::Name(name) => (link_fixed(0, flags, change), Attrs::new().text(IFLA_IFNAME, name)),
    }
}

/// Makes a bridge.
pub fn add_bridge(name: &str, mac: Mac, mtu: u32) -> Message {
    let attrs = Attrs::new()
        .text(IFLA_IFNAME, name)
        .put(IFLA_ADDRESS, &mac)
        .u32(IFLA_MTU, mtu)
        .nest(IFLA_LINKINFO, &Attrs::new().text(IFLA_INFO_KIND, "bridge"));
    Message::new("create the bridge", NEWLINK, ACK | CREATE | EXCL, &link_fixed(0, 0, 0), attrs)
}

/// A pair of connected interfaces, one here and one in another network namespace.
#[derive(Debug, Clone, Copy)]
pub struct Veth<'a> {
    /// Name of the end here.
    pub name: &'a str,
    /// Hardware address of the end here. An end without one gets a random one, which udev then changes
    /// (`MACAddressPolicy=persistent`) while the interface is in use.
    pub mac: Mac,
    /// Index of the bridge that the end here becomes a port of.
    pub bridge: u32,
    /// The group of interfaces that the end here belongs to.
    pub group: u32,
    /// Name of the other end.
    pub peer: &'a str,
    /// Hardware address of the other end.
    pub peer_mac: Mac,
    /// The namespace of the other end.
    pub netns: BorrowedFd<'a>,
    /// Largest packet, in bytes.
    pub mtu: u32,
}

/// Makes a pair of interfaces where they are to be, under their final names: moving or renaming
/// one afterwards costs grace periods of some 10 ms. Neither end is up; asking for that here
/// fails, since the ends are not connected yet when it is tried.
pub fn add_veth(veth: &Veth<'_>) -> Message {
    let fd = u32::try_from(veth.netns.as_raw_fd()).expect("an open descriptor is not negative");
    let peer = Attrs::new()
        .text(IFLA_IFNAME, veth.peer)
        .put(IFLA_ADDRESS, &veth.peer_mac)
        .u32(IFLA_MTU, veth.mtu)
        .u32(IFLA_NET_NS_FD, fd);
    let mut inner = link_fixed(0, 0, 0).to_vec();
    inner.extend_from_slice(peer.as_bytes());
    let info = Attrs::new()
        .text(IFLA_INFO_KIND, "veth")
        .nest(IFLA_INFO_DATA, &Attrs::new().put(VETH_INFO_PEER, &inner));
    let attrs = Attrs::new()
        .text(IFLA_IFNAME, veth.name)
        .put(IFLA_ADDRESS, &veth.mac)
        .u32(IFLA_MTU, veth.mtu)
        .u32(IFLA_GROUP, veth.group)
        .u32(IFLA_MASTER, veth.bridge)
        .nest(IFLA_LINKINFO, &info);
    Message::new("create the pod's interfaces", NEWLINK, ACK | CREATE | EXCL, &link_fixed(0, 0, 0), attrs)
}

/// Sets an interface up.
pub fn set_up(by: By<'_>) -> Message {
    let (fixed, attrs) = link_by(by, IFF_UP, IFF_UP);
    Message::new("set the interface up", NEWLINK, ACK, &fixed, attrs)
}

/// Sets a port of a bridge up, in hairpin mode: the bridge may send a packet back out of the port
/// it came from.
pub fn set_port_up(name: &str) -> Message {
    let (fixed, attrs) = link_by(By::Name(name), IFF_UP, IFF_UP);
    let info = Attrs::new()
        .text(IFLA_INFO_SLAVE_KIND, "bridge")
        .nest(IFLA_INFO_SLAVE_DATA, &Attrs::new().put(IFLA_BRPORT_MODE, &[1]));
    Message::new("set the bridge port up", NEWLINK, ACK, &fixed, attrs.nest(IFLA_LINKINFO, &info))
}

/// Makes an interface a port of a bridge, and a member of a group of interfaces.
pub fn set_master(index: u32, bridge: u32, group: u32) -> Message {
    let attrs = Attrs::new().u32(IFLA_MASTER, bridge).u32(IFLA_GROUP, group);
    Message::new("make the interface a port of the bridge", NEWLINK, ACK, &link_fixed(index, 0, 0), attrs)
}

/// Gives a bridge a description (at most 255 bytes) and a size of packets. It learns no addresses from frames to the
/// addresses that IEEE 802.1D reserves, which no filter sees, and sends multicast packets to all of its ports without
/// keeping account of who joined which group.
pub fn describe_bridge(index: u32, alias: &str, mtu: u32) -> Message {
    // struct br_boolopt_multi: values, and which of them are meant.
    let option = [BR_BOOLOPT_NO_LL_LEARN.to_ne_bytes(), BR_BOOLOPT_NO_LL_LEARN.to_ne_bytes()].concat();
    let data = Attrs::new().put(IFLA_BR_MCAST_SNOOPING, &[0]).put(IFLA_BR_MULTI_BOOLOPT, &option);
    let info = Attrs::new().text(IFLA_INFO_KIND, "bridge").nest(IFLA_INFO_DATA, &data);
    let attrs = Attrs::new().put(IFLA_IFALIAS, alias.as_bytes()).u32(IFLA_MTU, mtu);
    let attrs = attrs.nest(IFLA_LINKINFO, &info);
    Message::new("describe the bridge", NEWLINK, ACK, &link_fixed(index, 0, 0), attrs)
}

/// Removes an interface. Waits for grace periods: some 10 ms.
pub fn delete_link(by: By<'_>) -> Message {
    let (fixed, attrs) = link_by(by, 0, 0);
    Message::new("delete the interface", DELLINK, ACK, &fixed, attrs)
}

/// Asks for one interface.
pub fn get_link(by: By<'_>) -> Message {
    let (fixed, attrs) = link_by(by, 0, 0);
    Message::new("find the interface", GETLINK, ACK, &fixed, attrs)
}

/// Asks for all interfaces.
pub fn get_links() -> Message {
    Message::new("list interfaces", GETLINK, DUMP, &link_fixed(0, 0, 0), Attrs::new())
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The kind of a virtual interface: `bridge`, `veth`, ...; empty for hardware.
    pub kind: String,
    /// Its description.
    pub alias: String,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// The index of the bridge it is a port of, or 0.
    pub master: u32,
    /// The group of interfaces it belongs to; 0 is the default.
    pub group: u32,
    /// Whether it is switched on.
    pub up: bool,
}

/// Takes the description of an interface apart; `None` for another kind of answer.
pub fn read_link(reply: &Reply) -> Option<Link> {
    if reply.kind() != NEWLINK {
        return None;
    }
    let fixed: &[u8; LINK] = reply.fixed()?;
    let index = u32_of(&fixed[4..8])?;
    let up = u32_of(&fixed[8..12])? & IFF_UP != 0;
    let (name, kind, alias) = (String::new(), String::new(), String::new());
    let mut link = Link { index, name, kind, alias, mtu: 0, master: 0, group: 0, up };
    for (kind, value) in reply.attrs(LINK) {
        match kind {
            IFLA_IFNAME => link.name = text_of(value),
            IFLA_IFALIAS => link.alias = text_of(value),
            IFLA_MTU => link.mtu = u32_of(value)?,
            IFLA_MASTER => link.master = u32_of(value)?,
            IFLA_GROUP => link.group = u32_of(value)?,
            IFLA_LINKINFO => {
                link.kind = AttrIter::of(value).get(IFLA_INFO_KIND).map(text_of).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

fn octets(ip: IpAddr) -> (u8, Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
    }
}

fn ip_of(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

fn address(what: &'static str, kind: u16, flags: u16, index: u32, ip: IpAddr, prefix: u8) -> Message {
    let (family, bytes) = octets(ip);
    let mut fixed = [family, prefix, 0, 0, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&index.to_ne_bytes());
    let mut attrs = Attrs::new().put(IFA_LOCAL, &bytes).put(IFA_ADDRESS, &bytes);
    if ip.is_ipv6() {
        attrs = attrs.u32(IFA_FLAGS, IFA_F_NODAD);
    }
    Message::new(what, kind, ACK | flags, &fixed, attrs)
}

/// Gives an interface an address. IPv6 addresses are usable at once: duplicate address detection
/// is off, since the caller hands out the addresses.
pub fn add_address(index: u32, ip: IpAddr, prefix: u8) -> Message {
    address("add the address", NEWADDR, CREATE | REPLACE, index, ip, prefix)
}

/// Takes an address away.
pub fn delete_address(index: u32, ip: IpAddr, prefix: u8) -> Message {
    address("delete the address", DELADDR, 0, index, ip, prefix)
}

/// Asks for all addresses.
pub fn get_addresses() -> Message {
    Message::new("list addresses", GETADDR, DUMP, &[0; ADDR], Attrs::new())
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// Length of the network part.
    pub prefix: u8,
}

/// Takes an address apart; `None` for another kind of answer.
pub fn read_address(reply: &Reply) -> Option<Address> {
    if reply.kind() != NEWADDR {
        return None;
    }
    let fixed: &[u8; ADDR] = reply.fixed()?;
    let attrs = reply.attrs(ADDR);
    let value = attrs.clone().get(IFA_LOCAL).or_else(|| attrs.get(IFA_ADDRESS))?;
    Some(Address { index: u32_of(&fixed[4..])?, ip: ip_of(fixed[0], value)?, prefix: fixed[1] })
}

/// Adds the default route through `gateway`.
pub fn add_default_route(index: u32, gateway: IpAddr) -> Message {
    let (family, bytes) = octets(gateway);
    let main = u8::try_from(MAIN_TABLE).expect("254");
    let fixed = [family, 0, 0, 0, main, RTPROT_BOOT, 0, RTN_UNICAST, 0, 0, 0, 0];
    let attrs = Attrs::new().put(RTA_GATEWAY, &bytes).u32(RTA_OIF, index);
    Message::new("add the default route", NEWROUTE, ACK | CREATE | EXCL, &fixed, attrs)
}

/// Adds a route to what the interface itself reaches. Any route to the same network is in the way (`EEXIST`).
pub fn add_link_route(index: u32, network: IpAddr, prefix: u8) -> Message {
    let (fixed, attrs) = link_route(index, network, prefix);
    Message::new("add the route", NEWROUTE, ACK | CREATE | EXCL, &fixed, attrs)
}

/// Removes a route that [`add_link_route`] added.
pub fn delete_link_route(index: u32, network: IpAddr, prefix: u8) -> Message {
    let (fixed, attrs) = link_route(index, network, prefix);
    Message::new("delete the route", DELROUTE, ACK, &fixed, attrs)
}

fn link_route(index: u32, network: IpAddr, prefix: u8) -> ([u8; ROUTE], Attrs) {
    let (family, bytes) = octets(network);
    let main = u8::try_from(MAIN_TABLE).expect("254");
    // IPv4 alone knows scopes.
    let scope = if network.is_ipv4() { RT_SCOPE_LINK } else { 0 };
    let fixed = [family, prefix, 0, 0, main, RTPROT_BOOT, scope, RTN_UNICAST, 0, 0, 0, 0];
    (fixed, Attrs::new().put(RTA_DST, &bytes).u32(RTA_OIF, index))
}

/// Asks for all routes of a family.
pub fn get_routes(v6: bool) -> Message {
    let mut fixed = [0; ROUTE];
    fixed[0] = if v6 { AF_INET6 } else { AF_INET };
    Message::new("list routes", GETROUTE, DUMP, &fixed, Attrs::new())
}

/// A unicast route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The network; unspecified for a default route.
    pub network: IpAddr,
    /// The length of its prefix.
    pub prefix: u8,
    /// The interface it leads to (of several, the first), or 0.
    pub index: u32,
    /// Whether it leads through a gateway, or several.
    pub gateway: bool,
    /// Its table; see [`MAIN_TABLE`].
    pub table: u32,
    /// Who made it; see [`PROTOCOL_RA`].
    pub protocol: u8,
}

/// Takes a route apart; `None` for another kind of answer and for routes that are not unicast.
pub fn read_route(reply: &Reply) -> Option<Route> {
    if reply.kind() != NEWROUTE {
        return None;
    }
    let fixed: &[u8; ROUTE] = reply.fixed()?;
    let [family, prefix, _, _, table, protocol, _, kind, ..] = *fixed;
    if kind != RTN_UNICAST {
        return None;
    }
    let unspecified: IpAddr =
        if family == AF_INET { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let attrs = reply.attrs(ROUTE);
    let network = match attrs.clone().get(RTA_DST) {
        Some(bytes) => ip_of(family, bytes)?,
        None => unspecified,
    };
    let number = |kind| attrs.clone().get(kind).and_then(u32_of);
    // struct rtnexthop: length, flags, weight, interface.
    let several = attrs.clone().get(RTA_MULTIPATH);
    let first = || several.and_then(|hops| u32_of(hops.get(4..8)?));
    Some(Route {
        network,
        prefix,
        index: number(RTA_OIF).or_else(first).unwrap_or(0),
        gateway: several.is_some() || attrs.clone().get(RTA_GATEWAY).is_some(),
        table: number(RTA_TABLE).unwrap_or(u32::from(table)),
        protocol,
    })
}
