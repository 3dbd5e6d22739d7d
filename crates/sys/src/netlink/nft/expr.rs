//! Expressions: the instructions of a rule. They load parts of a packet into registers, compare
//! them, and end with a verdict or an action.

use std::net::{IpAddr, SocketAddr};

use super::super::message::Attrs;

/// The first register; 16 bytes wide, and four registers of four bytes at the same time.
const REG: u32 = 1;
/// The first register of four bytes; the next ones follow.
const REG32: u32 = 8;

const META_PROTOCOL: u32 = 1;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const META_IIFGROUP: u32 = 21;
const CT_STATE: u32 = 0;
const CT_STATE_INVALID: u32 = 1;
const CT_STATE_ESTABLISHED_RELATED: u32 = 2 | 4;
const CT_STATUS: u32 = 2;
const CT_STATUS_DNAT: u32 = 0x20;
const UDP: u8 = 17;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const FIB_DADDR: u32 = 2;
const FIB_ADDRTYPE: u32 = 3;
const RTN_LOCAL: u32 = 2;
const VERDICT_JUMP: u32 = 0xffff_fffd;
pub(super) const VERDICT_GOTO: u32 = 0xffff_fffc;

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Equal.
    Eq = 0,
    /// Not equal.
    Neq = 1,
}

/// The verdict on a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is dropped.
    Drop = 0,
    /// It goes on.
    Accept = 1,
}

/// Which address of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// A header that parts of a packet are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Ethernet.
    Link = 0,
    /// IPv4, IPv6 or ARP.
    Network = 1,
    /// TCP, UDP, ICMPv6 and the like, behind all extension headers. Later fragments have none.
    Transport = 2,
}

/// Some bytes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The header.
    pub header: Header,
    /// Where in it, in bytes.
    pub offset: u32,
    /// How many bytes, at most 16.
    pub len: u32,
}

/// The expressions of one rule, in order.
#[derive(Debug, Clone, Default)]
pub struct Exprs(Attrs);

impl Exprs {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn list(&self) -> &Attrs {
        &self.0
    }

    fn add(self, name: &str, data: &Attrs) -> Self {
        Self(self.0.nest(1, &Attrs::new().text(1, name).nest(2, data)))
    }

    fn meta(self, key: u32, register: u32) -> Self {
        self.add("meta", &Attrs::new().be32(2, key).be32(1, register))
    }

    fn payload(self, base: u32, offset: u32, len: u32, register: u32) -> Self {
        self.add("payload", &Attrs::new().be32(1, register).be32(2, base).be32(3, offset).be32(4, len))
    }

    fn cmp(self, op: Op, value: &[u8]) -> Self {
        let value = Attrs::new().put(1, value);
        self.add("cmp", &Attrs::new().be32(1, REG).be32(2, op as u32).nest(3, &value))
    }

    fn mask(self, mask: &[u8]) -> Self {
        let len = u32::try_from(mask.len()).expect("at most 16");
        let data = Attrs::new()
            .be32(1, REG)
            .be32(2, REG)
            .be32(3, len)
            .nest(4, &Attrs::new().put(1, mask))
            .nest(5, &Attrs::new().put(1, &vec![0; mask.len()]));
        self.add("bitwise", &data)
    }

    fn interface(self, key: u32, op: Op, name: &str) -> Self {
        let mut padded = [0; 16];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        self.meta(key, REG).cmp(op, &padded)
    }

    /// The packet came in by this interface, or by another one.
    ///
    /// # Panics
    /// When the name is longer than 16 bytes, as no interface's is.
    #[must_use]
    pub fn iifname(self, op: Op, name: &str) -> Self {
        self.interface(META_IIFNAME, op, name)
    }

    /// The packet came in by an interface of this group, or of another one.
    #[must_use]
    pub fn iifgroup(self, op: Op, group: u32) -> Self {
        self.meta(META_IIFGROUP, REG).cmp(op, &group.to_ne_bytes())
    }

    /// The packet is of this protocol, as Ethernet numbers them.
    #[must_use]
    pub fn ether_type(self, number: u16) -> Self {
        self.meta(META_PROTOCOL, REG).cmp(Op::Eq, &number.to_be_bytes())
    }

    /// The packet is of this transport protocol, or of another one. No packet matches whose extension headers
    /// are damaged.
    #[must_use]
    pub fn transport(self, op: Op, number: u8) -> Self {
        self.meta(META_L4PROTO, REG).cmp(op, &[number])
    }

    /// Some bytes of the packet are these. A packet that does not have them does not match.
    #[must_use]
    pub fn part_is(self, header: Header, offset: u32, bytes: &[u8]) -> Self {
        let len = u32::try_from(bytes.len()).expect("at most 16");
        self.payload(header as u32, offset, len, REG).cmp(Op::Eq, bytes)
    }

    /// `set` has the name of the interface that the packet came in by together with these parts of the packet.
    #[must_use]
    pub fn iifname_and_parts_in(self, set: &str, parts: &[Part]) -> Self {
        let mut exprs = self.meta(META_IIFNAME, REG);
        let mut register = REG32 + 4;
        for part in parts {
            exprs = exprs.payload(part.header as u32, part.offset, part.len, register);
            register += part.len.div_ceil(4);
        }
        exprs.add("lookup", &Attrs::new().text(1, set).be32(2, REG))
    }

    /// The packet goes out by this interface, or by another one.
    ///
    /// # Panics
    /// When the name is longer than 16 bytes, as no interface's is.
    #[must_use]
    pub fn oifname(self, op: Op, name: &str) -> Self {
        self.interface(META_OIFNAME, op, name)
    }

    /// As [`Exprs::iifname`] in the exact form in which iptables-nft writes `-i NAME`.
    #[must_use]
    pub fn iptables_in(self, name: &str) -> Self {
        self.meta(META_IIFNAME, REG).cmp(Op::Eq, &terminated(name))
    }

    /// The packet goes out by this interface, in the exact form in which iptables-nft writes `-o NAME`.
    #[must_use]
    pub fn iptables_out(self, name: &str) -> Self {
        self.meta(META_OIFNAME, REG).cmp(Op::Eq, &terminated(name))
    }

    /// The packet is of the family of `ip`.
    #[must_use]
    pub fn family_of(self, ip: IpAddr) -> Self {
        let family = if ip.is_ipv4() { 2 } else { 10 };
        self.meta(META_NFPROTO, REG).cmp(Op::Eq, &[family])
    }

    /// An address of the packet is in the block `ip`/`prefix`.
    #[must_use]
    pub fn address(self, which: Address, ip: IpAddr, prefix: u8) -> Self {
        let (bytes, offset) = match (ip, which) {
            (IpAddr::V4(ip), Address::Source) => (ip.octets().to_vec(), 12),
            (IpAddr::V4(ip), Address::Destination) => (ip.octets().to_vec(), 16),
            (IpAddr::V6(ip), Address::Source) => (ip.octets().to_vec(), 8),
            (IpAddr::V6(ip), Address::Destination) => (ip.octets().to_vec(), 24),
        };
        let len = u32::try_from(bytes.len()).expect("at most 16");
        let mut exprs = self.family_of(ip).payload(NETWORK_HEADER, offset, len, REG);
        if usize::from(prefix) < bytes.len() * 8 {
            exprs = exprs.mask(&mask_of(bytes.len(), prefix));
        }
        exprs.cmp(Op::Eq, &bytes)
    }

    /// The destination of the packet is an address of this host.
    #[must_use]
    pub fn to_this_host(self) -> Self {
        let data = Attrs::new().be32(3, FIB_DADDR).be32(2, FIB_ADDRTYPE).be32(1, REG);
        self.add("fib", &data).cmp(Op::Eq, &RTN_LOCAL.to_ne_bytes())
    }

    fn connection(self, key: u32, bits: u32) -> Self {
        self.connection_bits(key, bits, Op::Neq)
    }

    fn connection_bits(self, key: u32, bits: u32, op: Op) -> Self {
        let exprs = self.add("ct", &Attrs::new().be32(2, key).be32(1, REG));
        exprs.mask(&bits.to_ne_bytes()).cmp(op, &[0; 4])
    }

    /// The destination of the connection was translated.
    #[must_use]
    pub fn destination_translated(self) -> Self {
        self.connection(CT_STATUS, CT_STATUS_DNAT)
    }

    /// The packet begins a connection, or belongs to none, and its destination was not translated.
    #[must_use]
    pub fn unasked(self) -> Self {
        let exprs = self.connection_bits(CT_STATE, CT_STATE_ESTABLISHED_RELATED, Op::Eq);
        exprs.connection_bits(CT_STATUS, CT_STATUS_DNAT, Op::Eq)
    }

    /// The packet belongs to no connection and cannot begin one. No address of it is translated.
    #[must_use]
    pub fn no_connection(self) -> Self {
        self.connection(CT_STATE, CT_STATE_INVALID)
    }

    /// The packet is of UDP, and `set` has its destination port.
    #[must_use]
    pub fn udp_port_in(self, set: &str) -> Self {
        let exprs = self.meta(META_L4PROTO, REG).cmp(Op::Eq, &[UDP]).payload(TRANSPORT_HEADER, 2, 2, REG);
        exprs.add("lookup", &Attrs::new().text(1, set).be32(2, REG))
    }

    /// Refuses the packet; its sender is told that nothing uses the port.
    #[must_use]
    pub fn refuse_port(self) -> Self {
        const ICMPX_UNREACHABLE: u32 = 2;
        const PORT: u8 = 1;
        self.add("reject", &Attrs::new().be32(1, ICMPX_UNREACHABLE).put(2, &[PORT]))
    }

    /// Refuses a packet of TCP by a reset: a process of this host that is about to connect does not take an error for an answer.
    #[must_use]
    pub fn reset(self) -> Self {
        const TCP: u8 = 6;
        const TCP_RESET: u32 = 1;
        self.transport(Op::Eq, TCP).add("reject", &Attrs::new().be32(1, TCP_RESET).put(2, &[0]))
    }

    /// Translates the destination to what `map` has for (protocol, port), or for (destination
    /// address, protocol, port) with `by_address`; goes on with the next rule when it has nothing.
    /// `v6` says for which family; packets of the other one go on, too.
    #[must_use]
    pub fn dnat_by_map(self, map: &str, v6: bool, by_address: bool) -> Self {
        let (family, address) = if v6 { (10, 16) } else { (2, 4) };
        let mut exprs = self.meta(META_NFPROTO, REG).cmp(Op::Eq, &[family]);
        let mut register = REG32;
        if by_address {
            let offset = if v6 { 24 } else { 16 };
            exprs = exprs.payload(NETWORK_HEADER, offset, address, REG);
            register += address / 4;
        }
        // The first four bytes of register 1 are the first register of four bytes.
        exprs = exprs.meta(META_L4PROTO, if by_address { register } else { REG });
        exprs = exprs.payload(TRANSPORT_HEADER, 2, 2, register + 1);
        let lookup = Attrs::new().text(1, map).be32(2, REG).be32(3, REG);
        let port = REG32 + address / 4;
        let nat = Attrs::new().be32(1, 1).be32(2, u32::from(family)).be32(3, REG).be32(5, port);
        exprs.add("lookup", &lookup).add("nat", &nat)
    }

    /// The packet is one of `of`, at random. The last of several rules in a row has a chance of one in one, the one before of one in
    /// two.
    #[must_use]
    pub fn chance(self, of: u32) -> Self {
        const RANDOM: u32 = 1;
        let exprs = self.add("numgen", &Attrs::new().be32(1, REG).be32(2, of).be32(3, RANDOM));
        exprs.cmp(Op::Eq, &[0; 4])
    }

    /// Translates the destination of a packet of this transport protocol and of the address's family.
    #[must_use]
    pub fn dnat_to(self, to: SocketAddr) -> Self {
        const ADDRESS: u32 = 1;
        const PORT: u32 = 2;
        let (family, bytes) = match to.ip() {
            IpAddr::V4(ip) => (2, ip.octets().to_vec()),
            IpAddr::V6(ip) => (10, ip.octets().to_vec()),
        };
        let load =
            |register: u32, bytes: &[u8]| Attrs::new().be32(1, register).nest(2, &Attrs::new().put(1, bytes));
        let nat = Attrs::new().be32(1, 1).be32(2, family).be32(3, ADDRESS).be32(5, PORT);
        let exprs = self.add("immediate", &load(ADDRESS, &bytes));
        exprs.add("immediate", &load(PORT, &to.port().to_be_bytes())).add("nat", &nat)
    }

    /// Goes where `map` leads for (protocol, port), or for (destination address, protocol, port) where a family is given.
    #[must_use]
    pub fn verdict_by_map(self, map: &str, v6: Option<bool>) -> Self {
        const VERDICT: u32 = 0;
        let (mut exprs, mut register) = (self, REG32);
        if let Some(v6) = v6 {
            let (family, offset, address) = if v6 { (10, 24, 16) } else { (2, 16, 4) };
            exprs = exprs.meta(META_NFPROTO, REG).cmp(Op::Eq, &[family]);
            exprs = exprs.payload(NETWORK_HEADER, offset, address, REG);
            register += address / 4;
        }
        exprs = exprs.meta(META_L4PROTO, if register == REG32 { REG } else { register });
        exprs = exprs.payload(TRANSPORT_HEADER, 2, 2, register + 1);
        exprs.add("lookup", &Attrs::new().text(1, map).be32(2, REG).be32(3, VERDICT))
    }

    /// Gives the packet the address of the interface it leaves by.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.add("masq", &Attrs::new())
    }

    /// Jumps to another chain, which returns.
    #[must_use]
    pub fn jump(self, chain: &str) -> Self {
        self.immediate(&Attrs::new().be32(1, VERDICT_JUMP).text(2, chain))
    }

    /// Goes to another chain, which does not return.
    #[must_use]
    pub fn goto(self, chain: &str) -> Self {
        self.immediate(&Attrs::new().be32(1, VERDICT_GOTO).text(2, chain))
    }

    /// Ends with a verdict.
    #[must_use]
    pub fn verdict(self, verdict: Verdict) -> Self {
        self.immediate(&Attrs::new().be32(1, verdict as u32))
    }

    fn immediate(self, verdict: &Attrs) -> Self {
        self.add("immediate", &Attrs::new().be32(1, 0).nest(2, &Attrs::new().nest(2, verdict)))
    }

    /// Counts packets and bytes, as each rule of iptables does.
    #[must_use]
    pub fn counter(self) -> Self {
        self.add("counter", &Attrs::new().put(1, &[0; 8]).put(2, &[0; 8]))
    }

    /// The connection is established or related to one that is, or its destination was translated:
    /// `-m conntrack --ctstate RELATED,ESTABLISHED,DNAT` as iptables-nft writes it, which is the
    /// only form that iptables-nft can read.
    #[must_use]
    pub fn iptables_known_connection(self) -> Self {
        // struct xt_conntrack_mtinfo3: eight addresses, the life time, seven numbers of 16 bits,
        // then the flags (1: state), no inversion, the mask of states, and what is not used here.
        const STATE: u16 = 1;
        const ESTABLISHED_RELATED_DNAT: u16 = 1 << 1 | 1 << 2 | 1 << 7;
        let mut info = [0; 168];
        info[146..148].copy_from_slice(&STATE.to_ne_bytes());
        info[150..152].copy_from_slice(&ESTABLISHED_RELATED_DNAT.to_ne_bytes());
        self.add("match", &Attrs::new().text(1, "conntrack").be32(2, 3).put(3, &info))
    }
}

fn terminated(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn mask_of(len: usize, prefix: u8) -> Vec<u8> {
    let byte = |i: usize| {
        let bits = usize::from(prefix).saturating_sub(i * 8).min(8);
        u8::try_from(0xff00_u16 >> bits & 0xff).expect("masked to a byte")
    };
    (0..len).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_as_many_bits_as_the_prefix() {
        assert_eq!(mask_of(4, 0), [0, 0, 0, 0]);
        assert_eq!(mask_of(4, 16), [255, 255, 0, 0]);
        assert_eq!(mask_of(4, 20), [255, 255, 0xf0, 0]);
        assert_eq!(mask_of(4, 32), [255; 4]);
    }
}
