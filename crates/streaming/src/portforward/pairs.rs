//! Pairs of SPDY streams, found together by the number that the client gives them.

use std::collections::HashMap;
use std::time::Duration;

use berth_engine::Engine;
use berth_types::SandboxId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::copy::{Ends, Pair, forward};
use crate::request::PortForward;
use crate::session::Outlet;
use crate::spdy::{Headers, Opened};
use crate::wire::Packet;

/// The most streams of one client that it may send on: its connections, and those that are being opened.
pub(crate) const MAX_STREAMS: usize = 256;
/// How long the second stream of a pair may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Error,
}

/// What a stream's headers say.
fn read(headers: &Headers) -> Option<(Kind, u16)> {
    let kind = match headers.get("streamtype")? {
        "data" => Kind::Data,
        "error" => Kind::Error,
        _ => return None,
    };
    let port = headers.get("port")?.parse().ok().filter(|port| *port > 0)?;
    Some((kind, port))
}

/// Whether a stream is one of a pair, for a port that may be connected to.
pub(crate) fn accepts(request: &PortForward, headers: &Headers) -> bool {
    let allowed = |port| request.ports.is_empty() || request.ports.contains(&port);
    read(headers).is_some_and(|(_, port)| allowed(port))
}

/// What the two streams of a pair have in common. Old clients give no number: they open a pair at a time, the stream for an
/// error first.
fn id(kind: Kind, opened: &Opened) -> String {
    match (opened.headers.get("requestid"), kind) {
        (Some(id), _) => format!("given {id}"),
        (None, Kind::Error) => format!("stream {}", opened.stream),
        (None, Kind::Data) => format!("stream {}", opened.stream.saturating_sub(2)),
    }
}

/// A pair of which one stream is missing.
#[derive(Debug)]
struct Half {
    kind: Kind,
    opened: Opened,
    until: Instant,
}

/// Forwards connections as they come, until the client goes.
pub(crate) async fn pairs(engine: &Engine, sandbox: &SandboxId, mut opened: mpsc::Receiver<Opened>) {
    let mut halves: HashMap<String, Half> = HashMap::new();
    // Dropped with the client, which ends them.
    let mut running = JoinSet::new();
    loop {
        let next = halves.values().map(|half| half.until).min();
        tokio::select! {
            stream = opened.recv() => {
                let Some(stream) = stream else { return };
                if let Some(pair) = join(&mut halves, stream).await {
                    let (engine, sandbox) = (engine.clone(), sandbox.clone());
                    running.spawn(async move { forward(&engine, &sandbox, pair).await });
                }
            }
            Some(_) = running.join_next() => {}
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                for (_, late) in halves.extract_if(|_, half| half.until <= Instant::now()) {
                    give_up(late).await;
                }
            }
        }
    }
}

/// Puts a stream to the other of its pair.
async fn join(halves: &mut HashMap<String, Half>, opened: Opened) -> Option<Pair> {
    let (kind, _) = read(&opened.headers)?;
    let id = id(kind, &opened);
    let Some(other) = halves.remove(&id) else {
        halves.insert(id, Half { kind, opened, until: Instant::now() + LIMIT });
        return None;
    };
    if other.kind == kind {
        opened.outlet.cancel().await.ok();
        halves.insert(id, other);
        return None;
    }
    let (data, error) = if kind == Kind::Data { (opened, other.opened) } else { (other.opened, opened) };
    let (_, port) = read(&data.headers)?;
    let (outlet, error) = (Outlet::Spdy(data.outlet), Outlet::Spdy(error.outlet));
    Some(Pair { port, data: data.incoming, outlet, error, ends: Ends::Apart })
}

async fn give_up(half: Half) {
    let outlet = Outlet::Spdy(half.opened.outlet);
    if half.kind == Kind::Error {
        let text = "the data stream of this connection was not opened in time";
        outlet.send(&mut Packet::of(text.as_bytes())).await.ok();
        outlet.finish().await;
    } else {
        outlet.cancel().await;
    }
}
