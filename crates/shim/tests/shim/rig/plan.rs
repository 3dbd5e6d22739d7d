//! The plan of a test's container.

use std::path::Path;

use berth_container::plan::{
    Attributes, Capabilities, Device, DeviceKind, Filesystem, Identity, Mount, MountSource, Namespaces, Plan,
    ProcessPlan, Propagation, Root, RootSource, Space, Step,
};

fn filesystem(kind: &str, to: &str, set: u64, options: &[(&str, &str)]) -> Step {
    let options = options.iter().map(|(k, v)| {
        let value = (!v.is_empty()).then(|| v.as_bytes().to_vec());
        ((*k).to_owned(), value)
    });
    Step::Mount(Mount {
        destination: to.into(),
        source: MountSource::Filesystem(Filesystem {
            kind: kind.into(),
            source: kind.into(),
            options: options.collect(),
            strict: kind == "proc",
        }),
        attributes: Attributes { set, clear: 0 },
        recursive_attributes: Attributes::default(),
        propagation: Propagation::Private,
        on_proc: false,
    })
}

pub(super) fn plan(args: &[&str]) -> Plan {
    let null = Device {
        path: b"/dev/null".to_vec(),
        kind: DeviceKind::Character,
        major: 1,
        minor: 3,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    let steps = vec![
        filesystem("proc", "/proc", 0xe, &[]),
        filesystem("tmpfs", "/dev", 0x2, &[("mode", "755")]),
        filesystem("devpts", "/dev/pts", 0xa, &[("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")]),
        Step::Device(null.clone()),
        Step::Device(Device { path: b"/dev/zero".to_vec(), minor: 5, ..null }),
        Step::Link { path: b"/dev/ptmx".to_vec(), target: b"pts/ptmx".to_vec() },
        Step::Console,
    ];
    Plan {
        namespaces: Namespaces { pid: Space::New, ..Namespaces::default() },
        uid_map: vec![],
        gid_map: vec![],
        root: Root { source: RootSource::Given, readonly: false, propagation: Propagation::Private },
        steps,
        process: process(args),
    }
}

pub(crate) fn process(args: &[&str]) -> ProcessPlan {
    ProcessPlan {
        args: args.iter().map(|a| a.as_bytes().to_vec()).collect(),
        env: vec![b"PATH=/bin".to_vec()],
        cwd: b"/".to_vec(),
        identity: Identity::default(),
        umask: None,
        capabilities: Capabilities::default(),
        no_new_privileges: true,
        rlimits: vec![],
        oom_score_adj: None,
        seccomp: None,
        personality: None,
        window: None,
        user_namespace: false,
        apparmor: None,
        scheduling: None,
    }
}

pub(super) fn rootfs(dir: &Path) {
    for name in ["bin", "dev", "proc", "tmp"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
    }
    berth_testkit::executable::copy("/bin/busybox", dir.join("bin/busybox"));
    for applet in
        ["sh", "cat", "sleep", "seq", "echo", "dd", "setsid", "stty", "ps", "kill", "head", "tail", "yes"]
    {
        std::os::unix::fs::symlink("busybox", dir.join("bin").join(applet)).unwrap();
    }
    std::fs::write(dir.join("bin/text"), "not a program").unwrap();
}
