use super::*;

fn spec() -> Spec {
    let kinds = ["pid", "network", "ipc", "uts", "mount"].map(|kind| json!({ "type": kind }));
    let spec = json!({
        "ociVersion": "1.0.2",
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["/x"], "cwd": "/", "apparmorProfile": "berth" },
        "root": { "path": "/r" },
        "linux": { "namespaces": kinds, "cgroupsPath": "/g", "resources": { "pids": { "limit": 5 } } },
    });
    serde_json::from_value(spec).unwrap()
}

#[test]
fn a_container_names_its_sandbox_and_its_own_processes() {
    let id = ContainerId::from_random(random::bytes());
    let sandbox = berth_types::SandboxId::from_random(random::bytes());
    let (group, sysctls) = (berth_sys::cgroup::Cgroup::from_dirs(Vec::new()), Default::default());
    let kernel = |shares_pid| Kernel {
        id: &sandbox,
        cgroup: &group,
        dir: Path::new("/k"),
        gofers: Path::new("/r/null-netns"),
        hostname: "name",
        sysctls: &sysctls,
        shares_pid,
    };
    let pid_of = |spec: &Spec| {
        let all = spec.linux().as_ref().unwrap().namespaces().clone().unwrap();
        let of = all.iter().find(|namespace| namespace.typ() == LinuxNamespaceType::Pid);
        of.map(|namespace| namespace.path().as_ref().unwrap().display().to_string())
    };
    let made = member(spec(), &PidMode::Container, &id, &kernel(false));
    assert_eq!(pid_of(&made), Some(format!("/berth/{id}")));
    let annotations = made.annotations().as_ref().unwrap();
    assert_eq!(annotations[TYPE], "container");
    assert_eq!(annotations[SANDBOX], sandbox.as_str());
    let linux = made.linux().as_ref().unwrap();
    assert!(linux.resources().is_none() && linux.cgroups_path().is_none());
    assert_eq!(made.process().as_ref().unwrap().apparmor_profile(), &None);

    assert_eq!(pid_of(&member(spec(), &PidMode::Pod, &id, &kernel(true))), None);
    let target = PidMode::Target("other".to_owned());
    assert_eq!(pid_of(&member(spec(), &target, &id, &kernel(false))), Some("/berth/other".to_owned()));
    assert_eq!(pid_of(&member(spec(), &target, &id, &kernel(true))), None);
}
