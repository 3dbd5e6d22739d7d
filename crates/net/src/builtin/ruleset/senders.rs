//! The bridge's own table: a pod sends under its own addresses alone (docs/adr/0076).
//!
//! ```text
//! sent           frames of pods, before the bridge learns from them or hands them on
//!   IPv4, ARP    interface, hardware and IPv4 address must be one pod's       else dropped
//!   IPv6         the same; then by what it is:
//!     unspecified6   from ::    probes for its own address
//!     solicited6     a pod looks for a neighbour: with its own hardware address, or none
//!     advertised6    a pod is found: under its own addresses alone
//!   all else     dropped: router solicitations and advertisements, redirects, other protocols; and reports of
//!                multicast groups, which nobody needs and the bridge would copy to every pod
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

use berth_sys::netlink::nft::{
    Batch, ChainType, Exprs, Family, Fields, Header, Hook, Op, Part, Type, Verdict,
};

use super::{Element, Lease, Map, Plan};
use crate::builtin::link;

/// Before other rules of the bridge, and before br_netfilter.
const FIRST: i32 = -300;

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const ICMPV6: u8 = 58;

/// ICMPv6 messages: RFC 4861 (neighbour discovery), RFC 2710 and RFC 3810 (multicast listeners).
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
const LISTENER_REPORTS: [u8; 3] = [131, 132, 143];

/// Options of neighbour discovery that carry a hardware address: their type, and their length in eights.
const SOURCE_LINK: [u8; 2] = [1, 1];
const TARGET_LINK: [u8; 2] = [2, 1];
/// The length of a neighbour's message without an option and with one, and the next header, as IPv6 headers have them.
const PLAIN: [u8; 3] = [0, 24, ICMPV6];
const WITH_OPTION: [u8; 3] = [0, 32, ICMPV6];
/// The beginning of ARP for Ethernet and IPv4.
const ARP_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

const SENDER: Part = Part { header: Header::Link, offset: 6, len: 6 };
const SOURCE4: Part = Part { header: Header::Network, offset: 12, len: 4 };
const ARP_HARDWARE: Part = Part { header: Header::Network, offset: 8, len: 6 };
const ARP_ADDRESS: Part = Part { header: Header::Network, offset: 14, len: 4 };
const SOURCE6: Part = Part { header: Header::Network, offset: 8, len: 16 };
/// Behind an IPv6 header of 40 bytes and the first 8 of the message.
const TARGET: Part = Part { header: Header::Network, offset: 48, len: 16 };
/// The address in the first option, behind the target and two bytes.
const OPTION: Part = Part { header: Header::Network, offset: 66, len: 6 };

/// Makes the sets.
pub(super) fn add_sets(plan: &Plan, batch: &mut Batch) {
    let table = plan.table.as_str();
    for (map, address) in [(Map::Senders4, Type::Ipv4), (Map::Senders6, Type::Ipv6)] {
        batch.add_set(Family::Bridge, table, map.name(), &[Type::Interface, Type::Ether, address]);
    }
    batch.add_set_of_part(Family::Bridge, table, Map::Targets6.name(), TARGET);
    batch.add_set_of_part(Family::Bridge, table, Map::Options6.name(), OPTION);
}

/// Makes the chains.
pub(super) fn add_chains(plan: &Plan, batch: &mut Batch) {
    let rules = |batch: &mut Batch, chain: &str, list: Vec<Exprs>| {
        let chain = (Family::Bridge, plan.table.as_str(), chain);
        list.iter().for_each(|exprs| batch.append_rule(chain, exprs));
    };
    for chain in ["unspecified6", "solicited6", "advertised6", "sent6"] {
        batch.add_chain(Family::Bridge, &plan.table, chain);
    }
    rules(batch, "unspecified6", unspecified6());
    rules(batch, "solicited6", solicited6());
    rules(batch, "advertised6", advertised6());
    rules(batch, "sent6", sent6());
    let sent = (Family::Bridge, plan.table.as_str(), "sent");
    batch.add_base_chain(sent, ChainType::Filter, Hook::Prerouting, FIRST);
    rules(batch, "sent", self::sent(plan.group));
}

fn drop() -> Exprs {
    Exprs::new().verdict(Verdict::Drop)
}

fn sent(group: u32) -> Vec<Exprs> {
    let of = |protocol| Exprs::new().ether_type(protocol);
    let arp = of(ARP).part_is(Header::Network, 0, &ARP_IPV4);
    let arp = arp.iifname_and_parts_in(Map::Senders4.name(), &[SENDER, ARP_ADDRESS]);
    let arp = arp.iifname_and_parts_in(Map::Senders4.name(), &[ARP_HARDWARE, ARP_ADDRESS]);
    vec![
        Exprs::new().iifgroup(Op::Neq, group).verdict(Verdict::Accept),
        of(IPV4).iifname_and_parts_in(Map::Senders4.name(), &[SENDER, SOURCE4]).verdict(Verdict::Accept),
        of(IPV6).iifname_and_parts_in(Map::Senders6.name(), &[SENDER, SOURCE6]).goto("sent6"),
        arp.verdict(Verdict::Accept),
        drop(),
    ]
}

fn is(message: u8) -> Exprs {
    Exprs::new().transport(Op::Eq, ICMPV6).part_is(Header::Transport, 0, &[message])
}

/// Later fragments have no type. They are let through: neighbour discovery is not done in fragments (RFC 6980).
fn sent6() -> Vec<Exprs> {
    let mut list = vec![
        from_unspecified().goto("unspecified6"),
        Exprs::new().transport(Op::Neq, ICMPV6).verdict(Verdict::Accept),
        is(NEIGHBOUR_SOLICITATION).goto("solicited6"),
        is(NEIGHBOUR_ADVERTISEMENT).goto("advertised6"),
    ];
    let routers = [ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, REDIRECT];
    list.extend(
        routers.into_iter().chain(LISTENER_REPORTS).map(|message| is(message).verdict(Verdict::Drop)),
    );
    list.push(Exprs::new().transport(Op::Eq, ICMPV6).verdict(Verdict::Accept));
    // What it is cannot be told.
    list.push(drop());
    list
}

fn from_unspecified() -> Exprs {
    Exprs::new().ether_type(IPV6).part_is(Header::Network, SOURCE6.offset, &Ipv6Addr::UNSPECIFIED.octets())
}

fn unspecified6() -> Vec<Exprs> {
    let probe = |form| {
        let probe = in_form(form).part_is(Header::Transport, 0, &[NEIGHBOUR_SOLICITATION]);
        probe.iifname_and_parts_in(Map::Targets6.name(), &[TARGET]).verdict(Verdict::Accept)
    };
    vec![probe(PLAIN), probe(WITH_OPTION), drop()]
}

fn in_form(form: [u8; 3]) -> Exprs {
    Exprs::new().ether_type(IPV6).part_is(Header::Network, 4, &form)
}

fn with_option(option: [u8; 2]) -> Exprs {
    let exprs = in_form(WITH_OPTION).part_is(Header::Network, OPTION.offset - 2, &option);
    exprs.iifname_and_parts_in(Map::Options6.name(), &[OPTION])
}

fn solicited6() -> Vec<Exprs> {
    vec![in_form(PLAIN).verdict(Verdict::Accept), with_option(SOURCE_LINK).verdict(Verdict::Accept), drop()]
}

fn advertised6() -> Vec<Exprs> {
    let own = |exprs: Exprs| exprs.iifname_and_parts_in(Map::Targets6.name(), &[TARGET]);
    vec![
        own(in_form(PLAIN)).verdict(Verdict::Accept),
        own(with_option(TARGET_LINK)).verdict(Verdict::Accept),
        drop(),
    ]
}

/// What a pod may send under.
pub(super) fn elements(lease: &Lease) -> Vec<Element> {
    let name = link::host_name(lease.address4);
    let mac = link::mac(lease.address4);
    let key = |parts: &[&[u8]]| {
        let mut fields = Fields::new();
        for part in std::iter::once(name.as_bytes()).chain(parts.iter().copied()) {
            let end = fields.len() + if fields.is_empty() { 16 } else { part.len().next_multiple_of(4) };
            fields.extend_from_slice(part);
            fields.resize(end, 0);
        }
        fields
    };
    let element = |map, key| Element { map, key, value: None };
    let own6: Vec<_> = lease.address6.into_iter().chain([link_local(lease.address4)]).collect();
    let mut list = vec![
        element(Map::Senders4, key(&[&mac, &lease.address4.octets()])),
        element(Map::Senders6, key(&[&mac, &Ipv6Addr::UNSPECIFIED.octets()])),
        element(Map::Options6, key(&[&mac])),
    ];
    for ip in own6 {
        list.push(element(Map::Senders6, key(&[&mac, &ip.octets()])));
        list.push(element(Map::Targets6, key(&[&ip.octets()])));
    }
    list
}

/// The link-local address of the pod with this IPv4 address: of its hardware address (RFC 4291, appendix A).
fn link_local(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = link::mac(address);
    let [g, h] = [[a ^ 2, b], [c, 0xff]].map(u16::from_be_bytes);
    let [i, j] = [[0xfe, d], [e, f]].map(u16::from_be_bytes);
    Ipv6Addr::new(0xfe80, 0, 0, 0, g, h, i, j)
}

#[cfg(test)]
mod tests;
