//! Makes every `:authority` on the Unix socket one that the HTTP/2 library takes.
//!
//! A socket has no host, so clients of gRPC send its path as `:authority`: percent-encoded (gRPC's C core, grpc-swift) or
//! as it is (grpc-java). The library refuses both, and with them each call (docs/grpc-clients.md). Nothing here looks at
//! the authority, so its value is changed on the way in: each character that may not stand in a host becomes one that may.
//!
//! What the client sends is followed frame by frame (RFC 9113) and, in header blocks, field by field (`field`). A value
//! keeps its length, as it was sent and as it is decoded. So bytes are changed where they are, no frame changes its
//! size, both ends' dynamic tables stay alike, and all that is kept between two reads is a few counters, wherever a read
//! ends. Every block is followed like the first: a client may send another authority with each call.
//!
//! What breaks the protocol need not be understood: the library ends that connection.

mod field;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use field::Field;

/// A client's connection, whose authorities can be taken.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    read: Authorities,
}

impl Connection {
    /// A connection of which nothing was read yet.
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, read: Authorities::new() }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.read.pass(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Where in a client's bytes a connection is.
#[derive(Debug)]
struct Authorities {
    part: Part,
    field: Field,
}

/// A part of a frame. Each `left` is what is still to be read of it, and never 0.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// The connection's preface, or what of a frame is no header block.
    Skip { left: u32 },
    /// Length (three bytes), type, flags and stream (four). `seen` are those that were read.
    Head { seen: u128, left: u8 },
    /// The length of a HEADERS frame's padding, then its priority, its block and the padding: `rest` bytes.
    PadLength { priority: u32, rest: u32 },
    /// The priority of a HEADERS frame. `block` and `padding` follow.
    Priority { left: u32, block: u32, padding: u32 },
    /// A header block, or a part of one. `padding` follows.
    Block { left: u32, padding: u32 },
}

/// "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" begins each connection.
const PREFACE: u32 = 24;
const HEAD: Part = Part::Head { seen: 0, left: 9 };
const HEADERS: u128 = 0x1;
const CONTINUATION: u128 = 0x9;
const PADDED: u128 = 0x8;
const PRIORITY: u128 = 0x20;

impl Authorities {
    fn new() -> Self {
        Self { part: Part::Skip { left: PREFACE }, field: Field::default() }
    }

    /// Goes on with the next bytes of the client.
    fn pass(&mut self, mut bytes: &mut [u8]) {
        while let Some(first) = bytes.first().copied() {
            let read = match self.part {
                Part::Skip { left } | Part::Priority { left, .. } | Part::Block { left, .. } => {
                    bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))
                }
                Part::Head { .. } | Part::PadLength { .. } => 1,
            };
            let (now, later) = bytes.split_at_mut(read);
            if let Part::Block { .. } = self.part {
                now.iter_mut().for_each(|byte| *byte = self.field.pass(*byte));
            }
            self.part = self.after(first, u32::try_from(read).unwrap_or(u32::MAX));
            bytes = later;
        }
    }

    /// The part after `read` bytes of this one, of which `first` is the first.
    fn after(&mut self, first: u8, read: u32) -> Part {
        match self.part {
            Part::Skip { left } => skip(left - read),
            Part::Head { seen, left } => match (seen << 8 | u128::from(first), left - 1) {
                (head, 0) => self.frame(head),
                (seen, left) => Part::Head { seen, left },
            },
            Part::PadLength { priority, rest } => headers(priority, rest, u32::from(first)),
            Part::Priority { left, block, padding } if left == read => block_of(block, padding),
            Part::Priority { left, block, padding } => Part::Priority { left: left - read, block, padding },
            Part::Block { left, padding } => block_of(left - read, padding),
        }
    }

    /// The first part after a frame's head.
    fn frame(&mut self, head: u128) -> Part {
        let (length, kind, flags) = (head >> 48, head >> 40 & 0xff, head >> 32 & 0xff);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        match kind {
            HEADERS => {
                self.field = Field::default();
                let priority = if flags & PRIORITY == 0 { 0 } else { 5 };
                match length.checked_sub(1) {
                    Some(rest) if flags & PADDED != 0 => Part::PadLength { priority, rest },
                    _ => headers(priority, length, 0),
                }
            }
            CONTINUATION => block_of(length, 0),
            _ => skip(length),
        }
    }
}

/// A HEADERS frame of which `rest` bytes are left: priority, block and padding.
fn headers(priority: u32, rest: u32, padding: u32) -> Part {
    match rest.checked_sub(priority + padding) {
        Some(block) if priority > 0 => Part::Priority { left: priority, block, padding },
        Some(block) => block_of(block, padding),
        // No frame is like this, and the library says so.
        None => skip(rest),
    }
}

fn block_of(left: u32, padding: u32) -> Part {
    if left == 0 { skip(padding) } else { Part::Block { left, padding } }
}

fn skip(left: u32) -> Part {
    if left == 0 { HEAD } else { Part::Skip { left } }
}

#[cfg(test)]
mod tests;
