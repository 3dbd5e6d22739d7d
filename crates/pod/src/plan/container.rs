//! Containers of a pod.

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_engine::model::{
    APPARMOR_DEFAULT, APPARMOR_UNCONFINED, ContainerConfig, ContainerMetadata, ContainerSecurity,
    GroupsPolicy, ImageSpec, Mount, Resources, SeccompChoice, User,
};

use super::expand::expand;
use super::facts::{Facts, needs_addresses};
use super::{
    Fault, Faults, Place, Planned, USER, Volume, absolute, env, identity, mounts, pod_pid, probe, wrong,
};
use crate::manifest::{
    self, Pod, ProcMount, ProfileType, PullPolicy, SecurityProfile, SupplementalGroupsPolicy,
};
use crate::termination;

/// The period of CPU quotas in microseconds, as the kubelet sets it.
const CPU_PERIOD: u64 = 100_000;
/// The smallest quota that the kernel takes, in microseconds.
const MIN_QUOTA: u64 = 1000;
/// The smallest weight.
const MIN_SHARES: u64 = 2;

/// What a container of docker and containerd does not see of /proc and /sys.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// What it cannot write.
const READONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A container. `at` is its path in the manifest.
pub(super) fn plan(
    pod: &Pod,
    from: &manifest::Container,
    at: &str,
    volumes: &BTreeMap<&str, Option<&Volume>>,
    place: &Place,
    faults: &mut Faults,
) -> Option<Planned> {
    if from.image.is_empty() {
        faults.take::<()>(Err(wrong(format!("{at}.image"), "an image is required")));
    }
    let dir = from.working_dir.as_deref();
    let dir = dir.map(|dir| absolute(&format!("{at}.workingDir"), dir).map(|_| dir.to_owned())).transpose();
    let working_dir = faults.take(dir);
    let variables = env::environment(&Facts { pod, place }, from, at, faults);
    let incomplete = place.addresses.is_empty() && needs_addresses(pod);
    let known = mounts::Known { values: &variables.values, incomplete };
    let mounts = mapped(pod, place, mounts::plan(from, at, volumes, &known, faults));
    let (mounts, annotations) = told(pod, from, at, place, mounts, faults);
    let resources = faults.take(resources(from, at));
    let security = faults.take(security(pod, from, at));
    let init = at.starts_with("spec.initContainers");
    let sidecar = faults.take(probe::sidecar(from, init, at));
    // A container that runs to its end first has neither.
    let (probes, lived) = if init && sidecar == Some(false) {
        probe::refuse(from, at, faults);
        Default::default()
    } else {
        (probe::probes(from, at, faults), probe::lifecycle(pod, from, at, faults))
    };
    let all = |list: &[String]| list.iter().map(|text| expand(text, &variables.values)).collect();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let mut labels: BTreeMap<_, _> = identity(pod, namespace, &place.uid).into();
    labels.insert("io.kubernetes.container.name".to_owned(), from.name.clone());
    let config = ContainerConfig {
        metadata: ContainerMetadata { name: from.name.clone(), attempt: 0 },
        image: image(from),
        command: all(&from.command),
        args: all(&from.args),
        working_dir: working_dir?,
        envs: variables.list(),
        mounts,
        devices: Vec::new(),
        cdi_devices: Vec::new(),
        labels,
        annotations,
        log_path: Some(PathBuf::from(&from.name).join("0.log")),
        stdin: from.stdin,
        stdin_once: from.stdin_once,
        tty: from.tty,
        resources: resources?,
        security: security?,
        pid: pod_pid(pod),
        stop_signal: lived.stop_signal,
        rlimits: Vec::new(),
        storage_limit: storage_limit(from),
    };
    let non_root = from.security_context.run_as_non_root.or(pod.spec.security_context.run_as_non_root);
    Some(Planned {
        config,
        pull: pull_policy(from),
        non_root: non_root.unwrap_or(false),
        sidecar: sidecar?,
        probes,
        hooks: lived.hooks,
    })
}

fn image(from: &manifest::Container) -> ImageSpec {
    let (image, annotations) = (from.image.clone(), BTreeMap::new());
    ImageSpec { user_specified: image.clone(), image, annotations }
}

/// The most bytes of the writable layer. A request reserves nothing.
fn storage_limit(from: &manifest::Container) -> Option<u64> {
    from.resources.limits.ephemeral_storage.map(manifest::Quantity::units).filter(|bytes| *bytes > 0)
}

/// The mounts with the ids of the pod's user namespace: who owns a file of a volume on the disk owns it in the pod.
fn mapped(pod: &Pod, place: &Place, mut mounts: Vec<Mount>) -> Vec<Mount> {
    if let Some(user) = place.user.filter(|_| !pod.spec.host_users) {
        for mount in &mut mounts {
            (mount.uids, mount.gids) = (vec![user.uids], vec![user.gids]);
        }
    }
    mounts
}

/// The mounts with the file for what the container says of its end, and the annotations about it; nothing where a volume
/// takes the file's place.
fn told(
    pod: &Pod,
    from: &manifest::Container,
    at: &str,
    place: &Place,
    mut mounts: Vec<Mount>,
    faults: &mut Faults,
) -> (Vec<Mount>, BTreeMap<String, String>) {
    let path = from.termination_message_path.as_deref().filter(|path| !path.is_empty());
    let path = absolute(&format!("{at}.terminationMessagePath"), path.unwrap_or(termination::DEFAULT_PATH));
    let free = |path: &PathBuf| !mounts.iter().any(|mount| mount.container_path == *path);
    let Some(path) = faults.take(path).filter(free) else { return (mounts, BTreeMap::new()) };
    let containers = pod.spec.init_containers.len() + pod.spec.containers.len();
    mounts.push(termination::mount(&place.dir, &from.name, &path));
    (mounts, termination::settings(&path, from.termination_message_policy, containers))
}

/// Without a policy, `:latest` is pulled always and everything else when it is missing.
fn pull_policy(from: &manifest::Container) -> PullPolicy {
    from.image_pull_policy.unwrap_or_else(|| {
        let tagged = from.image.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
        if tagged && !from.image.ends_with(":latest") { PullPolicy::IfNotPresent } else { PullPolicy::Always }
    })
}

fn resources(from: &manifest::Container, at: &str) -> Result<Resources, Fault> {
    let (limits, requests) = (&from.resources.limits, &from.resources.requests);
    let over = |what: &str, request: Option<manifest::Quantity>, limit: Option<manifest::Quantity>| {
        if request.zip(limit).is_some_and(|(request, limit)| request > limit) {
            return Err(wrong(format!("{at}.resources.requests.{what}"), "it is above the limit"));
        }
        Ok(())
    };
    over("cpu", requests.cpu, limits.cpu)?;
    over("memory", requests.memory, limits.memory)?;
    over("ephemeral-storage", requests.ephemeral_storage, limits.ephemeral_storage)?;
    let memory_limit = match limits.memory.map(manifest::Quantity::units).filter(|bytes| *bytes > 0) {
        Some(bytes) => Some(
            i64::try_from(bytes)
                .map_err(|_| wrong(format!("{at}.resources.limits.memory"), "it is too large"))?,
        ),
        None => None,
    };
    Ok(Resources {
        cpu_shares: requests.cpu.or(limits.cpu).map(|cpu| (cpu.millis() * 1024 / 1000).max(MIN_SHARES)),
        cpu_quota: limits
            .cpu
            .filter(|cpu| cpu.millis() > 0)
            .map(|cpu| i64::try_from((cpu.millis() * CPU_PERIOD / 1000).max(MIN_QUOTA)).unwrap_or(i64::MAX)),
        cpu_period: limits.cpu.map(|_| CPU_PERIOD),
        memory_limit,
        // As the kubelet without swap: memory and swap together are the memory.
        memory_swap_limit: memory_limit,
        ..Resources::default()
    })
}

fn security(pod: &Pod, from: &manifest::Container, at: &str) -> Result<ContainerSecurity, Fault> {
    let (of_pod, own) = (&pod.spec.security_context, &from.security_context);
    let user = own.run_as_user.or(of_pod.run_as_user);
    let group = own.run_as_group.or(of_pod.run_as_group);
    if group.is_some() && user.is_none() {
        return Err(wrong(format!("{at}.securityContext.runAsGroup"), "it needs runAsUser"));
    }
    if own.privileged && own.allow_privilege_escalation == Some(false) {
        return Err(wrong(
            format!("{at}.securityContext.allowPrivilegeEscalation"),
            "a privileged container cannot disable it",
        ));
    }
    let unmasked = own.proc_mount == ProcMount::Unmasked;
    if unmasked && pod.spec.host_users {
        let reason = "Forbidden: hostUsers must be false to use Unmasked";
        return Err(wrong(format!("{at}.securityContext.procMount"), reason));
    }
    let open = own.privileged || unmasked;
    let paths = |list: &[&str]| if open { Vec::new() } else { list.iter().map(PathBuf::from).collect() };
    Ok(ContainerSecurity {
        privileged: own.privileged,
        add_capabilities: own.capabilities.add.clone(),
        drop_capabilities: own.capabilities.drop.clone(),
        ambient_capabilities: Vec::new(),
        user: user.map(User::Id).or_else(|| pod.metadata.annotations.get(USER).cloned().map(User::Name)),
        group,
        supplemental_groups: of_pod.supplemental_groups.iter().copied().chain(of_pod.fs_group).collect(),
        groups_policy: match of_pod.supplemental_groups_policy {
            SupplementalGroupsPolicy::Merge => GroupsPolicy::Merge,
            SupplementalGroupsPolicy::Strict => GroupsPolicy::Strict,
        },
        readonly_rootfs: own.read_only_root_filesystem,
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(MASKED),
        readonly_paths: paths(READONLY),
        seccomp: seccomp(
            own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref()),
            own.privileged,
            at,
        )?,
        apparmor: apparmor(own.app_armor_profile.as_ref().or(of_pod.app_armor_profile.as_ref()), at)?,
        selinux: None,
    })
}

/// A profile of AppArmor; the engine knows what no word about one means.
fn apparmor(profile: Option<&SecurityProfile>, at: &str) -> Result<Option<String>, Fault> {
    let at = format!("{at}.securityContext.appArmorProfile");
    let Some(profile) = profile else { return Ok(None) };
    let name = match (profile.kind, profile.localhost_profile.as_deref()) {
        (ProfileType::Localhost, None | Some("")) => {
            return Err(wrong(
                at,
                "Localhost needs localhostProfile, a profile that is loaded on this machine",
            ));
        }
        (ProfileType::Localhost, Some(name)) => name,
        (_, Some(_)) => return Err(wrong(at, "localhostProfile goes with type Localhost")),
        (ProfileType::RuntimeDefault, None) => APPARMOR_DEFAULT,
        (ProfileType::Unconfined, None) => APPARMOR_UNCONFINED,
    };
    Ok(Some(name.to_owned()))
}

/// Without a profile a local container gets the default one: what docker and podman do.
fn seccomp(profile: Option<&SecurityProfile>, privileged: bool, at: &str) -> Result<SeccompChoice, Fault> {
    let at = format!("{at}.securityContext.seccompProfile");
    match profile {
        None if privileged => Ok(SeccompChoice::Unconfined),
        None => Ok(SeccompChoice::Default),
        Some(profile) => match (profile.kind, &profile.localhost_profile) {
            (ProfileType::Localhost, Some(file)) => {
                Ok(SeccompChoice::Localhost(absolute(&format!("{at}.localhostProfile"), file)?))
            }
            (ProfileType::Localhost, None) => {
                Err(wrong(at, "Localhost needs localhostProfile, a path of this machine"))
            }
            (_, Some(_)) => Err(wrong(at, "localhostProfile goes with type Localhost")),
            (ProfileType::RuntimeDefault, None) => Ok(SeccompChoice::Default),
            (ProfileType::Unconfined, None) => Ok(SeccompChoice::Unconfined),
        },
    }
}
