//! nf_tables: tables, chains, maps and rules, changed in transactions.
//!
//! A [`Batch`] takes effect as a whole or not at all. The rule set has a generation number that
//! counts every change by any process; a batch can be bound to the generation it was made for.

mod expr;
mod userdata;

use rustix::io::Errno;

use super::message::{ACK, APPEND, Attrs, CREATE, DUMP, Message, Reply};
use super::{NetlinkError, Socket};

pub use expr::{Address, Exprs, Header, Op, Part, Verdict};

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const SUBSYSTEM: u16 = 10;

const NEWTABLE: u16 = SUBSYSTEM << 8;
const GETTABLE: u16 = NEWTABLE | 1;
const DELTABLE: u16 = NEWTABLE | 2;
const NEWCHAIN: u16 = NEWTABLE | 3;
const GETCHAIN: u16 = NEWTABLE | 4;
const NEWRULE: u16 = NEWTABLE | 6;
const GETRULE: u16 = NEWTABLE | 7;
const DELRULE: u16 = NEWTABLE | 8;
const NEWSET: u16 = NEWTABLE | 9;
const NEWSETELEM: u16 = NEWTABLE | 12;
const DELSETELEM: u16 = NEWTABLE | 14;
const NEWGEN: u16 = NEWTABLE | 15;
const GETGEN: u16 = NEWTABLE | 16;

const BATCH_GENID: u16 = 1;
const GEN_ID: u16 = 1;

/// Elements in one message: their list must fit in an attribute of 64 KiB.
const ELEMENTS: usize = 500;

/// The families of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4 and IPv6 together.
    Inet = 1,
    /// IPv4.
    Ip = 2,
    /// Frames that a bridge forwards or takes in.
    Bridge = 7,
    /// IPv6.
    Ip6 = 10,
}

/// Where a base chain hooks in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before the routing decision.
    Prerouting = 0,
    /// Packets to the host itself.
    Input = 1,
    /// On the way through the host.
    Forward = 2,
    /// Packets of the host itself.
    Output = 3,
    /// On the way out.
    Postrouting = 4,
}

/// The type of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainType {
    /// Lets packets through or not.
    Filter,
    /// Sees the first packet of a connection, and may translate its addresses.
    Nat,
}

/// The data types of map fields, numbered as nft(8) does so that it can print them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// An IPv4 address.
    Ipv4 = 7,
    /// An IPv6 address.
    Ipv6 = 8,
    /// A hardware address of Ethernet.
    Ether = 9,
    /// A transport protocol.
    Protocol = 12,
    /// A port.
    Port = 13,
    /// The name of an interface.
    Interface = 41,
}

impl Type {
    /// Bytes of a field, as registers hold it.
    const fn len(self) -> u32 {
        match self {
            Self::Ipv6 | Self::Interface => 16,
            Self::Ether => 8,
            Self::Ipv4 | Self::Protocol | Self::Port => 4,
        }
    }
}

/// A key or a value of a map or set: fields, each padded to four bytes when there are several.
pub type Fields = Vec<u8>;

fn kind(types: &[Type]) -> u32 {
    types.iter().fold(0, |id, t| id << 6 | *t as u32)
}

/// The type of fields that have no other, as nft(8) numbers it.
const INTEGER: u32 = 4;

/// Bytes of a key or value: a single field is not padded.
fn len(types: &[Type]) -> u32 {
    match types {
        [Type::Port] => 2,
        [Type::Protocol] => 1,
        _ => types.iter().map(|t| t.len()).sum(),
    }
}

fn fixed(family: Family, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family as u8, 0, high, low]
}

fn batch_edge(what: &'static str, kind: u16, attrs: Attrs) -> Message {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    Message::new(what, kind, 0, &[0, 0, high, low], attrs)
}

/// Changes that take effect together.
#[derive(Debug, Clone)]
pub struct Batch {
    messages: Vec<Message>,
    sets: u32,
    rules: usize,
}

impl Batch {
    /// An empty batch. With a generation it is refused (see [`is_outdated`]) when the rule set is
    /// of another generation by then.
    pub fn new(generation: Option<u32>) -> Self {
        let attrs = generation.map(|id| Attrs::new().be32(BATCH_GENID, id)).unwrap_or_default();
        Self { messages: vec![batch_edge("change the rule set", BATCH_BEGIN, attrs)], sets: 0, rules: 0 }
    }

    fn push(&mut self, what: &'static str, kind: u16, flags: u16, family: Family, attrs: Attrs) {
        self.messages.push(Message::new(what, kind, ACK | flags, &fixed(family, 0), attrs));
    }

    /// Makes a table, unless there is one.
    pub fn add_table(&mut self, family: Family, table: &str) {
        let attrs = Attrs::new().text(1, table).be32(2, 0);
        self.push("create the nftables table", NEWTABLE, CREATE, family, attrs);
    }

    /// Removes a table and all that is in it.
    pub fn delete_table(&mut self, family: Family, table: &str) {
        self.push("delete the nftables table", DELTABLE, 0, family, Attrs::new().text(1, table));
    }

    /// Makes a chain that rules can jump to.
    pub fn add_chain(&mut self, family: Family, table: &str, chain: &str) {
        self.push("create the chain", NEWCHAIN, CREATE, family, Attrs::new().text(1, table).text(3, chain));
    }

    /// Makes a chain that packets come to by themselves, lowest priority first; it accepts what no
    /// rule decides on.
    pub fn add_base_chain(
        &mut self,
        (family, table, chain): (Family, &str, &str),
        kind: ChainType,
        hook: Hook,
        priority: i32,
    ) {
        let hook = Attrs::new().be32(1, hook as u32).put(2, &priority.to_be_bytes());
        let kind = match kind {
            ChainType::Filter => "filter",
            ChainType::Nat => "nat",
        };
        let attrs =
            Attrs::new().text(1, table).text(3, chain).nest(4, &hook).be32(5, 1 /* accept */).text(7, kind);
        self.push("create the base chain", NEWCHAIN, CREATE, family, attrs);
    }

    /// Makes a map from the fields `key` to the fields `value`.
    pub fn add_map(&mut self, family: Family, table: &str, map: &str, key: &[Type], value: &[Type]) {
        const MAP: u32 = 0x8;
        let attrs =
            self.new_set(table, map, MAP, (kind(key), len(key))).be32(6, kind(value)).be32(7, len(value));
        self.push("create the map", NEWSET, CREATE, family, attrs);
    }

    /// Makes a map from the fields `key` to chains.
    pub fn add_verdict_map(&mut self, family: Family, table: &str, map: &str, key: &[Type]) {
        const MAP: u32 = 0x8;
        const VERDICT: u32 = 0xffff_ff00;
        let attrs = self.new_set(table, map, MAP, (kind(key), len(key))).be32(6, VERDICT);
        self.push("create the map", NEWSET, CREATE, family, attrs);
    }

    /// Makes a set of the fields `key`.
    pub fn add_set(&mut self, family: Family, table: &str, set: &str, key: &[Type]) {
        let attrs = self.new_set(table, set, 0, (kind(key), len(key)));
        self.push("create the set", NEWSET, CREATE, family, attrs);
    }

    /// Makes a set of names of interfaces together with some bytes of a packet, for which nft(8) has no type.
    pub fn add_set_of_part(&mut self, family: Family, table: &str, set: &str, part: Part) {
        let len = Type::Interface.len() + part.len.next_multiple_of(4);
        let kind = (Type::Interface as u32) << 6 | INTEGER;
        let attrs = self.new_set(table, set, 0, (kind, len)).put(13, &userdata::iifname_and(part));
        self.push("create the set", NEWSET, CREATE, family, attrs);
    }

    fn new_set(&mut self, table: &str, name: &str, flags: u32, (kind, len): (u32, u32)) -> Attrs {
        self.sets += 1;
        let attrs = Attrs::new().text(1, table).text(2, name).be32(3, flags);
        attrs.be32(4, kind).be32(5, len).be32(10, self.sets)
    }

    fn elements(
        &mut self,
        (what, kind, flags): (&'static str, u16, u16),
        (family, table, map): (Family, &str, &str),
        elements: &[(Fields, Option<Fields>)],
    ) {
        for part in elements.chunks(ELEMENTS) {
            let list = part.iter().fold(Attrs::new(), |list, (key, value)| {
                let mut element = Attrs::new().nest(1, &Attrs::new().put(1, key));
                if let Some(value) = value {
                    element = element.nest(2, &Attrs::new().put(1, value));
                }
                list.nest(1, &element)
            });
            self.push(what, kind, flags, family, Attrs::new().text(1, table).text(2, map).nest(3, &list));
        }
    }

    /// Adds elements to a map, or to a set, which has no values.
    pub fn add_elements(&mut self, map: (Family, &str, &str), elements: &[(Fields, Option<Fields>)]) {
        self.elements(("add elements to a set", NEWSETELEM, CREATE), map, elements);
    }

    /// Adds elements to a map to chains, which packets then go to.
    pub fn add_verdicts(
        &mut self,
        (family, table, map): (Family, &str, &str),
        elements: &[(Fields, String)],
    ) {
        for part in elements.chunks(ELEMENTS) {
            let list = part.iter().fold(Attrs::new(), |list, (key, chain)| {
                let verdict = Attrs::new().be32(1, expr::VERDICT_GOTO).text(2, chain);
                let element = Attrs::new().nest(1, &Attrs::new().put(1, key));
                list.nest(1, &element.nest(2, &Attrs::new().nest(2, &verdict)))
            });
            let attrs = Attrs::new().text(1, table).text(2, map).nest(3, &list);
            self.push("add elements to a map", NEWSETELEM, CREATE, family, attrs);
        }
    }

    /// Removes elements from a map or a set. A missing one fails the batch.
    pub fn delete_elements(&mut self, map: (Family, &str, &str), keys: Vec<Fields>) {
        let elements: Vec<_> = keys.into_iter().map(|key| (key, None)).collect();
        self.elements(("remove elements of a set", DELSETELEM, 0), map, &elements);
    }

    fn rule(&mut self, (family, table, chain): (Family, &str, &str), exprs: &Exprs, place: u16) {
        self.rules += 1;
        let attrs = Attrs::new().text(1, table).text(2, chain).nest(4, exprs.list());
        self.push("add the rule", NEWRULE, CREATE | place, family, attrs);
    }

    /// Adds a rule at the end of a chain.
    pub fn append_rule(&mut self, chain: (Family, &str, &str), exprs: &Exprs) {
        self.rule(chain, exprs, APPEND);
    }

    /// Adds a rule at the beginning of a chain.
    pub fn insert_rule(&mut self, chain: (Family, &str, &str), exprs: &Exprs) {
        self.rule(chain, exprs, 0);
    }

    /// Removes a rule.
    pub fn delete_rule(&mut self, (family, table, chain): (Family, &str, &str), handle: u64) {
        let attrs = Attrs::new().text(1, table).text(2, chain).put(3, &handle.to_be_bytes());
        self.push("delete the rule", DELRULE, 0, family, attrs);
    }

    /// How many rules it adds.
    pub fn rules(&self) -> usize {
        self.rules
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.messages.len() == 1
    }

    /// Makes the changes.
    pub fn commit(mut self, socket: &mut Socket) -> Result<(), NetlinkError> {
        self.messages.push(batch_edge("change the rule set", BATCH_END, Attrs::new()));
        socket.exchange(self.messages).map(drop)
    }
}

/// Whether a batch failed because the rule set is of another generation.
pub fn is_outdated(error: &NetlinkError) -> bool {
    // The kernel's ERESTART, which no system call returns and rustix has no name for.
    const RESTART: i32 = 85;
    error.errno() == Some(Errno::from_raw_os_error(RESTART))
}

/// Whether something named does not exist.
pub fn is_missing(error: &NetlinkError) -> bool {
    error.errno() == Some(Errno::NOENT)
}

/// The generation of the rule set.
pub fn generation(socket: &mut Socket) -> Result<u32, NetlinkError> {
    const WHAT: &str = "read the generation of the rule set";
    let message = Message::new(WHAT, GETGEN, ACK, &[0; 4], Attrs::new());
    let replies = socket.exchange(vec![message])?;
    let id = |reply: &Reply| reply.attrs(4).get(GEN_ID)?.try_into().ok().map(u32::from_be_bytes);
    replies
        .iter()
        .find(|reply| reply.kind() == NEWGEN)
        .and_then(id)
        .ok_or(NetlinkError::Malformed { what: WHAT })
}

/// The hook of a chain; `None` when there is no such chain or packets do not come to it by themselves.
pub fn chain_hook(
    socket: &mut Socket,
    (family, table, chain): (Family, &str, &str),
) -> Result<Option<u32>, NetlinkError> {
    let attrs = Attrs::new().text(1, table).text(3, chain);
    let message = Message::new("find the chain", GETCHAIN, ACK, &fixed(family, 0), attrs);
    let replies = match socket.exchange(vec![message]) {
        Err(error) if is_missing(&error) => return Ok(None),
        result => result?,
    };
    let hook = |reply: &Reply| {
        let hook = reply.attrs(4).get(4)?;
        super::message::AttrIter::of(hook).get(1)?.try_into().ok().map(u32::from_be_bytes)
    };
    Ok(replies.iter().find(|reply| reply.kind() == NEWCHAIN).and_then(hook))
}

/// The number that the kernel gave a table when it was made; `None` when there is no such table. A
/// table that was removed and made again has another one.
pub fn table_handle(
    socket: &mut Socket,
    (family, table): (Family, &str),
) -> Result<Option<u64>, NetlinkError> {
    const WHAT: &str = "find the nftables table";
    let message = Message::new(WHAT, GETTABLE, ACK, &fixed(family, 0), Attrs::new().text(1, table));
    let replies = match socket.exchange(vec![message]) {
        Err(error) if is_missing(&error) => return Ok(None),
        result => result?,
    };
    let handle = |reply: &Reply| reply.attrs(4).get(4)?.try_into().ok().map(u64::from_be_bytes);
    let found = replies.iter().find(|reply| reply.kind() == NEWTABLE).and_then(handle);
    found.map(Some).ok_or(NetlinkError::Malformed { what: WHAT })
}

/// A rule as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its number in the table.
    pub handle: u64,
    /// Its expressions, encoded.
    pub exprs: Vec<u8>,
}

/// The rules of a chain.
pub fn rules(
    socket: &mut Socket,
    (family, table, chain): (Family, &str, &str),
) -> Result<Vec<Rule>, NetlinkError> {
    list_rules(socket, family, Attrs::new().text(1, table).text(2, chain))
}

/// The rules of all chains of a table.
pub fn rules_of_table(
    socket: &mut Socket,
    (family, table): (Family, &str),
) -> Result<Vec<Rule>, NetlinkError> {
    list_rules(socket, family, Attrs::new().text(1, table))
}

fn list_rules(socket: &mut Socket, family: Family, attrs: Attrs) -> Result<Vec<Rule>, NetlinkError> {
    let replies = match socket.dump(&Message::new("list rules", GETRULE, DUMP, &fixed(family, 0), attrs)) {
        Err(error) if is_missing(&error) => Vec::new(),
        result => result?,
    };
    let read = |reply: &Reply| {
        let attrs = reply.attrs(4);
        let handle = u64::from_be_bytes(attrs.clone().get(3)?.try_into().ok()?);
        Some(Rule { handle, exprs: attrs.get(4).unwrap_or_default().to_vec() })
    };
    Ok(replies.iter().filter(|reply| reply.kind() == NEWRULE).filter_map(read).collect())
}
