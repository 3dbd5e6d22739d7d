//! The firewall tables of the network, as a plan: what is in them, and which elements a pod adds. One is for packets
//! (family inet), of the same name as the one for the bridge's frames ([`senders`]).
//!
//! ```text
//! guard        raw prerouting   packets of pods to or from 127.0.0.0/8 are dropped (route_localnet is on), and those
//!                               that reach the host past the bridge
//! prerouting   nat              to an address of this host but 127.0.0.0/8 -> ports
//! output       nat              the same for connections of the host itself, but not those to ::1
//! ports                         (address, protocol, port) or (protocol, port) -> pod and its port
//! localhost    filter input     UDP to a host port on ::1 is refused, as TCP is (docs/adr/0034)
//! entering     filter forward   from elsewhere to pods: published ports and answers alone
//! leaving      filter forward   packets whose addresses cannot be translated do not leave
//! postrouting  nat              pods to elsewhere; host ports used from pods and from 127.0.0.1
//! ```
//! The rules are the same for any number of pods. See docs/adr/0032.

mod senders;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use berth_sys::netlink::nft::{Address, Batch, ChainType, Exprs, Family, Fields, Hook, Op, Type, Verdict};

use super::Lease;
use crate::cidr::{Cidr4, Cidr6};
use crate::port::{PortMapping, Protocol, Scope};

const RAW: i32 = -300;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;

/// The addresses that never leave a host, with eight bits.
const LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 0);

/// A map from host ports to pods; `Udp6` is the set of those UDP ports that ::1 has, too. The last four are the sets
/// of what pods may send under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Map {
    Any4,
    One4,
    Any6,
    One6,
    Udp6,
    Senders4,
    Senders6,
    Targets6,
    Options6,
}

impl Map {
    pub(super) const ALL: [Self; 9] = [
        Self::Any4,
        Self::One4,
        Self::Any6,
        Self::One6,
        Self::Udp6,
        Self::Senders4,
        Self::Senders6,
        Self::Targets6,
        Self::Options6,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Any4 => "ports4",
            Self::One4 => "address-ports4",
            Self::Any6 => "ports6",
            Self::One6 => "address-ports6",
            Self::Udp6 => "udp-ports6",
            Self::Senders4 => "senders4",
            Self::Senders6 => "senders6",
            Self::Targets6 => "targets6",
            Self::Options6 => "options6",
        }
    }

    fn family(self) -> Family {
        match self {
            Self::Any4 | Self::One4 | Self::Any6 | Self::One6 | Self::Udp6 => Family::Inet,
            Self::Senders4 | Self::Senders6 | Self::Targets6 | Self::Options6 => Family::Bridge,
        }
    }

    fn is_v6(self) -> bool {
        matches!(
            self,
            Self::Any6 | Self::One6 | Self::Udp6 | Self::Senders6 | Self::Targets6 | Self::Options6
        )
    }

    fn has_address(self) -> bool {
        matches!(self, Self::One4 | Self::One6)
    }
}

/// What the table depends on.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) table: String,
    pub(super) bridge: String,
    pub(super) cidr4: Cidr4,
    pub(super) cidr6: Option<Cidr6>,
    /// The group of interfaces that the pods' ports of the bridge are in.
    pub(super) group: u32,
    pub(super) senders: Senders,
}

/// Whether pods are held to their own addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Senders {
    Bound,
    /// The kernel has no rules for bridges.
    Unbound,
}

impl Plan {
    /// Makes the table again, with the ports of `leases`, whatever was there.
    pub(super) fn build<'a>(&self, batch: &mut Batch, leases: impl Iterator<Item = &'a Lease>) {
        let table = self.table.as_str();
        // Adding first makes the deletion succeed in any case.
        batch.add_table(Family::Inet, table);
        batch.delete_table(Family::Inet, table);
        batch.add_table(Family::Inet, table);
        self.add_maps(batch);
        if self.senders == Senders::Bound {
            batch.add_table(Family::Bridge, table);
            batch.delete_table(Family::Bridge, table);
            batch.add_table(Family::Bridge, table);
            senders::add_sets(self, batch);
        }
        self.add_elements(batch, leases.flat_map(|lease| self.elements(lease)).collect());
        self.add_guard(batch);
        self.add_ports(batch);
        self.add_localhost(batch);
        self.add_entering(batch);
        self.add_leaving(batch);
        self.add_postrouting(batch);
        if self.senders == Senders::Bound {
            senders::add_chains(self, batch);
        }
    }

    /// The tables that [`Plan::build`] makes.
    pub(super) fn tables(&self) -> Vec<(Family, &str)> {
        let bridge = (self.senders == Senders::Bound).then_some((Family::Bridge, self.table.as_str()));
        std::iter::once((Family::Inet, self.table.as_str())).chain(bridge).collect()
    }

    /// Whether the table of packets has it.
    fn has(&self, map: Map) -> bool {
        map.family() == Family::Inet && (!map.is_v6() || self.cidr6.is_some())
    }

    fn chain<'a>(&'a self, name: &'a str) -> (Family, &'a str, &'a str) {
        (Family::Inet, self.table.as_str(), name)
    }

    fn add_maps(&self, batch: &mut Batch) {
        for map in Map::ALL.into_iter().filter(|map| self.has(*map)) {
            if map == Map::Udp6 {
                batch.add_set(Family::Inet, &self.table, map.name(), &[Type::Port]);
                continue;
            }
            let address = if map.is_v6() { Type::Ipv6 } else { Type::Ipv4 };
            let key = [address, Type::Protocol, Type::Port];
            let key = if map.has_address() { &key[..] } else { &key[1..] };
            batch.add_map(Family::Inet, &self.table, map.name(), key, &[address, Type::Port]);
        }
    }

    fn add_guard(&self, batch: &mut Batch) {
        let chain = self.chain("guard");
        batch.add_base_chain(chain, ChainType::Filter, Hook::Prerouting, RAW);
        // A bridge hands frames to some addresses that IEEE 802.1D reserves to the port itself, unfiltered.
        let past = Exprs::new().iifgroup(Op::Eq, self.group);
        batch.append_rule(chain, &past.verdict(Verdict::Drop));
        for which in [Address::Destination, Address::Source] {
            let loopback = Exprs::new().iifname(Op::Eq, &self.bridge).address(which, LOOPBACK.into(), 8);
            batch.append_rule(chain, &loopback.verdict(Verdict::Drop));
        }
    }

    fn add_ports(&self, batch: &mut Batch) {
        batch.add_chain(Family::Inet, &self.table, "ports");
        for map in [Map::One4, Map::Any4, Map::One6, Map::Any6].into_iter().filter(|map| self.has(*map)) {
            let exprs = Exprs::new().dnat_by_map(map.name(), map.is_v6(), map.has_address());
            batch.append_rule(self.chain("ports"), &exprs);
        }
        for (name, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
            let chain = self.chain(name);
            batch.add_base_chain(chain, ChainType::Nat, hook, DSTNAT);
            if hook == Hook::Prerouting {
                // From the wire such a packet is forged (moby#45610). Not translated, the kernel drops it.
                let loopback = Exprs::new().address(Address::Destination, LOOPBACK.into(), 8);
                batch.append_rule(chain, &loopback.verdict(Verdict::Accept));
            } else if self.cidr6.is_some() {
                batch.append_rule(chain, &to_localhost6().verdict(Verdict::Accept));
            }
            batch.append_rule(chain, &Exprs::new().to_this_host().jump("ports"));
        }
    }

    /// The socket that holds a UDP port would swallow what is sent to ::1.
    fn add_localhost(&self, batch: &mut Batch) {
        if self.has(Map::Udp6) {
            let chain = self.chain("localhost");
            batch.add_base_chain(chain, ChainType::Filter, Hook::Input, FILTER);
            batch.append_rule(chain, &to_localhost6().udp_port_in(Map::Udp6.name()).refuse_port());
        }
    }

    /// Pods are reached by their published ports alone, also where a machine beside the host has a route to them.
    fn add_entering(&self, batch: &mut Batch) {
        let chain = self.chain("entering");
        batch.add_base_chain(chain, ChainType::Filter, Hook::Forward, FILTER);
        let entering = Exprs::new().iifname(Op::Neq, &self.bridge).oifname(Op::Eq, &self.bridge);
        batch.append_rule(chain, &entering.unasked().verdict(Verdict::Drop));
    }

    /// A packet that belongs to no connection (a late answer, say) passes the translation by, and would
    /// show the pod's address outside.
    fn add_leaving(&self, batch: &mut Batch) {
        let chain = self.chain("leaving");
        batch.add_base_chain(chain, ChainType::Filter, Hook::Forward, FILTER);
        let leaving = Exprs::new().iifname(Op::Eq, &self.bridge).oifname(Op::Neq, &self.bridge);
        batch.append_rule(chain, &leaving.no_connection().verdict(Verdict::Drop));
    }

    fn add_postrouting(&self, batch: &mut Batch) {
        let chain = self.chain("postrouting");
        batch.add_base_chain(chain, ChainType::Nat, Hook::Postrouting, SRCNAT);
        let cidr6 = self.cidr6.map(|cidr| (IpAddr::from(cidr.base()), cidr.prefix()));
        let from = |ip: IpAddr, prefix| Exprs::new().address(Address::Source, ip, prefix);
        for (pods, prefix) in [(self.cidr4.base().into(), self.cidr4.prefix())].into_iter().chain(cidr6) {
            let leaving = from(pods, prefix).oifname(Op::Neq, &self.bridge);
            batch.append_rule(chain, &leaving.masquerade());
            // A pod that uses a host port would get the answer straight from the other pod (or
            // itself) under an address it did not ask.
            let hairpin = from(pods, prefix).oifname(Op::Eq, &self.bridge).destination_translated();
            batch.append_rule(chain, &hairpin.masquerade());
        }
        let local = from(LOOPBACK.into(), 8).oifname(Op::Eq, &self.bridge);
        batch.append_rule(chain, &local.masquerade());
    }

    fn set(&self, map: Map) -> (Family, &str, &str) {
        (map.family(), self.table.as_str(), map.name())
    }

    /// Adds entries, those of one map in one message.
    pub(super) fn add_elements(&self, batch: &mut Batch, mut elements: Vec<Element>) {
        elements.sort();
        for part in elements.chunk_by(|a, b| a.map == b.map) {
            let list: Vec<_> = part.iter().map(|e| (e.key.clone(), e.value.clone())).collect();
            batch.add_elements(self.set(part[0].map), &list);
        }
    }

    /// Removes entries; a missing one fails the batch.
    pub(super) fn delete_elements(&self, batch: &mut Batch, elements: &[Element]) {
        for map in Map::ALL {
            let keys: Vec<_> = elements.iter().filter(|e| e.map == map).map(|e| e.key.clone()).collect();
            if !keys.is_empty() {
                batch.delete_elements(self.set(map), keys);
            }
        }
    }

    /// The entries of a pod: what it may send under, and what its ports need. A pod may have an address of a family that the host
    /// has switched off since.
    pub(super) fn elements(&self, lease: &Lease) -> Vec<Element> {
        let mut list = match self.senders {
            Senders::Bound => senders::elements(lease),
            Senders::Unbound => Vec::new(),
        };
        for port in &lease.ports {
            let to4 = || Some(value(&lease.address4.octets(), port));
            match port.scope4() {
                Scope::None => {}
                Scope::All => list.push(Element { map: Map::Any4, key: key(&[], port), value: to4() }),
                Scope::One(ip) => {
                    list.push(Element { map: Map::One4, key: key(&ip.octets(), port), value: to4() });
                }
            }
            let Some(address6) = lease.address6.filter(|_| self.cidr6.is_some()) else { continue };
            let to6 = || Some(value(&address6.octets(), port));
            match port.scope6() {
                Scope::None => {}
                Scope::All => {
                    list.push(Element { map: Map::Any6, key: key(&[], port), value: to6() });
                    if port.protocol == Protocol::Udp {
                        let key = port.host_port.to_be_bytes().to_vec();
                        list.push(Element { map: Map::Udp6, key, value: None });
                    }
                }
                Scope::One(ip) => {
                    list.push(Element { map: Map::One6, key: key(&ip.octets(), port), value: to6() });
                }
            }
        }
        list
    }
}

fn to_localhost6() -> Exprs {
    Exprs::new().address(Address::Destination, Ipv6Addr::LOCALHOST.into(), 128)
}

/// An entry of a map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Element {
    map: Map,
    key: Fields,
    /// What the key leads to; none in a set.
    value: Option<Fields>,
}

fn key(address: &[u8], port: &PortMapping) -> Fields {
    let mut fields = address.to_vec();
    fields.extend_from_slice(&[port.protocol.number(), 0, 0, 0]);
    push_port(&mut fields, port.host_port);
    fields
}

fn value(address: &[u8], port: &PortMapping) -> Fields {
    let mut fields = address.to_vec();
    push_port(&mut fields, port.container_port);
    fields
}

fn push_port(fields: &mut Fields, port: u16) {
    fields.extend_from_slice(&port.to_be_bytes());
    fields.extend_from_slice(&[0, 0]);
}
