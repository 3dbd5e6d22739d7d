//! What the built-in network is told: names and address blocks, given or derived from the name of
//! the instance so that two instances do not meet.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use crate::cidr::{Cidr4, Cidr6};

/// The IPv6 side of the built-in network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6 {
    /// This block where the host has IPv6, no IPv6 where it has not.
    IfAvailable(Cidr6),
    /// No IPv6 addresses for pods.
    Off,
}

/// The configuration of one built-in network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The name of the bridge, at most 15 bytes.
    pub bridge: String,
    /// The block that pods get their IPv4 addresses from; refused when it overlaps a network of
    /// the host. `None`: one of [`Config::candidates`] that overlaps nothing is taken, and kept.
    pub cidr4: Option<Cidr4>,
    /// The IPv6 block.
    pub cidr6: Ipv6,
    /// The block of the virtual addresses of services; refused when it overlaps a network of the host or the pods' block. `None`: one
    /// of [`Config::service_candidates`] that overlaps nothing is taken, and kept.
    pub services4: Option<Cidr4>,
    /// The name of the nftables table (family inet); it belongs to the network alone.
    pub table: String,
    /// The directory that leases are kept in; it belongs to the network alone.
    pub dir: PathBuf,
}

/// The longest name of an interface, in bytes (`IFNAMSIZ` less the final zero).
pub const MAX_INTERFACE_NAME: usize = 15;

impl Config {
    /// The configuration of an instance. `instance` is empty for the first daemon of a machine;
    /// `machine` is the machine's id or any text that differs between machines (for the random
    /// part of the IPv6 block, RFC 4193).
    pub fn for_instance(instance: &str, machine: &str, dir: PathBuf) -> Self {
        let (bridge, table) = if instance.is_empty() {
            ("berth0".to_owned(), "berth".to_owned())
        } else {
            (interface_name(instance), format!("berth-{instance}"))
        };
        let cidr6 = Ipv6::IfAvailable(unique_local(machine, instance));
        Self { bridge, cidr4: None, cidr6, services4: None, table, dir }
    }

    /// The group of interfaces (`ip link show group`) that the pods' ports of the bridge are in, by which the rules
    /// know them: of the table's name, so that two instances do not meet.
    pub fn group(&self) -> u32 {
        let hash = fnv(self.table.as_bytes()) >> 33;
        u32::try_from(hash).expect("31 bits").max(1)
    }

    /// The IPv4 blocks tried in turn when none is given: 64 blocks of 4,093 pods in
    /// 10.208.0.0/14, which docker, podman and the usual cluster networks leave alone, beginning
    /// with the one that the bridge's name points to. Where the host has all of 10.0.0.0/8, as
    /// company networks do, then 64 in 172.28.0.0/14 and 64 in 192.168.0.0/16, the last first.
    pub fn candidates(&self) -> impl Iterator<Item = Cidr4> {
        self.blocks([10, 208, 0, 0], [172, 28, 0, 0], [192, 168, 192, 0])
    }

    /// The IPv4 blocks tried in turn for the addresses of services: beside those of [`Config::candidates`], in the same way.
    pub fn service_candidates(&self) -> impl Iterator<Item = Cidr4> {
        self.blocks([10, 212, 0, 0], [172, 24, 0, 0], [192, 168, 128, 0])
    }

    fn blocks(&self, most: [u8; 4], else_large: [u8; 4], small: [u8; 4]) -> impl Iterator<Item = Cidr4> {
        let first = if self.bridge == "berth0" { 0 } else { fnv(self.bridge.as_bytes()) % 64 };
        let block = |base: [u8; 4], index: u64, bits: u32| {
            let offset = u32::try_from(index % 64).expect("below 64") << bits;
            let base = Ipv4Addr::from_bits(u32::from_be_bytes(base) + offset);
            Cidr4::new(base, u8::try_from(32 - bits).expect("at most 32")).expect("at most 32")
        };
        let large = |base: [u8; 4]| (0..64).map(move |i| block(base, first + i, 12));
        let small = (0..64).map(move |i| block(small, first + 63 - i, 8));
        large(most).chain(large(else_large)).chain(small)
    }
}

/// The name of the bridge of an instance: readable where it fits, else with a hash for an end.
fn interface_name(instance: &str) -> String {
    let name = format!("berth-{instance}");
    if name.len() <= MAX_INTERFACE_NAME && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return name;
    }
    format!("berth-{:08x}", fnv(instance.as_bytes()) >> 32)
}

/// The unique local /64 of an instance (RFC 4193): fd, 40 bits of hash, subnet 0.
fn unique_local(machine: &str, instance: &str) -> Cidr6 {
    let hash = fnv(format!("{machine}/{instance}").as_bytes());
    let bits = (0xfd_u128 << 120) | (u128::from(hash >> 24) << 80);
    Cidr6::new(Ipv6Addr::from_bits(bits), 64).expect("64 is a length")
}

/// FNV-1a, then mixed so that the high bits are as good as the low ones. Stable: names and
/// addresses that outlive a daemon depend on it.
fn fnv(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests;
