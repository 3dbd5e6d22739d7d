//! Frames of the one connection that several connections share. Pure.
//!
//! ```text
//! number of the connection (u32)  length of the payload (u32)    both big-endian, then the payload
//! ```
//!
//! A payload is any part of a connection's bytes. The Go library reads a payload at once into the buffer of whoever reads the connection,
//! and breaks where it is too small: so a message goes in the frames in which that library itself writes it, of which the first has
//! `FIRST` bytes at most.

/// The bytes of a header.
pub const HEADER: usize = 8;
/// The most bytes of a payload: a ttrpc message.
pub const MAX_PAYLOAD: usize = berth_ttrpc::frame::HEADER + berth_ttrpc::frame::MAX_BODY;
/// The most bytes of a message's first frame.
const FIRST: usize = 4096;

/// The connection on which plugins are called.
pub const PLUGIN: u32 = 1;
/// The connection on which plugins call.
pub const RUNTIME: u32 = 2;

/// The frames of one message.
pub fn encode(connection: u32, message: &[u8]) -> Vec<u8> {
    let (first, rest) = message.split_at(message.len().min(FIRST));
    let mut bytes = Vec::with_capacity(message.len() + 2 * HEADER);
    for payload in [first, rest].into_iter().filter(|payload| !payload.is_empty()) {
        let length = u32::try_from(payload.len()).expect("a message has 4 MiB at most");
        bytes.extend(connection.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(payload);
    }
    bytes
}

/// A payload that is announced with more than [`MAX_PAYLOAD`] bytes: no honest program sends one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes was announced, and {MAX_PAYLOAD} is the most")]
pub struct TooLarge(pub u32);

/// Takes frames apart from bytes in any portions. It holds no more than a header.
#[derive(Debug, Default)]
pub struct Demux {
    head: Vec<u8>,
    /// The connection of the frame whose payload comes, and what is still to come of it.
    payload: (u32, usize),
}

impl Demux {
    /// Takes from the front of `bytes` the next part of a payload, with its connection; None when all bytes are taken.
    ///
    /// # Errors
    /// The other side does not speak this protocol: nothing that follows means anything.
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<(u32, &'a [u8])>, TooLarge> {
        while !bytes.is_empty() {
            let (connection, missing) = self.payload;
            if missing > 0 {
                let part = take(bytes, missing);
                self.payload.1 -= part.len();
                return Ok(Some((connection, part)));
            }
            self.head.extend_from_slice(take(bytes, HEADER - self.head.len()));
            let Ok(head) = <[u8; HEADER]>::try_from(self.head.as_slice()) else { break };
            self.head.clear();
            let [c0, c1, c2, c3, l0, l1, l2, l3] = head;
            let length = u32::from_be_bytes([l0, l1, l2, l3]);
            let size = usize::try_from(length).unwrap_or(usize::MAX);
            if size > MAX_PAYLOAD {
                return Err(TooLarge(length));
            }
            self.payload = (u32::from_be_bytes([c0, c1, c2, c3]), size);
        }
        Ok(None)
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
