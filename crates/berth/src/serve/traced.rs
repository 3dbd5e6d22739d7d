//! A span for each call of the CRI, and what the log says of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Waker, Poll};

use anyhow::Context as _;
use berth_engine::Call;
use berth_trace::{Exporter, Ratio, Sampling};
use berth_types::trace::{Context, TRACEPARENT};
use hyper::{HeaderMap, Request, Response};
use tokio::task::JoinHandle;
use tower::Service;

use super::metrics;
use super::settings::{Settings, Trace};

#[cfg(test)]
mod tests;

/// Where calls are told, and which.
#[derive(Debug, Clone)]
pub(super) struct Tracer {
    pub(super) exporter: Arc<Exporter>,
    ratio: Ratio,
}

impl Tracer {
    /// The one of these settings, if there is one, with its task.
    pub(super) fn start(settings: &Settings) -> anyhow::Result<Option<(Self, JoinHandle<()>)>> {
        let Some(Trace { endpoint, protocol, authorities, headers, ratio }) = settings.trace.clone() else {
            return Ok(None);
        };
        let name = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
        let resource = [
            ("service.name", name.unwrap_or_else(|| "berth".to_owned())),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", settings.instance.clone()),
            ("host.name", rustix::system::uname().nodename().to_string_lossy().into_owned()),
        ];
        let resource = resource.into_iter().filter(|(_, value)| !value.is_empty());
        let resource = resource.map(|(key, value)| (key.to_owned(), value)).collect();
        let place = endpoint.to_string();
        let exporter = berth_trace::Settings { endpoint, protocol, authorities, headers, resource };
        let (exporter, task) = Exporter::start(&exporter).context("start tracing")?;
        tracing::info!(endpoint = place, "traces");
        Ok(Some((Self { exporter, ratio }, task)))
    }
}

/// A service whose calls are told where there is a tracer, and known to the log in any case.
#[derive(Debug, Clone)]
pub(super) struct Traced<S> {
    pub(super) inner: S,
    pub(super) tracer: Option<Tracer>,
}

impl<S> Traced<S> {
    fn begin(&self, headers: &HeaderMap) -> Call {
        let parent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(Context::parse);
        let Some(tracer) = &self.tracer else { return Call::untold(parent) };
        match Sampling::of(parent, tracer.ratio) {
            Sampling::Told(trace, of) => Call::told(Arc::clone(&tracer.exporter) as _, trace, of),
            Sampling::Untold => Call::untold(parent),
        }
    }
}

/// A call until it is answered or given up.
struct Waiting {
    call: Call,
    path: String,
    is_answered: bool,
}

impl Waiting {
    fn answered(mut self, headers: &HeaderMap) {
        self.is_answered = true;
        let text = |name: &str| {
            let value = headers.get(name)?;
            Some(percent_encoding::percent_decode(value.as_bytes()).decode_utf8_lossy().into_owned())
        };
        let code = metrics::code(text("grpc-status").as_deref());
        let failed = (code != "OK").then(|| match text("grpc-message") {
            Some(message) if !message.is_empty() => format!("{code}: {message}"),
            _ => code.to_owned(),
        });
        self.tell(code, failed);
    }

    fn tell(&self, code: &str, failed: Option<String>) {
        let (service, method) = self.path.split_once('/').unwrap_or((&self.path, ""));
        let attributes = [
            ("rpc.system", "grpc"),
            ("rpc.service", service),
            ("rpc.method", method),
            ("rpc.response.status_code", code),
        ];
        let attributes = attributes.map(|(key, text)| (key, text.to_owned())).to_vec();
        self.call.answered(&self.path, attributes, failed);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_answered {
            self.tell("CANCELLED", Some("CANCELLED: the caller went away".to_owned()));
        }
    }
}

impl<S, B, R> Service<Request<B>> for Traced<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send,
    R: Send,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Waker<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        if metrics::method(path).is_none() {
            return Box::pin(self.inner.call(request));
        }
        let call = self.begin(request.headers());
        let path = path.trim_start_matches('/').to_owned();
        let waiting = Waiting { call, path, is_answered: false };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let call = waiting.call.clone();
            let answer = call.around(answer).await;
            match &answer {
                Ok(answer) => waiting.answered(answer.headers()),
                Err(_) => drop(waiting),
            }
            answer
        })
    }
}
