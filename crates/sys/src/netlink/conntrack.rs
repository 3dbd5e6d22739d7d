//! Connection tracking: forgetting what the kernel remembers of connections.
//!
//! The first packet of a UDP flow decides about address translation for as long as the flow goes
//! on. When a port comes or goes, flows that began before must be forgotten.

use std::net::{IpAddr, SocketAddr};

use super::message::{ACK, AttrIter, Attrs, DUMP, Message, Reply};
use super::{NetlinkError, Socket};

const SUBSYSTEM: u16 = 1;
const NEW: u16 = SUBSYSTEM << 8;
const GET: u16 = NEW | 1;
const DELETE: u16 = NEW | 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_ID: u16 = 12;

/// A flow that the kernel remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Its transport protocol.
    pub protocol: u8,
    /// Where its first packet went.
    pub to: SocketAddr,
    /// Where the answers come from: another place where the destination was translated.
    pub answered_by: Option<SocketAddr>,
}

/// Forgets flows of protocol `protocol` whose first packet went to one of `ports` of an address
/// that `ours` holds for. Returns how many.
pub fn forget(
    socket: &mut Socket,
    protocol: u8,
    ports: &[u16],
    ours: impl Fn(IpAddr) -> bool,
) -> Result<usize, NetlinkError> {
    let meant =
        |flow: &Flow| flow.protocol == protocol && ports.contains(&flow.to.port()) && ours(flow.to.ip());
    forget_flows(socket, meant)
}

/// Forgets the flows that `meant` holds for. Returns how many.
pub fn forget_flows(socket: &mut Socket, meant: impl Fn(&Flow) -> bool) -> Result<usize, NetlinkError> {
    let message = Message::new("list connections", GET, DUMP, &[0; 4], Attrs::new());
    let mut deletions = Vec::new();
    socket.exchange_each(vec![message], |reply| {
        if flow(&reply).is_some_and(|flow| meant(&flow)) {
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

fn flow(reply: &Reply) -> Option<Flow> {
    if reply.kind() != NEW {
        return None;
    }
    let original = tuple(reply, CTA_TUPLE_ORIG)?;
    let proto = AttrIter::of(original.clone().get(CTA_TUPLE_PROTO)?);
    let [protocol] = proto.get(CTA_PROTO_NUM)?.try_into().ok()?;
    let to = end(original, (CTA_IP_V4_DST, CTA_IP_V6_DST, CTA_PROTO_DST_PORT))?;
    let answers = tuple(reply, CTA_TUPLE_REPLY);
    let answered_by =
        answers.and_then(|tuple| end(tuple, (CTA_IP_V4_SRC, CTA_IP_V6_SRC, CTA_PROTO_SRC_PORT)));
    Some(Flow { protocol, to, answered_by })
}

fn tuple(reply: &Reply, which: u16) -> Option<AttrIter<'_>> {
    Some(AttrIter::of(reply.attrs(4).get(which)?))
}

/// An address of a tuple with its port.
fn end(tuple: AttrIter<'_>, (v4, v6, port): (u16, u16, u16)) -> Option<SocketAddr> {
    let proto = AttrIter::of(tuple.clone().get(CTA_TUPLE_PROTO)?);
    let port = u16::from_be_bytes(proto.get(port)?.try_into().ok()?);
    let addresses = AttrIter::of(tuple.get(CTA_TUPLE_IP)?);
    let ip = match addresses.clone().get(v4) {
        Some(octets) => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
        None => IpAddr::from(<[u8; 16]>::try_from(addresses.get(v6)?).ok()?),
    };
    Some(SocketAddr::new(ip, port))
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
