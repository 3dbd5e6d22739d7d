//! Fetching a blob: one stream, resumed where it broke, and several ranges at a time where one
//! stream is what limits.
//!
//! ```text
//! host 1: GET ----- breaks at n --- pause --- GET Range: bytes=n- --- stalls ...
//! host 2 (when host 1 gives nothing more): GET Range: bytes=m- ----- done
//! ```
//!
//! The sink counts what it took, so a transfer goes on at exactly that byte, on whatever host. A
//! server that ignores the range sends everything again; what the sink has is then skipped.
//! Every failure is counted: a host is allowed a few in a row without progress, a blob a bounded number
//! in all. See docs/adr/0020-registry-client.md.

use std::future::Future;
use std::time::Instant;

use berth_types::{Classify, Kind};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use http::header::ACCEPT_RANGES;

use self::body::{Body, Span};

use crate::hosts::Host;
use crate::registry::{Descriptor, HostError, Pause, RegistryError, Retries, Source, Tried};
use crate::{LayerWriter, StoreError};

mod body;

/// Failures in a row without progress, on the last host: with the pauses between them, time for a registry to be
/// started again.
const MAX_ATTEMPTS: u32 = 6;
/// Failures of one blob in all.
const MAX_FAILURES: u32 = 32;
/// After so many bytes the rate of a single stream is measured.
const PROBE: u64 = 4 << 20;

/// Where a blob's bytes go, in order.
pub(crate) trait Sink: Send {
    /// Takes the next bytes; waits while it is behind.
    fn write(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Bytes taken so far.
    fn written(&self) -> u64;
}

impl Sink for LayerWriter {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        LayerWriter::write(self, bytes).await
    }
    fn written(&self) -> u64 {
        LayerWriter::written(self)
    }
}

/// Why a blob did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No host gave it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It could not be stored, or is not what it should be.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for FetchError {
    fn kind(&self) -> Kind {
        match self {
            Self::Registry(e) => e.kind(),
            Self::Store(e) => e.kind(),
        }
    }
    fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(e) => e.hint(),
            Self::Store(e) => e.hint(),
        }
    }
}

/// One attempt's end.
enum Failure {
    Host(HostError),
    Store(StoreError),
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What ended a stream without an error.
enum Ended {
    Whole,
    /// The rest is better fetched by ranges.
    Slow,
}

/// By whom a blob was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Served {
    /// The host that ended it, of those that may be asked.
    pub(crate) by: usize,
    /// Whether one before it sent the beginning: then either may have sent what is wrong.
    pub(crate) mixed: bool,
}

/// One blob on its way.
pub(crate) struct Transfer<'a, P> {
    /// From where.
    pub(crate) source: &'a Source,
    /// What.
    pub(crate) blob: &'a Descriptor,
    /// Told how many bytes the sink has, each time it took some.
    pub(crate) progress: P,
}

impl<P: Fn(u64) + Send + Sync> Transfer<'_, P> {
    /// Fetches the blob, beginning with the `first`th of the hosts that may be asked; tells
    /// who sent it, also when the sink refused what was sent. The caller checks the digest.
    pub(crate) async fn run(
        &self,
        first: usize,
        sink: &mut impl Sink,
    ) -> Result<Served, (Served, FetchError)> {
        let by = |by, mixed| Served { by, mixed };
        let hosts = self.source.capable(true).map_err(|error| (by(first, false), error.into()))?;
        let mut tried = Vec::new();
        let mut failures = 0;
        for (index, host) in hosts.iter().enumerate().skip(first) {
            let last = index + 1 == hosts.len();
            if self.source.skips(host, last) {
                tried.push(Tried { host: host.to_string(), error: HostError::GivenUp });
                continue;
            }
            let attempts = if last { MAX_ATTEMPTS } else { 1 };
            let served = by(index, sink.written() > 0);
            match self.try_host(host, attempts, &mut failures, sink).await {
                Ok(()) => return Ok(served),
                Err(Failure::Store(error)) => return Err((served, error.into())),
                Err(Failure::Host(error)) => {
                    self.source.note(host, &error);
                    tried.push(Tried { host: host.to_string(), error });
                }
            }
        }
        let what = format!("{}: blob {}", self.source.reference(), self.blob.digest);
        Err((by(hosts.len(), false), RegistryError::AllHosts { what, tried }.into()))
    }

    /// Tries one host until it has sent everything, or nothing in `attempts` attempts in a row.
    async fn try_host(
        &self,
        host: &Host,
        attempts: u32,
        failures: &mut u32,
        sink: &mut impl Sink,
    ) -> Result<(), Failure> {
        let timeouts = &self.source.registry().config().timeouts;
        let mut pause = Pause::new(timeouts);
        let mut fruitless = 0;
        loop {
            let before = sink.written();
            let error = match self.attempt(host, sink).await {
                Err(Failure::Host(error)) => error,
                done => return done,
            };
            *failures += 1;
            if sink.written() > before {
                (fruitless, pause) = (0, Pause::new(timeouts));
            } else {
                fruitless += 1;
            }
            let resumable = is_resumable(&error, sink.written() > 0);
            if !resumable || fruitless >= attempts || *failures >= MAX_FAILURES {
                return Err(error.into());
            }
            let Some(wait) = pause.after(&error) else { return Err(error.into()) };
            let blob = self.blob.digest.short();
            tracing::debug!(%host, blob, at = sink.written(), %error, "transfer broke");
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, host: &Host, sink: &mut impl Sink) -> Result<(), Failure> {
        match self.stream(host, sink).await? {
            Ended::Whole => Ok(()),
            Ended::Slow => self.parts(host, sink).await,
        }
    }

    /// One request for everything that is missing.
    async fn stream(&self, host: &Host, sink: &mut impl Sink) -> Result<Ended, Failure> {
        let size = self.blob.size;
        if sink.written() == size && size > 0 {
            return Ok(Ended::Whole);
        }
        let begun = Instant::now();
        let from = sink.written();
        let mut body = Body::open(self.source, host, self.blob, Span::From(from)).await?;
        let ranges = body.headers().get(ACCEPT_RANGES).is_some_and(|v| v.as_bytes() == b"bytes");
        let mut judged = !ranges;
        while let Some(bytes) = body.next().await? {
            sink.write(&bytes).await?;
            let written = sink.written();
            (self.progress)(written);
            if !judged && written - from >= PROBE {
                judged = true;
                if self.is_slow(written - from, begun, body.waited()) && self.may_split(size - written) {
                    return Ok(Ended::Slow);
                }
            }
        }
        Ok(Ended::Whole)
    }

    /// Whether the one stream limits: its rate is low, and most of the time went by waiting for it.
    fn is_slow(&self, bytes: u64, begun: Instant, waited: std::time::Duration) -> bool {
        let elapsed = begun.elapsed();
        let slow_below = self.source.registry().config().ranges.slow_below;
        let possible = u128::from(slow_below) * elapsed.as_micros() / 1_000_000;
        u128::from(bytes) < possible && waited * 2 > elapsed
    }

    fn may_split(&self, remaining: u64) -> bool {
        let ranges = &self.source.registry().config().ranges;
        ranges.streams > 1 && ranges.part > 0 && remaining >= ranges.worth
    }

    /// The rest in parts, several at a time, handed on in order. One blob at a time may do this,
    /// which bounds the memory; the others go on as one stream.
    async fn parts(&self, host: &Host, sink: &mut impl Sink) -> Result<(), Failure> {
        let registry = self.source.registry();
        let Ok(_permit) = registry.splitting().try_acquire() else {
            return self.stream_rest(host, sink).await;
        };
        let ranges = &registry.config().ranges;
        let (from, size) = (sink.written(), self.blob.size);
        let mut next = from;
        let mut parts = FuturesOrdered::new();
        loop {
            while next < size && parts.len() < ranges.streams {
                let end = (next + ranges.part).min(size);
                parts.push_back(self.part(host, next, end - 1));
                next = end;
            }
            let Some(part) = parts.next().await else { return Ok(()) };
            match part {
                Ok(part) => sink.write(&part).await?,
                Err(HostError::NoRanges) => break,
                Err(error) => return Err(error.into()),
            }
            (self.progress)(sink.written());
        }
        drop(parts);
        self.stream_rest(host, sink).await
    }

    async fn stream_rest(&self, host: &Host, sink: &mut impl Sink) -> Result<(), Failure> {
        let mut body = Body::open(self.source, host, self.blob, Span::From(sink.written())).await?;
        while let Some(bytes) = body.next().await? {
            sink.write(&bytes).await?;
            (self.progress)(sink.written());
        }
        Ok(())
    }

    async fn part(&self, host: &Host, first: u64, last: u64) -> Result<Vec<u8>, HostError> {
        let timeouts = &self.source.registry().config().timeouts;
        let mut retries = Retries::new(timeouts);
        loop {
            match self.part_once(host, first, last).await {
                Err(error) => retries.again(error).await?,
                done => return done,
            }
        }
    }

    async fn part_once(&self, host: &Host, first: u64, last: u64) -> Result<Vec<u8>, HostError> {
        let mut body = Body::open(self.source, host, self.blob, Span::Part(first, last)).await?;
        let mut part = Vec::with_capacity(usize::try_from(last - first + 1).unwrap_or_default());
        while let Some(bytes) = body.next().await? {
            part.extend_from_slice(&bytes);
        }
        Ok(part)
    }
}

/// Whether the host may give more after this. One that `gave` something before is waited for also when it cannot
/// be reached: it may be restarting.
fn is_resumable(error: &HostError, gave: bool) -> bool {
    match error {
        HostError::Timeout { .. } => true,
        HostError::Connect { .. } => gave,
        error => error.is_transient(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
