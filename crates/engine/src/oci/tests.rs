//! Golden plans: `UPDATE_GOLDEN=1` writes them again.

use std::collections::BTreeMap;
use std::path::Path;

use berth_types::{Classify, Kind};
use serde_json::Value;

use super::*;
use crate::model::{
    ContainerMetadata, ContainerSecurity, ImageSpec, Mount, Namespaces, Resources, SandboxMetadata,
    SandboxSecurity,
};

fn sandbox() -> SandboxConfig {
    SandboxConfig {
        owner: Owner::Cri,
        metadata: SandboxMetadata {
            name: "web".into(),
            uid: "u".into(),
            namespace: "default".into(),
            attempt: 0,
        },
        hostname: "web-0".into(),
        log_directory: None,
        dns: None,
        ports: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        handler: String::new(),
        cgroup_parent: None,
        namespaces: Namespaces {
            network: Network::Pod,
            pid: PidMode::Container,
            ipc: NamespaceMode::Pod,
            user: None,
        },
        names: crate::model::Names::default(),
        sysctls: BTreeMap::new(),
        security: SandboxSecurity::default(),
        resources: Resources::default(),
    }
}

pub(crate) fn container() -> ContainerConfig {
    ContainerConfig {
        metadata: ContainerMetadata { name: "main".into(), attempt: 0 },
        image: ImageSpec {
            image: "example.org/app:1".into(),
            user_specified: String::new(),
            annotations: BTreeMap::new(),
        },
        command: Vec::new(),
        args: Vec::new(),
        working_dir: None,
        envs: Vec::new(),
        mounts: Vec::new(),
        devices: Vec::new(),
        cdi_devices: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        log_path: None,
        stdin: false,
        stdin_once: false,
        tty: false,
        resources: Resources::default(),
        security: ContainerSecurity::default(),
        pid: PidMode::Container,
        stop_signal: None,
        rlimits: Vec::new(),
        storage_limit: None,
    }
}

fn image() -> ImageConfig {
    ImageConfig {
        env: vec!["PATH=/bin".into(), "FROM=image".into(), "BOTH=image".into()],
        entrypoint: vec!["/entry".into()],
        cmd: vec!["default".into()],
        working_dir: "/work".into(),
        ..ImageConfig::default()
    }
}

fn host() -> HostFacts {
    HostFacts {
        capabilities: u64::MAX,
        least_oom_score: -1000,
        hostname: "node".into(),
        unified: false,
        accounts_swap: true,
        limits_hugepages: true,
        selinux: false,
    }
}

fn planned(
    sandbox: &SandboxConfig,
    container: &ContainerConfig,
    devices: &[HostDevice],
) -> Result<Planned, EngineError> {
    let user = Resolved { uid: 1000, gid: 1000, groups: vec![1000, 5], home: "/home/app".into() };
    let files = PodFiles {
        shm: "/pod/shm".into(),
        hosts: "/pod/hosts".into(),
        hostname: "/pod/hostname".into(),
        resolv: "/pod/resolv.conf".into(),
    };
    spec(&Inputs {
        sandbox,
        container,
        image: &image(),
        user: &user,
        devices,
        files: &files,
        cgroup: "parent/id",
        apparmor: None,
        host: &host(),
    })
}

/// Sets come out in any order; the golden files have them sorted.
fn sorted(mut value: Value) -> Value {
    if let Some(sets) = value.pointer_mut("/process/capabilities").and_then(Value::as_object_mut) {
        for set in sets.values_mut().filter_map(Value::as_array_mut) {
            set.sort_by_key(ToString::to_string);
        }
    }
    value
}

fn golden(name: &str, sandbox: &SandboxConfig, container: &ContainerConfig, devices: &[HostDevice]) {
    let spec = planned(sandbox, container, devices).unwrap().spec;
    let text = serde_json::to_string_pretty(&sorted(serde_json::to_value(spec).unwrap())).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/oci/golden").join(format!("{name}.json"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, want, "{name}: UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn a_plain_container() {
    golden("plain", &sandbox(), &container(), &[]);
}

#[test]
fn a_hardened_container() {
    let mut config = container();
    config.command = vec!["/app".into()];
    config.args = vec!["-v".into()];
    config.working_dir = Some("/srv".into());
    config.envs = vec![
        EnvVar { name: "BOTH".into(), value: b"first".to_vec() },
        EnvVar { name: "BOTH".into(), value: b"last".to_vec() },
    ];
    config.resources.oom_score_adj = Some(900);
    config.security.readonly_rootfs = true;
    config.security.no_new_privs = true;
    config.security.drop_capabilities = vec!["ALL".into()];
    config.security.add_capabilities = vec!["NET_BIND_SERVICE".into()];
    config.security.masked_paths = vec!["/proc/kcore".into()];
    config.security.readonly_paths = vec!["/proc/sys".into()];
    golden("hardened", &sandbox(), &config, &[]);
}

/// Plugins for devices and storage mount the host's /dev.
#[test]
fn a_volume_on_dev_does_not_hide_the_pods_shared_memory() {
    let mut config = container();
    config.mounts.insert(0, mount("/dev"));
    let spec = planned(&sandbox(), &config, &[]).unwrap().spec;
    let places: Vec<&Path> =
        spec.mounts().as_ref().unwrap().iter().map(|m| m.destination().as_path()).collect();
    let at = |place: &str| places.iter().rposition(|p| *p == Path::new(place)).unwrap();
    assert!(at("/dev") < at("/dev/shm"), "{places:?}");
    assert_eq!(places.iter().filter(|p| **p == Path::new("/dev")).count(), 1);
}

#[test]
fn a_privileged_container_of_the_host() {
    let mut pod = sandbox();
    pod.security.privileged = true;
    pod.namespaces =
        Namespaces { network: Network::Host, pid: PidMode::Node, ipc: NamespaceMode::Node, user: None };
    let mut config = container();
    config.pid = PidMode::Node;
    config.tty = true;
    config.security.privileged = true;
    config.security.masked_paths = vec!["/proc/kcore".into()];
    let device = HostDevice {
        path: "/dev/fuse".into(),
        source: "/dev/fuse".into(),
        kind: berth_sys::cgroup::DeviceKind::Char,
        major: 10,
        minor: 229,
        mode: 0o666,
        uid: 0,
        gid: 0,
        access: berth_sys::cgroup::Access::ALL,
    };
    golden("privileged", &pod, &config, &[device]);
}

#[test]
fn a_local_pod_hides_what_the_field_hides() {
    let mut pod = sandbox();
    pod.owner = Owner::Local;
    golden("local", &pod, &container(), &[]);
}

fn mount(place: &str) -> Mount {
    Mount::new("/host", place)
}

fn destinations(config: &ContainerConfig) -> Vec<String> {
    let spec = planned(&sandbox(), config, &[]).unwrap().spec;
    let mounts = spec.mounts().clone().unwrap();
    mounts.iter().map(|m| m.destination().display().to_string()).collect()
}

#[test]
fn mounts_are_made_from_the_outside_in() {
    let mut config = container();
    config.mounts = ["/a/b/c", "/etc/hosts", "/a", "/a/../x/./y", "/z"].map(mount).into();
    let all = destinations(&config);
    let last = &all[all.len() - 8..];
    let pods = ["/etc/hostname", "/etc/resolv.conf", "/dev/shm"];
    assert_eq!(last, [&["/a", "/z"][..], &pods, &["/etc/hosts", "/x/y", "/a/b/c"]].concat());
    assert_eq!(all.iter().filter(|place| *place == "/etc/hosts").count(), 1, "the pod's own gives way");
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let case = |change: fn(&mut ContainerConfig)| {
        let mut config = container();
        change(&mut config);
        planned(&sandbox(), &config, &[]).unwrap_err()
    };
    let root = case(|c| c.mounts = vec![mount("/")]);
    assert!(root.to_string().contains("mounts"), "{root}");
    let privileged = case(|c| c.security.privileged = true);
    assert!(privileged.to_string().contains("privileged"), "{privileged}");
    let recursive = case(|c| {
        let mut writable = mount("/x");
        writable.recursive_readonly = true;
        c.mounts = vec![writable];
    });
    assert_eq!(recursive.kind(), Kind::Invalid);
    assert!(planned(&sandbox(), &container(), &[]).is_ok());
}

#[test]
fn no_new_privileges_holds_for_the_privileged_too() {
    let mut pod = sandbox();
    pod.security.privileged = true;
    for privileged in [false, true] {
        for asked in [false, true] {
            let mut config = container();
            config.security = ContainerSecurity { privileged, no_new_privs: asked, ..Default::default() };
            let spec = planned(&pod, &config, &[]).unwrap().spec;
            assert_eq!(spec.process().as_ref().unwrap().no_new_privileges(), Some(asked));
        }
    }
}

#[test]
fn values_that_are_not_text_are_kept_apart() {
    let mut config = container();
    config.envs = vec![EnvVar { name: "RAW".into(), value: vec![0xff] }];
    let planned = planned(&sandbox(), &config, &[]).unwrap();
    assert_eq!(planned.raw_env, config.envs);
    let env = planned.spec.process().as_ref().unwrap().env().clone().unwrap();
    assert!(!env.iter().any(|line| line.starts_with("RAW=")));
}

#[test]
fn the_shim_gives_the_pods_namespaces() {
    let kinds = |config: &ContainerConfig| {
        given_namespaces(&planned(&sandbox(), config, &[]).unwrap().spec, &config.pid)
    };
    use LinuxNamespaceType::{Ipc, Network, Pid, Uts};
    assert_eq!(kinds(&container()), [Ipc, Network, Uts]);
    let mut shared = container();
    shared.pid = PidMode::Pod;
    assert_eq!(kinds(&shared), [Pid, Ipc, Network, Uts]);
}
