//! What a piece of work is about: the call that asked for it, and the pod and container that it concerns. It goes along with the
//! work, through owners and onto threads, so that every line of the log has the ids and every step is a span of its call
//! (docs/adr/0101).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use berth_types::trace::{Context, Sink, Span, SpanId, TraceId};
use berth_types::{ContainerId, SandboxId};

use crate::model::SandboxConfig;

#[cfg(test)]
mod tests;

/// The most steps of one call that are told: work that goes on for ever must not grow a trace for ever.
const STEPS: u32 = 256;

tokio::task_local! {
    static ABOUT: About;
}

/// What the work at hand is about.
#[derive(Debug, Clone, Default)]
pub struct About {
    call: Option<Call>,
    pod: Option<Arc<Pod>>,
    container: Option<ContainerId>,
}

/// A pod by its names.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) id: SandboxId,
    /// None where it cannot be read.
    pub(crate) config: Option<Arc<SandboxConfig>>,
}

impl About {
    /// What the work at hand is about; nothing, where nobody said.
    pub fn now() -> Self {
        ABOUT.try_with(Clone::clone).unwrap_or_default()
    }

    /// The trace that the work belongs to.
    pub fn trace(&self) -> Option<TraceId> {
        self.call.as_ref()?.inner.trace
    }

    /// The pod's id.
    pub fn sandbox(&self) -> Option<&SandboxId> {
        Some(&self.a_pod()?.id)
    }

    /// The pod's uid, as who asked for it names it.
    pub fn uid(&self) -> Option<&str> {
        let config = self.a_pod()?.config.as_ref()?;
        Some(config.metadata.uid.as_str()).filter(|uid| !uid.is_empty())
    }

    /// The container's id.
    pub fn container(&self) -> Option<&ContainerId> {
        self.container.as_ref().or_else(|| self.call.as_ref()?.inner.container.get())
    }

    /// The call's own work is about the pod that it turned out to concern.
    fn a_pod(&self) -> Option<&Arc<Pod>> {
        self.pod.as_ref().or_else(|| self.call.as_ref()?.inner.pod.get())
    }

    pub(crate) fn call(&self) -> Option<&Call> {
        self.call.as_ref()
    }

    pub(crate) fn of_pod(self, pod: Arc<Pod>) -> Self {
        if let Some(call) = &self.call {
            call.inner.pod.get_or_init(|| Arc::clone(&pod));
        }
        Self { pod: Some(pod), ..self }
    }

    pub(crate) fn of_container(self, id: &ContainerId) -> Self {
        if let Some(call) = &self.call {
            call.inner.container.get_or_init(|| id.clone());
        }
        Self { container: Some(id.clone()), ..self }
    }

    /// The same, for what this call wants.
    pub(crate) fn asked_by(self, call: Option<Call>) -> Self {
        let pod = self.pod.clone();
        let about = Self { call, ..self };
        match pod {
            Some(pod) => about.of_pod(pod),
            None => about,
        }
    }

    /// Does this work as being about this.
    pub(crate) async fn around<T>(self, work: impl Future<Output = T>) -> T {
        ABOUT.scope(self, work).await
    }

    /// The same, of work that does not wait.
    pub(crate) fn within<T>(self, work: impl FnOnce() -> T) -> T {
        ABOUT.sync_scope(self, work)
    }
}

/// A call from outside.
#[derive(Debug, Clone)]
pub struct Call {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    trace: Option<TraceId>,
    recorded: Option<Recorded>,
    /// What it turned out to concern.
    pod: OnceLock<Arc<Pod>>,
    container: OnceLock<ContainerId>,
}

/// What is told of a call that is traced.
#[derive(Debug)]
struct Recorded {
    sink: Arc<dyn Sink>,
    span: SpanId,
    trace: TraceId,
    parent: Option<SpanId>,
    /// The same moment by both clocks: a change of the time does not tear a trace apart.
    began: (SystemTime, Instant),
    steps: AtomicU32,
}

impl Recorded {
    fn time(&self, at: Instant) -> SystemTime {
        let (time, began) = self.began;
        time + at.saturating_duration_since(began)
    }
}

impl Call {
    /// A call of which nothing is told. It belongs to the trace that its caller has.
    pub fn untold(parent: Option<Context>) -> Self {
        Self::of(parent.map(|parent| parent.trace), None)
    }

    /// A call that is a span of this trace, and its steps are spans in it.
    pub fn told(sink: Arc<dyn Sink>, trace: TraceId, parent: Option<SpanId>) -> Self {
        let (span, began) = (sink.id(), (SystemTime::now(), Instant::now()));
        let recorded = Recorded { sink, span, trace, parent, began, steps: AtomicU32::new(0) };
        Self::of(Some(trace), Some(recorded))
    }

    fn of(trace: Option<TraceId>, recorded: Option<Recorded>) -> Self {
        let (pod, container) = (OnceLock::new(), OnceLock::new());
        Self { inner: Arc::new(Inner { trace, recorded, pod, container }) }
    }

    /// The trace that it belongs to.
    pub fn trace(&self) -> Option<TraceId> {
        self.inner.trace
    }

    /// Does the call's work.
    pub async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        About { call: Some(self.clone()), ..About::default() }.around(work).await
    }

    /// It is answered. What goes on may still add steps.
    pub fn answered(&self, name: &str, attributes: Vec<(&'static str, String)>, failed: Option<String>) {
        let Some(recorded) = &self.inner.recorded else { return };
        let Recorded { sink, span, trace, parent, began: (began, since), .. } = recorded;
        sink.ended(Span {
            trace: *trace,
            id: *span,
            parent: *parent,
            is_call: true,
            name: name.to_owned(),
            began: *began,
            ended: *began + since.elapsed(),
            attributes: attributes.into_iter().chain(self.concerned()).collect(),
            failed,
        });
    }

    /// Whether its steps are told.
    pub(crate) fn is_told(&self) -> bool {
        self.inner.recorded.is_some()
    }

    /// A step of it, or of another step. Gives the number by which this one can have steps too.
    pub(crate) fn step(
        &self,
        of: Option<SpanId>,
        name: &str,
        (since, until): (Instant, Instant),
    ) -> Option<SpanId> {
        let recorded = self.inner.recorded.as_ref()?;
        if recorded.steps.fetch_add(1, Ordering::Relaxed) >= STEPS {
            return None;
        }
        let id = recorded.sink.id();
        recorded.sink.ended(Span {
            trace: recorded.trace,
            id,
            parent: Some(of.unwrap_or(recorded.span)),
            is_call: false,
            name: name.to_owned(),
            began: recorded.time(since),
            ended: recorded.time(until),
            attributes: Vec::new(),
            failed: None,
        });
        Some(id)
    }

    /// What it turned out to concern, by the names of OpenTelemetry's conventions where there is one.
    fn concerned(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        if let Some(Pod { id, config }) = self.inner.pod.get().map(|pod| &**pod) {
            all.push(("sandbox.id", id.to_string()));
            if let Some(metadata) = config.as_ref().map(|config| &config.metadata) {
                all.push(("k8s.pod.uid", metadata.uid.clone()));
                all.push(("k8s.pod.name", metadata.name.clone()));
                all.push(("k8s.namespace.name", metadata.namespace.clone()));
            }
        }
        all.extend(self.inner.container.get().map(|id| ("container.id", id.to_string())));
        all
    }
}
