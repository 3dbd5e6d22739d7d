//! Kubernetes' channels: the first byte of each message says which stream it is of.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};

use super::Opcode;
use crate::wire::{Control, Feeder, Incoming, Item, Link, Packet, Piece, Source, queue};

/// What the first byte is when the second is a channel that the client sends no more on (v5).
const CLOSE: u8 = 255;

/// How messages carry bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As they are.
    Binary,
    /// As base64 in text, and the channel as a digit.
    Base64,
}

/// The server's way to send on one channel.
#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    link: Arc<Link>,
    channel: u8,
    coding: Coding,
}

impl Outlet {
    pub(crate) fn new(link: Arc<Link>, channel: u8, coding: Coding) -> Self {
        Self { link, channel, coding }
    }

    pub(crate) async fn send(&self, packet: &mut Packet) -> io::Result<()> {
        match self.coding {
            Coding::Binary => {
                packet.prepend(&[self.channel]);
                self.link.send(packet).await
            }
            Coding::Base64 => {
                let mut text = Packet::of(STANDARD.encode(packet.bytes()).as_bytes());
                text.prepend(&[b'0'.wrapping_add(self.channel)]);
                self.link.send_as(Opcode::Text, &mut text).await
            }
        }
    }
}

/// The streams of a connection, by their numbers.
#[derive(Debug)]
pub(crate) struct Channels {
    feeders: Vec<Option<Feeder>>,
    coding: Coding,
    /// Whether the client can say that it sends no more on one of them.
    closes: bool,
    message: Message,
}

/// What is known of the message that is being read.
#[derive(Debug, Default)]
struct Message {
    channel: Option<u8>,
    /// Characters that do not make three bytes yet.
    carry: BytesMut,
}

impl Channels {
    /// So many channels, of which the client sends on those for which `takes` is true.
    pub(crate) fn new(
        count: u8,
        coding: Coding,
        closes: bool,
        takes: impl Fn(u8) -> bool,
    ) -> (Self, Vec<Option<Incoming>>) {
        let (feeders, incoming) = (0..count)
            .map(|channel| {
                takes(channel)
                    .then(queue)
                    .map_or((None, None), |(feeder, incoming, _)| (Some(feeder), Some(incoming)))
            })
            .unzip();
        (Self { feeders, coding, closes, message: Message::default() }, incoming)
    }

    /// Reads until the client goes.
    ///
    /// # Errors
    /// The connection broke, or what came is not of this protocol.
    pub(crate) async fn serve(mut self, source: &mut Source, control: Control) -> io::Result<()> {
        while let Some(piece) = source.next().await? {
            match piece {
                Piece::Ping(bytes) => {
                    if !source.while_there(control.send(Opcode::Pong, &bytes)).await {
                        return Ok(());
                    }
                }
                Piece::Bytes { bytes, first, last } => {
                    let Some((channel, item)) = self.take(bytes.freeze(), first, last)? else { continue };
                    let Some(feeder) = self.feeders.get(usize::from(channel)).and_then(Option::as_ref) else {
                        continue;
                    };
                    if !source.while_there(feeder.give(item)).await {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// What a piece of a message says. A channel that does not exist is left to the caller.
    fn take(&mut self, mut bytes: Bytes, first: bool, last: bool) -> io::Result<Option<(u8, Item)>> {
        if first {
            self.message = Message::default();
        }
        let channel = match self.message.channel {
            Some(channel) => channel,
            // A message without any byte is of no channel.
            None if bytes.is_empty() => return Ok(None),
            None => {
                let byte = bytes.get_u8();
                let channel = match self.coding {
                    Coding::Binary => byte,
                    Coding::Base64 => byte.wrapping_sub(b'0'),
                };
                self.message.channel = Some(channel);
                channel
            }
        };
        if self.closes && channel == CLOSE {
            return Ok(bytes.first().map(|closed| (*closed, Item::Fin)));
        }
        let bytes = match self.coding {
            Coding::Binary => bytes,
            Coding::Base64 => self.message.decode(&bytes, last)?,
        };
        Ok((!bytes.is_empty()).then_some((channel, Item::Data(bytes))))
    }
}

impl Message {
    /// The bytes of as many characters as are there.
    fn decode(&mut self, text: &[u8], last: bool) -> io::Result<Bytes> {
        self.carry.extend_from_slice(text);
        let whole = if last { self.carry.len() } else { self.carry.len() / 4 * 4 };
        let bytes = STANDARD.decode(self.carry.split_to(whole));
        bytes.map(Bytes::from).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }
}

#[cfg(test)]
mod tests;
