//! What a list of pods shows of one: how many of its containers can serve, its status in kubectl's words, its restarts. Pure.

pub mod object;

use std::sync::Arc;

use berth_engine::model::{ContainerView, ExitReason, SandboxView};
use berth_types::lifecycle::container::State;
use berth_types::lifecycle::sandbox;
use serde::Deserialize;

use crate::manifest::RestartPolicy;
use crate::plan::{Extras, MANIFEST, RUN};

/// What is shown of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Main containers and sidecars that can serve.
    pub ready: u32,
    /// Main containers and sidecars.
    pub total: u32,
    /// `Running`, `Completed`, `Init:0/1`, `CrashLoopBackOff`, ...
    pub word: String,
    /// How often containers of the pod were run again.
    pub restarts: u32,
}

/// What the pod's manifest says of its containers.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    init_containers: Vec<Named>,
    containers: Vec<Named>,
    restart_policy: RestartPolicy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Named {
    name: String,
    restart_policy: Option<RestartPolicy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Manifest {
    spec: Spec,
}

/// How a pod's containers are run.
#[derive(Debug, Default)]
pub struct Shape {
    /// None of a pod of a kubelet, which alone knows it.
    spec: Option<Spec>,
    max_restarts: Option<u32>,
}

impl Shape {
    /// From the annotations of a pod's sandbox.
    pub fn of(view: &SandboxView) -> Self {
        let annotations = &view.config.annotations;
        let spec = annotations
            .get(MANIFEST)
            .and_then(|text| serde_json::from_str::<Manifest>(text).ok())
            .map(|manifest| manifest.spec);
        let extras = annotations.get(RUN).and_then(|text| serde_json::from_str::<Extras>(text).ok());
        Self { spec, max_restarts: extras.and_then(|extras| extras.max_restarts) }
    }

    /// Whether a container of the pod that has ended will be run again. An attempt that another one has followed will not.
    pub fn runs_again(&self, pod: &SandboxView, view: &ContainerView) -> bool {
        self.again(pod.state, &pod.containers, view)
    }

    fn again(&self, pod: sandbox::State, all: &[Arc<ContainerView>], view: &ContainerView) -> bool {
        let own = &view.config.metadata;
        let follows = |other: &Arc<ContainerView>| {
            other.config.metadata.name == own.name && other.config.metadata.attempt > own.attempt
        };
        !all.iter().any(follows) && self.is_due(pod, view)
    }

    /// The same of the newest attempt.
    fn is_due(&self, pod: sandbox::State, view: &ContainerView) -> bool {
        let (Some(spec), Some(exit)) = (&self.spec, &view.exit) else { return false };
        let (name, attempt) = (view.config.metadata.name.as_str(), view.config.metadata.attempt);
        let init = spec.init_containers.iter().find(|c| c.name == name);
        let policy = match (init, spec.restart_policy) {
            (Some(of), _) if of.is_sidecar() => RestartPolicy::Always,
            (Some(_), RestartPolicy::Always) => RestartPolicy::OnFailure,
            (None, _) if self.max_restarts.is_some_and(|most| attempt >= most) => RestartPolicy::Never,
            (_, policy) => policy,
        };
        let again = match policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit.code != 0,
            RestartPolicy::Never => false,
        };
        pod == sandbox::State::Ready && view.state == State::Exited && again
    }
}

impl Named {
    fn is_sidecar(&self) -> bool {
        self.restart_policy == Some(RestartPolicy::Always)
    }
}

/// What is shown of a pod; `ready` says whether a container that runs can serve.
pub fn of(
    shape: &Shape,
    pod: sandbox::State,
    containers: &[Arc<ContainerView>],
    ready: impl Fn(&ContainerView) -> bool,
) -> Status {
    let current = newest(containers);
    let of_name = |name: &str| current.iter().find(|view| view.config.metadata.name == name).copied();
    let (inits, mains): (&[Named], Vec<Option<&ContainerView>>) = match &shape.spec {
        Some(spec) => (&spec.init_containers, spec.containers.iter().map(|c| of_name(&c.name)).collect()),
        None => (&[], current.iter().copied().map(Some).collect()),
    };
    let sidecars: Vec<_> = inits.iter().filter(|c| c.is_sidecar()).map(|c| of_name(&c.name)).collect();
    let serves = |view: &&ContainerView| view.state == State::Running && ready(view);
    let count = |list: &[Option<&ContainerView>]| list.iter().flatten().copied().filter(serves).count();
    let attempts = |views: &mut dyn Iterator<Item = &ContainerView>| {
        views.map(|view| view.config.metadata.attempt).fold(0, u32::saturating_add)
    };
    let init = inits.iter().enumerate().find_map(|(index, c)| {
        let word = init_word(shape, pod, c, of_name(&c.name))?;
        Some(format!("Init:{}", if word.is_empty() { format!("{index}/{}", inits.len()) } else { word }))
    });
    let restarts = match &init {
        Some(_) => attempts(&mut inits.iter().filter_map(|c| of_name(&c.name))),
        None => attempts(&mut mains.iter().chain(&sidecars).flatten().copied()),
    };
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let word = match (pod, init) {
        (sandbox::State::Stopping { .. } | sandbox::State::Removing, _) => "Terminating".to_owned(),
        (_, Some(init)) => init,
        (_, None) => main_word(shape, pod, &mains),
    };
    Status {
        ready: number(count(&mains) + count(&sidecars)),
        total: number(mains.len() + sidecars.len()),
        word,
        restarts,
    }
}

/// The newest attempt of each container, in the order of their first.
fn newest(containers: &[Arc<ContainerView>]) -> Vec<&ContainerView> {
    let mut kept: Vec<&ContainerView> = Vec::new();
    for view in containers {
        let of = &view.config.metadata;
        match kept.iter_mut().find(|known| known.config.metadata.name == of.name) {
            Some(known) if known.config.metadata.attempt < of.attempt => *known = view,
            Some(_) => {}
            None => kept.push(view),
        }
    }
    kept
}

/// Why an init container keeps those after it waiting: an empty word where it only runs, or has not yet. None where it does not.
fn init_word(shape: &Shape, pod: sandbox::State, of: &Named, view: Option<&ContainerView>) -> Option<String> {
    let Some(view) = view else { return Some(String::new()) };
    match &view.exit {
        Some(exit) if view.state == State::Exited => match exit.code {
            0 if !of.is_sidecar() => None,
            _ if of.is_sidecar() && view.config.metadata.attempt > 0 => None,
            _ if shape.is_due(pod, view) && view.config.metadata.attempt > 0 => {
                Some("CrashLoopBackOff".to_owned())
            }
            _ => Some(ended(view)),
        },
        _ if of.is_sidecar() && view.state == State::Running => None,
        _ => Some(String::new()),
    }
}

fn main_word(shape: &Shape, pod: sandbox::State, mains: &[Option<&ContainerView>]) -> String {
    let mut word = None;
    let mut runs = false;
    for view in mains.iter().rev() {
        match view {
            None => word = Some("ContainerCreating".to_owned()),
            Some(view) => match view.state {
                State::Running | State::Stopping { .. } => runs = true,
                State::Exited if shape.is_due(pod, view) && view.config.metadata.attempt > 0 => {
                    word = Some("CrashLoopBackOff".to_owned());
                }
                State::Exited => word = Some(ended(view)),
                State::Creating | State::Created | State::Starting => {
                    word = Some("ContainerCreating".to_owned())
                }
                State::Unknown => word = Some("Unknown".to_owned()),
                State::Removing | State::Gone => {}
            },
        }
    }
    match word.as_deref() {
        Some("Completed") | None if runs => "Running".to_owned(),
        None if pod == sandbox::State::Starting => "Pending".to_owned(),
        None if pod == sandbox::State::Ready => "Ready".to_owned(),
        None => "Completed".to_owned(),
        Some(word) => word.to_owned(),
    }
}

fn ended(view: &ContainerView) -> String {
    match &view.exit {
        Some(exit) if exit.reason == ExitReason::Completed || exit.code == 0 => "Completed",
        Some(exit) => exit.reason.word(),
        None => "Unknown",
    }
    .to_owned()
}

#[cfg(test)]
mod tests;
