//! User namespaces of pods, and the maps of mounts.

use berth_engine::model::{IdMap, UserNamespace};

use super::*;

fn mapping(container_id: u32, host_id: u32, length: u32) -> api::IdMapping {
    api::IdMapping { host_id, container_id, length }
}

fn usual() -> Vec<api::IdMapping> {
    vec![mapping(0, 100_000, 65_536)]
}

fn options(
    mode: api::NamespaceMode,
    uids: Vec<api::IdMapping>,
    gids: Vec<api::IdMapping>,
) -> api::NamespaceOption {
    let user = api::UserNamespace { mode: mode as i32, uids, gids };
    api::NamespaceOption { userns_options: Some(user), ..Default::default() }
}

fn of_pod(options: api::NamespaceOption) -> Result<Option<UserNamespace>, String> {
    let asked = sandbox::from_api(&with_namespaces(options), "");
    asked.map(|config| config.namespaces.user).map_err(|e| e.to_string())
}

/// contract 19: exactly one mapping of each kind with POD, none with NODE, and no other mode.
#[test]
fn contract_19_what_a_pod_may_ask_for() {
    use api::NamespaceMode::{Container, Node, Pod, Target};
    let map = IdMap { container: 0, host: 100_000, length: 65_536 };
    assert_eq!(of_pod(options(Pod, usual(), usual())), Ok(Some(UserNamespace { uids: map, gids: map })));
    assert_eq!(of_pod(options(Node, vec![], vec![])), Ok(None));
    // Kubelets of before say nothing.
    assert_eq!(of_pod(api::NamespaceOption::default()), Ok(None));
    let two = || vec![mapping(0, 100_000, 10), mapping(10, 200_000, 10)];
    for (asked, field, words) in [
        (options(Pod, vec![], usual()), "uids", "0 mappings; exactly one"),
        (options(Pod, usual(), vec![]), "gids", "0 mappings; exactly one"),
        (options(Pod, two(), usual()), "uids", "2 mappings; exactly one"),
        (options(Pod, usual(), two()), "gids", "2 mappings; exactly one"),
        (options(Node, usual(), vec![]), "uids", "mode is NODE"),
        (options(Node, vec![], usual()), "gids", "mode is NODE"),
        (options(Container, usual(), usual()), "mode", "CONTAINER is not a mode"),
        (options(Target, usual(), usual()), "mode", "TARGET is not a mode"),
    ] {
        let error = of_pod(asked).unwrap_err();
        let at = format!("config.linux.security_context.namespace_options.userns_options.{field}: ");
        assert!(error.starts_with(&at) && error.contains(words), "{error}");
    }
}

/// contract 19: a container is in the user namespace of its pod and in no other.
#[test]
fn contract_19_a_container_has_what_its_pod_has() {
    use api::NamespaceMode::{Node, Pod};
    let map = IdMap { container: 0, host: 100_000, length: 65_536 };
    let with =
        |user| Namespaces { network: Network::Pod, pid: PidMode::Container, ipc: NamespaceMode::Pod, user };
    let asked = |options: Option<api::NamespaceOption>, pod: &Namespaces| {
        let context = api::LinuxContainerSecurityContext { namespace_options: options, ..Default::default() };
        container::from_api(&with_context(context), pod).map(drop).map_err(|e| e.to_string())
    };
    let (mapped, host) = (with(Some(UserNamespace { uids: map, gids: map })), with(None));
    let same = || Some(options(Pod, usual(), usual()));
    assert_eq!(asked(same(), &mapped), Ok(()));
    assert_eq!(asked(None, &mapped), Ok(()));
    assert_eq!(asked(Some(options(Node, vec![], vec![])), &host), Ok(()));
    let other = || vec![mapping(0, 200_000, 65_536)];
    for (options, pod, field) in [
        (same(), &host, "mode"),
        (Some(options(Node, vec![], vec![])), &mapped, "mode"),
        (Some(options(Pod, other(), usual())), &mapped, "uids"),
        (Some(options(Pod, usual(), other())), &mapped, "gids"),
    ] {
        let error = asked(options, pod).unwrap_err();
        let at = format!("userns_options.{field}: it is not what the pod sandbox has");
        assert!(error.contains(&at), "{error}");
    }
}

#[test]
fn the_maps_and_options_of_a_mount_are_kept_and_shown() {
    let mount = |uids: Vec<api::IdMapping>, gids: Vec<api::IdMapping>| {
        let mount = api::Mount {
            container_path: "/c".into(),
            host_path: "/h".into(),
            uid_mappings: uids,
            gid_mappings: gids,
            mount_options: vec!["noexec".into()],
            ..Default::default()
        };
        of_container(&api::ContainerConfig { mounts: vec![mount], ..container_config() })
    };
    let config = mount(usual(), vec![mapping(0, 5, 6)]).unwrap();
    let map = |host, length| IdMap { container: 0, host, length };
    assert_eq!(config.mounts[0].uids, [map(100_000, 65_536)]);
    assert_eq!(config.mounts[0].gids, [map(5, 6)]);
    assert_eq!(config.mounts[0].options, ["noexec"]);
    for (config, field) in [(mount(usual(), vec![]), "gidMappings"), (mount(vec![], usual()), "uidMappings")]
    {
        let error = config.unwrap_err().to_string();
        assert!(error.starts_with(&format!("config.mounts[0].{field}: ")), "{error}");
    }
}
