//! Frames: what a client sends, and the bytes of what is sent to it.

use bytes::{Buf, Bytes};

use super::headers::{Headers, Inflater, NO_HEADERS, PREFACE};

/// The longest frame of control: the headers of a stream need a hundred bytes.
const MAX_CONTROL: usize = 16 << 10;
/// What a frame of control begins with: the mark, and version 3.
const CONTROL: u16 = 0x8003;
/// The stream ends on the sender's side.
const FIN: u8 = 1;

/// A frame of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// SYN_STREAM
    Open { stream: u32, headers: Headers, fin: bool },
    /// A part of the payload of a data frame.
    Data { stream: u32, bytes: Bytes, fin: bool },
    /// RST_STREAM
    Reset { stream: u32 },
    /// PING, to be answered as it is.
    Ping { id: u32 },
}

/// What came is not SPDY/3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpdyError {
    #[error("a SPDY frame of version {0}")]
    Version(u16),
    #[error("a SPDY frame of control with {0} bytes")]
    TooLong(usize),
    #[error("a SPDY frame that is too short for its kind")]
    TooShort,
    #[error("the headers of a SPDY stream cannot be inflated")]
    Deflate,
    #[error("the headers of a SPDY stream are over the limit")]
    TooMuch,
    #[error("the headers of a SPDY stream are not names and values")]
    Headers,
    #[error("SPDY stream {0} is not the client's next")]
    Id(u32),
}

impl From<SpdyError> for std::io::Error {
    fn from(error: SpdyError) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// Why a stream is reset (section 2.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Status {
    Refused = 3,
    Cancel = 5,
}

/// Kinds of control frames (section 2.6).
mod kind {
    pub(super) const SYN_STREAM: u16 = 1;
    pub(super) const SYN_REPLY: u16 = 2;
    pub(super) const RST_STREAM: u16 = 3;
    pub(super) const PING: u16 = 6;
    pub(super) const GOAWAY: u16 = 7;
    pub(super) const HEADERS: u16 = 8;
}

/// Reads a client's frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    state: State,
    /// The beginning of a frame, or a frame of control, as far as it has come.
    held: Vec<u8>,
    inflater: Inflater,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// The first eight bytes of a frame are next.
    #[default]
    Head,
    /// The rest of a frame of control.
    Control { kind: u16, flags: u8, length: usize },
    /// The payload of a data frame.
    Data { stream: u32, fin: bool, left: usize },
    /// A frame that says nothing to this server.
    Skip { left: usize },
}

impl Decoder {
    /// The next frame, or part of a data frame, of what was read; None when more is needed for it.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Frame>, SpdyError> {
        loop {
            match self.state {
                State::Head => {
                    let Some(head) = self.hold::<8>(input) else { return Ok(None) };
                    self.state = begin(head)?;
                }
                State::Data { stream, fin, left } => {
                    if input.is_empty() && left > 0 {
                        return Ok(None);
                    }
                    let bytes = input.split_to(left.min(input.len()));
                    let left = left - bytes.len();
                    self.state = if left == 0 { State::Head } else { State::Data { stream, fin, left } };
                    let fin = fin && left == 0;
                    if fin || !bytes.is_empty() {
                        return Ok(Some(Frame::Data { stream, bytes, fin }));
                    }
                }
                State::Skip { left } => {
                    let here = left.min(input.len());
                    input.advance(here);
                    self.state = if here == left { State::Head } else { State::Skip { left: left - here } };
                    if here < left {
                        return Ok(None);
                    }
                }
                State::Control { kind, flags, length } => {
                    let missing = length - self.held.len();
                    self.held.extend_from_slice(&input.split_to(missing.min(input.len())));
                    if self.held.len() < length {
                        return Ok(None);
                    }
                    self.state = State::Head;
                    let body = std::mem::take(&mut self.held);
                    if let Some(frame) = self.control(kind, flags, &body)? {
                        return Ok(Some(frame));
                    }
                }
            }
        }
    }

    /// So many bytes, once they are there.
    fn hold<const N: usize>(&mut self, input: &mut Bytes) -> Option<[u8; N]> {
        let missing = N - self.held.len();
        self.held.extend_from_slice(&input.split_to(missing.min(input.len())));
        let bytes = self.held.as_slice().try_into().ok()?;
        self.held.clear();
        Some(bytes)
    }

    fn control(&mut self, kind: u16, flags: u8, mut body: &[u8]) -> Result<Option<Frame>, SpdyError> {
        let fin = flags & FIN != 0;
        let number = body.try_get_u32().map_err(|_| SpdyError::TooShort)?;
        let stream = number & 0x7fff_ffff;
        Ok(match kind {
            kind::SYN_STREAM => {
                // The associated stream, priority and slot.
                let block = body.get(6..).ok_or(SpdyError::TooShort)?;
                let headers = self.inflater.read(block)?;
                Some(Frame::Open { stream, headers, fin })
            }
            // Only streams of a server are replied to. Its headers are of the one compressed stream, though.
            kind::SYN_REPLY | kind::HEADERS => {
                self.inflater.read(body)?;
                (fin && kind == kind::HEADERS).then_some(Frame::Data { stream, bytes: Bytes::new(), fin })
            }
            kind::RST_STREAM => Some(Frame::Reset { stream }),
            // Even ones are a server's own, of which there are none.
            kind::PING => Some(number).filter(|id| id % 2 == 1).map(|id| Frame::Ping { id }),
            // With GOAWAY a client says that it opens no more streams; it closes the connection itself.
            _ => None,
        })
    }
}

/// What follows the first eight bytes of a frame.
fn begin(head: [u8; 8]) -> Result<State, SpdyError> {
    let [a, b, c, d, flags, rest @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes([0, rest[0], rest[1], rest[2]])).unwrap_or(usize::MAX);
    let first = u16::from_be_bytes([a, b]);
    if first & 0x8000 == 0 {
        let stream = u32::from_be_bytes([a, b, c, d]);
        return Ok(State::Data { stream, fin: flags & FIN != 0, left: length });
    }
    if first != CONTROL {
        return Err(SpdyError::Version(first & 0x7fff));
    }
    let kind = u16::from_be_bytes([c, d]);
    match kind {
        kind::SYN_STREAM | kind::SYN_REPLY | kind::RST_STREAM | kind::PING | kind::GOAWAY | kind::HEADERS => {
            if length > MAX_CONTROL {
                return Err(SpdyError::TooLong(length));
            }
            Ok(State::Control { kind, flags, length })
        }
        _ => Ok(State::Skip { left: length }),
    }
}

/// What goes in front of so many bytes on a stream.
pub(crate) fn data_head(stream: u32, length: usize, fin: bool) -> [u8; 8] {
    let [a, b, c, d] = stream.to_be_bytes();
    // No packet comes near the limit of 16 MiB.
    let [_, e, f, g] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [a, b, c, d, u8::from(fin), e, f, g]
}

fn control(kind: u16, body: &[&[u8]]) -> Vec<u8> {
    let length = body.iter().map(|part| part.len()).sum::<usize>();
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let head = [&CONTROL.to_be_bytes()[..], &kind.to_be_bytes(), &length];
    [head.concat(), body.concat()].concat()
}

/// SYN_REPLY without headers; the first of a connection is `first`.
pub(crate) fn reply(stream: u32, first: bool) -> Vec<u8> {
    let preface: &[u8] = if first { &PREFACE } else { &[] };
    control(kind::SYN_REPLY, &[&stream.to_be_bytes(), preface, &NO_HEADERS])
}

/// RST_STREAM
pub(crate) fn reset(stream: u32, status: Status) -> Vec<u8> {
    control(kind::RST_STREAM, &[&stream.to_be_bytes(), &(status as u32).to_be_bytes()])
}

/// PING
pub(crate) fn ping(id: u32) -> Vec<u8> {
    control(kind::PING, &[&id.to_be_bytes()])
}

#[cfg(test)]
mod tests;
