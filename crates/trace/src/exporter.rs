//! The queue of spans that ended, and the task that tells a collector of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use berth_types::error::chain;
use berth_types::trace::{Sink, Span, SpanId};
use http::Uri;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::client::{Client, ClientError};
use crate::{Protocol, messages, sampling};

#[cfg(test)]
mod tests;

/// Spans that may wait; each has some hundred bytes. The numbers are in docs/tracing.md.
const QUEUE: usize = 4096;
/// The most spans of one request.
const BATCH: usize = 512;
/// How long the first of them waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long a collector may take for a request.
const LIMIT: Duration = Duration::from_secs(10);
/// How long the daemon's end waits for it.
const LAST: Duration = Duration::from_secs(1);

/// Where spans go, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What is asked, as a whole: scheme, host, port and path.
    pub endpoint: Uri,
    /// How.
    pub protocol: Protocol,
    /// A file of authorities as PEM that a collector's certificate is from; None is the system's.
    pub authorities: Option<PathBuf>,
    /// Headers of each request.
    pub headers: Vec<(String, String)>,
    /// What this program is.
    pub resource: Vec<(String, String)>,
}

/// How many spans there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken by the collector.
    pub sent: u64,
    /// Dropped, since the queue was full.
    pub overflowed: u64,
    /// Dropped, since the collector did not take them.
    pub refused: u64,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    overflowed: AtomicU64,
    refused: AtomicU64,
}

/// Takes spans that ended. Without a runtime of tokio there is none.
#[derive(Debug)]
pub struct Exporter {
    queue: mpsc::Sender<Span>,
    counters: Arc<Counters>,
    end: watch::Sender<bool>,
}

impl Exporter {
    /// Begins, and gives the task besides, which ends with [`Exporter::end`].
    ///
    /// # Errors
    /// The authorities cannot be read, or a header cannot be sent. Whether there is a collector is not asked.
    pub fn start(settings: &Settings) -> Result<(Arc<Self>, JoinHandle<()>), ClientError> {
        let client = Client::new(settings)?;
        let (queue, spans) = mpsc::channel(QUEUE);
        let (end, ended) = watch::channel(false);
        let counters = Arc::new(Counters::default());
        let task = Task {
            client,
            spans,
            ended,
            resource: settings.resource.clone(),
            counters: Arc::clone(&counters),
            trouble: None,
        };
        Ok((Arc::new(Self { queue, counters, end }), tokio::spawn(task.run())))
    }

    /// How many spans there were until now.
    pub fn counts(&self) -> Counts {
        let Counters { sent, overflowed, refused } = &*self.counters;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts { sent: of(sent), overflowed: of(overflowed), refused: of(refused) }
    }

    /// Tells what is in the queue once more, for a second at most, and then no more.
    pub fn end(&self) {
        self.end.send_replace(true);
    }
}

impl Sink for Exporter {
    fn id(&self) -> SpanId {
        sampling::fresh_span()
    }

    fn ended(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.counters.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Waits until no more spans come: who has the other end says so, or is gone.
async fn over(ended: &mut watch::Receiver<bool>) {
    drop(ended.wait_for(|ended| *ended).await);
}

struct Task {
    client: Client,
    spans: mpsc::Receiver<Span>,
    ended: watch::Receiver<bool>,
    resource: Vec<(String, String)>,
    counters: Arc<Counters>,
    /// Spans that were lost since the collector did not take them, and were told of once.
    trouble: Option<u64>,
}

impl Task {
    async fn run(mut self) {
        while !*self.ended.borrow() {
            let mut ended = self.ended.clone();
            tokio::select! {
                () = over(&mut ended) => break,
                first = self.spans.recv() => {
                    let Some(first) = first else { return };
                    let batch = self.gather(first).await;
                    self.tell(batch, LIMIT).await;
                }
            }
        }
        let until = Instant::now() + LAST;
        while let Ok(first) = self.spans.try_recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = self.spans.try_recv()
            {
                batch.push(next);
            }
            self.tell(batch, until.saturating_duration_since(Instant::now())).await;
        }
    }

    /// A span with those that come a little later.
    async fn gather(&mut self, first: Span) -> Vec<Span> {
        let until = Instant::now() + GATHER;
        let mut batch = vec![first];
        let mut ended = self.ended.clone();
        let more = async {
            while batch.len() < BATCH
                && let Ok(Some(next)) = timeout_at(until, self.spans.recv()).await
            {
                batch.push(next);
            }
        };
        tokio::select! {
            () = more => {}
            () = over(&mut ended) => {}
        }
        batch
    }

    async fn tell(&mut self, batch: Vec<Span>, limit: Duration) {
        let count = batch.len() as u64;
        let request = messages::request(&self.resource, batch);
        let done = timeout(limit, self.client.send(&request)).await;
        match done.unwrap_or(Err(ClientError::Slow(limit))) {
            Ok(None) => {
                self.counters.sent.fetch_add(count, Ordering::Relaxed);
                if let Some(lost) = self.trouble.take() {
                    tracing::info!(lost, "the collector takes traces again");
                }
            }
            Ok(Some(partial)) => {
                let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0).min(count);
                self.counters.sent.fetch_add(count - rejected, Ordering::Relaxed);
                self.lost(rejected, &partial.error_message);
            }
            Err(error) => self.lost(count, &chain(&error)),
        }
    }

    /// Told once, until the collector takes some again.
    fn lost(&mut self, count: u64, error: &str) {
        self.counters.refused.fetch_add(count, Ordering::Relaxed);
        if self.trouble.is_none() {
            tracing::warn!(
                error,
                "the collector does not take traces; they are dropped and counted until it does"
            );
        }
        self.trouble = Some(self.trouble.unwrap_or(0) + count);
    }
}
