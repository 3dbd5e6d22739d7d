//! The way to a client, shared by all streams of its connection: one packet at a time, in the order of asking.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::sync::{Mutex, mpsc};

use super::{Activity, Connection, Packet};
use crate::websocket::{self, Opcode};

/// Answers that wait to be written: to pings, to new streams.
const ANSWERS: usize = 64;

/// What lies between packets and the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// Nothing.
    Plain,
    /// Each packet is a WebSocket message.
    WebSocket,
}

/// The writing half of a connection.
#[derive(Debug)]
pub(crate) struct Link<C = Connection> {
    writer: Mutex<Writer<C>>,
    layer: Layer,
    activity: Activity,
}

#[derive(Debug)]
struct Writer<C> {
    io: WriteHalf<C>,
    /// The rest of a packet whose sender was dropped while it sent.
    rest: Vec<u8>,
}

impl<C: AsyncWrite> Writer<C> {
    /// Writes a packet, whole: what is not written when this is dropped is written before the next one.
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        while !self.rest.is_empty() {
            let done = self.io.write(&self.rest).await?;
            self.rest.drain(..some(done)?);
        }
        let mut sending = Sending { writer: self, bytes, done: 0 };
        while sending.done < bytes.len() {
            let done = sending.writer.io.write(&bytes[sending.done..]).await?;
            sending.done += some(done)?;
        }
        Ok(())
    }
}

fn some(written: usize) -> io::Result<usize> {
    if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
}

/// A packet of which a part may have been written.
struct Sending<'a, C> {
    writer: &'a mut Writer<C>,
    bytes: &'a [u8],
    done: usize,
}

impl<C> Drop for Sending<'_, C> {
    fn drop(&mut self) {
        if self.done > 0 {
            self.writer.rest.extend_from_slice(&self.bytes[self.done..]);
        }
    }
}

impl<C: AsyncWrite> Link<C> {
    pub(crate) fn new(io: WriteHalf<C>, layer: Layer, activity: Activity) -> Self {
        Self { writer: Mutex::new(Writer { io, rest: Vec::new() }), layer, activity }
    }

    /// Sends a packet.
    pub(crate) async fn send(&self, packet: &mut Packet) -> io::Result<()> {
        self.send_as(Opcode::Binary, packet).await
    }

    /// Sends a packet as a message of this kind.
    pub(crate) async fn send_as(&self, opcode: Opcode, packet: &mut Packet) -> io::Result<()> {
        if self.layer == Layer::WebSocket {
            let (head, length) = websocket::head(opcode, packet.len());
            packet.prepend(&head[..length]);
        }
        let mut writer = self.writer.lock().await;
        writer.write(packet.bytes()).await?;
        writer.io.flush().await?;
        self.activity.touch();
        Ok(())
    }

    /// Answers a client that has closed the connection, where it waits to hear so (RFC 6455, 5.5.1). One that has gone without a
    /// word cannot be told.
    pub(crate) async fn answer_close(&self) {
        if self.layer == Layer::WebSocket {
            self.finish().await.ok();
        }
    }

    /// Tells the client that nothing more comes.
    pub(crate) async fn finish(&self) -> io::Result<()> {
        if self.layer == Layer::WebSocket {
            let mut bye = Packet::of(&websocket::NORMAL.to_be_bytes());
            self.send_as(Opcode::Close, &mut bye).await?;
        }
        let mut writer = self.writer.lock().await;
        writer.write(&[]).await?;
        writer.io.shutdown().await
    }
}

/// Answers to what the client asks of the connection itself. They have a queue and a writer of their own, so that reading does
/// not wait for a client that is slow to take output.
#[derive(Debug, Clone)]
pub(crate) struct Control(mpsc::Sender<(Opcode, Packet)>);

impl Control {
    /// The queue, and the work of writing what is in it, which ends with the connection.
    pub(crate) fn new(link: &Link) -> (Self, impl Future<Output = ()> + '_) {
        let (sender, mut waiting) = mpsc::channel::<(Opcode, Packet)>(ANSWERS);
        let write = async move {
            while let Some((opcode, mut packet)) = waiting.recv().await {
                // What cannot be written is seen by the reader too.
                if link.send_as(opcode, &mut packet).await.is_err() {
                    break;
                }
            }
            std::future::pending().await
        };
        (Self(sender), write)
    }

    /// Waits when too many are waiting.
    pub(crate) async fn send(&self, opcode: Opcode, payload: &[u8]) {
        drop(self.0.send((opcode, Packet::of(payload))).await);
    }
}

#[cfg(test)]
mod tests;
