//! Bytes on their way to a client, with space in front for what each layer puts there: a frame is read once and written
//! once, without a copy.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// What all layers together put in front: a channel's byte or SPDY's head (8), then WebSocket's head (10).
const HEAD: usize = 24;

/// A payload and what is in front of it.
#[derive(Debug)]
pub(crate) struct Packet {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Packet {
    /// Space for so many bytes at a time, to be filled by [`Packet::read`].
    pub(crate) fn space(payload: usize) -> Self {
        Self { bytes: vec![0; HEAD + payload].into_boxed_slice(), start: HEAD, end: HEAD }
    }

    /// These bytes.
    pub(crate) fn of(payload: &[u8]) -> Self {
        let bytes = [&[0; HEAD], payload].concat().into_boxed_slice();
        Self { start: HEAD, end: bytes.len(), bytes }
    }

    /// Reads the next bytes in place of what was sent. Zero at the end.
    pub(crate) async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        let got = from.read(&mut self.bytes[HEAD..]).await?;
        (self.start, self.end) = (HEAD, HEAD + got);
        Ok(got)
    }

    /// Puts the head of a layer in front.
    pub(crate) fn prepend(&mut self, head: &[u8]) {
        let start = self.start - head.len();
        self.bytes[start..self.start].copy_from_slice(head);
        self.start = start;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }
}
