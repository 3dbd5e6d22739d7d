//! A further process in a container whose first thread has ended.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

use berth_container::run::{self, Given, Join};

mod support;
use support::{capture, plan, process, read_all, root, rootfs};

#[test]
fn exec_works_when_the_first_thread_has_ended() {
    let test = "exec_works_when_the_first_thread_has_ended";
    if !root(test) {
        return;
    }
    let rootfs = rootfs();
    let mut gcc = Command::new("gcc");
    gcc.args(["-static", "-pthread", "-o"]).arg(rootfs.path().join("bin/leaderless"));
    gcc.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/leader.c"));
    if !gcc.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: {test}: needs gcc and a static libc (packages gcc, libc6-dev)");
        return;
    }
    let (said, stdio) = capture();
    let plan = plan(rootfs.path(), &["leaderless"]);
    let main = run::create(&plan, &Given::default(), stdio, &Join::default()).expect("create");
    let main = main.start().expect("start");
    let mut alone = [0; 6];
    assert_eq!(rustix::io::read(&said, &mut alone).map(|n| &alone[..n]), Ok(&b"alone\n"[..]));
    // The kernel releases a thread's namespaces a moment after others can see its end.
    let namespace = format!("/proc/{}/ns/mnt", main.pid);
    while std::fs::read_link(&namespace).is_ok() {
        std::thread::yield_now();
    }
    let (read, stdio) = capture();
    let look =
        process(&["sh", "-c", "hostname; readlink /proc/self/root; awk '{print $5}' /proc/self/mountinfo"]);
    let other = run::exec(&look, main.pidfd.as_fd(), stdio, &Join::default()).expect("exec");
    let seen = read_all(read);
    assert!(seen.starts_with("box\n/\n/\n/proc\n/dev\n"), "{seen}");
    berth_sys::process::reap(other.pidfd.as_fd());
    berth_sys::process::end(main.pidfd.as_fd(), std::time::Duration::from_secs(10));
}
