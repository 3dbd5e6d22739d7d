//! Connection tracking: forgetting what the kernel remembers of connections.
//!
//! The first packet of a UDP flow decides about address translation for as long as the flow goes
//! on. When a port comes or goes, flows that began before must be forgotten.

use std::net::IpAddr;

use super::message::{ACK, AttrIter, Attrs, DUMP, Message, Reply};
use super::{NetlinkError, Socket};

const SUBSYSTEM: u16 = 1;
const NEW: u16 = SUBSYSTEM << 8;
const GET: u16 = NEW | 1;
const DELETE: u16 = NEW | 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_ID: u16 = 12;

/// Forgets flows of protocol `protocol` whose first packet went to one of `ports` of an address
/// that `ours` holds for. Returns how many.
pub fn forget(
    socket: &mut Socket,
    protocol: u8,
    ports: &[u16],
    ours: impl Fn(IpAddr) -> bool,
) -> Result<usize, NetlinkError> {
    let message = Message::new("list connections", GET, DUMP, &[0; 4], Attrs::new());
    let mut deletions = Vec::new();
    socket.exchange_each(vec![message], |reply| {
        if first_packet(&reply)
            .is_some_and(|(p, ip, port)| p == protocol && ports.contains(&port) && ours(ip))
        {
            deletions.extend(deletion(&reply));
        }
    })?;
    let count = deletions.len();
    for message in deletions {
        match socket.exchange(vec![message]) {
            Err(error) if error.errno() != Some(rustix::io::Errno::NOENT) => return Err(error),
            _ => {} // removed here, or expired meanwhile
        }
    }
    Ok(count)
}

/// Protocol, destination and port of the first packet of a flow.
fn first_packet(reply: &Reply) -> Option<(u8, IpAddr, u16)> {
    if reply.kind() != NEW {
        return None;
    }
    let tuple = AttrIter::of(reply.attrs(4).get(CTA_TUPLE_ORIG)?);
    let proto = AttrIter::of(tuple.clone().get(CTA_TUPLE_PROTO)?);
    let [protocol] = proto.clone().get(CTA_PROTO_NUM)?.try_into().ok()?;
    let port = u16::from_be_bytes(proto.get(CTA_PROTO_DST_PORT)?.try_into().ok()?);
    let addresses = AttrIter::of(tuple.get(CTA_TUPLE_IP)?);
    let ip = match addresses.clone().get(CTA_IP_V4_DST) {
        Some(octets) => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
        None => IpAddr::from(<[u8; 16]>::try_from(addresses.get(CTA_IP_V6_DST)?).ok()?),
    };
    Some((protocol, ip, port))
}

fn deletion(reply: &Reply) -> Option<Message> {
    const NESTED: u16 = 1 << 15;
    let attrs = reply.attrs(4);
    let mut list = Attrs::new().put(CTA_TUPLE_ORIG | NESTED, attrs.clone().get(CTA_TUPLE_ORIG)?);
    // The id: a flow that has ended and begun again meanwhile is another one.
    if let Some(id) = attrs.get(CTA_ID) {
        list = list.put(CTA_ID, id);
    }
    let family = reply.fixed::<4>()?[0];
    Some(Message::new("forget the connection", DELETE, ACK, &[family, 0, 0, 0], list))
}
