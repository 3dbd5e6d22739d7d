use std::path::Path;

use berth_sys::mount as sys;
use oci_spec::runtime::LinuxNamespaceType;
use serde_json::{Value, json};

use super::*;

mod idmap;

fn config() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["sh"], "cwd": "/" },
        "root": { "path": "rootfs" },
        "linux": { "namespaces": [{ "type": "mount" }, { "type": "pid" }, { "type": "uts" }] }
    })
}

fn made(config: &Value) -> Result<Plan, PlanError> {
    let spec = parse(config.to_string().as_bytes())?;
    plan(&spec, &Inputs { bundle: Some(Path::new("/bundle")), ..Inputs::default() })
}

/// The plan of the usual configuration with `value` at `pointer`, whose parents are made.
fn with(pointer: &str, value: Value) -> Result<Plan, PlanError> {
    let mut config = config();
    set(&mut config, pointer, value);
    made(&config)
}

fn set(config: &mut Value, pointer: &str, value: Value) {
    let mut at = config;
    for key in pointer.split('.') {
        at = &mut at[key];
    }
    *at = value;
}

/// Where the refusal of `value` at `pointer` points to.
fn refused(pointer: &str, value: Value) -> String {
    match with(pointer, value) {
        Err(
            PlanError::Unsupported { field, .. }
            | PlanError::Invalid { field, .. }
            | PlanError::Unknown { field },
        ) => field,
        other => panic!("{pointer}: {other:?}"),
    }
}

fn mounts(list: Value) -> Vec<Step> {
    with("mounts", list).expect("a plan").steps
}

fn mount(step: &Step) -> &Mount {
    match step {
        Step::Mount(mount) => mount,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_smallest_specification_makes_a_plan() {
    let plan = made(&config()).expect("a plan");
    assert_eq!(plan.root.source, RootSource::Path(b"/bundle/rootfs".to_vec()));
    assert_eq!(plan.namespaces.pid, Space::New);
    assert_eq!(plan.namespaces.net, Space::Host);
    assert_eq!(plan.process.capabilities, Capabilities::default());
    // Six devices and five links.
    assert_eq!(plan.steps.len(), 11);
}

#[test]
fn a_plan_survives_its_encoding() {
    let plan = made(&config()).expect("a plan");
    let bytes = plan.encode().expect("encoded");
    assert_eq!(Plan::decode(&bytes), Ok(plan.clone()));
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(Plan::decode(&longer), Err(CodecError::Malformed(_))));
    let mut other = bytes.clone();
    other[0] = 99;
    assert_eq!(Plan::decode(&other), Err(CodecError::Version(99)));
    for end in 0..bytes.len() {
        assert!(Plan::decode(&bytes[..end]).is_err(), "{end}");
    }
    let process = plan.process.encode().expect("encoded");
    assert_eq!(ProcessPlan::decode(&process), Ok(plan.process));
}

#[test]
fn a_profile_makes_a_plan_of_the_second_version_and_no_other_does() {
    let without = made(&config()).expect("a plan");
    let profiled = with("process.apparmorProfile", json!("mine")).expect("a plan");
    assert_eq!(profiled.process.apparmor.as_deref(), Some("mine"));
    let (first, second) = (without.encode().expect("encoded"), profiled.encode().expect("encoded"));
    assert_eq!((&first[..2], &second[..2]), (&[1, 0][..], &[2, 0][..]));
    assert_eq!(second[2..], [&first[2..], b"\x04mine"].concat());
    assert_eq!(Plan::decode(&second), Ok(profiled.clone()));
    for end in 0..second.len() {
        assert!(Plan::decode(&second[..end]).is_err(), "{end}");
    }
    let process = profiled.process.encode().expect("encoded");
    assert_eq!(process[..2], [2, 0]);
    assert_eq!(ProcessPlan::decode(&process), Ok(profiled.process));
}

#[test]
fn everything_that_is_not_supported_is_refused_by_its_name() {
    let hook = json!([{ "path": "/bin/true" }]);
    for (field, value) in [
        ("hooks.prestart", hook.clone()),
        ("hooks.createRuntime", hook.clone()),
        ("hooks.createContainer", hook.clone()),
        ("hooks.startContainer", hook.clone()),
        ("hooks.poststart", hook.clone()),
        ("hooks.poststop", hook),
        ("process.apparmorProfile", json!("two\nlines")),
        ("process.apparmorProfile", json!("x".repeat(4001))),
        ("process.selinuxLabel", json!("a:b:c:d")),
        ("process.execCPUAffinity", json!({ "initial": "0" })),
        ("process.user.username", json!("me")),
        ("linux.mountLabel", json!("a:b:c:d")),
        ("linux.intelRdt", json!({ "closID": "x" })),
        ("linux.netDevices", json!({ "eth0": {} })),
        ("linux.seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW" })),
        ("linux.rootfsPropagation", json!("sideways")),
        ("vm", json!({ "kernel": { "path": "/k" } })),
    ] {
        assert_eq!(refused(field, value), field);
    }
    // Empty says nothing, so nothing is refused.
    assert!(with("hooks", json!({ "prestart": [] })).is_ok());
    assert!(with("process.apparmorProfile", json!("")).is_ok());
}

#[test]
fn unknown_fields_are_refused_with_their_place() {
    assert_eq!(refused("process.colour", json!("red")), "process.colour");
    assert_eq!(
        refused("linux.resources", json!({ "memory": { "maximum": 1 } })),
        "linux.resources.memory.maximum"
    );
    assert_eq!(
        refused("mounts", json!([{ "destination": "/a", "type": "proc", "speed": 1 }])),
        "mounts[0].speed"
    );
    assert!(with("process.nothing", Value::Null).is_ok());
}

#[test]
fn what_is_no_specification_is_refused() {
    assert!(matches!(parse(b"{"), Err(PlanError::Malformed(_))));
    assert!(matches!(parse(b"[]"), Err(PlanError::Malformed(_))));
    assert!(matches!(parse(&vec![b' '; MAX_SPEC + 1]), Err(PlanError::TooLarge(_))));
    assert_eq!(refused("ociVersion", json!("2.0.0")), "ociVersion");
    assert_eq!(refused("process", Value::Null), "process");
    assert_eq!(refused("root", Value::Null), "root");
}

#[test]
fn the_process_is_taken_over_whole() {
    let mut config = config();
    config["process"] = json!({
        "user": { "uid": 7, "gid": 8, "additionalGids": [9, 10], "umask": 63 },
        "args": ["a", "b"], "env": ["X=1"], "cwd": "/work", "noNewPrivileges": true, "oomScoreAdj": -500,
        "terminal": true, "consoleSize": { "height": 24, "width": 80 },
        "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 1, "hard": 2 }, { "type": "RLIMIT_RTTIME", "soft": 3, "hard": 3 }],
        "capabilities": { "bounding": ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"], "permitted": ["CAP_CHOWN"] }
    });
    config["linux"]["personality"] = json!({ "domain": "LINUX32" });
    let plan = made(&config).expect("a plan");
    let process = plan.process;
    assert_eq!(process.identity, Identity { uid: 7, gid: 8, groups: vec![9, 10] });
    assert_eq!(
        (process.umask, process.no_new_privileges, process.oom_score_adj),
        (Some(63), true, Some(-500))
    );
    assert_eq!(process.window, Some(WindowSize { rows: 24, columns: 80 }));
    assert_eq!(process.rlimits[0], Rlimit { resource: 7, soft: 1, hard: 2 });
    assert_eq!(process.rlimits[1].resource, 15);
    assert_eq!(process.capabilities.bounding, 1 | 1 << 40);
    assert_eq!(process.personality, Some(8));
    assert!(plan.steps.contains(&Step::Console));
    assert!(plan.steps.contains(&Step::Directory(b"/work".to_vec())));
}

#[test]
fn an_invalid_process_is_refused() {
    for (field, value) in [
        ("process.args", json!([])),
        ("process.args", json!([""])),
        ("process.cwd", json!("work")),
        ("process.oomScoreAdj", json!(1001)),
    ] {
        assert_eq!(refused(field, value), field);
    }
    assert_eq!(refused("process.args", json!(["a\u{0}b"])), "process.args[0]");
    assert_eq!(refused("process.env", json!(["A=1", "B=\u{0}"])), "process.env[1]");
    let limit = |soft: u64| json!({ "type": "RLIMIT_NOFILE", "soft": soft, "hard": 2 });
    assert_eq!(refused("process.rlimits", json!([limit(3)])), "process.rlimits[RLIMIT_NOFILE]");
    assert_eq!(refused("process.rlimits", json!([limit(1), limit(1)])), "process.rlimits[RLIMIT_NOFILE]");
    assert_eq!(
        refused("linux.personality", json!({ "domain": "LINUX", "flags": ["x"] })),
        "linux.personality.flags"
    );
}

#[test]
fn capability_sets_follow_the_kernels_rules() {
    let caps = |value| with("process.capabilities", value);
    assert_eq!(
        refused("process.capabilities", json!({ "effective": ["CAP_CHOWN"] })),
        "process.capabilities.effective"
    );
    assert_eq!(
        refused("process.capabilities", json!({ "inheritable": ["CAP_CHOWN"] })),
        "process.capabilities.inheritable"
    );
    // As `runc spec` writes it: ambient without inheritable has no effect.
    let plan = caps(json!({ "ambient": ["CAP_KILL"], "permitted": ["CAP_KILL"] })).expect("a plan");
    assert_eq!(plan.process.capabilities.ambient, 0);
}

#[test]
fn capabilities_have_their_numbers() {
    assert_eq!(capability("CAP_CHOWN"), Some(1));
    assert_eq!(capability("sys_admin"), Some(berth_sys::caps::SYS_ADMIN));
    assert_eq!(capability("CAP_SYS_RESOURCE"), Some(berth_sys::caps::SYS_RESOURCE));
    assert_eq!(capability("CAP_CHECKPOINT_RESTORE"), Some(1 << 40));
    assert_eq!(capability("CAP_NOTHING"), None);
    assert_eq!(capability_names(1 | 1 << 5), ["CAP_CHOWN", "CAP_KILL"]);
}

#[test]
fn namespaces_are_new_joined_or_given() {
    let mut config = config();
    config["linux"]["namespaces"] = json!([
        { "type": "mount" }, { "type": "network", "path": "/run/netns/x" }, { "type": "ipc", "path": "/x" },
        { "type": "time" }
    ]);
    config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 5, "nanosecs": 6 } });
    let spec = parse(config.to_string().as_bytes()).expect("parsed");
    let inputs = Inputs { given: vec![LinuxNamespaceType::Ipc], given_root: true, ..Inputs::default() };
    let plan = plan(&spec, &inputs).expect("a plan");
    assert_eq!(plan.namespaces.net, Space::Path(b"/run/netns/x".to_vec()));
    assert_eq!(plan.namespaces.ipc, Space::Given);
    assert_eq!(plan.namespaces.time, Some(ClockOffsets { boottime: (5, 6), monotonic: (0, 0) }));
    assert_eq!(plan.root.source, RootSource::Given);
    let inputs = Inputs { given: vec![LinuxNamespaceType::Uts], ..inputs };
    assert!(super::plan(&spec, &inputs).is_err(), "a namespace that is not asked for");
}

#[test]
fn namespaces_that_cannot_be_are_refused() {
    let spaces = |list| refused("linux.namespaces", list);
    assert_eq!(spaces(json!([{ "type": "pid" }])), "linux.namespaces");
    assert_eq!(spaces(json!([{ "type": "mount" }, { "type": "mount" }])), "linux.namespaces[1]");
    assert_eq!(spaces(json!([{ "type": "mount", "path": "/x" }])), "linux.namespaces[0].path");
    assert_eq!(
        spaces(json!([{ "type": "mount" }, { "type": "pid", "path": "x" }])),
        "linux.namespaces[1].path"
    );
    assert_eq!(spaces(json!([{ "type": "mount" }, { "type": "user" }])), "linux.uidMappings");
    assert_eq!(
        refused("linux.timeOffsets", json!({ "boottime": { "secs": 1 } })),
        "linux.timeOffsets.boottime"
    );
    let map = json!([{ "containerID": 0, "hostID": 1, "size": 1 }]);
    assert_eq!(refused("linux.uidMappings", map), "linux.uidMappings");
}

#[test]
fn names_need_a_namespace_of_their_own() {
    let plan = with("hostname", json!("box")).expect("a plan");
    assert_eq!(plan.steps[0], Step::Hostname(b"box".to_vec()));
    assert!(with("domainname", json!("d")).expect("a plan").steps.contains(&Step::Domainname(b"d".to_vec())));
    assert_eq!(refused("hostname", json!("x".repeat(65))), "hostname");
    let mut config = config();
    config["hostname"] = json!("box");
    config["linux"]["namespaces"] = json!([{ "type": "mount" }]);
    assert!(made(&config).is_err());
}

#[test]
fn mount_options_become_attributes() {
    let steps = mounts(json!([
        { "destination": "/a", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "noexec", "nodev", "noatime", "mode=700", "size=1m", "sync"] },
        { "destination": "/b", "type": "bind", "source": "/src", "options": ["rbind", "ro", "rslave", "rnosuid"] },
        { "destination": "c//d/../e", "type": "bind", "source": "rel" },
        { "destination": "/f", "type": "bind", "source": "/src", "options": ["bind", "rw", "suid", "shared"] }
    ]));
    let a = mount(&steps[0]);
    assert_eq!(a.attributes.set, sys::NOSUID | sys::NOEXEC | sys::NODEV | sys::NOATIME);
    let MountSource::Filesystem(filesystem) = &a.source else { panic!("{a:?}") };
    let option = |k: &str, v: Option<&str>| (k.to_owned(), v.map(|v| v.as_bytes().to_vec()));
    assert_eq!(
        filesystem.options,
        [option("mode", Some("700")), option("size", Some("1m")), option("sync", None)]
    );
    let b = mount(&steps[1]);
    assert_eq!((b.attributes.set, b.recursive_attributes.set), (sys::RDONLY, sys::NOSUID));
    assert_eq!(b.propagation, Propagation::RecursiveSlave);
    assert!(matches!(b.source, MountSource::Bind { recursive: true, .. }));
    let c = mount(&steps[2]);
    assert_eq!(c.destination, b"/c/e");
    assert_eq!(c.propagation, Propagation::RecursiveSlave);
    let MountSource::Bind { origin, recursive: false, .. } = &c.source else { panic!("{c:?}") };
    assert_eq!(*origin, Origin::Path(b"/bundle/rel".to_vec()));
    let f = mount(&steps[3]);
    assert_eq!((f.attributes.set, f.attributes.clear), (0, sys::RDONLY | sys::NOSUID));
    assert_eq!(f.propagation, Propagation::Shared);
}

#[test]
fn a_read_only_tmpfs_is_sealed_when_everything_is_in_it() {
    let steps = mounts(json!([
        { "destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["ro"] },
        { "destination": "/t/in", "type": "tmpfs", "source": "tmpfs" }
    ]));
    assert_eq!(mount(&steps[0]).attributes.set & sys::RDONLY, 0);
    assert_eq!(steps.last(), Some(&Step::Seal(b"/t".to_vec())));
}

#[test]
fn mounts_that_cannot_be_are_refused() {
    let one = |mount: Value| refused("mounts", json!([mount]));
    for (mount, field) in [
        (json!({ "destination": "/", "type": "tmpfs" }), "mounts[0].destination"),
        (json!({ "destination": "/proc/sys", "type": "tmpfs" }), "mounts[0].destination"),
        (
            json!({ "destination": "/x/../proc/1/attr", "type": "bind", "source": "/a" }),
            "mounts[0].destination",
        ),
        (json!({ "destination": "/a" }), "mounts[0].type"),
        (json!({ "destination": "/a", "type": "bind" }), "mounts[0].source"),
        (
            json!({ "destination": "/a", "type": "bind", "source": "/b", "options": ["size=1"] }),
            "mounts[0].options",
        ),
        (json!({ "destination": "/a", "type": "tmpfs", "options": ["remount"] }), "mounts[0].options"),
        (json!({ "destination": "/a", "type": "tmpfs", "options": ["tmpcopyup"] }), "mounts[0].options"),
        (json!({ "destination": "/a", "type": "tmpfs", "options": ["idmap"] }), "mounts[0].uidMappings"),
        (
            json!({ "destination": "/a", "type": "bind", "source": "/b", "options": ["idmap"] }),
            "mounts[0].options",
        ),
        (json!({ "destination": "/a", "type": "cgroup" }), "mounts[0].type"),
    ] {
        assert_eq!(one(mount), field);
    }
    assert!(
        with("mounts", json!([{ "destination": "/proc/cpuinfo", "type": "bind", "source": "/a" }])).is_ok()
    );
}

#[test]
fn a_cgroup_mount_shows_the_containers_own_directories() {
    let mut config = config();
    config["mounts"] =
        json!([{ "destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro", "nosuid"] }]);
    let spec = parse(config.to_string().as_bytes()).expect("parsed");
    let shown = |name: &str, dir: &str, links: &[&str]| CgroupMount {
        name: name.into(),
        dir: dir.into(),
        hierarchy: "/cg".into(),
        links: links.iter().map(|l| (*l).to_owned()).collect(),
    };
    let v1 = shown("cpu,cpuacct", "/cg/cpu,cpuacct/x", &["cpu"]);
    let inputs = Inputs { bundle: Some(Path::new("/b")), cgroups: vec![v1], ..Inputs::default() };
    let steps = plan(&spec, &inputs).expect("a plan").steps;
    assert_eq!(mount(&steps[0]).attributes.set, sys::NOSUID);
    assert_eq!(mount(&steps[1]).destination, b"/sys/fs/cgroup/cpu,cpuacct");
    assert_eq!(mount(&steps[1]).attributes.set, sys::NOSUID | sys::RDONLY);
    assert!(matches!(&steps[2], Step::Link { target, .. } if target == b"cpu,cpuacct"));
    assert_eq!(steps.last(), Some(&Step::Seal(b"/sys/fs/cgroup".to_vec())));
    let v2 = shown("", "/cg/x", &[]);
    let inputs = Inputs { cgroups: vec![v2], ..inputs };
    let shows = |config: &Value| {
        let spec = parse(config.to_string().as_bytes()).expect("parsed");
        let steps = plan(&spec, &inputs).expect("a plan").steps;
        let MountSource::Bind { origin: Origin::Path(path), .. } = &mount(&steps[0]).source else {
            panic!("not a bind mount")
        };
        String::from_utf8_lossy(path).into_owned()
    };
    // With the host's cgroup namespace the whole of v2, as under runc; else the container's part.
    assert_eq!(shows(&config), "/cg");
    config["linux"]["namespaces"].as_array_mut().expect("array").push(json!({ "type": "cgroup" }));
    assert_eq!(shows(&config), "/cg/x");
}

#[test]
fn devices_are_made_or_bound() {
    let device =
        json!([{ "path": "/dev/null", "type": "c", "major": 9, "minor": 8, "fileMode": 384, "uid": 1 }]);
    let plan = with("linux.devices", device).expect("a plan");
    let nulls: Vec<_> =
        plan.steps.iter().filter(|s| matches!(s, Step::Device(d) if d.path == b"/dev/null")).collect();
    assert!(matches!(nulls[..], [Step::Device(Device { major: 9, minor: 8, mode: 384, uid: 1, .. })]));
    for bad in [
        json!([{ "path": "/dev/x", "type": "a", "major": 1, "minor": 1 }]),
        json!([{ "path": "dev/x", "type": "c", "major": 1, "minor": 1 }]),
        json!([{ "path": "/dev/x", "type": "c", "major": -1, "minor": 1 }]),
    ] {
        assert!(refused("linux.devices", bad).starts_with("linux.devices[0]."));
    }
    // A /dev of the caller stays as it is.
    let own = json!([{ "destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"] }]);
    assert_eq!(mounts(own).len(), 1);
    // Nodes cannot be made in a user namespace.
    let mut config = config();
    config["linux"]["namespaces"].as_array_mut().expect("array").push(json!({ "type": "user" }));
    config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 100000, "size": 10 }]);
    config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
    let plan = made(&config).expect("a plan");
    assert!(plan.process.user_namespace && !plan.steps.iter().any(|s| matches!(s, Step::Device(_))));
    assert_eq!(plan.uid_map, [IdMap { inside: 0, outside: 100_000, count: 10 }]);
}

#[test]
fn sysctls_are_those_of_the_containers_namespaces() {
    let key = |name: &str| with("linux.sysctl", json!({ name: "1" }));
    let mut config = config();
    config["linux"]["namespaces"]
        .as_array_mut()
        .expect("array")
        .extend([json!({ "type": "network" }), json!({ "type": "ipc" })]);
    let own = |name: &str| {
        let mut config = config.clone();
        config["linux"]["sysctl"] = json!({ name: "1" });
        let steps = made(&config).expect(name).steps;
        steps.into_iter().find_map(|s| if let Step::Sysctl { key, .. } = s { Some(key) } else { None })
    };
    assert_eq!(own("net.ipv4.ip_forward").as_deref(), Some("net/ipv4/ip_forward"));
    assert_eq!(own("net.ipv4.conf.eth0/1.forwarding").as_deref(), Some("net/ipv4/conf/eth0.1/forwarding"));
    assert_eq!(own("net/ipv4/conf/eth0.1/forwarding").as_deref(), Some("net/ipv4/conf/eth0.1/forwarding"));
    assert_eq!(own("kernel.shmmax").as_deref(), Some("kernel/shmmax"));
    assert_eq!(own("fs.mqueue.msg_max").as_deref(), Some("fs/mqueue/msg_max"));
    for name in
        ["net.ipv4.ip_forward", "kernel.shmmax", "kernel.hostname", "vm.swappiness", "net..x", "net/../x", ""]
    {
        assert!(key(name).is_err(), "{name}");
    }
}

#[test]
fn doors_are_closed_last() {
    let mut config = config();
    config["linux"]["maskedPaths"] = json!(["/proc/keys"]);
    config["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    config["root"]["readonly"] = json!(true);
    let plan = made(&config).expect("a plan");
    let last = &plan.steps[plan.steps.len() - 2..];
    assert_eq!(last, [Step::ReadOnly(b"/proc/sys".to_vec()), Step::Mask(b"/proc/keys".to_vec())]);
    assert!(plan.root.readonly);
    assert_eq!(refused("linux.maskedPaths", json!(["keys"])), "linux.maskedPaths");
    assert_eq!(refused("linux.readonlyPaths", json!(["x"])), "linux.readonlyPaths");
}

#[test]
fn resources_are_translated_or_refused() {
    let of = |value: Value| {
        let mut config = config();
        config["linux"]["resources"] = value;
        resources(&parse(config.to_string().as_bytes()).expect("parsed"))
    };
    let all = of(json!({
        "memory": { "limit": 1, "reservation": 2, "swap": 3, "swappiness": 4, "disableOOMKiller": true },
        "cpu": { "shares": 1, "quota": 2, "period": 3, "cpus": "0", "mems": "0", "idle": 1, "burst": 5 },
        "pids": { "limit": 7 },
        "hugepageLimits": [{ "pageSize": "2MB", "limit": 8 }],
        "blockIO": { "weight": 10, "throttleReadBpsDevice": [{ "major": 8, "minor": 0, "rate": 9 }] },
        "devices": [{ "allow": false, "access": "rwm" }],
        "unified": { "memory.high": "1" }
    }))
    .expect("resources");
    assert_eq!((all.memory.limit, all.cpu.shares, all.pids), (Some(1), Some(1), Some(7)));
    assert_eq!((all.cpu.idle, all.hugepages.len(), all.blkio.throttles.len()), (Some(true), 1, 1));
    assert!(!all.devices[0].allow && all.devices.len() > 1);
    assert_eq!(all.unified.len(), 1);
    for (value, field) in [
        (json!({ "network": { "classID": 1 } }), "linux.resources.network.classID"),
        (json!({ "rdma": { "x": { "hcaHandles": 1 } } }), "linux.resources.rdma"),
        (json!({ "memory": { "kernel": 1 } }), "linux.resources.memory.kernel"),
        (json!({ "cpu": { "idle": 2 } }), "linux.resources.cpu.idle"),
        (json!({ "devices": [{ "allow": true, "access": "q" }] }), "linux.resources.devices[0].access"),
    ] {
        let text = of(value).expect_err(field).to_string();
        assert!(text.starts_with(field), "{text}");
    }
}
