//! What a process of a container gets: each descriptor, the inode behind it and each mount, against a list of what it may have.

use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use berth_container::run::{self, Given, Join};

mod support;
use support::{capture, plan, process, read_all, root, rootfs, silent};

/// Every descriptor, with the device and inode of the streams, then every mount point with its type. `test` is the shell's own,
/// so these are the descriptors that it was given.
const LOOK: &str = "n=0; while [ $n -lt 200 ]; do test -e /proc/self/fd/$n && echo open $n; n=$((n+1)); done; \
    stat -L -c 'stdin %d:%i %t:%T' /proc/self/fd/0; stat -c 'null %d:%i' /dev/null; \
    stat -L -c 'stdout %d:%i' /proc/self/fd/1; \
    awk '{print \"mount\", $5, $(NF-2)}' /proc/self/mountinfo";

/// The mounts of the usual plan, in their order.
const MOUNTS: [&str; 11] = [
    "/ FS",
    "/proc proc",
    "/dev tmpfs",
    "/dev/pts devpts",
    "/dev/shm tmpfs",
    "/dev/mqueue mqueue",
    "/sys sysfs",
    "/proc/interrupts devtmpfs",
    "/proc/irq tmpfs",
    "/sys/firmware tmpfs",
    "/proc/sys proc",
];

/// Compares what was seen: the streams, which are the container's own null device and a pipe, and the mounts.
fn check(seen: &str) {
    let lines: Vec<&str> = seen.lines().collect();
    let all =
        |name: &str| lines.iter().filter_map(|l| l.strip_prefix(name)?.strip_prefix(' ')).collect::<Vec<_>>();
    assert_eq!(all("open"), ["0", "1", "2"], "{seen}");
    let [stdin, null, stdout] =
        ["stdin", "null", "stdout"].map(|name| all(name).first().copied().unwrap_or(""));
    let (inode, device) = stdin.split_once(' ').expect("two words");
    assert_eq!((inode, device), (null, "1:3"), "the container's own: {seen}");
    let host = std::fs::metadata("/dev/null").expect("stat");
    assert_ne!(inode, format!("{}:{}", host.dev(), host.ino()), "the host's inode: {seen}");
    assert!(stdout.contains(':'), "{seen}");
    let mounts = all("mount");
    assert_eq!(mounts.len(), MOUNTS.len(), "{seen}");
    for (mount, allowed) in mounts.iter().zip(MOUNTS) {
        let (at, kind) = mount.split_once(' ').expect("two words");
        let (wanted_at, wanted_kind) = allowed.split_once(' ').expect("two words");
        // The root is of whatever file system the test's directory is on; so is the host's null device behind a mask.
        let same_kind = wanted_kind == kind || at == "/" || at == "/proc/interrupts";
        assert!(at == wanted_at && same_kind, "{mount} is not {allowed}: {seen}");
    }
}

#[test]
fn a_process_gets_what_is_on_the_list_and_nothing_else() {
    if !root("a_process_gets_what_is_on_the_list_and_nothing_else") {
        return;
    }
    // Open on purpose, and kept over an execve.
    let host = std::fs::File::open("/").expect("open");
    rustix::io::fcntl_setfd(&host, rustix::io::FdFlags::empty()).expect("leak");
    let rootfs = rootfs();
    let (read, stdio) = capture();
    let main = plan(rootfs.path(), &["sh", "-c", &format!("{LOOK}; echo end; exec sleep 1000")]);
    let main = run::create(&main, &Given::default(), stdio, &Join::default()).expect("create");
    let main = main.start().expect("start");
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while !seen.ends_with("end\n") {
        let n = rustix::io::read(&read, &mut buffer).expect("read");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    check(&seen);
    let (read, stdio) = capture();
    let look = process(&["sh", "-c", LOOK]);
    let other = run::exec(&look, main.pidfd.as_fd(), stdio, &Join::default()).expect("exec");
    check(&read_all(read));
    berth_sys::process::reap(other.pidfd.as_fd());
    // All three streams.
    let script = "for n in 0 1 2; do stat -L -c %d:%i /proc/self/fd/$n; done > /tmp/streams; stat -c %d:%i /dev/null >> /tmp/streams";
    let look = process(&["sh", "-c", script]);
    let other = run::exec(&look, main.pidfd.as_fd(), silent(), &Join::default()).expect("exec");
    berth_sys::process::reap(other.pidfd.as_fd());
    let streams = std::fs::read_to_string(rootfs.path().join("tmp/streams")).expect("read");
    let inodes: Vec<&str> = streams.lines().collect();
    // Standard output of the loop goes to the file.
    assert_eq!((inodes[0], inodes[2]), (inodes[3], inodes[3]), "{streams}");
    berth_sys::process::end(main.pidfd.as_fd(), std::time::Duration::from_secs(10));
}
