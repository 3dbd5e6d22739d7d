//! Frames of ttrpc: ten bytes of header, then the body. Pure.
//!
//! ```text
//! length of the body (u32)  number of the stream (u32)  kind (u8)  flags (u8)    all big-endian
//! ```
//!
//! A stream is one call: the client chooses an odd number, greater than all before. A body has at most [`MAX_BODY`] bytes.
//! <https://github.com/containerd/ttrpc/blob/main/PROTOCOL.md>

/// The bytes of a header.
pub const HEADER: usize = 10;
/// The most bytes of a body.
pub const MAX_BODY: usize = 4 << 20;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Begins a call.
    Request,
    /// Ends it.
    Response,
    /// Part of a call that streams, which no method of a shim is.
    Data,
    /// None that is known.
    Other(u8),
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Kind::Request => 1,
            Kind::Response => 2,
            Kind::Data => 3,
            Kind::Other(number) => number,
        }
    }

    fn of(number: u8) -> Self {
        match number {
            1 => Kind::Request,
            2 => Kind::Response,
            3 => Kind::Data,
            other => Kind::Other(other),
        }
    }
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The bytes of the body, as they are announced: they may be too many.
    pub length: u32,
    /// The call.
    pub stream: u32,
    /// What it is.
    pub kind: Kind,
    /// Their meaning depends on the kind; those of a call that does not stream are zero.
    pub flags: u8,
}

impl Header {
    /// Its bytes.
    pub fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&self.length.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.stream.to_be_bytes());
        bytes[8] = self.kind.number();
        bytes[9] = self.flags;
        bytes
    }

    /// The header that these bytes are.
    pub fn decode(bytes: [u8; HEADER]) -> Self {
        let [l0, l1, l2, l3, s0, s1, s2, s3, kind, flags] = bytes;
        Self {
            length: u32::from_be_bytes([l0, l1, l2, l3]),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            kind: Kind::of(kind),
            flags,
        }
    }
}

/// The bytes of a frame without flags.
///
/// # Errors
/// The body's size, if it is over [`MAX_BODY`].
pub fn encode(kind: Kind, stream: u32, body: &[u8]) -> Result<Vec<u8>, usize> {
    let length = u32::try_from(body.len()).map_err(|_| body.len())?;
    if body.len() > MAX_BODY {
        return Err(body.len());
    }
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(Header { length, stream, kind, flags: 0 }.encode());
    bytes.extend(body);
    Ok(bytes)
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A whole frame.
    Frame(Header, Vec<u8>),
    /// The body is over [`MAX_BODY`] bytes: it is passed over as it comes, and the stream goes on behind it.
    TooLarge(Header),
}

/// Puts frames together from bytes in any portions. It holds no more than one body and one header.
#[derive(Debug, Default)]
pub struct Frames {
    head: Vec<u8>,
    body: Option<(Header, Vec<u8>)>,
    /// What is still to come of a body that is too large.
    skip: usize,
}

impl Frames {
    /// Nothing has come.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes from the front of `bytes` what the next frame needs; None when they do not end it, and all are taken.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Incoming> {
        loop {
            self.skip -= take(bytes, self.skip).len();
            if self.skip > 0 {
                return None;
            }
            if let Some((header, body)) = &mut self.body {
                let missing = header.length as usize - body.len();
                body.extend_from_slice(take(bytes, missing));
                if body.len() < header.length as usize {
                    return None;
                }
                return self.body.take().map(|(header, body)| Incoming::Frame(header, body));
            }
            self.head.extend_from_slice(take(bytes, HEADER - self.head.len()));
            let head = <[u8; HEADER]>::try_from(self.head.as_slice()).ok()?;
            self.head.clear();
            let header = Header::decode(head);
            if header.length as usize > MAX_BODY {
                self.skip = header.length as usize;
                return Some(Incoming::TooLarge(header));
            }
            // Memory grows with what comes, not with what is announced.
            self.body = Some((header, Vec::new()));
        }
    }

    /// Whether the bytes so far end in the middle of a frame.
    pub fn is_inside(&self) -> bool {
        self.skip > 0 || self.body.is_some() || !self.head.is_empty()
    }
}

/// The first `most` of the bytes, which are taken off.
fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(most.min(bytes.len()));
    *bytes = rest;
    taken
}

#[cfg(test)]
mod tests;
