use std::collections::BTreeMap;

use berth_engine::model::{Network, PidMode, Propagation, SeccompChoice, User};
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
fn user_namespaces_are_refused_and_never_ignored() {
    let user = |mode: api::NamespaceMode| {
        let options = api::UserNamespace { mode: mode as i32, ..Default::default() };
        with_namespaces(api::NamespaceOption { userns_options: Some(options), ..Default::default() })
    };
    let kind = |mode| sandbox::from_api(&user(mode), "").map(drop).map_err(|e| e.kind());
    assert_eq!(kind(api::NamespaceMode::Node), Ok(()));
    assert_eq!(kind(api::NamespaceMode::Pod), Err(Kind::Unsupported));
    assert_eq!(kind(api::NamespaceMode::Container), Err(Kind::Invalid));
    assert_eq!(kind(api::NamespaceMode::Target), Err(Kind::Invalid));
}

#[test]
fn a_network_has_no_container_mode() {
    let options =
        api::NamespaceOption { network: api::NamespaceMode::Container as i32, ..Default::default() };
    assert_eq!(sandbox::from_api(&with_namespaces(options), "").unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn what_a_container_asks_and_is_not_obeyed_is_refused() {
    let mount = |m: api::Mount| api::ContainerConfig {
        mounts: vec![api::Mount { container_path: "/c".into(), host_path: "/h".into(), ..m }],
        ..container_config()
    };
    let image = api::ImageSpec { image: "a.io/v".into(), ..Default::default() };
    let cases = [
        mount(api::Mount { image: Some(image), ..Default::default() }),
        mount(api::Mount { mount_options: vec!["noexec".into()], ..Default::default() }),
        mount(api::Mount { uid_mappings: vec![api::IdMapping::default()], ..Default::default() }),
        api::ContainerConfig {
            cdi_devices: vec![api::CdiDevice { name: "v/c=d".into() }],
            ..container_config()
        },
    ];
    for config in cases {
        assert_eq!(container::from_api(&config).unwrap_err().kind(), Kind::Unsupported, "{config:?}");
    }
}

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
        container::from_api(&api::ContainerConfig { mounts: vec![mount], ..container_config() })
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
    assert_eq!(container::from_api(&with_context(uid(1000))).unwrap().security.user, Some(User::Id(1000)));
    for bad in [-1, 1 << 32, i64::from(u32::MAX)] {
        assert!(container::from_api(&with_context(uid(bad))).is_err(), "{bad}");
    }
    let name = api::LinuxContainerSecurityContext { run_as_username: "www".into(), ..Default::default() };
    assert_eq!(
        container::from_api(&with_context(name)).unwrap().security.user,
        Some(User::Name("www".into()))
    );
    let group = api::LinuxContainerSecurityContext {
        run_as_group: Some(api::Int64Value { value: 1 }),
        ..Default::default()
    };
    assert!(container::from_api(&with_context(group)).is_err(), "a group without a user");
}

#[test]
fn seccomp_profiles() {
    let of = |kind: api::security_profile::ProfileType, file: &str| {
        let profile = api::SecurityProfile { profile_type: kind as i32, localhost_ref: file.into() };
        let context = api::LinuxContainerSecurityContext { seccomp: Some(profile), ..Default::default() };
        container::from_api(&with_context(context)).map(|c| c.security.seccomp)
    };
    use api::security_profile::ProfileType::*;
    assert_eq!(of(RuntimeDefault, "").unwrap(), SeccompChoice::Default);
    assert_eq!(of(Unconfined, "").unwrap(), SeccompChoice::Unconfined);
    assert_eq!(of(Localhost, "/p.json").unwrap(), SeccompChoice::Localhost("/p.json".into()));
    assert!(of(Localhost, "p.json").is_err());
    assert_eq!(container::from_api(&container_config()).unwrap().security.seccomp, SeccompChoice::Unconfined);
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
        container::from_api(&with_context(context)).unwrap().security.apparmor
    };
    for (profile, older, wanted) in [
        (None, "", None),
        (None, "unconfined", None),
        (None, "runtime/default", Some("runtime/default")),
        (None, "localhost/mine", Some("mine")),
        (Some((RuntimeDefault, "")), "", Some("runtime/default")),
        (Some((Unconfined, "")), "localhost/mine", None),
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
        container::from_api(&api::ContainerConfig { envs: vec![pair], ..container_config() })
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
        assert_eq!(signal::from_api(value).as_deref(), Some(name));
    }
    assert_eq!(signal::to_api("term"), api::Signal::Sigterm as i32);
    assert_eq!(signal::from_api(0), None);
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
