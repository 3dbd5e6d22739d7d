use std::collections::BTreeMap;

use berth_engine::model::{
    ContainerConfig, NamespaceMode, Namespaces, Network, PidMode, Propagation, SeccompChoice, User,
};
use berth_types::{Classify, Kind};

use super::*;
use crate::api;

fn sandbox_config() -> api::PodSandboxConfig {
    api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: "p".into(),
            uid: "u".into(),
            namespace: "n".into(),
            attempt: 1,
        }),
        ..Default::default()
    }
}

fn with_namespaces(options: api::NamespaceOption) -> api::PodSandboxConfig {
    let context = api::LinuxSandboxSecurityContext { namespace_options: Some(options), ..Default::default() };
    let linux = api::LinuxPodSandboxConfig { security_context: Some(context), ..Default::default() };
    api::PodSandboxConfig { linux: Some(linux), ..sandbox_config() }
}

fn container_config() -> api::ContainerConfig {
    api::ContainerConfig {
        metadata: Some(api::ContainerMetadata { name: "c".into(), attempt: 0 }),
        image: Some(api::ImageSpec { image: "a.io/x".into(), ..Default::default() }),
        ..Default::default()
    }
}

fn with_context(context: api::LinuxContainerSecurityContext) -> api::ContainerConfig {
    let linux = api::LinuxContainerConfig { security_context: Some(context), resources: None };
    api::ContainerConfig { linux: Some(linux), ..container_config() }
}

/// In a pod that has everything of its own.
fn of_container(config: &api::ContainerConfig) -> Result<ContainerConfig, FieldError> {
    let own =
        Namespaces { network: Network::Pod, pid: PidMode::Container, ipc: NamespaceMode::Pod, user: None };
    container::from_api(config, &own)
}

#[test]
fn a_sandbox_without_options_has_everything_of_its_own() {
    let config = sandbox::from_api(&sandbox_config(), "").unwrap();
    assert_eq!(config.namespaces.network, Network::Pod);
    assert_eq!(config.namespaces.pid, PidMode::Pod);
    assert_eq!((config.cgroup_parent, config.dns, config.log_directory), (None, None, None));
}

#[test]
fn a_sandbox_needs_metadata() {
    let error = sandbox::from_api(&api::PodSandboxConfig::default(), "").unwrap_err();
    assert_eq!(error.to_string(), "config.metadata is missing");
}

#[test]
fn ports_out_of_range_are_named() {
    let port = |container_port, host_port, ip: &str| api::PodSandboxConfig {
        port_mappings: vec![api::PortMapping { container_port, host_port, host_ip: ip.into(), protocol: 0 }],
        ..sandbox_config()
    };
    for (config, named) in [
        (port(70000, 1, ""), "config.port_mappings[0].container_port"),
        (port(1, -1, ""), "config.port_mappings[0].host_port"),
        (port(1, 1, "localhost"), "config.port_mappings[0].host_ip"),
    ] {
        let error = sandbox::from_api(&config, "").unwrap_err().to_string();
        assert!(error.starts_with(named), "{error}");
    }
    assert_eq!(sandbox::from_api(&port(80, 8080, "::1"), "").unwrap().ports[0].host_port, 8080);
}

#[test]
fn a_network_has_no_container_mode() {
    let options =
        api::NamespaceOption { network: api::NamespaceMode::Container as i32, ..Default::default() };
    assert_eq!(sandbox::from_api(&with_namespaces(options), "").unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn devices_are_asked_for_by_name() {
    let config = api::ContainerConfig {
        cdi_devices: vec![
            api::CdiDevice { name: "v.com/c=d".into() },
            api::CdiDevice { name: "v.com/c=e".into() },
        ],
        ..container_config()
    };
    assert_eq!(of_container(&config).unwrap().cdi_devices, ["v.com/c=d", "v.com/c=e"]);
}

/// contract 32
#[test]
fn recursive_read_only_needs_read_only_and_private() {
    let mount = |readonly, propagation: api::MountPropagation| {
        let mount = api::Mount {
            container_path: "/c".into(),
            host_path: "/h".into(),
            readonly,
            recursive_read_only: true,
            propagation: propagation as i32,
            ..Default::default()
        };
        of_container(&api::ContainerConfig { mounts: vec![mount], ..container_config() })
    };
    use api::MountPropagation::*;
    assert!(mount(true, PropagationPrivate).unwrap().mounts[0].recursive_readonly);
    assert!(mount(false, PropagationPrivate).is_err());
    assert!(mount(true, PropagationHostToContainer).is_err());
    assert_eq!(mount(true, PropagationPrivate).unwrap().mounts[0].propagation, Propagation::Private);
}

#[test]
fn ids_and_users() {
    let uid = |value| api::LinuxContainerSecurityContext {
        run_as_user: Some(api::Int64Value { value }),
        ..Default::default()
    };
    assert_eq!(of_container(&with_context(uid(1000))).unwrap().security.user, Some(User::Id(1000)));
    for bad in [-1, 1 << 32, i64::from(u32::MAX)] {
        assert!(of_container(&with_context(uid(bad))).is_err(), "{bad}");
    }
    let name = api::LinuxContainerSecurityContext { run_as_username: "www".into(), ..Default::default() };
    assert_eq!(of_container(&with_context(name)).unwrap().security.user, Some(User::Name("www".into())));
    let group = api::LinuxContainerSecurityContext {
        run_as_group: Some(api::Int64Value { value: 1 }),
        ..Default::default()
    };
    assert!(of_container(&with_context(group)).is_err(), "a group without a user");
}

#[test]
fn seccomp_profiles() {
    let of = |kind: api::security_profile::ProfileType, file: &str| {
        let profile = api::SecurityProfile { profile_type: kind as i32, localhost_ref: file.into() };
        let context = api::LinuxContainerSecurityContext { seccomp: Some(profile), ..Default::default() };
        of_container(&with_context(context)).map(|c| c.security.seccomp)
    };
    use api::security_profile::ProfileType::*;
    assert_eq!(of(RuntimeDefault, "").unwrap(), SeccompChoice::Default);
    assert_eq!(of(Unconfined, "").unwrap(), SeccompChoice::Unconfined);
    assert_eq!(of(Localhost, "/p.json").unwrap(), SeccompChoice::Localhost("/p.json".into()));
    assert!(of(Localhost, "p.json").is_err());
    assert_eq!(of_container(&container_config()).unwrap().security.seccomp, SeccompChoice::Unconfined);
}

#[test]
fn apparmor_profiles() {
    use api::security_profile::ProfileType::*;
    let of = |profile: Option<(api::security_profile::ProfileType, &str)>, older: &str| {
        let profile = profile.map(|(kind, file)| api::SecurityProfile {
            profile_type: kind as i32,
            localhost_ref: file.into(),
        });
        #[allow(deprecated, reason = "older kubelets send it")]
        let context = api::LinuxContainerSecurityContext {
            apparmor: profile,
            apparmor_profile: older.into(),
            ..Default::default()
        };
        of_container(&with_context(context)).unwrap().security.apparmor
    };
    for (profile, older, wanted) in [
        (None, "", None),
        (None, "unconfined", Some("unconfined")),
        (None, "runtime/default", Some("runtime/default")),
        (None, "localhost/mine", Some("mine")),
        (Some((RuntimeDefault, "")), "", Some("runtime/default")),
        (Some((Unconfined, "")), "localhost/mine", Some("unconfined")),
        (Some((Localhost, "mine")), "", Some("mine")),
        (Some((Localhost, "localhost/mine")), "unconfined", Some("mine")),
    ] {
        assert_eq!(of(profile, older).as_deref(), wanted, "{profile:?} {older:?}");
    }
}

#[test]
fn environment_names_and_values() {
    let env = |key: &str, value: &[u8]| {
        let pair = api::KeyValue { key: key.into(), value: value.to_vec() };
        of_container(&api::ContainerConfig { envs: vec![pair], ..container_config() })
    };
    assert_eq!(env("A", b"\xff\xfe").unwrap().envs[0].value, b"\xff\xfe");
    for (key, value) in [("", b"x".as_slice()), ("A=B", b"x"), ("A", b"x\0y")] {
        assert!(env(key, value).is_err(), "{key:?}");
    }
}

#[test]
fn limits_of_zero_are_not_set() {
    let none = resources::from_api("r", &api::LinuxContainerResources::default()).unwrap();
    assert_eq!((none.cpu_shares, none.cpu_quota, none.memory_limit), (None, None, None));
    let some =
        api::LinuxContainerResources { cpu_quota: -1, memory_limit_in_bytes: 1 << 20, ..Default::default() };
    let some = resources::from_api("r", &some).unwrap();
    assert_eq!((some.cpu_quota, some.memory_limit), (Some(-1), Some(1 << 20)));
    let bad = api::LinuxContainerResources { cpu_shares: -5, ..Default::default() };
    assert_eq!(resources::from_api("r", &bad).unwrap_err().to_string(), "r.cpu_shares: -5 is negative");
    let oom = api::LinuxContainerResources { oom_score_adj: 2000, ..Default::default() };
    assert!(resources::from_api("r", &oom).is_err());
}

#[test]
fn signals_there_and_back() {
    for name in ["SIGTERM", "SIGKILL", "SIGRTMIN+3", "SIGRTMAX-1", "SIGUSR1"] {
        let value = signal::to_api(name);
        assert_ne!(value, 0, "{name}");
        assert_eq!(signal::from_api("f", value).unwrap().as_deref(), Some(name));
    }
    assert_eq!(signal::to_api("term"), api::Signal::Sigterm as i32);
    assert_eq!(signal::from_api("f", 0).unwrap(), None);
    assert_eq!(signal::to_api("nonsense"), 0);
}

#[test]
fn a_selector_needs_all_its_labels() {
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let labels = map(&[("a", "1"), ("b", "2")]);
    assert!(selected(&labels, &map(&[])));
    assert!(selected(&labels, &map(&[("a", "1")])));
    assert!(!selected(&labels, &map(&[("a", "2")])));
    assert!(!selected(&labels, &map(&[("a", "1"), ("c", "3")])));
}

#[test]
fn a_container_has_the_network_and_ipc_of_its_pod() {
    use api::NamespaceMode::{Container, Node, Pod, Target};
    let asked = |network: api::NamespaceMode, ipc: api::NamespaceMode, of_host: bool| {
        let options = api::NamespaceOption { network: network as i32, ipc: ipc as i32, ..Default::default() };
        let context =
            api::LinuxContainerSecurityContext { namespace_options: Some(options), ..Default::default() };
        let pod = match of_host {
            true => {
                Namespaces { network: Network::Host, pid: PidMode::Pod, ipc: NamespaceMode::Node, user: None }
            }
            false => {
                Namespaces { network: Network::Pod, pid: PidMode::Pod, ipc: NamespaceMode::Pod, user: None }
            }
        };
        container::from_api(&with_context(context), &pod).map(drop).map_err(|e| e.to_string())
    };
    for of_host in [false, true] {
        assert_eq!(asked(Pod, Pod, of_host), Ok(()), "zero is also what a message without options says");
    }
    assert_eq!(asked(Node, Node, true), Ok(()));
    for (network, ipc, field) in [
        (Node, Pod, "namespace_options.network: the container"),
        (Pod, Node, "namespace_options.ipc: the container"),
        (Container, Pod, "namespace_options.network: CONTAINER"),
        (Pod, Target, "namespace_options.ipc: TARGET"),
    ] {
        let error = asked(network, ipc, false).unwrap_err();
        assert!(error.starts_with(&format!("config.linux.security_context.{field}")), "{error}");
    }
}

#[test]
fn a_target_is_for_the_pid_mode_target() {
    let asked = |pid: api::NamespaceMode, target: &str| {
        let options =
            api::NamespaceOption { pid: pid as i32, target_id: target.into(), ..Default::default() };
        let context =
            api::LinuxContainerSecurityContext { namespace_options: Some(options), ..Default::default() };
        of_container(&with_context(context)).map(|config| config.pid)
    };
    use api::NamespaceMode::{Container, Node, Pod, Target};
    assert_eq!(asked(Target, "c1").unwrap(), PidMode::Target("c1".into()));
    for (mode, target) in [(Target, ""), (Pod, "c1"), (Container, "c1"), (Node, "c1")] {
        let error = asked(mode, target).unwrap_err().to_string();
        let field = "config.linux.security_context.namespace_options.target_id: ";
        assert!(error.starts_with(field), "{error}");
    }
}

#[test]
fn one_way_to_name_a_user() {
    let both = api::LinuxContainerSecurityContext {
        run_as_user: Some(api::Int64Value { value: 1 }),
        run_as_username: "www".into(),
        ..Default::default()
    };
    let error = of_container(&with_context(both)).unwrap_err().to_string();
    assert!(error.starts_with("config.linux.security_context.run_as_username: "), "{error}");
}

#[test]
fn what_a_kubelet_says_of_the_sandboxs_own_process_means_nothing() {
    let context = api::LinuxSandboxSecurityContext {
        run_as_user: Some(api::Int64Value { value: 1000 }),
        run_as_group: Some(api::Int64Value { value: 1000 }),
        supplemental_groups: vec![2000],
        supplemental_groups_policy: api::SupplementalGroupsPolicy::Strict as i32,
        seccomp: Some(api::SecurityProfile::default()),
        ..Default::default()
    };
    let linux = api::LinuxPodSandboxConfig { security_context: Some(context), ..Default::default() };
    let told = sandbox::from_api(&api::PodSandboxConfig { linux: Some(linux), ..sandbox_config() }, "");
    assert_eq!(told.unwrap(), sandbox::from_api(&sandbox_config(), "").unwrap());
}

#[test]
fn contract_07_a_word_of_the_kubelet_begins_what_it_acts_on() {
    let with = |image: api::ImageSpec| {
        let mount = api::Mount { container_path: "/c".into(), image: Some(image), ..Default::default() };
        of_container(&api::ContainerConfig { mounts: vec![mount], ..container_config() })
    };
    let image = api::ImageSpec { image: "a.io/v".into(), ..Default::default() };
    assert_eq!(with(image.clone()).unwrap().mounts[0].image.as_ref().unwrap().image.image, "a.io/v");
    let status =
        tonic::Status::from(with(api::ImageSpec { runtime_handler: "x".into(), ..image }).unwrap_err());
    assert_eq!(status.code(), tonic::Code::Unknown);
    let want = "ImageVolumeMountFailed: config.mounts[0].image.runtime_handler is not supported: ";
    assert!(status.message().starts_with(want), "{status}");

    let mount = api::Mount {
        container_path: "/c".into(),
        host_path: "/h".into(),
        readonly: true,
        recursive_read_only: true,
        ..Default::default()
    };
    let config = of_container(&api::ContainerConfig { mounts: vec![mount], ..container_config() }).unwrap();
    assert_eq!(container::recursive_read_only(&config, true), Ok(()));
    let status = tonic::Status::from(container::recursive_read_only(&config, false).unwrap_err());
    assert_eq!(status.code(), tonic::Code::Unknown);
    let want = "RROUnsupported: config.mounts[0].recursive_read_only is not supported: ";
    assert!(status.message().starts_with(want), "{status}");
}

#[test]
fn a_change_that_says_no_score_keeps_it() {
    let change = |oom_score_adj| {
        let linux = api::LinuxContainerResources { oom_score_adj, ..Default::default() };
        resources::change("linux", &linux).unwrap().oom_score_adj
    };
    assert_eq!((change(0), change(-5)), (None, Some(-5)));
}

#[test]
fn times_are_not_negative() {
    assert_eq!(seconds("timeout", 30), Ok(std::time::Duration::from_secs(30)));
    let error = seconds("timeout", -1).unwrap_err().to_string();
    assert_eq!(error, "timeout: -1 seconds is negative");
}

mod user_namespace;
