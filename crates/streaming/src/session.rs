//! One upgraded connection: from the protocol that was agreed on to the work, and its end.

use std::sync::Arc;
use std::time::Duration;

use berth_engine::Engine;
use berth_types::shim::LEFT_INPUT_LIMIT;
use tokio::sync::watch;

use crate::handshake::Protocol;
use crate::portforward;
use crate::remotecommand::{self, Kind, Outcome, Version};
use crate::request::{Request, Wanted};
use crate::wire::{Activity, Connection, Control, Layer, Link, Packet, Parting, Source};
use crate::{spdy, websocket};

/// How long a client may take to close its side when the server ends, or it has not said anything for long.
const LINGER: Duration = Duration::from_secs(10);

/// The server's way to send on one stream.
#[derive(Debug, Clone)]
pub(crate) enum Outlet {
    Spdy(spdy::Outlet),
    Channel(websocket::Outlet),
    /// The client did not ask for it.
    Nowhere,
}

impl Outlet {
    /// Sends bytes; empty ones too.
    pub(crate) async fn send(&self, packet: &mut Packet) -> std::io::Result<()> {
        match self {
            Outlet::Spdy(outlet) => outlet.send(packet).await,
            Outlet::Channel(outlet) => outlet.send(packet).await,
            Outlet::Nowhere => Ok(()),
        }
    }

    /// Says that nothing more comes, where that can be said. A client that cannot be told is gone, which its reader sees.
    pub(crate) async fn finish(&self) {
        if let Outlet::Spdy(outlet) = self {
            outlet.finish().await.ok();
        }
    }

    /// Ends the stream in both directions, where that can be said.
    pub(crate) async fn cancel(&self) {
        if let Outlet::Spdy(outlet) = self {
            outlet.cancel().await.ok();
        }
    }
}

/// A connection after its upgrade.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) engine: Engine,
    pub(crate) connection: Connection,
    /// What the client has sent already.
    pub(crate) before: bytes::Bytes,
    pub(crate) protocol: Protocol,
    pub(crate) request: Request,
    /// After so long without a byte it is closed.
    pub(crate) idle: Duration,
    /// True once the server ends.
    pub(crate) ending: watch::Receiver<bool>,
}

/// The connection's two directions, and what is common to both.
struct Ends {
    link: Arc<Link>,
    source: Source,
    activity: Activity,
    parting: Parting,
    idle: Duration,
    ending: watch::Receiver<bool>,
}

/// What ends a command from the server's side.
struct Interruption {
    activity: Activity,
    idle: Duration,
    ending: watch::Receiver<bool>,
}

impl Interruption {
    /// Waits for it, and says why in the outcome: a client of SPDY takes a connection that ends without one for a command that
    /// ended well.
    async fn tell(mut self, version: Version, error: Outlet) {
        let why = tokio::select! {
            () = self.activity.idle(self.idle) => {
                format!("nothing was sent or received for {} s", self.idle.as_secs())
            }
            // The sender goes with the server.
            _ = self.ending.wait_for(|ending| *ending) => "the runtime is shutting down".to_owned(),
        };
        Outcome::failed(&format!("the session was ended: {why}")).tell(version, &error).await;
    }
}

impl Session {
    /// Does what was asked for, until that or the connection is over.
    ///
    /// # Errors
    /// The connection broke, or what came is not of its protocol.
    pub(crate) async fn run(self) -> std::io::Result<()> {
        let Session { engine, connection, before, protocol, request, idle, ending } = self;
        let frames = match protocol {
            Protocol::SpdyCommand(_) | Protocol::SpdyPorts => None,
            Protocol::ChannelCommand(..) | Protocol::TunnelledPorts | Protocol::ChannelPorts(_) => {
                Some(websocket::Decoder::default())
            }
        };
        let layer = if frames.is_some() { Layer::WebSocket } else { Layer::Plain };
        let activity = Activity::new();
        let parting = Parting::new(match &request {
            Request::Attach(attach) if attach.streams.stdin => LEFT_INPUT_LIMIT,
            // A client that goes ends its command, and its connections to ports.
            Request::Attach(_) | Request::Exec(_) | Request::PortForward(_) => Duration::ZERO,
        });
        let socket = rustix::io::fcntl_dupfd_cloexec(connection.socket(), 0)?;
        let (read, write) = tokio::io::split(connection);
        let ends = Ends {
            link: Arc::new(Link::new(write, layer, activity.clone())),
            source: Source::new(read, socket, &before, frames, activity.clone(), parting.clone()),
            activity,
            parting,
            idle,
            ending,
        };
        match (protocol, request) {
            (Protocol::SpdyCommand(version), request) => ends.spdy_command(&engine, version, request).await,
            (Protocol::ChannelCommand(version, coding), request) => {
                ends.channel_command(&engine, version, coding, request).await
            }
            (Protocol::SpdyPorts | Protocol::TunnelledPorts, Request::PortForward(ports)) => {
                ends.spdy_ports(&engine, &ports).await
            }
            (Protocol::ChannelPorts(coding), Request::PortForward(ports)) => {
                ends.channel_ports(&engine, &ports, coding).await
            }
            // The handshake agrees on ports for ports only.
            (Protocol::SpdyPorts | Protocol::TunnelledPorts | Protocol::ChannelPorts(_), _) => Ok(()),
        }
    }
}

impl Ends {
    fn interruption(&self) -> Interruption {
        let (activity, ending) = (self.activity.clone(), self.ending.clone());
        Interruption { activity, idle: self.idle, ending }
    }

    async fn spdy_command(self, engine: &Engine, version: Version, request: Request) -> std::io::Result<()> {
        let (wanted, tty) = streams_of(&request);
        let link = Arc::clone(&self.link);
        let (control, answers) = Control::new(&link);
        let mut seen = Vec::new();
        let accepts = |headers: &spdy::Headers| match Kind::of(headers) {
            Some(kind) if !seen.contains(&kind) => {
                seen.push(kind);
                true
            }
            _ => false,
        };
        let (streams, mut opened) = spdy::Streams::new(Arc::clone(&link), control, 5, accepts);
        let interrupted = self.interruption();
        let work = async {
            let needed = remotecommand::needed(version, wanted, tty);
            if let Some(streams) = remotecommand::collect(&mut opened, version, &needed).await {
                tokio::select! {
                    () = interrupted.tell(streams.version, streams.error.clone()) => {}
                    () = command(engine, request, streams) => {}
                }
            }
        };
        self.serve(async |source| streams.serve(source).await, answers, work).await
    }

    async fn channel_command(
        self,
        engine: &Engine,
        version: Version,
        coding: websocket::Coding,
        request: Request,
    ) -> std::io::Result<()> {
        let (wanted, tty) = streams_of(&request);
        let link = Arc::clone(&self.link);
        let (control, answers) = Control::new(&link);
        let (channels, streams) = remotecommand::channels(&link, version, coding, wanted, tty);
        let interrupted = self.interruption();
        let work = async {
            // An empty message tells the client that its streams are there.
            let first = match wanted {
                Wanted { stdout: true, .. } => &streams.stdout,
                Wanted { stderr: true, .. } => &streams.stderr,
                Wanted { .. } => &streams.error,
            };
            first.send(&mut Packet::of(&[])).await.ok();
            tokio::select! {
                () = interrupted.tell(streams.version, streams.error.clone()) => {}
                () = command(engine, request, streams) => {}
            }
        };
        self.serve(async |source| channels.serve(source, control).await, answers, work).await
    }

    async fn spdy_ports(self, engine: &Engine, ports: &crate::request::PortForward) -> std::io::Result<()> {
        let link = Arc::clone(&self.link);
        let (control, answers) = Control::new(&link);
        let accepts = |headers: &spdy::Headers| portforward::accepts(ports, headers);
        let (streams, opened) =
            spdy::Streams::new(Arc::clone(&link), control, portforward::MAX_STREAMS, accepts);
        let work = portforward::pairs(engine, &ports.sandbox, opened);
        self.serve(async |source| streams.serve(source).await, answers, work).await
    }

    async fn channel_ports(
        self,
        engine: &Engine,
        ports: &crate::request::PortForward,
        coding: websocket::Coding,
    ) -> std::io::Result<()> {
        let link = Arc::clone(&self.link);
        let (control, answers) = Control::new(&link);
        let (channels, pairs) = portforward::channels(&link, &ports.ports, coding);
        let work = portforward::fixed(engine, &ports.sandbox, pairs);
        self.serve(async |source| channels.serve(source, control).await, answers, work).await
    }

    /// Works while the client is there and says something now and then, and sees it off.
    async fn serve(
        mut self,
        read: impl AsyncFnOnce(&mut Source) -> std::io::Result<()>,
        answers: impl Future<Output = ()>,
        work: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        let mut read = std::pin::pin!(read(&mut self.source));
        {
            let mut answers = std::pin::pin!(answers);
            let mut work = std::pin::pin!(work);
            tokio::select! {
                ended = &mut read => {
                    // The client is gone. What it has sent may still be given; then what was done for it is dropped, and so ended.
                    let answered = self.link.answer_close();
                    if is_not_of_the_protocol(&ended) {
                        // Where it does not take the answer at once it gets none.
                        tokio::select! { biased; () = answered => {} () = std::future::ready(()) => {} }
                    } else {
                        let seen_off = async { tokio::join!(answered, work) };
                        drop(tokio::time::timeout_at(self.parting.until(), seen_off).await);
                    }
                    return ended;
                }
                () = &mut answers => {}
                () = &mut work => {}
                // Commands have said so before.
                () = self.activity.idle(self.idle + LINGER) => return Ok(()),
            }
        }
        let bye = async {
            // When it cannot be said the client is gone already.
            self.link.finish().await.ok();
            read.await.ok();
        };
        // Until the client has closed its side: it does so when it has read everything, however slowly. What it still sends is read
        // meanwhile: bytes that nobody reads would make the kernel throw away what is on the way to it.
        let limit = async {
            tokio::select! {
                () = tokio::time::sleep(self.idle) => return,
                _ = self.ending.wait_for(|ending| *ending) => {}
            }
            tokio::time::sleep(LINGER).await;
        };
        tokio::select! {
            () = bye => {}
            () = limit => {}
        }
        Ok(())
    }
}

/// Whether reading ended since what came is nothing that the client may send: then nothing of it counts.
fn is_not_of_the_protocol(ended: &std::io::Result<()>) -> bool {
    ended.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::InvalidData)
}

fn streams_of(request: &Request) -> (Wanted, bool) {
    match request {
        Request::Exec(exec) => (exec.streams, exec.tty),
        Request::Attach(attach) => (attach.streams, attach.tty),
        Request::PortForward(_) => (Wanted::default(), false),
    }
}

async fn command(engine: &Engine, request: Request, streams: remotecommand::Streams) {
    match request {
        Request::Exec(exec) => remotecommand::exec(engine, exec, streams).await,
        Request::Attach(attach) => remotecommand::attach(engine, &attach, streams).await,
        Request::PortForward(_) => {}
    }
}

#[cfg(test)]
mod tests;
