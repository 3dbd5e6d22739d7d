//! The names of services, and what is said of them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::message::kind;
use crate::name::Name;
use crate::server::Block;

/// For how many seconds an answer holds: pods come and go.
pub const TTL: u32 = 5;

/// What is said of a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// Its IPv4 address.
    A(Ipv4Addr),
    /// Its IPv6 address.
    Aaaa(Ipv6Addr),
    /// The name that it stands for.
    Cname(Name),
    /// A port, and whose.
    Srv(u16, Name),
    /// The name of an address.
    Ptr(Name),
    /// Its name server.
    Ns(Name),
    /// It is where a zone begins.
    Soa,
}

impl Data {
    /// An address of either family.
    pub fn address(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::A(ip),
            IpAddr::V6(ip) => Self::Aaaa(ip),
        }
    }

    /// The type of its record.
    pub fn kind(&self) -> u16 {
        match self {
            Self::A(_) => kind::A,
            Self::Aaaa(_) => kind::AAAA,
            Self::Cname(_) => kind::CNAME,
            Self::Srv(..) => kind::SRV,
            Self::Ptr(_) => kind::PTR,
            Self::Ns(_) => kind::NS,
            Self::Soa => kind::SOA,
        }
    }
}

/// Everything that is known, of one moment.
#[derive(Debug, Clone)]
pub struct Zone {
    domain: Name,
    /// Whose addresses have names here or none.
    blocks: Vec<Block>,
    names: BTreeMap<Name, Vec<Data>>,
    /// Names that have others below them.
    above: BTreeSet<Name>,
}

/// What is known of a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// It is of another zone: others know.
    Elsewhere,
    /// This.
    Records(Vec<&'a Data>),
    /// It stands for another name.
    Alias(&'a Name),
    /// There is such a name, but nothing of that type.
    Nothing,
    /// There is no such name.
    NoName,
}

impl Zone {
    /// A zone of this domain with nothing in it, whose server has these addresses. The names of addresses of `blocks` are known
    /// here alone.
    pub fn new(domain: &Name, server: &[IpAddr], blocks: Vec<Block>) -> Self {
        let (names, above) = (BTreeMap::new(), BTreeSet::new());
        let mut zone = Self { domain: domain.clone(), blocks, names, above };
        let host = Self::server(domain);
        zone.add(domain.clone(), Data::Soa);
        zone.add(domain.clone(), Data::Ns(host.clone()));
        for address in server {
            zone.add(host.clone(), Data::address(*address));
        }
        zone
    }

    fn server(domain: &Name) -> Name {
        let host = [b"\x02ns\x03dns", domain.bytes()].concat();
        Name::read(&host, 0, false).map_or_else(|_| domain.clone(), |(name, _)| name)
    }

    /// Adds what is said of a name; the same twice is once.
    pub fn add(&mut self, name: Name, data: Data) {
        let mut above = name.parent();
        while let Some(parent) = above.filter(|parent| parent.is_within(&self.domain)) {
            above = parent.parent();
            self.above.insert(parent);
        }
        let known = self.names.entry(name).or_default();
        if !known.contains(&data) {
            known.push(data);
        }
    }

    /// The domain.
    pub fn domain(&self) -> &Name {
        &self.domain
    }

    /// The data of its SOA record (RFC 1035): negative answers hold as long as others.
    pub fn soa(&self) -> Vec<u8> {
        let mut data = Self::server(&self.domain).bytes().to_vec();
        data.extend_from_slice(b"\x0ahostmaster");
        data.extend_from_slice(self.domain.bytes());
        // Nobody transfers it: the serial means nothing.
        for number in [1, 7200, 1800, 86_400, TTL] {
            data.extend_from_slice(&number.to_be_bytes());
        }
        data
    }

    /// What is known of a name.
    pub fn find(&self, name: &Name, wanted: u16) -> Found<'_> {
        let ours = name.is_within(&self.domain)
            || name.address().is_some_and(|ip| self.blocks.iter().any(|block| block.contains(ip)));
        let Some(known) = self.names.get(name) else {
            return match ours {
                false => Found::Elsewhere,
                true if self.above.contains(name) => Found::Nothing,
                true => Found::NoName,
            };
        };
        let alias = known.iter().find_map(|data| match data {
            Data::Cname(target) => Some(target),
            _ => None,
        });
        let of_kind = |data: &&Data| wanted == kind::ANY || data.kind() == wanted;
        let found: Vec<_> = known.iter().filter(of_kind).collect();
        match (alias, found.is_empty()) {
            (_, false) => Found::Records(found),
            (Some(target), true) => Found::Alias(target),
            (None, true) => Found::Nothing,
        }
    }

    /// The addresses of a name of this zone.
    pub fn addresses(&self, name: &Name) -> impl Iterator<Item = &Data> {
        let known = self.names.get(name).into_iter().flatten();
        known.filter(|data| matches!(data, Data::A(_) | Data::Aaaa(_)))
    }
}

/// The data of a record as it is on the wire.
pub fn encode(zone: &Zone, data: &Data) -> Vec<u8> {
    match data {
        Data::A(ip) => ip.octets().to_vec(),
        Data::Aaaa(ip) => ip.octets().to_vec(),
        Data::Cname(name) | Data::Ptr(name) | Data::Ns(name) => name.bytes().to_vec(),
        Data::Srv(port, target) => {
            // No priority, and the same weight for all.
            let mut bytes = vec![0, 0, 0, 100];
            bytes.extend_from_slice(&port.to_be_bytes());
            bytes.extend_from_slice(target.bytes());
            bytes
        }
        Data::Soa => zone.soa(),
    }
}

#[cfg(test)]
mod tests;
