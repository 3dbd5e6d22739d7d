//! The body of a blob's answer: checked against what was asked for, with a limit on stalls.

use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::hosts::Host;
use crate::registry::{Ask, Descriptor, HostError, Source, Trust, send};

/// Less than this within the stall time is a stall, bytes.
const PROGRESS: u64 = 4096;

/// Which bytes of a blob.
#[derive(Debug, Clone, Copy)]
pub(super) enum Span {
    /// From this one to the end.
    From(u64),
    /// From the first to the last, both included.
    Part(u64, u64),
}

/// The bytes asked for, as they come.
pub(super) struct Body {
    incoming: Incoming,
    headers: HeaderMap,
    /// Bytes to skip: a server that ignores ranges begins at 0.
    skip: u64,
    /// Bytes still to be handed out.
    left: u64,
    stall: Duration,
    /// Waiting time and bytes since the last progress.
    idle: Duration,
    since: u64,
    waited: Duration,
}

impl Body {
    /// Asks a host for a part of a blob. Where it cannot do ranges, or a cache before it cannot, the whole is
    /// asked for again; what came before the part is skipped.
    pub(super) async fn open(
        source: &Source,
        host: &Host,
        blob: &Descriptor,
        span: Span,
    ) -> Result<Self, HostError> {
        let (first, last) = match span {
            Span::From(first) => (first, None),
            Span::Part(first, last) => (first, Some(last)),
        };
        if first == 0 && last.is_none() {
            return Self::ask(source, host, blob, 0, None).await;
        }
        match Self::ask(source, host, blob, first, Some((first, last))).await {
            Err(HostError::NoRanges) if last.is_none() => Self::ask(source, host, blob, first, None).await,
            done => done,
        }
    }

    /// One request, for a range or for the whole; hands out what begins at `first`.
    async fn ask(
        source: &Source,
        host: &Host,
        blob: &Descriptor,
        first: u64,
        range: Option<(u64, Option<u64>)>,
    ) -> Result<Self, HostError> {
        let last = range.and_then(|(_, last)| last);
        let ask = Ask {
            method: Method::GET,
            path: format!("blobs/{}", blob.digest),
            accept: None,
            range,
            trust: Trust::Digest,
        };
        let answer = send(source, host, &ask).await.map_err(|error| match error {
            // What servers and caches say to a range that they cannot give; registry.k8s.io's once said 400.
            HostError::Status { status: 400 | 405 | 406 | 412 | 416 | 501, .. } if range.is_some() => {
                HostError::NoRanges
            }
            error => error,
        });
        let (head, incoming) = answer?.into_parts();
        let left = last.map_or(blob.size, |last| last + 1) - first;
        let skip = match head.status {
            StatusCode::PARTIAL_CONTENT => {
                check_range(&head.headers, first, blob.size)?;
                0
            }
            _ if last.is_some() => return Err(HostError::NoRanges),
            _ => first,
        };
        check_length(&head.headers, skip + left, blob.size)?;
        let stall = source.registry().config().timeouts.stall;
        let headers = head.headers;
        Ok(Self {
            incoming,
            headers,
            skip,
            left,
            stall,
            idle: Duration::ZERO,
            since: 0,
            waited: Duration::ZERO,
        })
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// How long was waited for the network.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    /// The next bytes; None when all that was asked for has come.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, HostError> {
        loop {
            let Some(mut bytes) = self.frame().await? else { return self.ended() };
            let skip = self.skip.min(bytes.len() as u64);
            bytes.advance(usize::try_from(skip).unwrap_or_default());
            self.skip -= skip;
            if bytes.len() as u64 > self.left {
                let found = bytes.len() as u64;
                return Err(HostError::WrongSize { what: "blob", wanted: self.left, found });
            }
            self.left -= bytes.len() as u64;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    fn ended(&self) -> Result<Option<Bytes>, HostError> {
        match self.left {
            0 => Ok(None),
            left => Err(HostError::Transport {
                step: "transfer",
                source: format!("the answer ended {left} bytes early").into(),
            }),
        }
    }

    /// The next frame with data. Time counts only while waiting, and less than [`PROGRESS`] bytes
    /// do not set it back: a trickle is a stall.
    async fn frame(&mut self) -> Result<Option<Bytes>, HostError> {
        let stalled = HostError::Timeout { step: "transfer", limit: self.stall };
        let left = self.stall.saturating_sub(self.idle);
        let begun = Instant::now();
        let frame = tokio::time::timeout(left, self.incoming.frame()).await.map_err(|_| stalled)?;
        let waited = begun.elapsed();
        self.idle += waited;
        self.waited += waited;
        let broken = |e: hyper::Error| HostError::Transport { step: "transfer", source: e.into() };
        let Some(frame) = frame.transpose().map_err(broken)? else { return Ok(None) };
        let bytes = frame.into_data().unwrap_or_default();
        self.since += bytes.len() as u64;
        if self.since >= PROGRESS {
            (self.since, self.idle) = (0, Duration::ZERO);
        }
        Ok(Some(bytes))
    }
}

/// A 206 must be for what was asked, of a blob of the right size.
fn check_range(headers: &HeaderMap, first: u64, size: u64) -> Result<(), HostError> {
    let text = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (begin, total) = content_range(text).ok_or(HostError::NoRanges)?;
    match total {
        Some(found) if found != size => Err(HostError::WrongSize { what: "blob", wanted: size, found }),
        _ if begin != first => Err(HostError::NoRanges),
        _ => Ok(()),
    }
}

/// The first byte and the total of `bytes FIRST-LAST/TOTAL`; the total may be unknown (`*`).
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (span, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let begin = span.split('-').next()?.trim().parse().ok()?;
    match total.trim() {
        "*" => Some((begin, None)),
        total => Some((begin, Some(total.parse().ok()?))),
    }
}

/// A length that is announced must be the right one, before a byte is taken.
fn check_length(headers: &HeaderMap, expected: u64, size: u64) -> Result<(), HostError> {
    let Some(text) = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()) else { return Ok(()) };
    match text.parse::<u64>() {
        Ok(found) if found == expected => Ok(()),
        Ok(found) => {
            Err(HostError::WrongSize { what: "blob", wanted: size, found: size - expected.min(size) + found })
        }
        Err(_) => Err(HostError::Malformed { what: "Content-Length", problem: format!("{text:?}") }),
    }
}
