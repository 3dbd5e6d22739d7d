//! Bytes between a pod's port and the client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use berth_engine::{Connection, Engine};
use berth_types::SandboxId;
use berth_types::error::chain;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::unix;
use tokio::sync::watch;

use crate::session::Outlet;
use crate::wire::{Incoming, Item, Packet};

/// Bytes of a pod at a time.
const CHUNK: usize = 64 << 10;

/// A connection as the client sees it.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) port: u16,
    /// What the client sends.
    pub(crate) data: Incoming,
    /// What it gets.
    pub(crate) outlet: Outlet,
    /// Why there is no connection.
    pub(crate) error: Outlet,
    pub(crate) ends: Ends,
}

/// How a client ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Each direction by itself.
    Apart,
    /// With the whole; so it ends when the pod's side has.
    Together,
}

/// Connects and copies in both directions until both have ended, each by itself. An error of one connection is not one of the
/// others: text on the error stream makes clients give up all of them, so it is for a port that cannot be connected to.
pub(super) async fn forward(engine: &Engine, sandbox: &SandboxId, pair: Pair) {
    let Pair { port, data, outlet, error, ends } = pair;
    let given_up = data.ended();
    let connected = tokio::select! {
        connected = engine.connect(sandbox, port) => connected,
        () = given_up.wait() => return,
    };
    match connected {
        Ok(connection) => {
            // There can be no text any more, and clients of Kubernetes before 1.32 wait for its end before they close theirs.
            error.finish().await;
            match connection {
                Connection::Tcp(stream) => {
                    // It fails on a connection that has ended.
                    stream.set_nodelay(true).ok();
                    let (from, to) = stream.into_split();
                    copy(from, to, data, &outlet, ends).await;
                }
                Connection::Unix(stream) => {
                    let (from, to) = stream.into_split();
                    copy(from, Whole(to), data, &outlet, ends).await;
                }
            }
        }
        Err(why) => {
            tracing::debug!(%sandbox, port, error = chain(&why), "failed to forward a port");
            let text = format!("failed to forward port {port} to sandbox {sandbox}: {}", chain(&why));
            error.send(&mut Packet::of(text.as_bytes())).await.ok();
            error.finish().await;
            outlet.cancel().await;
        }
    }
}

/// The way to a pod that takes the end of this direction for that of both: it is not told before the answer has ended too.
struct Whole(unix::OwnedWriteHalf);

impl AsyncWrite for Whole {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn copy(
    read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
    data: Incoming,
    outlet: &Outlet,
    ends: Ends,
) {
    let (told, mut ended) = watch::channel(false);
    let given_up = data.ended();
    let both = async {
        let ended_well = down(read, outlet).await;
        // The client may send on, until it has ended its side.
        if ended_well && ends == Ends::Apart {
            drop(ended.wait_for(|ended| *ended).await);
        }
    };
    tokio::select! {
        () = both => {}
        // The client gave the connection up, perhaps while the pod takes nothing.
        () = up(data, write, told) => outlet.cancel().await,
        () = given_up.wait() => outlet.cancel().await,
    }
}

/// From the client to the pod. Over when the client gives up; its end of input is told.
async fn up(mut data: Incoming, mut to: impl AsyncWrite + Unpin, ended: watch::Sender<bool>) {
    loop {
        match data.next().await {
            Some(Item::Data(bytes)) => {
                // What the pod does not take goes nowhere, and is no longer waited for.
                if to.write_all(&bytes).await.is_err() {
                    ended.send_replace(true);
                }
            }
            Some(Item::Fin) => {
                to.shutdown().await.ok();
                ended.send_replace(true);
            }
            Some(Item::Reset) | None => return,
        }
    }
}

/// From the pod to the client; whether it ended well. A connection that the pod breaks off is broken off for the client too.
async fn down(mut from: impl AsyncRead + Unpin, outlet: &Outlet) -> bool {
    let mut packet = Packet::space(CHUNK);
    loop {
        match packet.read(&mut from).await {
            Ok(0) => {
                outlet.finish().await;
                return true;
            }
            Ok(_) if outlet.send(&mut packet).await.is_ok() => {}
            Ok(_) => return false,
            Err(_) => {
                outlet.cancel().await;
                return false;
            }
        }
    }
}
