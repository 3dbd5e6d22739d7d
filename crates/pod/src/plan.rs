//! From a manifest to what the engine is asked for. Pure: the same manifest and place give the
//! same plan.
//!
//! Defaults and conversions are the kubelet's: requests default to limits, CPU becomes shares and
//! a quota of 100 ms periods, `$(NAME)` in command, args and env is expanded, container security
//! settings win over the pod's.

mod container;
mod empty;
mod env;
mod env_file;
mod expand;
mod extras;
mod facts;
mod mounts;
mod names;
mod ports;
mod probe;
mod projected;
mod resources;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_engine::model::{
    NamespaceMode, Namespaces, Network, Owner, PidMode, SandboxConfig, SandboxMetadata, SandboxSecurity,
    UserNamespace,
};
use berth_types::{Classify, Kind};

use crate::manifest::{ObjectKind, Pod, PodSpec, PullPolicy, RestartPolicy};
use crate::probe::{Hooks, Probes};

pub(crate) use env_file::{MAX_BYTES as MAX_ENV_FILE, of as env_files_of};
pub(crate) use facts::needs_addresses;

pub use env_file::EnvFiles;
pub use extras::{ExtraDevice, Extras, NamedVolume, RUN, Ulimit};
pub use facts::Node;
pub(crate) use names::CLUSTER;
pub use projected::{Content, Files};
pub use volumes::{Volume, VolumeKind};

/// Annotation of a local pod's sandbox: its manifest as JSON, so that a new daemon can go on with it.
pub const MANIFEST: &str = "berth.dev/manifest";
/// Annotation of a pod whose containers run, where they do not say it by number, as a user of their image: `NAME` or
/// `NAME:GROUP`. `berth run --user` writes it.
pub const USER: &str = "berth.dev/user";
/// The grace of a pod that names none, in seconds.
pub const DEFAULT_GRACE: u64 = 30;

/// The longest `activeDeadlineSeconds`.
const MAX_DEADLINE: u32 = i32::MAX.unsigned_abs();

/// Where a pod's files go.
#[derive(Debug, Clone)]
pub struct Place {
    /// The pod's uid.
    pub uid: String,
    /// The pod's directory: volumes and logs.
    pub dir: PathBuf,
    /// What claims stand for: `<root>/claims`.
    pub claims: PathBuf,
    /// The addresses that it has, the primary first; none before it has a sandbox.
    pub addresses: Vec<IpAddr>,
    /// The ids of its user namespace; nothing where it has none, or none yet.
    pub user: Option<UserNamespace>,
    /// The machine.
    pub node: Node,
    /// The DNS of services, where there are any.
    pub cluster: Option<Cluster>,
    /// The files of variables that a container reads, when it is made.
    pub env_files: EnvFiles,
}

/// The DNS of services, as pods are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its server.
    pub server: IpAddr,
    /// The search domains of the host, which follow its own.
    pub searches: Vec<String>,
}

impl Place {
    /// Where volumes are that outlive their pods: `<root>/volumes`.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.claims.with_file_name("volumes")
    }
}

/// Everything that running a pod takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The sandbox.
    pub sandbox: SandboxConfig,
    /// Volumes, to be made before the first container.
    pub volumes: Vec<Volume>,
    /// Containers that run one after another, each to its end, first.
    pub init: Vec<Planned>,
    /// Containers that run side by side.
    pub main: Vec<Planned>,
    /// What happens when a container ends.
    pub restart: RestartPolicy,
    /// Seconds between the stop signal and the kill.
    pub grace: u64,
    /// How long the pod may run.
    pub deadline: Option<Duration>,
    /// How often a main container is run again; without it for ever.
    pub max_restarts: Option<u32>,
}

impl Plan {
    /// What happens when this attempt of a main container ends.
    pub(crate) fn restart_of(&self, attempt: u32) -> RestartPolicy {
        match self.max_restarts {
            Some(most) if attempt >= most => RestartPolicy::Never,
            _ => self.restart,
        }
    }

    /// The pod's name.
    pub(crate) fn name(&self) -> &str {
        &self.sandbox.metadata.name
    }

    /// The container of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Planned> {
        self.init.iter().chain(&self.main).find(|planned| planned.name() == name)
    }
}

/// A container of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What the engine is asked for, for the first attempt.
    pub config: berth_engine::model::ContainerConfig,
    /// When its image is pulled.
    pub pull: PullPolicy,
    /// Whether it must not run as user 0.
    pub non_root: bool,
    /// Whether it is an init container that runs on beside those after it.
    pub sidecar: bool,
    /// What it is asked while it runs.
    pub probes: Probes,
    /// What is done after its start and before its end.
    pub hooks: Hooks,
}

impl Planned {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.config.metadata.name
    }
}

/// Why a manifest cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A field has an invalid value.
    #[error("pod {pod}: {path}: {message}")]
    Field {
        /// The pod's name.
        pod: String,
        /// The field.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// A value that Berth does not support yet.
    #[error("pod {pod}: {path} is not supported yet: remove it")]
    Later {
        /// The pod's name.
        pod: String,
        /// The field.
        path: String,
    },
    /// More than one of these.
    #[error("{}", crate::manifest::list(.0))]
    Several(Vec<PlanError>),
}

impl PlanError {
    /// One error of several; nothing of none.
    pub(crate) fn of(mut all: Vec<Self>) -> Option<Self> {
        if all.len() > 1 { Some(Self::Several(all)) } else { all.pop() }
    }
}

impl Classify for PlanError {
    fn kind(&self) -> Kind {
        match self {
            Self::Several(all) if all.iter().all(|e| e.kind() == Kind::Unsupported) => Kind::Unsupported,
            Self::Field { .. } | Self::Several(_) => Kind::Invalid,
            Self::Later { .. } => Kind::Unsupported,
        }
    }
}

/// What is wrong at a path; the pod's name is added by `plan`.
pub(crate) type Fault = (String, FaultKind);

/// The kinds of [`PlanError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FaultKind {
    Wrong(String),
    Later,
}

pub(crate) fn wrong(path: impl Into<String>, message: impl Into<String>) -> Fault {
    (path.into(), FaultKind::Wrong(message.into()))
}

/// The faults found so far: a manifest is told all of them.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// What there is without a fault.
    pub(crate) fn take<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.0.push(fault)).ok()
    }

    pub(crate) fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }
}

/// The plan of a pod, or all that is wrong with it.
pub fn plan(pod: &Pod, place: &Place) -> Result<Plan, PlanError> {
    let mut faults = Faults::default();
    let plan = build(pod, place, &mut faults);
    let name = || pod.metadata.name.clone();
    let all = faults.0.into_iter().map(|(path, kind)| match kind {
        FaultKind::Wrong(message) => PlanError::Field { pod: name(), path, message },
        FaultKind::Later => PlanError::Later { pod: name(), path },
    });
    match PlanError::of(all.collect()) {
        Some(error) => Err(error),
        None => Ok(plan.expect("what has no fault has a plan")),
    }
}

/// The same of one container, which its files of variables may make impossible.
pub(crate) fn plan_container(pod: &Pod, place: &Place, name: &str) -> Result<Planned, PlanError> {
    // The files of others are not known.
    let mut pod = pod.clone();
    for container in pod.spec.init_containers.iter_mut().chain(&mut pod.spec.containers) {
        if container.name != name {
            container
                .env
                .retain(|env| env.value_from.as_ref().is_none_or(|from| from.file_key_ref.is_none()));
        }
    }
    let plan = plan(&pod, place)?;
    Ok(plan.named(name).cloned().expect("it is in the pod"))
}

fn build(pod: &Pod, place: &Place, faults: &mut Faults) -> Option<Plan> {
    check_names(pod, faults);
    check_users(pod, faults);
    ports::check(pod, faults);
    resources::check_pod(pod, faults);
    let volumes = volumes::plan(&facts::Facts { pod, place }, faults);
    let by_name: BTreeMap<&str, Option<&Volume>> = pod
        .spec
        .volumes
        .iter()
        .map(|asked| (asked.name.as_str(), volumes.iter().find(|volume| volume.name == asked.name)))
        .collect();
    let mut planned = |list: &[crate::manifest::Container], at: &str| {
        list.iter()
            .enumerate()
            .filter_map(|(index, c)| {
                container::plan(pod, c, &format!("spec.{at}[{index}]"), &by_name, place, faults)
            })
            .collect::<Vec<_>>()
    };
    let init = planned(&pod.spec.init_containers, "initContainers");
    let main = planned(&pod.spec.containers, "containers");
    let names = names::plan(pod, place.cluster.as_ref(), faults);
    let sandbox = sandbox(pod, place, names);
    let extras = faults.take(extras::of(pod));
    for (index, secret) in pod.spec.image_pull_secrets.iter().enumerate() {
        let at = format!("spec.imagePullSecrets[{index}].name");
        faults.take(env::object(&facts::Facts { pod, place }, ObjectKind::Secret, &secret.name, false, &at));
    }
    let mut plan = Plan {
        sandbox: faults.take(sandbox)?,
        init,
        main,
        restart: pod.spec.restart_policy,
        grace: pod.spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE),
        deadline: faults.take(deadline(pod)).flatten(),
        max_restarts: None,
        volumes,
    };
    extras?.add_to(&mut plan);
    Some(plan)
}

fn deadline(pod: &Pod) -> Result<Option<Duration>, Fault> {
    let seconds = pod.spec.active_deadline_seconds;
    let fits = |seconds: i64| u32::try_from(seconds).ok().filter(|n| (1..=MAX_DEADLINE).contains(n));
    match seconds.map(|seconds| (seconds, fits(seconds))) {
        None => Ok(None),
        Some((_, Some(seconds))) => Ok(Some(Duration::from_secs(u64::from(seconds)))),
        Some((seconds, None)) => {
            let message =
                format!("Invalid value: {seconds}: must be between 1 and {MAX_DEADLINE}, inclusive");
            Err(wrong("spec.activeDeadlineSeconds", message))
        }
    }
}

fn check_names(pod: &Pod, faults: &mut Faults) {
    let free = extras::has_free_names(pod);
    let own = |at: &str, text: &str, max: usize, dots: bool| {
        if free { extras::free_name(at, text) } else { name(at, text, max, dots) }
    };
    let named = faults.take(own("metadata.name", &pod.metadata.name, 253, true)).is_some();
    let others = [
        ("metadata.namespace", &pod.metadata.namespace),
        ("spec.hostname", &pod.spec.hostname),
        ("spec.runtimeClassName", &pod.spec.runtime_class_name),
        ("spec.subdomain", &pod.spec.subdomain),
    ];
    for (at, given) in others {
        if let Some(given) = given {
            faults.take(name(at, given, 63, false));
        }
    }
    if pod.spec.containers.is_empty() {
        faults.0.push(wrong("spec.containers", "Required value"));
    }
    let mut seen = BTreeSet::new();
    let lists = [("initContainers", &pod.spec.init_containers), ("containers", &pod.spec.containers)];
    for (list, containers) in lists {
        for (index, container) in containers.iter().enumerate() {
            let at = format!("spec.{list}[{index}].name");
            // `run` gives a container its pod's name: a mistake in both is told once.
            if named || container.name != pod.metadata.name {
                faults.take(own(&at, &container.name, 63, false));
            }
            if !seen.insert(&container.name) {
                faults.0.push(wrong(at, format!("Duplicate value: {:?}", container.name)));
            }
        }
    }
}

/// A pod with a user namespace has nothing of the host's that only the host's root could give.
fn check_users(pod: &Pod, faults: &mut Faults) {
    let spec = &pod.spec;
    let of_host =
        [("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc)];
    for (field, _) in of_host.iter().filter(|(_, given)| *given && !spec.host_users) {
        faults.0.push(wrong(format!("spec.{field}"), "Forbidden: when `hostUsers` is false"));
    }
}

/// RFC 1123: letters, digits and `-`, and `.` between labels where `dots`.
fn name(at: &str, text: &str, max: usize, dots: bool) -> Result<(), Fault> {
    let label = |l: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !l.is_empty() && l.bytes().all(inner) && !l.starts_with('-') && !l.ends_with('-')
    };
    let ok = text.len() <= max && if dots { text.split('.').all(label) } else { label(text) };
    if ok { Ok(()) } else { Err(wrong(at, not_a_name(text, max, dots))) }
}

/// As the API server says it.
fn not_a_name(text: &str, max: usize, dots: bool) -> String {
    if text.is_empty() {
        return "Required value".to_owned();
    }
    if text.len() > max {
        return format!("Invalid value: {text:?}: must be no more than {max} bytes");
    }
    let (what, chars, examples) = match dots {
        true => ("a lowercase RFC 1123 subdomain", "'-' or '.'", "'example.com'"),
        false => ("a lowercase RFC 1123 label", "'-'", "'my-name', or '123-abc'"),
    };
    let chars = if dots { format!(", {chars},") } else { format!(" or {chars},") };
    format!(
        "Invalid value: {text:?}: {what} must consist of lower case alphanumeric characters{chars} and must start and end with an alphanumeric character (e.g. {examples})"
    )
}

fn sandbox(pod: &Pod, place: &Place, names: names::Planned) -> Result<SandboxConfig, Fault> {
    let spec = &pod.spec;
    if spec.host_pid && spec.share_process_namespace {
        let reason = "ShareProcessNamespace and HostPID cannot both be enabled";
        return Err(wrong("spec.shareProcessNamespace", format!("Invalid value: true: {reason}")));
    }
    let namespace = pod.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let mut labels = pod.metadata.labels.clone();
    labels.extend(identity(pod, &namespace, &place.uid));
    let mut annotations = pod.metadata.annotations.clone();
    annotations.insert(MANIFEST.to_owned(), pod.source.clone());
    Ok(SandboxConfig {
        owner: Owner::Local,
        metadata: SandboxMetadata {
            name: pod.metadata.name.clone(),
            uid: place.uid.clone(),
            namespace,
            attempt: 0,
        },
        hostname: names.hostname,
        log_directory: Some(place.dir.join("logs")),
        dns: names.dns,
        names: names.more,
        ports: ports::plan(pod),
        labels,
        annotations,
        handler: spec.runtime_class_name.clone().unwrap_or_default(),
        cgroup_parent: None,
        namespaces: Namespaces {
            network: if spec.host_network { Network::Host } else { Network::Pod },
            pid: pod_pid(pod),
            ipc: if spec.host_ipc { NamespaceMode::Node } else { NamespaceMode::Pod },
            user: place.user.filter(|_| !spec.host_users),
        },
        sysctls: spec.security_context.sysctls.iter().map(|s| (s.name.clone(), s.value.clone())).collect(),
        security: SandboxSecurity { privileged: is_privileged(spec), selinux: None },
        resources: resources::of(&spec.resources, "spec")?,
    })
}

/// Whether a container of the pod is privileged.
fn is_privileged(spec: &PodSpec) -> bool {
    let mut all = spec.init_containers.iter().chain(&spec.containers);
    all.any(|container| container.security_context.privileged)
}

/// Whose PID namespace the containers of the pod are in.
pub(crate) fn pod_pid(pod: &Pod) -> PidMode {
    match (pod.spec.host_pid, pod.spec.share_process_namespace) {
        (true, _) => PidMode::Node,
        (false, true) => PidMode::Pod,
        (false, false) => PidMode::Container,
    }
}

/// The labels by which tools know a pod's parts.
pub(crate) fn identity(pod: &Pod, namespace: &str, uid: &str) -> [(String, String); 3] {
    [
        ("io.kubernetes.pod.name".to_owned(), pod.metadata.name.clone()),
        ("io.kubernetes.pod.namespace".to_owned(), namespace.to_owned()),
        ("io.kubernetes.pod.uid".to_owned(), uid.to_owned()),
    ]
}

/// A path in a container, absolute and without `..`.
pub(crate) fn absolute(at: &str, path: &str) -> Result<PathBuf, Fault> {
    let parsed = Path::new(path);
    let climbs = parsed.components().any(|c| c == std::path::Component::ParentDir);
    if parsed.is_absolute() && !climbs && !path.contains('\0') {
        Ok(parsed.to_owned())
    } else {
        Err(wrong(at, format!("{path:?} is not an absolute path without '..'")))
    }
}

#[cfg(test)]
mod tests;
