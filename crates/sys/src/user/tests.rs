use std::os::fd::AsFd;

use super::*;

fn root() -> bool {
    let root = rustix::process::getuid().is_root();
    if !root {
        eprintln!("skipped: user namespaces: needs root");
    }
    root
}

#[test]
fn a_map_is_written_as_the_kernel_reads_it() {
    let map = [(0, 100_000, 65_536), (70_000, 1, 2)];
    assert_eq!(text(&map), "0 100000 65536\n70000 1 2\n");
    assert_eq!(parse(&text(&map)), map);
    assert_eq!(parse("         0     100000      65536\nno map\n1 2\n"), [(0, 100_000, 65_536)]);
}

#[test]
fn an_id_is_outside_what_its_range_says() {
    let map = [(0, 100_000, 10), (20, 5, 1), (30, u32::MAX, 2)];
    for (inside, want) in [
        (0, Some(100_000)),
        (9, Some(100_009)),
        (10, None),
        (20, Some(5)),
        (21, None),
        (30, Some(u32::MAX)),
        (31, None),
        (u32::MAX, None),
    ] {
        assert_eq!(outside(&map, inside), want, "{inside}");
    }
}

#[test]
fn a_namespace_outlives_its_maker() {
    if !root() {
        return;
    }
    let range = [(0, 100_000, 1000)];
    let fd = namespace(&range, &range).expect("namespace");
    assert!(rustix::fs::fstat(&fd).is_ok());
}

/// `NS_GET_USERNS`
const OWNER: rustix::ioctl::Opcode = rustix::ioctl::opcode::none(0xb7, 1);

/// The user namespace that owns another namespace, as inode of its file.
fn owner_of(namespace: &OwnedFd) -> u64 {
    // SAFETY: the call takes no argument and returns a descriptor.
    #[allow(unsafe_code, reason = "rustix has no name for this call")]
    let fd = unsafe {
        let number = libc::ioctl(namespace.as_raw_fd(), u64::from(OWNER));
        assert!(number >= 0, "{}", io::Error::last_os_error());
        <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number)
    };
    rustix::fs::fstat(fd).unwrap().st_ino
}

#[test]
fn namespaces_belong_to_the_user_namespace_that_they_were_made_in() {
    if !root() {
        return;
    }
    let range = [(0, 100_000, 1000)];
    let made =
        owner(&range, &range, &[namespace::NET, namespace::IPC, namespace::UTS], &[]).expect("namespaces");
    let user = rustix::fs::fstat(&made.user).unwrap().st_ino;
    assert_eq!(made.owned.len(), 3);
    for owned in &made.owned {
        assert_eq!(owner_of(owned), user);
    }
    // A thread of a process with many may enter them, and sees what is the namespace's own.
    let inside = std::thread::scope(|scope| {
        let entered = scope.spawn(|| {
            rustix::thread::move_into_link_name_space(made.owned[2].as_fd(), None)?;
            rustix::system::sethostname(b"inside")?;
            Ok::<_, Errno>(rustix::system::uname().nodename().to_string_lossy().into_owned())
        });
        entered.join().unwrap()
    });
    assert_eq!(inside.as_deref(), Ok("inside"));
}

#[test]
fn what_the_kernel_refuses_leaves_no_process() {
    if !root() {
        return;
    }
    // Two ranges that overlap.
    let overlap = [(0, 100_000, 10), (5, 200_000, 10)];
    assert_eq!(refused(&overlap, &[]).raw_os_error(), Some(libc::EINVAL));
    // 0 is not mapped, so that nobody can become root.
    let no_root = [(1, 100_000, 10)];
    assert_eq!(refused(&no_root, &[namespace::NET]).raw_os_error(), Some(libc::EINVAL));
    assert_eq!(refused(&[(0, 100_000, 10)], &[namespace::CGROUP]).kind(), io::ErrorKind::InvalidInput);
}

fn refused(range: &[Range], kinds: &[u64]) -> io::Error {
    match owner(range, range, kinds, &[]).unwrap_err() {
        OwnerError::Make(error) => error,
        other @ OwnerError::Setting(..) => panic!("{other}"),
    }
}

/// Those of an IPC namespace belong to its root alone.
#[test]
fn settings_are_written_by_the_root_of_the_namespace() {
    if !root() {
        return;
    }
    let range = [(0, 100_000, 1000)];
    let setting = |name: &str, value: &str| Setting {
        path: CString::new(format!("/proc/sys/{name}")).unwrap(),
        value: value.into(),
    };
    let kinds = [namespace::IPC];
    let own = std::fs::read_to_string("/proc/sys/kernel/msgmax").unwrap();
    let made =
        owner(&range, &range, &kinds, &[setting("kernel/msgmax", "4321"), setting("fs/mqueue/msg_max", "9")]);
    let made = made.expect("namespaces");
    let read = std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            namespace::enter(made.owned[0].as_fd(), namespace::IPC).unwrap();
            std::fs::read_to_string("/proc/sys/kernel/msgmax").unwrap()
        });
        inside.join().unwrap()
    });
    assert_eq!(read, "4321\n");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/msgmax").unwrap(), own);
    let settings = [setting("kernel/msgmax", "4321"), setting("kernel/nothing", "1")];
    match owner(&range, &range, &kinds, &settings).unwrap_err() {
        OwnerError::Setting(path, error) => {
            assert_eq!(path.as_c_str(), c"/proc/sys/kernel/nothing");
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
        other @ OwnerError::Make(_) => panic!("{other}"),
    }
}
