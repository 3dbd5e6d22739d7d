//! The streams of a connection.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::frame::{self, Decoder, Frame, Status};
use super::{Headers, SpdyError};
use crate::websocket::Opcode;
use crate::wire::{Control, Feeder, Incoming, Item, Link, Packet, Piece, Reset, Source, queue};

/// New streams that wait for a decision.
const OPENING: usize = 16;

/// A stream that the client has opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) stream: u32,
    pub(crate) headers: Headers,
    pub(crate) incoming: Incoming,
    pub(crate) outlet: Outlet,
}

/// The server's way to send on one stream.
#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    link: Arc<Link>,
    stream: u32,
    /// Nothing is to be sent any more.
    reset: Reset,
}

impl Outlet {
    pub(crate) async fn send(&self, packet: &mut Packet) -> io::Result<()> {
        self.put(packet, false).await
    }

    /// Says that nothing more comes on it.
    pub(crate) async fn finish(&self) -> io::Result<()> {
        self.put(&mut Packet::of(&[]), true).await
    }

    /// Ends it in both directions.
    pub(crate) async fn cancel(&self) -> io::Result<()> {
        self.reset.set();
        self.link.send(&mut Packet::of(&frame::reset(self.stream, Status::Cancel))).await
    }

    async fn put(&self, packet: &mut Packet, fin: bool) -> io::Result<()> {
        if self.reset.is_set() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        packet.prepend(&frame::data_head(self.stream, packet.len(), fin));
        self.link.send(packet).await
    }
}

/// Reads the frames of a connection.
pub(crate) struct Streams<A> {
    decoder: Decoder,
    link: Arc<Link>,
    control: Control,
    feeders: HashMap<u32, Feeder>,
    /// The last stream that the client opened.
    last: u32,
    /// The most that it may have open.
    most: usize,
    accepts: A,
    opened: mpsc::Sender<Opened>,
    /// Whether a stream was accepted before: the replies of a connection are one compressed stream.
    replied: bool,
}

impl<A: FnMut(&Headers) -> bool> Streams<A> {
    /// The streams of a connection, and where those arrive that are accepted.
    pub(crate) fn new(
        link: Arc<Link>,
        control: Control,
        most: usize,
        accepts: A,
    ) -> (Self, mpsc::Receiver<Opened>) {
        let (opened, opening) = mpsc::channel(OPENING);
        let (decoder, feeders) = (Decoder::default(), HashMap::new());
        (Self { decoder, link, control, feeders, last: 0, most, accepts, opened, replied: false }, opening)
    }

    /// Reads until the client goes.
    ///
    /// # Errors
    /// The connection broke, or what came is not SPDY.
    pub(crate) async fn serve(mut self, source: &mut Source) -> io::Result<()> {
        while let Some(piece) = source.next().await? {
            let mut bytes = match piece {
                Piece::Bytes { bytes, .. } => bytes.freeze(),
                Piece::Ping(bytes) => {
                    if !source.while_there(self.control.send(Opcode::Pong, &bytes)).await {
                        return Ok(());
                    }
                    continue;
                }
            };
            while let Some(frame) = self.decoder.next(&mut bytes)? {
                self.check(&frame)?;
                if !source.while_there(self.take(frame)).await {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A client's streams have odd numbers, each higher than the last.
    fn check(&mut self, frame: &Frame) -> Result<(), SpdyError> {
        if let Frame::Open { stream, .. } = *frame {
            if stream % 2 == 0 || stream <= self.last {
                return Err(SpdyError::Id(stream));
            }
            self.last = stream;
        }
        Ok(())
    }

    async fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Open { stream, headers, fin } => self.open(stream, headers, fin).await,
            Frame::Data { stream, bytes, fin } => {
                let Some(feeder) = self.feeders.get(&stream) else { return };
                if !bytes.is_empty() {
                    feeder.give(Item::Data(bytes)).await;
                }
                if fin {
                    feeder.give(Item::Fin).await;
                }
            }
            Frame::Reset { stream } => {
                if let Some(feeder) = self.feeders.get(&stream) {
                    feeder.reset();
                }
            }
            Frame::Ping { id } => self.answer(&frame::ping(id)).await,
        }
    }

    async fn open(&mut self, stream: u32, headers: Headers, fin: bool) {
        self.feeders.retain(|_, feeder| !feeder.is_unread());
        if self.feeders.len() >= self.most || !(self.accepts)(&headers) {
            self.answer(&frame::reset(stream, Status::Refused)).await;
            return;
        }
        let (feeder, incoming, reset) = queue();
        self.answer(&frame::reply(stream, !self.replied)).await;
        self.replied = true;
        if fin {
            feeder.give(Item::Fin).await;
        }
        self.feeders.insert(stream, feeder);
        let outlet = Outlet { link: Arc::clone(&self.link), stream, reset };
        drop(self.opened.send(Opened { stream, headers, incoming, outlet }).await);
    }

    async fn answer(&self, frame: &[u8]) {
        self.control.send(Opcode::Binary, frame).await;
    }
}
