use rustix::mount::{FsMountFlags, MountAttrFlags};

use super::*;
use rustix::fs::{Mode, OFlags};

/// Which process is number 1 of the procfs that the context makes.
fn first_process(context: &OwnedFd) -> String {
    rustix::mount::fsconfig_create(context.as_fd()).expect("create");
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let proc = rustix::mount::fsmount(context.as_fd(), flags, MountAttrFlags::empty()).expect("mount");
    let file = rustix::fs::openat(&proc, c"1/ns/pid", OFlags::PATH, Mode::empty()).expect("open");
    rustix::fs::fstat(&file).expect("stat").st_ino.to_string()
}

/// Both ways, whatever this kernel has.
#[test]
fn a_procfs_shows_a_pid_namespace_that_its_maker_is_not_in() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: a_procfs_shows_a_pid_namespace_that_its_maker_is_not_in: needs root");
        return;
    }
    let (ours, _theirs) = rustix::pipe::pipe().expect("pipe");
    let child = process::fork(namespace::PID, None, || {
        // Until it is killed: its own copy of the other end keeps the pipe open.
        let _ = rustix::io::read(&ours, &mut [0]);
        0
    })
    .expect("fork");
    let space = std::fs::File::open(format!("/proc/{}/ns/pid", child.pid)).expect("namespace");
    let expected = std::os::unix::fs::MetadataExt::ino(&space.metadata().expect("stat")).to_string();
    let uts = std::fs::File::open("/proc/self/ns/uts").expect("namespace");
    let others = [Entry { fd: uts.as_fd(), kinds: namespace::UTS }];
    let helped = by_helper(space.as_fd(), &others).map(|context| first_process(&context));
    let option = by_option(space.as_fd()).map(|context| first_process(&context));
    process::end(child.pidfd.as_fd(), super::super::END_LIMIT);
    assert_eq!(helped.expect("by helper"), expected);
    match option {
        Ok(seen) => assert_eq!(seen, expected),
        Err(errno) => assert!(berth_sys::kernel::version() < (6, 18), "{errno}"),
    }
    // What is not a namespace is refused with a message.
    let other = std::fs::File::open("/etc/hostname").expect("open");
    let error = of(other.as_fd(), &[]).expect_err("no namespace");
    assert!(error.to_string().contains("enter the PID namespace"), "{error}");
}
