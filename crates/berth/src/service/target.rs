//! What a name on the command line means: a pod's or container's id or its beginning, a pod's name,
//! a container's name, `POD/CONTAINER`, or `NAMESPACE/POD`.

use std::sync::Arc;

use berth_engine::Engine;
use berth_engine::model::{ContainerView, Owner, SandboxView};
use berth_types::id::is_prefix;
use tonic::Status;

/// What was named.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Pod(Arc<SandboxView>),
    Container(Arc<ContainerView>),
}

/// Finds what `name` means; an error when it is unknown or ambiguous.
pub(super) fn find(engine: &Engine, name: &str) -> Result<Target, Status> {
    choose(&engine.sandboxes(None), name)
}

/// The container that `name` means: a container, or the only one of a pod.
pub(super) fn container(engine: &Engine, name: &str) -> Result<Arc<ContainerView>, Status> {
    match find(engine, name)? {
        Target::Container(view) => Ok(view),
        Target::Pod(pod) => only(&pod, name),
    }
}

/// The pod that `name` means: a pod, or that of a container.
pub(super) fn pod(engine: &Engine, name: &str) -> Result<Arc<SandboxView>, Status> {
    match find(engine, name)? {
        Target::Pod(view) => Ok(view),
        Target::Container(view) => {
            engine.sandbox(view.sandbox.as_str()).map_err(|e| berth_cri::error::status(&e))
        }
    }
}

/// The pod that was named, or that of the container that was.
pub(super) fn pod_of(engine: &Engine, target: &Target) -> Option<Arc<SandboxView>> {
    match target {
        Target::Pod(view) => Some(view.clone()),
        Target::Container(view) => engine.sandbox(view.sandbox.as_str()).ok(),
    }
}

/// The same, with pods by their names instead of the ids of their sandboxes.
pub(super) fn by_pods_names(engine: &Engine, status: &Status) -> Status {
    let mut message = status.message().to_owned();
    for view in engine.sandboxes(None) {
        let named = format!("pod {}", view.config.metadata.name);
        message = message.replace(&format!("sandbox {}", view.id), &named);
    }
    Status::new(status.code(), message)
}

/// The newest attempt of each container of the pod.
pub(super) fn current(pod: &SandboxView) -> Vec<Arc<ContainerView>> {
    let mut newest: Vec<Arc<ContainerView>> = Vec::new();
    for view in &pod.containers {
        let metadata = &view.config.metadata;
        match newest.iter_mut().find(|n| n.config.metadata.name == metadata.name) {
            Some(known) if known.config.metadata.attempt < metadata.attempt => *known = view.clone(),
            Some(_) => {}
            None => newest.push(view.clone()),
        }
    }
    newest
}

fn only(pod: &SandboxView, name: &str) -> Result<Arc<ContainerView>, Status> {
    match current(pod).as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Status::failed_precondition(format!("pod {name} has no container"))),
        several => {
            let names: Vec<_> =
                several.iter().map(|c| format!("{name}/{}", c.config.metadata.name)).collect();
            Err(Status::invalid_argument(format!(
                "pod {name} has several containers (hint: name one of {})",
                names.join(", ")
            )))
        }
    }
}

fn choose(pods: &[Arc<SandboxView>], name: &str) -> Result<Target, Status> {
    let mut found = by_name(pods, name);
    if found.is_empty() && is_prefix(name) {
        found = by_id(pods, name);
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Status::not_found(format!("no pod or container {name:?} (hint: berth ps -a lists them)"))),
        several => {
            let ids: Vec<_> = several.iter().map(describe).collect();
            Err(Status::invalid_argument(format!(
                "{name:?} is ambiguous: {} (hint: use an id)",
                ids.join(", ")
            )))
        }
    }
}

fn describe(target: &Target) -> String {
    match target {
        Target::Pod(view) => format!(
            "pod {}/{} {}",
            view.config.metadata.namespace,
            view.config.metadata.name,
            view.id.short()
        ),
        Target::Container(view) => format!("container {} {}", view.config.metadata.name, view.id.short()),
    }
}

fn by_name(pods: &[Arc<SandboxView>], name: &str) -> Vec<Target> {
    let pods_named = |wanted: &dyn Fn(&SandboxView) -> bool| -> Vec<Target> {
        newest(pods.iter().filter(|p| wanted(p)).cloned().collect()).into_iter().map(Target::Pod).collect()
    };
    if let Some((first, second)) = name.split_once('/') {
        let inside: Vec<Target> =
            newest(pods.iter().filter(|p| p.config.metadata.name == first).cloned().collect())
                .iter()
                .flat_map(|pod| current(pod))
                .filter(|c| c.config.metadata.name == second)
                .map(Target::Container)
                .collect();
        if !inside.is_empty() {
            return inside;
        }
        return pods_named(&|p| p.config.metadata.namespace == first && p.config.metadata.name == second);
    }
    let named = pods_named(&|p| p.config.metadata.name == name);
    if !named.is_empty() {
        return named;
    }
    pods.iter()
        .flat_map(|pod| current(pod))
        .filter(|c| c.config.metadata.name == name)
        .map(Target::Container)
        .collect()
}

/// Of several sandboxes of one pod, the newest.
fn newest(pods: Vec<Arc<SandboxView>>) -> Vec<Arc<SandboxView>> {
    let mut kept: Vec<Arc<SandboxView>> = Vec::new();
    for pod in pods {
        let same = |k: &&mut Arc<SandboxView>| {
            let (a, b) = (&k.config.metadata, &pod.config.metadata);
            // One of this command line that goes on with another has another uid, until that is removed.
            let local = k.config.owner == Owner::Local && pod.config.owner == Owner::Local;
            (&a.namespace, &a.name) == (&b.namespace, &b.name) && (a.uid == b.uid || local)
        };
        match kept.iter_mut().find(same) {
            Some(known) if known.created_at < pod.created_at => *known = pod,
            Some(_) => {}
            None => kept.push(pod),
        }
    }
    kept
}

fn by_id(pods: &[Arc<SandboxView>], prefix: &str) -> Vec<Target> {
    let of_pods = pods.iter().filter(|p| p.id.as_str().starts_with(prefix)).cloned().map(Target::Pod);
    let containers = pods.iter().flat_map(|p| &p.containers);
    let of_containers =
        containers.filter(|c| c.id.as_str().starts_with(prefix)).cloned().map(Target::Container);
    of_pods.chain(of_containers).collect()
}
