use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;

use berth_sys::cgroup::{CgroupPath, Host, Resources};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::*;

#[test]
fn a_group_below_is_found_wherever_the_hierarchy_is_mounted() {
    let below = |dir: &str, group: &str| below(Path::new(dir), Path::new(group));
    for mount in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        let dir = format!("{mount}/kubepods/pod1/c1");
        assert_eq!(below(&dir, "/kubepods/pod1/c1/init.scope"), Some("init.scope".into()));
        assert_eq!(below(&dir, "/kubepods/pod1/c1/a/b"), Some("a/b".into()));
        // In the container's own group, beside it and above it there is nothing below.
        for group in ["/kubepods/pod1/c1", "/kubepods/pod1/c2/a", "/kubepods/pod1", "/kubepods", "/", ""] {
            assert_eq!(below(&dir, group), None, "{group}");
        }
    }
}

#[test]
fn only_what_the_group_says_is_tried_again() {
    for (errno, again) in [(Errno::BUSY, true), (Errno::OPNOTSUPP, true), (Errno::AGAIN, false)] {
        assert_eq!(is_refused(errno), again);
    }
}

#[test]
fn the_main_process_group_is_found() {
    let test = "the_main_process_group_is_found";
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: {test}: needs root");
        return;
    }
    let host = Host::detect().unwrap();
    let path = CgroupPath::new(&format!("berth-test-group-{}", std::process::id())).unwrap();
    let outer = host.create(&path, &Resources::default()).unwrap();
    // As a container makes one: on v2 a group whose children have controllers takes no process itself.
    outer.dirs().iter().for_each(|dir| std::fs::create_dir(dir.join("init.scope")).unwrap());
    let inner = host.open(&path.child("init.scope").unwrap());
    let Some(dir) = outer.join().unwrap().v2_dir else {
        eprintln!("skipped: {test}: this host has no cgroup v2");
        inner.remove().unwrap();
        outer.remove().unwrap();
        return;
    };
    let found = |group: &berth_sys::cgroup::Cgroup| {
        let mut main = std::process::Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let pid = Pid::from_child(&main);
        for dir in group.dirs() {
            std::fs::write(dir.join("cgroup.procs"), pid.as_raw_nonzero().to_string()).unwrap();
        }
        let target = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let found = of(dir.as_fd(), target.as_fd());
        main.kill().unwrap();
        main.wait().unwrap();
        found.map(|fd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap())
    };
    assert_eq!(found(&outer), None);
    assert!(found(&inner).is_some_and(|path| path.ends_with("init.scope")));
    inner.remove().unwrap();
    outer.remove().unwrap();
}
