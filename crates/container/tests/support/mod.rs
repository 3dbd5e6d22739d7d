//! A root file system of busybox, a hardened plan, and what a container said.

#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::print_stderr,
    reason = "each test file uses a part of it"
)]

use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use berth_container::plan::{
    Attributes, Capabilities, Device, DeviceKind, Filesystem, IdMap, Identity, Mount, MountSource,
    Namespaces, Origin, Plan, ProcessPlan, Propagation, Root, RootSource, Space, Step,
};
use berth_container::run::{self, Given, Join, RunError, Stdio};

/// Whether the test can run; prints a line when not.
pub fn root(test: &str) -> bool {
    let is_root = rustix::process::getuid().is_root();
    if !is_root {
        eprintln!("skipped: {test}: needs root");
    }
    let busybox = Path::new("/bin/busybox").exists();
    if !busybox {
        eprintln!("skipped: {test}: needs /bin/busybox (package busybox-static)");
    }
    is_root && busybox
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A name that no other test and no other run has.
pub fn unique() -> String {
    format!("berth-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A directory with busybox and nothing else.
pub fn rootfs() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path();
    for name in ["bin", "etc", "tmp"] {
        std::fs::create_dir(path.join(name)).expect("mkdir");
    }
    berth_testkit::executable::copy("/bin/busybox", path.join("bin/busybox"));
    for applet in [
        "sh", "true", "cat", "id", "ls", "mount", "echo", "stat", "readlink", "sleep", "stty", "pwd", "env",
        "grep", "touch", "hostname", "kill", "mkdir", "dd", "chmod", "chown", "awk", "wc", "sort",
    ] {
        std::os::unix::fs::symlink("busybox", path.join("bin").join(applet)).expect("symlink");
    }
    dir
}

pub fn filesystem(kind: &str, to: &str, set: u64, options: &[(&str, &str)]) -> Step {
    Step::Mount(Mount {
        destination: to.into(),
        source: MountSource::Filesystem(Filesystem {
            kind: kind.into(),
            source: kind.into(),
            options: options
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (!v.is_empty()).then(|| v.as_bytes().to_vec())))
                .collect(),
            strict: matches!(kind, "proc" | "sysfs"),
        }),
        attributes: Attributes { set, clear: 0 },
        recursive_attributes: Attributes::default(),
        propagation: Propagation::Private,
        on_proc: false,
    })
}

pub fn device(path: &str, major: u32, minor: u32) -> Step {
    Step::Device(Device {
        path: path.into(),
        kind: DeviceKind::Character,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    })
}

/// New namespaces of all kinds but user and time, the usual mounts, no capabilities.
pub fn plan(rootfs: &Path, args: &[&str]) -> Plan {
    let link = |path: &str, target: &str| Step::Link { path: path.into(), target: target.into() };
    let steps = vec![
        Step::Hostname(b"box".to_vec()),
        filesystem("proc", "/proc", 0xe, &[]),
        filesystem("tmpfs", "/dev", 0x2, &[("mode", "755"), ("size", "65536k")]),
        filesystem("devpts", "/dev/pts", 0xa, &[("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")]),
        filesystem("tmpfs", "/dev/shm", 0xe, &[("mode", "1777"), ("size", "65536k")]),
        filesystem("mqueue", "/dev/mqueue", 0xe, &[]),
        filesystem("sysfs", "/sys", 0xf, &[]),
        device("/dev/null", 1, 3),
        device("/dev/zero", 1, 5),
        device("/dev/tty", 5, 0),
        link("/dev/ptmx", "pts/ptmx"),
        link("/dev/fd", "/proc/self/fd"),
        link("/dev/stdin", "/proc/self/fd/0"),
        link("/dev/stdout", "/proc/self/fd/1"),
        link("/dev/stderr", "/proc/self/fd/2"),
        Step::Console,
        Step::Mask(b"/proc/interrupts".to_vec()),
        Step::Mask(b"/proc/irq".to_vec()),
        Step::Mask(b"/sys/firmware".to_vec()),
        Step::Mask(b"/proc/there/is/none".to_vec()),
        Step::ReadOnly(b"/proc/sys".to_vec()),
    ];
    Plan {
        namespaces: Namespaces {
            pid: Space::New,
            net: Space::New,
            ipc: Space::New,
            uts: Space::New,
            cgroup: Space::New,
            ..Namespaces::default()
        },
        uid_map: Vec::new(),
        gid_map: Vec::new(),
        root: Root {
            source: RootSource::Path(rootfs.as_os_str().as_bytes().to_vec()),
            readonly: false,
            propagation: Propagation::Private,
        },
        steps,
        process: process(args),
    }
}

/// The first host id of the ids in [`in_user_namespace`].
pub const FIRST_ID: u32 = 100_000;

/// The same in a user namespace of its own, which the root is given to: nodes cannot be made there, so the host's are bound.
pub fn in_user_namespace(mut plan: Plan) -> Plan {
    let RootSource::Path(root) = &plan.root.source else { panic!("a plan of `plan` has a path") };
    let root = Path::new(std::ffi::OsStr::from_bytes(root));
    let dirs = ["", "tmp", "etc", "bin"].map(|dir| root.join(dir));
    let inside = ["tmp", "etc"].map(|dir| std::fs::read_dir(root.join(dir)).expect("read_dir"));
    let inside = inside.into_iter().flatten().map(|entry| entry.expect("entry").path());
    for path in dirs
        .into_iter()
        .chain(inside)
        .chain(std::fs::read_dir(root).expect("read_dir").map(|e| e.expect("entry").path()))
    {
        std::os::unix::fs::lchown(path, Some(FIRST_ID), Some(FIRST_ID)).expect("lchown");
    }
    plan.namespaces.user = Space::New;
    plan.process.user_namespace = true;
    plan.uid_map = vec![IdMap { inside: 0, outside: FIRST_ID, count: 1000 }];
    plan.gid_map = plan.uid_map.clone();
    for step in &mut plan.steps {
        if let Step::Device(device) = step {
            *step = bind(
                Path::new(std::ffi::OsStr::from_bytes(&device.path)),
                &device.path,
                &[],
                Propagation::Private,
            );
        }
    }
    plan
}

/// A bind mount with everything below it.
pub fn bind(from: &Path, to: impl AsRef<[u8]>, maps: &[IdMap], propagation: Propagation) -> Step {
    Step::Mount(Mount {
        destination: to.as_ref().to_vec(),
        source: MountSource::Bind {
            origin: Origin::Path(from.as_os_str().as_bytes().to_vec()),
            recursive: true,
            uid_map: maps.to_vec(),
            gid_map: maps.to_vec(),
        },
        attributes: Attributes::default(),
        recursive_attributes: Attributes::default(),
        propagation,
        on_proc: false,
    })
}

pub fn process(args: &[&str]) -> ProcessPlan {
    ProcessPlan {
        args: args.iter().map(|a| a.as_bytes().to_vec()).collect(),
        env: vec![b"PATH=/bin".to_vec()],
        cwd: b"/".to_vec(),
        identity: Identity::default(),
        umask: None,
        capabilities: Capabilities::default(),
        no_new_privileges: true,
        rlimits: Vec::new(),
        oom_score_adj: None,
        seccomp: None,
        personality: None,
        window: None,
        user_namespace: false,
        apparmor: None,
        scheduling: None,
    }
}

/// A pipe whose writing end a process gets, and its reading end.
pub fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe")
}

/// No streams: each is the container's null device.
pub fn silent() -> Stdio {
    Stdio::Fds { stdin: None, stdout: None, stderr: None }
}

/// Output streams into one pipe.
pub fn capture() -> (OwnedFd, Stdio) {
    let (read, write) = pipe();
    let stderr = write.try_clone().expect("dup");
    (read, Stdio::Fds { stdin: None, stdout: Some(write), stderr: Some(stderr) })
}

pub fn read_all(fd: OwnedFd) -> String {
    let mut text = Vec::new();
    let mut file = std::fs::File::from(fd);
    // A terminal whose other side is gone says EIO.
    drop(file.read_to_end(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}

/// Runs a plan to its end: exit status and output.
pub fn run_plan(plan: &Plan) -> Result<(i32, String), RunError> {
    let (read, stdio) = capture();
    let prepared = run::create(plan, &Given::default(), stdio, &Join::default())?;
    let running = prepared.start()?;
    let output = read_all(read);
    let exit = berth_sys::process::reap(running.pidfd.as_fd()).expect("ours to reap");
    Ok((exit.shell_code(), output))
}

/// The same for a shell command in a fresh root.
pub fn shell(script: &str) -> (i32, String) {
    let rootfs = rootfs();
    run_plan(&plan(rootfs.path(), &["sh", "-c", script])).expect("run")
}
