//! The form that all netlink messages share: a header, a fixed part, and nested lists of
//! attributes (type, length, value, padded to four bytes).

use rustix::io::Errno;

const HEADER: usize = 16;
const ATTR_HEADER: usize = 4;
const NESTED: u16 = 1 << 15;
const TYPE_MASK: u16 = 0x3fff;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_MIN_TYPE: u16 = 16;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// This is a request.
pub(super) const REQUEST: u16 = 0x1;
/// Acknowledge it.
pub(super) const ACK: u16 = 0x4;
/// All objects, not one.
pub(super) const DUMP: u16 = 0x300;
/// Fail when the object exists.
pub(super) const EXCL: u16 = 0x200;
/// Replace the object when it exists.
pub(super) const REPLACE: u16 = 0x100;
/// Make the object when it does not exist.
pub(super) const CREATE: u16 = 0x400;
/// Put it behind the others.
pub(super) const APPEND: u16 = 0x800;

/// The list changed while it was made.
const DUMP_INTR: u16 = 0x10;

fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// A list of attributes being written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attrs(Vec<u8>);

impl Attrs {
    /// The empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an attribute with this value.
    ///
    /// # Panics
    /// When the value is longer than 65,531 bytes, the most an attribute can hold.
    #[must_use]
    pub fn put(mut self, kind: u16, value: &[u8]) -> Self {
        let len = u16::try_from(ATTR_HEADER + value.len()).expect("values are bounded by the callers");
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(padded(self.0.len()), 0);
        self
    }

    /// Adds a number of 32 bits in host order.
    #[must_use]
    pub fn u32(self, kind: u16, value: u32) -> Self {
        self.put(kind, &value.to_ne_bytes())
    }

    /// Adds a number of 32 bits in network order, as netfilter has them.
    #[must_use]
    pub fn be32(self, kind: u16, value: u32) -> Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// Adds a text with its final zero.
    #[must_use]
    pub fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.put(kind, &bytes)
    }

    /// Adds a list as an attribute.
    #[must_use]
    pub fn nest(self, kind: u16, inner: &Self) -> Self {
        self.put(kind | NESTED, &inner.0)
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The encoded list.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Message {
    what: &'static str,
    kind: u16,
    flags: u16,
    fixed: Vec<u8>,
    attrs: Attrs,
}

impl Message {
    /// A request of type `kind` with its fixed part and its attributes. `what` names it in errors.
    pub(super) fn new(what: &'static str, kind: u16, flags: u16, fixed: &[u8], attrs: Attrs) -> Self {
        Self { what, kind, flags: flags | REQUEST, fixed: fixed.to_vec(), attrs }
    }

    pub(super) fn what(&self) -> &'static str {
        self.what
    }

    pub(super) fn wants_answer(&self) -> bool {
        self.flags & (ACK | DUMP) != 0
    }

    pub(super) fn len(&self) -> usize {
        HEADER + padded(self.fixed.len()) + self.attrs.len()
    }

    pub(super) fn write(&self, sequence: u32, to: &mut Vec<u8>) {
        let len = u32::try_from(self.len()).expect("messages are bounded by the callers");
        to.extend_from_slice(&len.to_ne_bytes());
        to.extend_from_slice(&self.kind.to_ne_bytes());
        to.extend_from_slice(&self.flags.to_ne_bytes());
        to.extend_from_slice(&sequence.to_ne_bytes());
        to.extend_from_slice(&[0; 4]);
        to.extend_from_slice(&self.fixed);
        to.resize(padded(to.len()), 0);
        to.extend_from_slice(self.attrs.as_bytes());
    }
}

/// One message of the kernel.
#[derive(Debug, Clone)]
pub struct Reply {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: Vec<u8>,
}

/// What a reply means for the exchange it belongs to.
pub(super) enum Outcome {
    Data,
    Done,
    Failed { errno: Errno, message: String },
    Malformed,
}

impl Reply {
    /// The type of the message.
    pub fn kind(&self) -> u16 {
        self.kind
    }

    /// The fixed part, when it has this length.
    pub fn fixed<const N: usize>(&self) -> Option<&[u8; N]> {
        self.payload.first_chunk()
    }

    /// The attributes behind a fixed part of `fixed` bytes.
    pub fn attrs(&self, fixed: usize) -> AttrIter<'_> {
        AttrIter(self.payload.get(padded(fixed)..).unwrap_or_default())
    }

    pub(super) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Whether the list that this is a part of has changed while it was made.
    pub(super) fn is_disturbed(&self) -> bool {
        self.flags & DUMP_INTR != 0
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self.kind {
            NLMSG_ERROR | NLMSG_DONE => self.verdict(),
            NLMSG_MIN_TYPE.. => Outcome::Data,
            _ => Outcome::Malformed,
        }
    }

    fn verdict(&self) -> Outcome {
        if self.is_disturbed() {
            return Outcome::Failed { errno: Errno::INTR, message: String::new() };
        }
        let code = match self.fixed::<4>() {
            Some(code) => i32::from_ne_bytes(*code),
            None if self.kind == NLMSG_DONE => 0,
            None => return Outcome::Malformed,
        };
        if code == 0 {
            return Outcome::Done;
        }
        // With NETLINK_CAP_ACK only the header of the request is repeated before the attributes.
        let attrs = if self.kind == NLMSG_ERROR { 4 + HEADER } else { 4 };
        let text = self.attrs(attrs).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG);
        let message = text.map(|(_, text)| text_of(text)).unwrap_or_default();
        Outcome::Failed { errno: Errno::from_raw_os_error(code.wrapping_neg()), message }
    }
}

/// The messages in one datagram; a truncated one ends the list.
pub(super) fn replies(bytes: &[u8]) -> impl Iterator<Item = Reply> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header: &[u8; HEADER] = rest.first_chunk()?;
        let len = u32::from_ne_bytes(*header.first_chunk()?) as usize;
        let payload = rest.get(HEADER..len)?.to_vec();
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let flags = u16::from_ne_bytes([header[6], header[7]]);
        let sequence = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        rest = rest.get(padded(len)..).unwrap_or_default();
        Some(Reply { kind, flags, sequence, payload })
    })
}

/// Attributes being read: (type, value).
#[derive(Debug, Clone)]
pub struct AttrIter<'a>(&'a [u8]);

impl<'a> AttrIter<'a> {
    /// The attributes inside the value of an attribute.
    pub fn of(value: &'a [u8]) -> Self {
        Self(value)
    }

    /// The value of the first attribute of this type.
    pub fn get(self, kind: u16) -> Option<&'a [u8]> {
        let mut list = self;
        list.find(|(k, _)| *k == kind).map(|(_, value)| value)
    }
}

impl<'a> Iterator for AttrIter<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header: &[u8; ATTR_HEADER] = self.0.first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = self.0.get(ATTR_HEADER..len)?;
        self.0 = self.0.get(padded(len)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A text attribute without its final zero; what is not UTF-8 is replaced.
pub(super) fn text_of(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A number of 32 bits in host order.
pub(super) fn u32_of(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests;
