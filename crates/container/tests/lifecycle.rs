//! create, start and exec with a root of busybox.

use std::os::fd::AsFd as _;

use berth_container::run::{self, ExecFailure, Given, Join, RunError, Stdio};

mod support;
use support::{capture, plan, process, read_all, root, rootfs, run_plan, shell, silent};

#[test]
fn a_container_runs_and_its_exit_status_comes_back() {
    if !root("a_container_runs_and_its_exit_status_comes_back") {
        return;
    }
    let (code, output) = shell("echo hello; exit 3");
    assert_eq!((code, output.as_str()), (3, "hello\n"));
}

#[test]
fn the_world_inside_is_its_own() {
    if !root("the_world_inside_is_its_own") {
        return;
    }
    let (_, output) = shell("echo $$; hostname; pwd; cat /proc/interrupts; ls /proc/irq /sys/firmware");
    assert_eq!(output, "1\nbox\n/\n/proc/irq:\n\n/sys/firmware:\n");
    // Nothing of the host's but the three streams; the fourth is that of the listing itself.
    let (_, output) = shell("ls /proc/self/fd | wc -l");
    assert_eq!(output, "4\n");
}

#[test]
fn a_missing_command_is_distinguished_from_one_that_must_not_run() {
    if !root("a_missing_command_is_distinguished_from_one_that_must_not_run") {
        return;
    }
    let rootfs = rootfs();
    std::fs::write(rootfs.path().join("bin/data"), "x").expect("write");
    for (command, wanted) in [
        ("nothing", ExecFailure::NotFound),
        ("/bin/data", ExecFailure::Denied),
        ("/bin", ExecFailure::Denied),
    ] {
        let error = run_plan(&plan(rootfs.path(), &[command])).expect_err("not an executable");
        let RunError::Exec { failure, .. } = error else { panic!("{error}") };
        assert_eq!(failure, wanted, "{command}");
    }
}

#[test]
fn exec_runs_in_the_container() {
    if !root("exec_runs_in_the_container") {
        return;
    }
    let rootfs = rootfs();
    let plan = plan(rootfs.path(), &["sleep", "1000"]);
    let main = run::create(&plan, &Given::default(), silent(), &Join::default()).expect("create");
    let main = main.start().expect("start");
    let (read, stdio) = capture();
    let other = run::exec(
        &process(&["sh", "-c", "hostname; echo $$; exit 5"]),
        main.pidfd.as_fd(),
        stdio,
        &Join::default(),
    )
    .expect("exec");
    assert_eq!(read_all(read), "box\n2\n");
    assert_eq!(berth_sys::process::reap(other.pidfd.as_fd()).map(|e| e.shell_code()), Some(5));
    let missing = run::exec(&process(&["nothing"]), main.pidfd.as_fd(), silent(), &Join::default());
    assert!(matches!(missing, Err(RunError::Exec { failure: ExecFailure::NotFound, .. })), "{missing:?}");
    rustix::process::pidfd_send_signal(&main.pidfd, rustix::process::Signal::KILL).expect("kill");
    assert_eq!(berth_sys::process::reap(main.pidfd.as_fd()).map(|e| e.shell_code()), Some(137));
}

#[test]
fn terminals_work_for_both() {
    if !root("terminals_work_for_both") {
        return;
    }
    let rootfs = rootfs();
    let script = "stty size; readlink /proc/self/fd/0; test -t 1 && echo tty; sleep 1000";
    let mut plan = plan(rootfs.path(), &["sh", "-c", script]);
    plan.process.window = Some(berth_container::plan::WindowSize { rows: 24, columns: 80 });
    let main = run::create(&plan, &Given::default(), Stdio::Terminal, &Join::default()).expect("create");
    let mut main = main.start().expect("start");
    let console = main.console.take().expect("a terminal");
    let mut text = String::new();
    let mut buffer = [0; 256];
    while !text.contains("tty\r\n") {
        let n = rustix::io::read(&console, &mut buffer).expect("read");
        text.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert_eq!(text, "24 80\r\n/dev/pts/0\r\ntty\r\n");
    let other = run::exec(
        &process(&["readlink", "/proc/self/fd/1"]),
        main.pidfd.as_fd(),
        Stdio::Terminal,
        &Join::default(),
    );
    let other = other.expect("exec");
    assert_eq!(read_all(other.console.expect("a terminal")), "/dev/pts/1\r\n");
    assert!(berth_sys::process::reap(other.pidfd.as_fd()).is_some());
    rustix::process::pidfd_send_signal(&main.pidfd, rustix::process::Signal::KILL).expect("kill");
    assert!(berth_sys::process::reap(main.pidfd.as_fd()).is_some());
}

/// A process that waits for a file server that does not answer cannot be killed; a frozen one cannot either.
#[test]
fn what_cannot_be_killed_does_not_block_its_maker_forever() {
    let test = "what_cannot_be_killed_does_not_block_its_maker_forever";
    if !root(test) {
        return;
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("read");
    let freezer = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|words| {
        matches!(words[..], [_, _, "cgroup", options, ..] if options.split(',').any(|o| o == "freezer"))
    });
    let Some(freezer) = freezer.map(|words| std::path::Path::new(words[1]).join(support::unique())) else {
        eprintln!("skipped: {test}: needs the freezer of cgroup v1");
        return;
    };
    std::fs::create_dir(&freezer).expect("make a group");
    let tasks = std::fs::File::options().write(true).open(freezer.join("tasks")).expect("open");
    let join = Join { v2_dir: None, tasks: vec![tasks.into()] };
    let rootfs = rootfs();
    let prepared = run::create(&plan(rootfs.path(), &["true"]), &Given::default(), silent(), &join);
    let prepared = prepared.expect("create");
    let pidfd = prepared.pidfd().try_clone_to_owned().expect("dup");
    std::fs::write(freezer.join("freezer.state"), "FROZEN").expect("freeze");
    drop(prepared);
    std::fs::write(freezer.join("freezer.state"), "THAWED").expect("thaw");
    let exit = berth_sys::process::reap(pidfd.as_fd()).map(berth_sys::process::Exit::shell_code);
    assert_eq!(exit, Some(137));
    std::fs::remove_dir(&freezer).expect("remove the group");
}
