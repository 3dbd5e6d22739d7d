use super::*;
use crate::mount::{RDONLY, parse_mountinfo};

/// What a thread sees mounted that does this first.
fn seen(enter: impl FnOnce() -> Result<(), Errno> + Send) -> Vec<String> {
    let look = || {
        // A mount namespace is entered by who shares its working directory with no other.
        namespace::unshare(namespace::MOUNT).expect("unshare");
        let proc = rustix::fs::open(c"/proc", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        enter().expect("enter");
        let file =
            rustix::fs::openat(proc.expect("open"), c"thread-self/mountinfo", OFlags::RDONLY, Mode::empty());
        let text = std::io::read_to_string(std::fs::File::from(file.expect("open"))).expect("read");
        let places = parse_mountinfo(text.as_bytes()).into_iter();
        let mut places: Vec<_> = places.map(|mount| mount.point.display().to_string()).collect();
        places.sort();
        places
    };
    std::thread::scope(|scope| scope.spawn(look).join()).expect("thread")
}

fn is_root() -> bool {
    let root = rustix::process::getuid().is_root();
    if !root {
        eprintln!("skipped: mount namespaces: needs root");
    }
    root
}

#[test]
fn the_base_has_what_containers_need_and_nothing_else() {
    if !is_root() {
        return;
    }
    let base = base_namespace().expect("base");
    let inside = || namespace::enter(base.as_fd(), namespace::MOUNT);
    let all = ["/", "/dev/null", "/proc", "/sys"];
    assert_eq!(seen(inside), all);
    let copy = || {
        inside()?;
        namespace::unshare(namespace::MOUNT)?;
        change(rustix::fs::CWD, c"/proc", Change { set: RDONLY, ..Change::default() })?;
        rustix::mount::unmount(c"/sys", UnmountFlags::DETACH)
    };
    assert_eq!(seen(copy), ["/", "/dev/null", "/proc"]);
    assert_eq!(seen(inside), all, "a copy is another's");
}

#[test]
fn an_empty_root_leaves_nothing_of_the_host() {
    if !is_root() {
        return;
    }
    assert_eq!(seen(empty_root), ["/"]);
}
