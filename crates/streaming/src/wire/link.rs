//! The way to a client, shared by all streams of its connection: one packet at a time, in the order of asking.

use std::io;

use tokio::io::{AsyncWriteExt, WriteHalf};
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
pub(crate) struct Link {
    io: Mutex<WriteHalf<Connection>>,
    layer: Layer,
    activity: Activity,
}

impl Link {
    pub(crate) fn new(io: WriteHalf<Connection>, layer: Layer, activity: Activity) -> Self {
        Self { io: Mutex::new(io), layer, activity }
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
        let mut io = self.io.lock().await;
        io.write_all(packet.bytes()).await?;
        io.flush().await?;
        self.activity.touch();
        Ok(())
    }

    /// Tells the client that nothing more comes.
    pub(crate) async fn finish(&self) -> io::Result<()> {
        if self.layer == Layer::WebSocket {
            let mut bye = Packet::of(&websocket::NORMAL.to_be_bytes());
            self.send_as(Opcode::Close, &mut bye).await?;
        }
        self.io.lock().await.shutdown().await
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
