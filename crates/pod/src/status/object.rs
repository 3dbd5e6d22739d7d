//! A pod as `kubectl get pod -o yaml` shows it: its manifest with the defaults, its phase, conditions and the statuses of its
//! containers. Pure: everything follows from the pod's view and from what its probes say.

mod condition;
mod container;
mod spec;

use std::net::IpAddr;
use std::sync::Arc;

use berth_engine::model::{ContainerView, Network, Owner, SandboxView};
use berth_types::lifecycle::container::State;
use berth_types::lifecycle::sandbox;
use serde_json::{Map, Value, json};

use super::Shape;
use crate::controller::Shown;
use crate::manifest::RestartPolicy;
use crate::plan::{MANIFEST, Node};

/// What Berth itself adds to a pod's labels and annotations.
const OWN: [&str; 2] = ["io.kubernetes.pod.", "berth.dev/"];

/// What it is made from.
#[expect(missing_debug_implementations, reason = "it has a function")]
pub struct About<'a> {
    /// The pod.
    pub view: &'a SandboxView,
    /// What the probes of a running container say; None of one that has none.
    pub health: &'a dyn Fn(&ContainerView) -> Option<Shown>,
    /// The machine.
    pub node: &'a Node,
}

/// Where a pod is in its life, in the API's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

/// A container of the pod, with its newest attempt and the one before.
struct Seen<'a> {
    name: &'a str,
    init: bool,
    sidecar: bool,
    newest: Option<&'a ContainerView>,
    before: Option<&'a ContainerView>,
    /// Whether it runs, and what its probes say then.
    shown: Option<Shown>,
    /// Whether it ended and will be run again.
    again: bool,
}

impl Seen<'_> {
    fn state(&self) -> Option<State> {
        self.newest.map(|view| view.state)
    }

    fn runs(&self) -> bool {
        matches!(self.state(), Some(State::Running | State::Stopping { .. }))
    }

    /// The exit status of the newest attempt.
    fn code(&self) -> Option<i32> {
        let view = self.newest.filter(|view| view.state == State::Exited)?;
        view.exit.as_ref().map(|exit| exit.code)
    }

    /// Whether it can serve; an init container, whether it has done its work.
    fn ready(&self) -> bool {
        match (self.init, self.sidecar) {
            (true, false) => self.code() == Some(0),
            _ => self.runs() && self.shown.as_ref().is_none_or(|shown| shown.ready),
        }
    }

    fn started(&self) -> bool {
        self.runs() && self.shown.as_ref().is_none_or(|shown| shown.started)
    }

    /// Since when it is ready, or is not.
    fn since(&self) -> Option<i64> {
        let view = self.newest?;
        match (&view.exit, &self.shown) {
            (Some(exit), _) if view.state == State::Exited => Some(exit.finished_at),
            _ if !self.runs() => self.before.and_then(|view| view.exit.as_ref()).map(|exit| exit.finished_at),
            (_, Some(shown)) => Some(shown.since),
            _ => view.started_at,
        }
    }
}

/// The pod's object: `apiVersion`, `kind`, `metadata`, `spec` and `status`.
pub fn object(about: &About<'_>) -> Value {
    let view = about.view;
    let config = &view.config;
    let source = config.annotations.get(MANIFEST).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let mut metadata = match source.as_ref().map(|source| source["metadata"].clone()) {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let kept = |map: &std::collections::BTreeMap<String, String>| -> Map<String, Value> {
        map.iter()
            .filter(|(key, _)| !OWN.iter().any(|own| key.starts_with(own)))
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect()
    };
    for (key, map) in [("labels", kept(&config.labels)), ("annotations", kept(&config.annotations))] {
        metadata.remove(key);
        if !map.is_empty() {
            metadata.insert(key.to_owned(), Value::Object(map));
        }
    }
    let of = &config.metadata;
    metadata.insert("name".to_owned(), json!(of.name));
    metadata.insert("namespace".to_owned(), json!(of.namespace));
    metadata.insert("uid".to_owned(), json!(of.uid));
    metadata.insert("creationTimestamp".to_owned(), time(view.created_at));
    let spec = match source.as_ref().map(|source| &source["spec"]) {
        Some(Value::Object(fields)) => spec::with_defaults(fields.clone(), &about.node.name),
        _ => spec::of_containers(&view.containers),
    };
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status(about) })
}

/// The pod's `status` alone.
pub fn status(about: &About<'_>) -> Value {
    let view = about.view;
    let shape = Shape::of(view);
    let all = seen(&shape, about);
    let phase = phase(&all, view.state, policy(&shape));
    let (own, node) = match view.config.namespaces.network {
        Network::Host => (&about.node.addresses, &about.node.addresses),
        Network::Pod | Network::None => (&view.addresses, &about.node.addresses),
    };
    let mut status = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            status.insert(key.to_owned(), value);
        }
    };
    put("phase", json!(phase.word()));
    if phase == Phase::Failed && is_overdue(view) {
        put("reason", json!("DeadlineExceeded"));
        put("message", json!("Pod was active on the node longer than the specified deadline"));
    } else if !view.message.is_empty() {
        put("message", json!(view.message));
    }
    if view.config.owner == Owner::Local {
        put("conditions", condition::all(view, &all, phase));
    }
    put("hostIP", node.first().map_or(Value::Null, |ip| json!(ip)));
    put("hostIPs", addresses(node));
    put("podIP", own.first().map_or(Value::Null, |ip| json!(ip)));
    put("podIPs", addresses(own));
    put("qosClass", spec::qos_class(view.config.annotations.get(MANIFEST)));
    put("startTime", time(view.created_at));
    let (inits, mains): (Vec<_>, Vec<_>) = all.iter().partition(|seen| seen.init);
    put("initContainerStatuses", container::statuses(view, &inits, &all));
    put("containerStatuses", container::statuses(view, &mains, &all));
    Value::Object(status)
}

/// Its containers in the order of the manifest, init containers first.
fn seen<'a>(shape: &'a Shape, about: &About<'a>) -> Vec<Seen<'a>> {
    let containers = &about.view.containers;
    let named = |name: &'a str, init: bool, sidecar: bool| {
        let mut attempts: Vec<&Arc<ContainerView>> =
            containers.iter().filter(|view| view.config.metadata.name == name).collect();
        attempts.sort_by_key(|view| view.config.metadata.attempt);
        let newest = attempts.pop().map(|view| &**view);
        let before = attempts.pop().map(|view| &**view);
        let shown = newest.filter(|view| view.state == State::Running).and_then(about.health);
        let again = newest.is_some_and(|newest| shape.is_due(about.view.state, newest));
        Seen { name, init, sidecar, newest, before, shown, again }
    };
    match &shape.spec {
        Some(spec) => {
            let inits = spec.init_containers.iter().map(|c| named(&c.name, true, c.is_sidecar()));
            inits.chain(spec.containers.iter().map(|c| named(&c.name, false, false))).collect()
        }
        None => super::newest(containers)
            .into_iter()
            .map(|view| named(&view.config.metadata.name, false, false))
            .collect(),
    }
}

fn policy(shape: &Shape) -> RestartPolicy {
    shape.spec.as_ref().map_or(RestartPolicy::Always, |spec| spec.restart_policy)
}

/// As a kubelet finds it.
fn phase(all: &[Seen<'_>], pod: sandbox::State, policy: RestartPolicy) -> Phase {
    let over = matches!(pod, sandbox::State::NotReady);
    let done = |init: &&Seen<'_>| match init.sidecar {
        true => init.started() || init.code().is_some(),
        false => init.code() == Some(0),
    };
    let inits = || all.iter().filter(|seen| seen.init);
    let mains: Vec<_> = all.iter().filter(|seen| !seen.init).collect();
    let failed = |seen: &Seen<'_>| seen.code().is_some_and(|code| code != 0);
    if inits().any(|init| !init.sidecar && failed(init) && (over || policy == RestartPolicy::Never)) {
        return Phase::Failed;
    }
    let begun = mains.iter().any(|seen| seen.newest.is_some_and(|view| view.started_at.is_some()));
    if !over && !begun && !inits().all(|init| done(&init)) {
        return Phase::Pending;
    }
    let waits = |seen: &&&Seen<'_>| !seen.runs() && seen.code().is_none() && seen.before.is_none();
    if mains.iter().any(|seen| waits(&seen)) {
        return if over { Phase::Failed } else { Phase::Pending };
    }
    if mains.iter().any(|seen| seen.runs() || seen.again || seen.code().is_none()) && !over {
        return Phase::Running;
    }
    if mains.iter().all(|seen| seen.code() == Some(0)) { Phase::Succeeded } else { Phase::Failed }
}

/// Whether a pod that was ended had run for as long as it may.
fn is_overdue(view: &SandboxView) -> bool {
    let deadline = || {
        let source: Value = serde_json::from_str(view.config.annotations.get(MANIFEST)?).ok()?;
        source["spec"]["activeDeadlineSeconds"].as_i64()?.checked_mul(1_000_000_000)
    };
    let ends = view.containers.iter().filter_map(|view| Some(view.exit.as_ref()?.finished_at));
    let last = ends.max().unwrap_or(view.created_at);
    deadline().is_some_and(|limit| last.saturating_sub(view.created_at) >= limit)
}

fn addresses(all: &[IpAddr]) -> Value {
    if all.is_empty() { Value::Null } else { all.iter().map(|ip| json!({ "ip": ip })).collect() }
}

/// Nanoseconds since 1970 as the API writes times.
fn time(at: i64) -> Value {
    let at = jiff::Timestamp::from_nanosecond(i128::from(at)).unwrap_or_default();
    json!(format!("{}", at.strftime("%Y-%m-%dT%H:%M:%SZ")))
}

#[cfg(test)]
mod tests;
