//! Connection tracking: forgetting what the kernel remembers of connections.
//!
//! The first packet of a UDP flow decides about address translation for as long as the flow goes
//! on. When a port comes or goes, flows that began before must be forgotten.

use super::message::{ACK, AttrIter, Attrs, DUMP, Message, Reply};
use super::{NetlinkError, Socket};

const SUBSYSTEM: u16 = 1;
const NEW: u16 = SUBSYSTEM << 8;
const GET: u16 = NEW | 1;
const DELETE: u16 = NEW | 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_ID: u16 = 12;

/// Forgets flows of protocol `protocol` whose first packet went to one of `ports`. Returns how many.
pub fn forget(socket: &mut Socket, protocol: u8, ports: &[u16]) -> Result<usize, NetlinkError> {
    let message = Message::new("list connections", GET, DUMP, &[0; 4], Attrs::new());
    let mut deletions = Vec::new();
    socket.exchange_each(vec![message], |reply| deletions.extend(deletion(&reply, protocol, ports)))?;
    let count = deletions.len();
    for message in deletions {
        match socket.exchange(vec![message]) {
            Err(error) if error.errno() != Some(rustix::io::Errno::NOENT) => return Err(error),
            _ => {} // forgotten, or gone by itself meanwhile
        }
    }
    Ok(count)
}

fn deletion(reply: &Reply, protocol: u8, ports: &[u16]) -> Option<Message> {
    if reply.kind() != NEW {
        return None;
    }
    let attrs = reply.attrs(4);
    let original = attrs.clone().get(CTA_TUPLE_ORIG)?;
    let proto = AttrIter::of(AttrIter::of(original).get(CTA_TUPLE_PROTO)?);
    let port = u16::from_be_bytes(proto.clone().get(CTA_PROTO_DST_PORT)?.try_into().ok()?);
    if proto.get(CTA_PROTO_NUM)? != [protocol] || !ports.contains(&port) {
        return None;
    }
    let mut list = Attrs::new();
    for kind in [CTA_TUPLE_ORIG, CTA_ID] {
        if let Some(value) = attrs.clone().get(kind) {
            let nested = if kind == CTA_ID { 0 } else { 1 << 15 };
            list = list.put(kind | nested, value);
        }
    }
    let family = reply.fixed::<4>()?[0];
    Some(Message::new("forget the connection", DELETE, ACK, &[family, 0, 0, 0], list))
}
