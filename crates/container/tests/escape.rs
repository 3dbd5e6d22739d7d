//! What hostile images and containers tried on other runtimes, and must not get here (docs/adr/0004).

use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;

use berth_container::plan::{Plan, ProcessPlan, Propagation, Step};
use berth_container::run::{self, Given, Join, RunError, Stdio};

mod support;
use support::{
    capture, filesystem, in_user_namespace, plan, process, read_all, root, rootfs, run_plan, silent,
};

fn bind(from: &std::path::Path, to: &str) -> Step {
    support::bind(from, to, &[], Propagation::RecursivePrivate)
}

/// The plan as it is, and in a user namespace: what must not be is the same in both.
fn both(plan: Plan) -> Vec<(&'static str, Plan)> {
    vec![("host", plan.clone()), ("user namespace", in_user_namespace(plan))]
}

/// CVE-2024-21626: a working directory that is a descriptor of the host leaked to the container.
#[test]
fn no_working_directory_leads_to_a_descriptor_of_the_host() {
    if !root("no_working_directory_leads_to_a_descriptor_of_the_host") {
        return;
    }
    let host = std::fs::File::open("/").expect("open");
    rustix::io::fcntl_setfd(&host, rustix::io::FdFlags::empty()).expect("leak it on purpose");
    let number = std::os::fd::AsRawFd::as_raw_fd(&host);
    let rootfs = rootfs();
    for cwd in [format!("/proc/self/fd/{number}"), format!("/proc/1/fd/{number}/../.."), "/link".to_owned()] {
        drop(symlink(format!("/proc/self/fd/{number}"), rootfs.path().join("link")));
        for (kind, mut plan) in both(plan(rootfs.path(), &["ls"])) {
            plan.process.cwd = cwd.clone().into_bytes();
            assert!(matches!(run_plan(&plan), Err(RunError::Step { .. })), "{kind}: {cwd}");
        }
    }
    for number in 0..=20 {
        let mut plan = plan(rootfs.path(), &["ls", "/"]);
        plan.process.cwd = format!("/proc/self/fd/{number}").into_bytes();
        assert!(run_plan(&plan).is_err(), "{number}");
    }
}

/// The same for exec.
#[test]
fn exec_has_no_descriptor_of_the_host_and_no_directory_outside() {
    if !root("exec_has_no_descriptor_of_the_host_and_no_directory_outside") {
        return;
    }
    let host = std::fs::File::open("/").expect("open");
    rustix::io::fcntl_setfd(&host, rustix::io::FdFlags::empty()).expect("leak it on purpose");
    let rootfs = rootfs();
    for (kind, plan) in both(plan(rootfs.path(), &["sleep", "1000"])) {
        let main = run::create(&plan, &Given::default(), silent(), &Join::default());
        let main = main.expect("create").start().expect("start");
        let further =
            |args: &[&str]| ProcessPlan { user_namespace: plan.process.user_namespace, ..process(args) };
        let (read, stdio) = capture();
        let ls = further(&["ls", "/proc/self/fd"]);
        let other = run::exec(&ls, main.pidfd.as_fd(), stdio, &Join::default());
        assert_eq!(read_all(read), "0\n1\n2\n3\n", "{kind}");
        berth_sys::process::reap(other.expect("exec").pidfd.as_fd());
        for number in 0..=20 {
            let process = ProcessPlan { cwd: format!("/proc/self/fd/{number}").into(), ..further(&["ls"]) };
            let done = run::exec(&process, main.pidfd.as_fd(), silent(), &Join::default());
            assert!(done.is_err(), "{kind}: {number}");
        }
        rustix::process::pidfd_send_signal(&main.pidfd, rustix::process::Signal::KILL).expect("kill");
        berth_sys::process::reap(main.pidfd.as_fd());
    }
}

/// CVE-2025-31133: the image's `/dev/null` is a link, and masking would mount what it leads to.
#[test]
fn masked_paths_show_the_real_null_device() {
    if !root("masked_paths_show_the_real_null_device") {
        return;
    }
    let rootfs = rootfs();
    std::fs::create_dir(rootfs.path().join("dev")).expect("mkdir");
    symlink("/proc/sys/kernel/core_pattern", rootfs.path().join("dev/null")).expect("symlink");
    let mut plan = plan(rootfs.path(), &["sh", "-c", "stat -c %t:%T /proc/interrupts; cat /proc/interrupts"]);
    // No tmpfs on /dev and no device of ours: the image's link is what is there.
    plan.steps.retain(|step| match step {
        Step::Mount(mount) => !mount.destination.starts_with(b"/dev"),
        Step::Device(_) | Step::Console => false,
        _ => true,
    });
    // A null device that is a link is not opened as one of the streams either.
    let refused = run_plan(&plan).expect_err("the link was opened");
    assert!(refused.to_string().contains("/dev/null"), "{refused}");
    let (stdin, _) = support::pipe();
    let (read, stdio) = capture();
    let Stdio::Fds { stdout, stderr, .. } = stdio else { panic!("capture gives descriptors") };
    let stdio = Stdio::Fds { stdin: Some(stdin), stdout, stderr };
    let prepared = run::create(&plan, &Given::default(), stdio, &Join::default()).expect("create");
    let running = prepared.start().expect("start");
    assert_eq!(read_all(read), "1:3\n");
    berth_sys::process::reap(running.pidfd.as_fd());
}

/// CVE-2025-52565: `/dev/console`, `/dev/pts` and the multiplexer of the image are links.
#[test]
fn the_console_is_not_led_astray() {
    if !root("the_console_is_not_led_astray") {
        return;
    }
    // The image's /dev is a link: the terminal is refused, not set up elsewhere.
    let image = rootfs();
    symlink("/tmp", image.path().join("dev")).expect("symlink");
    let outcome =
        run::create(&plan(image.path(), &["true"]), &Given::default(), Stdio::Terminal, &Join::default());
    assert!(matches!(outcome, Err(RunError::Step { .. })), "{outcome:?}");
    // A console that is a link to another file: not followed.
    let image = rootfs();
    std::fs::create_dir(image.path().join("dev")).expect("mkdir");
    std::fs::write(image.path().join("victim"), "safe").expect("write");
    symlink("/victim", image.path().join("dev/console")).expect("symlink");
    let mut plan = plan(image.path(), &["cat", "/victim"]);
    plan.steps.retain(
        |step| !matches!(step, Step::Mount(m) if m.destination == b"/dev" || m.destination == b"/dev/shm"),
    );
    let outcome = run::create(&plan, &Given::default(), Stdio::Terminal, &Join::default());
    let Err(error) = outcome else { panic!("a link as console was taken") };
    assert!(error.to_string().contains("/dev/console"), "{error}");
    assert_eq!(std::fs::read_to_string(image.path().join("victim")).expect("read"), "safe");
}

/// CVE-2025-52881: procfs of the image replaced, so that a write to a sysctl goes elsewhere.
#[test]
fn sysctls_are_written_through_a_private_procfs() {
    if !root("sysctls_are_written_through_a_private_procfs") {
        return;
    }
    let rootfs = rootfs();
    let sysctl = Step::Sysctl { key: "kernel/shmmax".into(), value: b"65536".to_vec() };
    // The image's own files are at /proc; the sysctl is set anyway, and only there.
    let fake = rootfs.path().join("proc");
    std::fs::create_dir_all(fake.join("sys/kernel")).expect("mkdir");
    std::fs::write(fake.join("sys/kernel/shmmax"), "untouched").expect("write");
    let mut plan = plan(rootfs.path(), &["sh", "-c", "cat /real/sys/kernel/shmmax"]);
    plan.steps.retain(|s| !matches!(s, Step::Mask(_) | Step::ReadOnly(_)));
    plan.steps.retain(|s| !matches!(s, Step::Mount(m) if m.destination == b"/proc"));
    plan.steps.push(filesystem("proc", "/real", 0, &[]));
    plan.steps.push(sysctl);
    for (kind, plan) in both(plan) {
        assert_eq!(run_plan(&plan).expect(kind), (0, "65536\n".to_owned()));
        assert_eq!(std::fs::read_to_string(fake.join("sys/kernel/shmmax")).expect("read"), "untouched");
    }
}

/// A key that would leave `/proc/sys` is refused by the plan, and by the kernel's resolution anyway.
#[test]
fn a_sysctl_cannot_name_another_file() {
    if !root("a_sysctl_cannot_name_another_file") {
        return;
    }
    let rootfs = rootfs();
    for key in ["../sysrq-trigger", "kernel/../../self/oom_score_adj"] {
        let mut plan = plan(rootfs.path(), &["true"]);
        plan.steps.push(Step::Sysctl { key: key.into(), value: b"1".to_vec() });
        assert!(matches!(run_plan(&plan), Err(RunError::Plan { .. })), "{key}");
    }
}

/// Links of the image on the way to a mount target lead only within it.
#[test]
fn mount_targets_stay_in_the_root() {
    if !root("mount_targets_stay_in_the_root") {
        return;
    }
    let outside = tempfile::tempdir().expect("tempdir");
    let rootfs = rootfs();
    let up = "../".repeat(20);
    symlink(format!("{up}{}", outside.path().display()), rootfs.path().join("up")).expect("symlink");
    symlink(outside.path(), rootfs.path().join("absolute")).expect("symlink");
    symlink("/proc/1/root/tmp", rootfs.path().join("magic")).expect("symlink");
    let source = tempfile::tempdir().expect("tempdir");
    std::fs::write(source.path().join("mark"), "here").expect("write");
    for kind in [0, 1] {
        let run = |target: &str| -> Result<(i32, String), RunError> {
            let script = format!("cat {target}/mark");
            let (_, mut plan) = both(plan(rootfs.path(), &["sh", "-c", &script])).swap_remove(kind);
            plan.steps.push(bind(source.path(), target));
            run_plan(&plan)
        };
        assert_eq!(run("/up/deep").expect("within"), (0, "here".to_owned()));
        assert_eq!(run("/absolute/deep").expect("within"), (0, "here".to_owned()));
        assert!(
            std::fs::read_dir(outside.path()).expect("read_dir").next().is_none(),
            "something was made outside"
        );
        // Magic links are not followed at all.
        assert!(run("/magic/deep").is_err());
    }
}

/// A link of the image that leads a mount onto a file of procfs: `/proc/self/attr`, `/proc/sys`.
#[test]
fn a_link_cannot_lead_a_mount_onto_procfs() {
    if !root("a_link_cannot_lead_a_mount_onto_procfs") {
        return;
    }
    let rootfs = rootfs();
    symlink("/proc/sys", rootfs.path().join("data")).expect("symlink");
    let source = tempfile::tempdir().expect("tempdir");
    for (kind, mut with_link) in both(plan(rootfs.path(), &["true"])) {
        assert!(run_plan(&with_link).is_ok(), "{kind}");
        with_link.steps.push(bind(source.path(), "/data"));
        assert!(run_plan(&with_link).is_err(), "{kind}");
    }
    // And procfs itself goes to a real directory, not where the image points.
    let image = support::rootfs();
    symlink("/tmp", image.path().join("proc")).expect("symlink");
    for (kind, plan) in both(plan(image.path(), &["true"])) {
        assert!(run_plan(&plan).is_err(), "{kind}");
    }
}

/// Nothing of the host's mounts is reachable once the root was changed.
#[test]
fn the_hosts_mounts_are_gone() {
    if !root("the_hosts_mounts_are_gone") {
        return;
    }
    let marker = tempfile::tempdir().expect("tempdir");
    let rootfs = rootfs();
    // The root, and what the plan mounts; nothing more. In a user namespace three devices are among that.
    for ((kind, plan), mounts) in
        both(plan(rootfs.path(), &["sh", "-c", "cat /proc/self/mountinfo; ls /proc/1/root/"]))
            .into_iter()
            .zip([11, 14])
    {
        let (_, output) = run_plan(&plan).expect(kind);
        assert!(!output.contains(&marker.path().display().to_string()), "{kind}: {output}");
        assert_eq!(output.lines().filter(|l| l.contains(" - ")).count(), mounts, "{kind}: {output}");
    }
}
