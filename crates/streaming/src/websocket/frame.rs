//! Frames, and the key of the handshake.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BytesMut};
use sha1::{Digest, Sha1};

/// What is hashed with a client's key (section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The longest payload of a frame that is not data (section 5.5).
const MAX_CONTROL: usize = 125;
/// The status of an ordinary end (section 7.4.1).
pub(crate) const NORMAL: u16 = 1000;

/// What kind of frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Text = 1,
    Binary = 2,
    Close = 8,
    Pong = 10,
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A part of a message, text or not.
    Data {
        bytes: BytesMut,
        /// It begins the message.
        first: bool,
        /// It ends the message.
        last: bool,
    },
    /// To be answered with the same bytes.
    Ping(BytesMut),
    Pong,
    /// The client ends the connection.
    Close,
}

/// What came is not WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WebSocketError {
    #[error("a WebSocket frame with bits of an extension that was not agreed on")]
    Extension,
    #[error("a WebSocket frame of a client that is not masked")]
    Unmasked,
    #[error("a WebSocket frame of an unknown kind")]
    Opcode,
    #[error("a WebSocket frame of control that is too long or in parts")]
    Control,
    #[error("a WebSocket frame with an impossible length")]
    Length,
    #[error("a WebSocket message inside of another, or a part of none")]
    Parts,
}

impl From<WebSocketError> for std::io::Error {
    fn from(error: WebSocketError) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// The answer to a client's key.
pub(crate) fn accept(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// The head of a frame that is a whole message, and the head's length.
#[allow(clippy::cast_possible_truncation, reason = "the length is compared first")]
pub(crate) fn head(opcode: Opcode, length: usize) -> ([u8; 10], usize) {
    let mut head = [0; 10];
    head[0] = 0x80 | opcode as u8;
    match length {
        0..126 => {
            head[1] = length as u8;
            (head, 2)
        }
        126..0x1_0000 => {
            head[1] = 126;
            head[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            (head, 4)
        }
        _ => {
            head[1] = 127;
            head[2..10].copy_from_slice(&(length as u64).to_be_bytes());
            (head, 10)
        }
    }
}

/// Reads a client's frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// Whether a message has begun and not ended.
    inside: bool,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    kind: Kind,
    fin: bool,
    /// The next byte of the mask comes first.
    mask: [u8; 4],
    left: u64,
    /// Whether none of it has been given yet.
    first: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Ping,
    Pong,
    Close,
}

impl Decoder {
    /// The next event of what was read; None when more is needed for it.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Event>, WebSocketError> {
        let mut frame = match self.frame {
            Some(frame) => frame,
            None => match self.begin(input)? {
                Some(frame) => frame,
                None => return Ok(None),
            },
        };
        let here = usize::try_from(frame.left).unwrap_or(usize::MAX).min(input.len());
        if frame.kind != Kind::Data {
            // At most 125 bytes, which come at once or are waited for.
            if here as u64 != frame.left {
                self.frame = Some(frame);
                return Ok(None);
            }
            self.frame = None;
            let mut bytes = input.split_to(here);
            unmask(&mut bytes, &mut frame.mask);
            return Ok(Some(match frame.kind {
                Kind::Ping => Event::Ping(bytes),
                Kind::Close => Event::Close,
                Kind::Pong | Kind::Data => Event::Pong,
            }));
        }
        if here == 0 && frame.left > 0 {
            self.frame = Some(frame);
            return Ok(None);
        }
        let mut bytes = input.split_to(here);
        unmask(&mut bytes, &mut frame.mask);
        frame.left -= here as u64;
        let (first, last) = (frame.first, frame.fin && frame.left == 0);
        frame.first = false;
        self.frame = (frame.left > 0).then_some(frame);
        self.inside = !last;
        Ok(Some(Event::Data { bytes, first, last }))
    }

    /// The head of the next frame, once it is there.
    fn begin(&self, input: &mut BytesMut) -> Result<Option<Frame>, WebSocketError> {
        let Some(&[one, two]) = input.first_chunk::<2>() else { return Ok(None) };
        if one & 0x70 != 0 {
            return Err(WebSocketError::Extension);
        }
        if two & 0x80 == 0 {
            return Err(WebSocketError::Unmasked);
        }
        let fin = one & 0x80 != 0;
        let (kind, first) = match (one & 0x0f, self.inside) {
            (0, true) => (Kind::Data, false),
            (1 | 2, false) => (Kind::Data, true),
            (0, false) | (1 | 2, true) => return Err(WebSocketError::Parts),
            (8, _) => (Kind::Close, true),
            (9, _) => (Kind::Ping, true),
            (10, _) => (Kind::Pong, true),
            _ => return Err(WebSocketError::Opcode),
        };
        let short = usize::from(two & 0x7f);
        if kind != Kind::Data && (!fin || short > MAX_CONTROL) {
            return Err(WebSocketError::Control);
        }
        let extra = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if input.len() < 2 + extra + 4 {
            return Ok(None);
        }
        input.advance(2);
        let left = match short {
            126 => u64::from(input.get_u16()),
            127 => input.get_u64(),
            length => length as u64,
        };
        if left >> 63 != 0 {
            return Err(WebSocketError::Length);
        }
        let mask = input.get_u32().to_be_bytes();
        Ok(Some(Frame { kind, fin, mask, left, first }))
    }
}

/// Takes the mask off, and turns it to the byte that comes next.
fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        let plain = u64::from_ne_bytes(word.try_into().expect("chunks of eight")) ^ wide;
        word.copy_from_slice(&plain.to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    mask.rotate_left(bytes.len() % 4);
}

#[cfg(test)]
mod tests;
