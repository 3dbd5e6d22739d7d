//! From what a client has opened to a process' streams.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Streams, Version};
use crate::request::Wanted;
use crate::session::Outlet;
use crate::spdy::{Headers, Opened};
use crate::websocket::{self, Channels, Coding};
use crate::wire::Link;

/// How long a client may take to open its streams.
const LIMIT: Duration = Duration::from_secs(30);

/// What a stream is for. The numbers are those of WebSocket's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    Error = 3,
    Resize = 4,
}

impl Kind {
    /// How many there are.
    const COUNT: u8 = 5;

    /// That of a stream with these headers.
    pub(crate) fn of(headers: &Headers) -> Option<Self> {
        Some(match headers.get("streamtype")? {
            "stdin" => Kind::Stdin,
            "stdout" => Kind::Stdout,
            "stderr" => Kind::Stderr,
            "error" => Kind::Error,
            "resize" => Kind::Resize,
            _ => return None,
        })
    }
}

/// The streams without which nothing begins.
pub(crate) fn needed(version: Version, wanted: Wanted, tty: bool) -> Vec<Kind> {
    let all = [
        (Kind::Error, true),
        (Kind::Stdin, wanted.stdin),
        (Kind::Stdout, wanted.stdout),
        (Kind::Stderr, wanted.stderr),
        (Kind::Resize, tty && version >= Version::V3),
    ];
    all.into_iter().filter(|(_, needed)| *needed).map(|(kind, _)| kind).collect()
}

/// Waits until a client of SPDY has opened what is needed. What it opens beside that is left alone.
pub(crate) async fn collect(
    opened: &mut mpsc::Receiver<Opened>,
    version: Version,
    needed: &[Kind],
) -> Option<Streams> {
    let mut streams = BTreeMap::new();
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !needed.iter().all(|kind| streams.contains_key(kind)) {
        let Ok(next) = tokio::time::timeout_at(deadline, opened.recv()).await else {
            let error = streams.remove(&Kind::Error).map(|error: Opened| Outlet::Spdy(error.outlet));
            if let Some(error) = error {
                super::status::Outcome::failed(&"the client did not open its streams in time")
                    .tell(version, &error)
                    .await;
            }
            return None;
        };
        let next = next?;
        if let Some(kind) = Kind::of(&next.headers) {
            streams.insert(kind, next);
        }
    }
    let outlet = |kind| match streams.get(&kind).filter(|_| needed.contains(&kind)) {
        Some(opened) => Outlet::Spdy(opened.outlet.clone()),
        None => Outlet::Nowhere,
    };
    let (stdout, stderr, error) = (outlet(Kind::Stdout), outlet(Kind::Stderr), outlet(Kind::Error));
    let mut incoming =
        |kind| streams.remove(&kind).filter(|_| needed.contains(&kind)).map(|opened| opened.incoming);
    Some(Streams {
        version,
        stdin: incoming(Kind::Stdin),
        stdout,
        stderr,
        error,
        resize: incoming(Kind::Resize),
    })
}

/// The channels of a client of WebSocket, which are all there from the beginning.
pub(crate) fn channels(
    link: &Arc<Link>,
    version: Version,
    coding: Coding,
    wanted: Wanted,
    tty: bool,
) -> (Channels, Streams) {
    let takes =
        |number| (number == Kind::Stdin as u8 && wanted.stdin) || (number == Kind::Resize as u8 && tty);
    let (channels, mut incoming) = Channels::new(Kind::COUNT, coding, version >= Version::V5, takes);
    let outlet = |kind: Kind, wanted: bool| {
        let channel = websocket::Outlet::new(Arc::clone(link), kind as u8, coding);
        if wanted { Outlet::Channel(channel) } else { Outlet::Nowhere }
    };
    let mut take = |kind: Kind| incoming.get_mut(usize::from(kind as u8)).and_then(Option::take);
    let streams = Streams {
        version,
        stdin: take(Kind::Stdin),
        resize: take(Kind::Resize),
        stdout: outlet(Kind::Stdout, wanted.stdout),
        stderr: outlet(Kind::Stderr, wanted.stderr),
        error: outlet(Kind::Error, true),
    };
    (channels, streams)
}

#[cfg(test)]
mod tests;
