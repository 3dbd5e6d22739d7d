//! Metrics in the text format of Prometheus, where an address for them is given. Without one nothing is counted.

mod http;
mod text;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use berth_engine::Engine;
use berth_types::metric;
use hyper::{Request, Response};
use tower::Service;

pub(super) use http::bind;
use text::Text;

/// The upper ends of the buckets, in seconds.
const BUCKETS: [f64; 11] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];
/// The most methods and codes that are told apart; the CRI has fewer than 50 methods.
const MOST: usize = 512;

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    calls: Mutex<Calls>,
    pending: AtomicU64,
}

#[derive(Debug, Default)]
struct Calls {
    by_code: BTreeMap<(String, &'static str), u64>,
    times: BTreeMap<String, Times>,
}

#[derive(Debug, Default, Clone)]
struct Times {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: Duration,
}

impl Times {
    fn add(&mut self, took: Duration) {
        self.count += 1;
        self.sum = self.sum.saturating_add(took);
        let fitting = BUCKETS.iter().zip(&mut self.buckets).filter(|(end, _)| took.as_secs_f64() <= **end);
        fitting.for_each(|(_, bucket)| *bucket += 1);
    }
}

impl Metrics {
    /// A call of this path was answered.
    fn answered(&self, method: &str, code: &'static str, took: Duration) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (method.to_owned(), code);
        if calls.by_code.len() >= MOST && !calls.by_code.contains_key(&key) {
            return;
        }
        *calls.by_code.entry(key).or_default() += 1;
        calls.times.entry(method.to_owned()).or_default().add(took);
    }

    /// All of it as text.
    pub(super) fn text(&self, engine: &Engine) -> String {
        let mut text = Text::default();
        self.write_calls(&mut text);
        let (mut pods, mut containers) = (BTreeMap::new(), BTreeMap::new());
        for pod in engine.sandboxes(None) {
            let handler = if pod.config.handler.is_empty() { "native" } else { pod.config.handler.as_str() };
            let state = pod.state.listed().map_or_else(|| "starting".to_owned(), |l| word(&l));
            *pods.entry((state, handler.to_owned())).or_insert(0_u64) += 1;
            for container in &pod.containers {
                let state = container.state.listed().map_or_else(|| "creating".to_owned(), |l| word(&l));
                *containers.entry((state, handler.to_owned())).or_insert(0_u64) += 1;
            }
        }
        for (family, all) in [(metric::PODS, pods), (metric::CONTAINERS, containers)] {
            text.family(family);
            for ((state, handler), count) in &all {
                text.value(family.name, &[("state", state), ("handler", handler)], *count);
            }
        }
        let (images, bytes) = engine.collected();
        for (family, count) in [(metric::COLLECTED, images), (metric::COLLECTED_BYTES, bytes)] {
            text.family(family);
            text.value(family.name, &[], count);
        }
        text.family(metric::MEMORY);
        if let Some(bytes) = resident() {
            text.value(metric::MEMORY.name, &[], bytes);
        }
        text.family(metric::PROCESSOR);
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        text.value(metric::PROCESSOR.name, &[], format_args!("{}.{:09}", used.tv_sec, used.tv_nsec));
        text.family(metric::VERSION);
        text.value(metric::VERSION.name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
        text.into_string()
    }

    fn write_calls(&self, text: &mut Text) {
        let (by_code, times) = {
            let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            (calls.by_code.clone(), calls.times.clone())
        };
        text.family(metric::CALLS);
        for ((method, code), count) in &by_code {
            text.value(metric::CALLS.name, &[("method", method), ("code", code)], *count);
        }
        text.family(metric::CALL_TIMES);
        for (method, times) in &times {
            let name = metric::CALL_TIMES.name;
            for (end, count) in BUCKETS.iter().zip(&times.buckets) {
                text.value(
                    &format!("{name}_bucket"),
                    &[("method", method), ("le", &end.to_string())],
                    *count,
                );
            }
            text.value(&format!("{name}_bucket"), &[("method", method), ("le", "+Inf")], times.count);
            text.value(&format!("{name}_sum"), &[("method", method)], times.sum.as_secs_f64());
            text.value(&format!("{name}_count"), &[("method", method)], times.count);
        }
        text.family(metric::PENDING);
        text.value(metric::PENDING.name, &[], self.pending.load(Ordering::Relaxed));
    }
}

fn word(listed: &impl std::fmt::Debug) -> String {
    format!("{listed:?}").to_lowercase()
}

/// Memory of this process in bytes.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The method of a call of the CRI.
fn method(path: &str) -> Option<&str> {
    let (service, method) = path.strip_prefix("/runtime.v1.")?.split_once('/')?;
    ["RuntimeService", "ImageService"].contains(&service).then_some(method)
}

/// The names of gRPC's codes.
fn code(status: Option<&str>) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    // An answer says it behind its message, a refusal before all.
    let number = status.map_or(Some(0), |text| text.parse().ok());
    number.and_then(|number: usize| NAMES.get(number)).copied().unwrap_or("UNKNOWN")
}

/// A service whose calls are counted.
#[derive(Debug, Clone)]
pub(super) struct Counted<S> {
    pub(super) inner: S,
    pub(super) metrics: Option<Arc<Metrics>>,
}

/// Counts a call that waits, until it is answered or given up.
struct Waiting(Arc<Metrics>);

impl Waiting {
    fn of(metrics: &Arc<Metrics>) -> Self {
        metrics.pending.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(metrics))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S, B, R> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = method(request.uri().path()).map(str::to_owned);
        let call = self.inner.call(request);
        let Some((metrics, method)) = self.metrics.as_ref().zip(method) else { return Box::pin(call) };
        let (waiting, began) = (Waiting::of(metrics), Instant::now());
        Box::pin(async move {
            let answer = call.await?;
            let code = code(answer.headers().get("grpc-status").and_then(|status| status.to_str().ok()));
            // Whoever asks for methods that there are not must not fill the table.
            let method = if code == "UNIMPLEMENTED" { "unknown" } else { &method };
            waiting.0.answered(method, code, began.elapsed());
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests;
