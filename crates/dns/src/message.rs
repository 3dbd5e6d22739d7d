//! Messages: what is asked, and answers to it (RFC 1035, EDNS of RFC 6891). Pure.

use std::ops::Range;

use crate::name::{Name, NameError};

/// The most bytes of a query that are looked at.
pub const MAX_QUERY: usize = 4096;
/// The most bytes of a message by TCP.
pub const MAX_MESSAGE: usize = 65_535;
/// The most bytes of an answer by UDP: what passes every network in one piece (DNS flag day 2020).
pub const MAX_UDP: usize = 1232;
/// The most where the client says nothing.
const PLAIN_UDP: usize = 512;
const HEADER: usize = 12;

/// Types of records.
pub mod kind {
    /// An IPv4 address.
    pub const A: u16 = 1;
    /// A name server.
    pub const NS: u16 = 2;
    /// Another name.
    pub const CNAME: u16 = 5;
    /// The beginning of a zone.
    pub const SOA: u16 = 6;
    /// The name of an address.
    pub const PTR: u16 = 12;
    /// An IPv6 address.
    pub const AAAA: u16 = 28;
    /// A port.
    pub const SRV: u16 = 33;
    /// What EDNS says.
    pub const OPT: u16 = 41;
    /// All of them.
    pub const ANY: u16 = 255;
}

/// The class of the internet, and any class.
const IN: u16 = 1;
const ANY_CLASS: u16 = 255;

/// How an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rcode {
    /// As asked.
    NoError = 0,
    /// The query is malformed.
    FormErr = 1,
    /// Nothing could be found out.
    ServFail = 2,
    /// There is no such name.
    NxDomain = 3,
    /// That is not done here.
    NotImp = 4,
    /// That is not answered here.
    Refused = 5,
}

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Its number, which the answer has too.
    pub id: u16,
    /// Whether others are to be asked.
    pub recursion: bool,
    /// What is asked about.
    pub name: Name,
    /// Which records.
    pub kind: u16,
    /// The bytes of an answer by UDP that the client takes.
    pub udp: usize,
    /// Whether the client speaks EDNS.
    pub edns: bool,
    /// Where the question is in the message.
    question: Range<usize>,
}

/// Why a packet is no query that can be answered as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bad {
    /// It is an answer, or too short to be anything: nothing is said to it.
    Ignore,
    /// This is said to it.
    Refuse {
        /// Its number.
        id: u16,
        /// Its kind and whether recursion is desired, to be repeated.
        bits: u8,
        /// What is said.
        rcode: Rcode,
    },
    /// A version of EDNS that is not known.
    Version(Query),
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

/// A record of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub name: Name,
    /// What it is.
    pub kind: u16,
    /// Its class; the size of packets of an OPT.
    pub class: u16,
    /// For how many seconds it holds; more of an OPT.
    pub ttl: u32,
    /// Where its data is in the message.
    pub data: Range<usize>,
}

fn record(message: &[u8], at: usize) -> Result<(Record, usize), NameError> {
    let (name, at) = Name::read(message, at, true)?;
    let fixed: &[u8; 10] =
        message.get(at..at + 10).and_then(|f| f.try_into().ok()).ok_or(NameError::Short)?;
    let [k0, k1, c0, c1, t0, t1, t2, t3, l0, l1] = *fixed;
    let (start, length) = (at + 10, usize::from(u16::from_be_bytes([l0, l1])));
    let end = start + length;
    if end > message.len() {
        return Err(NameError::Short);
    }
    let record = Record {
        name,
        kind: u16::from_be_bytes([k0, k1]),
        class: u16::from_be_bytes([c0, c1]),
        ttl: u32::from_be_bytes([t0, t1, t2, t3]),
        data: start..end,
    };
    Ok((record, end))
}

/// Reads a query.
pub fn query(message: &[u8]) -> Result<Query, Bad> {
    let (Some(id), Some([high, _, counts @ ..])) =
        (u16_at(message, 0), message.get(2..HEADER).and_then(|h| <&[u8; 10]>::try_from(h).ok()))
    else {
        return Err(Bad::Ignore);
    };
    if high & 0x80 != 0 {
        return Err(Bad::Ignore);
    }
    // Its opcode and whether recursion is desired.
    let bits = high & 0x79;
    let refuse = |rcode| Bad::Refuse { id, bits, rcode };
    if high & 0x78 != 0 {
        return Err(refuse(Rcode::NotImp));
    }
    let count = |i: usize| usize::from(u16::from_be_bytes([counts[i], counts[i + 1]]));
    let malformed = |_| refuse(Rcode::FormErr);
    if count(0) != 1 || message.len() > MAX_QUERY {
        return Err(refuse(Rcode::FormErr));
    }
    // Nothing is before the first name that a pointer could lead to.
    let (name, at) = Name::read(message, HEADER, false).map_err(malformed)?;
    let (Some(kind), Some(class)) = (u16_at(message, at), u16_at(message, at + 2)) else {
        return Err(refuse(Rcode::FormErr));
    };
    let (mut udp, mut edns, mut version) = (PLAIN_UDP, false, 0);
    let mut next = at + 4;
    for _ in 0..count(2) + count(4) + count(6) {
        let (found, end) = record(message, next).map_err(malformed)?;
        next = end;
        if found.kind == kind::OPT {
            if edns || found.name != Name::root() {
                return Err(refuse(Rcode::FormErr));
            }
            edns = true;
            udp = usize::from(found.class).clamp(PLAIN_UDP, MAX_UDP);
            version = found.ttl >> 16 & 0xff;
        }
    }
    if class != IN && class != ANY_CLASS {
        return Err(refuse(Rcode::Refused));
    }
    let query = Query { id, recursion: high & 1 != 0, name, kind, udp, edns, question: HEADER..at + 4 };
    if version == 0 { Ok(query) } else { Err(Bad::Version(query)) }
}

/// The answer to what is no query.
pub fn refusal(id: u16, bits: u8, rcode: Rcode) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..2].copy_from_slice(&id.to_be_bytes());
    bytes[2] = 0x80 | bits;
    bytes[3] = 0x80 | rcode as u8;
    bytes
}

/// An answer in the making.
#[derive(Debug)]
pub struct Answer<'a> {
    query: &'a Query,
    bytes: Vec<u8>,
    /// The most bytes before what EDNS says.
    limit: usize,
    counts: [u16; 3],
    full: bool,
    extended: u8,
}

/// The bytes of what EDNS says.
const OPT: usize = 11;

impl<'a> Answer<'a> {
    /// To this query, which `message` is, of at most `limit` bytes.
    pub fn new(query: &'a Query, message: &[u8], limit: usize) -> Self {
        let mut bytes = refusal(query.id, u8::from(query.recursion), Rcode::NoError);
        bytes[5] = 1;
        bytes.extend_from_slice(&message[query.question.clone()]);
        let limit = limit.min(MAX_MESSAGE) - if query.edns { OPT } else { 0 };
        Self { query, bytes, limit, counts: [0; 3], full: false, extended: 0 }
    }

    /// It is of the one who knows.
    #[must_use]
    pub fn authoritative(mut self) -> Self {
        self.bytes[2] |= 0x04;
        self
    }

    /// How it is.
    #[must_use]
    pub fn rcode(mut self, rcode: Rcode) -> Self {
        self.bytes[3] = self.bytes[3] & 0xf0 | rcode as u8;
        self
    }

    /// That the version of EDNS is not known.
    #[must_use]
    pub fn bad_version(mut self) -> Self {
        self.extended = 1;
        self
    }

    /// Adds a record to the answers; one that does not fit any more is left out, which the answer says.
    pub fn answer(&mut self, name: &Name, kind: u16, ttl: u32, data: &[u8]) {
        if !self.push(0, name, kind, ttl, data) {
            self.full = true;
        }
    }

    /// Says how long a negative answer holds.
    pub fn authority(&mut self, name: &Name, kind: u16, ttl: u32, data: &[u8]) {
        if !self.push(1, name, kind, ttl, data) {
            self.full = true;
        }
    }

    /// Adds what the client would ask for next, where it fits.
    pub fn additional(&mut self, name: &Name, kind: u16, ttl: u32, data: &[u8]) {
        self.push(2, name, kind, ttl, data);
    }

    fn push(&mut self, section: usize, name: &Name, kind: u16, ttl: u32, data: &[u8]) -> bool {
        let (own, pointer) = (self.query.name == *name, [0xc0, 12]);
        let name: &[u8] = if own { &pointer } else { name.bytes() };
        let Ok(length) = u16::try_from(data.len()) else { return false };
        // What follows one that was left out is, too: sections stay in their order.
        if self.full || self.bytes.len() + name.len() + 10 + data.len() > self.limit {
            return false;
        }
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes.extend_from_slice(&IN.to_be_bytes());
        self.bytes.extend_from_slice(&ttl.to_be_bytes());
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(data);
        self.counts[section] += 1;
        true
    }

    /// The message.
    pub fn finish(mut self) -> Vec<u8> {
        if self.full {
            self.bytes[2] |= 0x02;
        }
        if self.query.edns {
            let size = u16::try_from(MAX_UDP).expect("1232");
            self.bytes.push(0);
            self.bytes.extend_from_slice(&kind::OPT.to_be_bytes());
            self.bytes.extend_from_slice(&size.to_be_bytes());
            self.bytes.extend_from_slice(&[self.extended, 0, 0, 0, 0, 0]);
            self.counts[2] += 1;
        }
        for (i, count) in self.counts.into_iter().enumerate() {
            self.bytes[6 + 2 * i..8 + 2 * i].copy_from_slice(&count.to_be_bytes());
        }
        self.bytes
    }
}

/// A query of our own, by the words of another one: about `name`.
pub fn ask(id: u16, name: &Name, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..2].copy_from_slice(&id.to_be_bytes());
    (bytes[2], bytes[5]) = (1, 1);
    bytes.extend_from_slice(name.bytes());
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&IN.to_be_bytes());
    bytes
}

/// What another server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its rcode.
    pub rcode: u8,
    /// Whether it is not all.
    pub truncated: bool,
    /// The records of its answer section.
    pub answers: Vec<Record>,
}

/// Whether a message answers the query that another one is: the same number and the same question, in the same case.
pub fn answers(query: &[u8], reply: &[u8]) -> bool {
    let Ok((_, end)) = Name::read(query, HEADER, false) else { return false };
    let question = HEADER..end + 4;
    reply.len() >= HEADER
        && reply[2] & 0x80 != 0
        && reply[..2] == query[..2]
        && reply[4..6] == [0, 1]
        && query.get(question.clone()).is_some()
        && reply.get(question.clone()) == query.get(question)
}

/// Reads an answer of another server.
pub fn reply(message: &[u8]) -> Result<Reply, NameError> {
    let header: &[u8; HEADER] =
        message.get(..HEADER).and_then(|h| h.try_into().ok()).ok_or(NameError::Short)?;
    let (_, mut at) = Name::read(message, HEADER, false)?;
    at += 4;
    let mut answers = Vec::new();
    for _ in 0..u16::from_be_bytes([header[6], header[7]]) {
        let (found, end) = record(message, at)?;
        answers.push(found);
        at = end;
    }
    Ok(Reply { rcode: header[3] & 15, truncated: header[2] & 2 != 0, answers })
}

#[cfg(test)]
mod tests;
