//! From a query to its answer: by the zone, or by the host's resolvers.

use std::net::IpAddr;

use super::Shared;
use crate::message::{self, Answer, Bad, MAX_MESSAGE, Query, Rcode, kind};
use crate::name::Name;
use crate::upstream;
use crate::zone::{Data, Found, TTL, Zone, encode};

/// The most names that one stands for, one after the other.
const MAX_ALIASES: usize = 8;

/// Who asks, and whether by TCP.
type From = (IpAddr, bool);

/// The answer to a packet; nothing where it gets none.
pub(super) async fn to(shared: &Shared, packet: &[u8], (client, tcp): From) -> Option<Vec<u8>> {
    let query = match message::query(packet) {
        Ok(query) => query,
        Err(Bad::Ignore) => return None,
        Err(Bad::Refuse { id, bits, rcode }) => return Some(message::refusal(id, bits, rcode)),
        Err(Bad::Version(query)) => {
            return Some(Answer::new(&query, packet, query.udp).bad_version().finish());
        }
    };
    let limit = if tcp { MAX_MESSAGE } else { query.udp };
    let zone = shared.zone();
    match zone.find(&query.name, query.kind) {
        Found::Elsewhere => forward(shared, &query, packet, (limit, (client, tcp))).await,
        Found::Records(found) => {
            let answer = Answer::new(&query, packet, limit).authoritative();
            Some(records(&zone, &query, answer, &found, shared.turn()))
        }
        Found::Alias(_) => Some(alias((shared, client), &zone, &query, packet, limit).await),
        Found::Nothing => Some(negative(&zone, Answer::new(&query, packet, limit), Rcode::NoError)),
        Found::NoName => Some(negative(&zone, Answer::new(&query, packet, limit), Rcode::NxDomain)),
    }
}

/// With the SOA record, by which resolvers know how long to remember it.
fn negative(zone: &Zone, answer: Answer<'_>, rcode: Rcode) -> Vec<u8> {
    let mut answer = answer.authoritative().rcode(rcode);
    answer.authority(zone.domain(), kind::SOA, TTL, &zone.soa());
    answer.finish()
}

/// All of them, beginning with another one each time, and the addresses of names in them.
fn records(zone: &Zone, query: &Query, mut answer: Answer<'_>, found: &[&Data], turn: usize) -> Vec<u8> {
    let (before, after) = found.split_at(turn % found.len());
    for data in after.iter().chain(before) {
        answer.answer(&query.name, data.kind(), TTL, &encode(zone, data));
    }
    for data in after.iter().chain(before) {
        if let Data::Srv(_, target) = data {
            for address in zone.addresses(target) {
                answer.additional(target, address.kind(), TTL, &encode(zone, address));
            }
        }
    }
    answer.finish()
}

/// A name that stands for another one is answered with what that has.
async fn alias(asked: (&Shared, IpAddr), zone: &Zone, query: &Query, packet: &[u8], limit: usize) -> Vec<u8> {
    let mut answer = Answer::new(query, packet, limit).authoritative();
    let mut name = query.name.clone();
    for _ in 0..MAX_ALIASES {
        match zone.find(&name, query.kind) {
            Found::Alias(target) => {
                answer.answer(&name, kind::CNAME, TTL, target.bytes());
                name = target.clone();
            }
            Found::Records(found) => {
                for data in found {
                    answer.answer(&name, data.kind(), TTL, &encode(zone, data));
                }
                return answer.finish();
            }
            Found::Nothing => return negative(zone, answer, Rcode::NoError),
            Found::NoName => return negative(zone, answer, Rcode::NxDomain),
            Found::Elsewhere => {
                let rcode = elsewhere(asked, &name, query.kind, &mut answer).await;
                return answer.rcode(rcode).finish();
            }
        }
    }
    answer.rcode(Rcode::ServFail).finish()
}

/// Asks the host's resolvers about a name, and takes their answers over.
async fn elsewhere(
    (shared, client): (&Shared, IpAddr),
    name: &Name,
    wanted: u16,
    answer: &mut Answer<'_>,
) -> Rcode {
    let Some(_room) = shared.forward(client) else { return Rcode::ServFail };
    let (asked, servers) = (message::ask(number(), name, wanted), shared.servers());
    let Some(mut reply) = upstream::ask(&servers, &asked, false).await else { return Rcode::ServFail };
    if message::reply(&reply).is_ok_and(|read| read.truncated) {
        match upstream::ask(&servers, &asked, true).await {
            Some(whole) => reply = whole,
            None => return Rcode::ServFail,
        }
    }
    let Ok(read) = message::reply(&reply) else { return Rcode::ServFail };
    for record in &read.answers {
        // Data with names in it may have pointers into their message.
        let data = match record.kind {
            kind::A | kind::AAAA => reply[record.data.clone()].to_vec(),
            kind::CNAME => match Name::read(&reply, record.data.start, true) {
                Ok((target, _)) => target.bytes().to_vec(),
                Err(_) => return Rcode::ServFail,
            },
            _ => continue,
        };
        answer.answer(&record.name, record.kind, record.ttl, &data);
    }
    match read.rcode {
        0 => Rcode::NoError,
        3 => Rcode::NxDomain,
        _ => Rcode::ServFail,
    }
}

/// Passes a query on as it is, but for its number.
async fn forward(
    shared: &Shared,
    query: &Query,
    packet: &[u8],
    (limit, (client, tcp)): (usize, From),
) -> Option<Vec<u8>> {
    let failed = || Some(Answer::new(query, packet, limit).rcode(Rcode::ServFail).finish());
    let Some(_room) = shared.forward(client) else { return failed() };
    if !query.recursion {
        return Some(Answer::new(query, packet, limit).rcode(Rcode::Refused).finish());
    }
    let mut asked = packet.to_vec();
    asked[..2].copy_from_slice(&number().to_be_bytes());
    let Some(mut reply) = upstream::ask(&shared.servers(), &asked, tcp).await else { return failed() };
    reply[..2].copy_from_slice(&query.id.to_be_bytes());
    if !tcp && reply.len() > limit {
        // More than the client takes: it asks again by TCP.
        reply = Answer::new(query, packet, limit).finish();
        reply[2] |= 0x02;
    }
    Some(reply)
}

/// One that nobody guesses.
fn number() -> u16 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Keyed by the kernel's randomness, and another key each time.
    let bytes = RandomState::new().build_hasher().finish().to_be_bytes();
    u16::from_be_bytes([bytes[0], bytes[1]])
}
