use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::*;

/// What the filter answers to a system call, by running its program as the kernel does.
fn filtered(filter: &[libc::sock_filter], data: &[u32]) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let step = filter[at];
        at += 1;
        match step.code {
            0x20 => accumulator = data[step.k as usize / 4],
            0x54 => accumulator &= step.k,
            0x15 => at += usize::from(if accumulator == step.k { step.jt } else { step.jf }),
            0x06 => return step.k,
            other => panic!("{other:#x}"),
        }
    }
}

fn answer_to(calls: Calls, call: libc::c_long, arguments: [u64; 4]) -> u32 {
    let arch = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
    let mut data = vec![u32::try_from(call).unwrap(), arch, 0, 0];
    for argument in arguments {
        let bytes = argument.to_le_bytes();
        data.push(u32::from_le_bytes(bytes[..4].try_into().unwrap()));
        data.push(u32::from_le_bytes(bytes[4..].try_into().unwrap()));
    }
    filtered(&calls::program(calls), &data)
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

#[test]
fn no_device_can_be_made_but_whiteouts() {
    let make = |mode: u32, device: u64| {
        answer_to(Calls::Files, libc::SYS_mknodat, [3, 0x1234, u64::from(mode), device])
    };
    assert_eq!(make(libc::S_IFCHR | 0o600, 0), ALLOW);
    assert_eq!(make(libc::S_IFIFO | 0o644, 0), ALLOW);
    assert_eq!(make(libc::S_IFCHR, rustix::fs::makedev(1, 3)), REFUSE);
    for kind in [libc::S_IFBLK, libc::S_IFSOCK, libc::S_IFREG, 0] {
        for device in [0, 0x801] {
            assert_eq!(make(kind | 0o666, device), REFUSE, "{kind:o}");
        }
    }
    assert_eq!(answer_to(Calls::Stream, libc::SYS_mknodat, [3, 0, u64::from(libc::S_IFIFO), 0]), REFUSE);
}

#[test]
fn the_lists_are_those_of_their_purpose() {
    for call in [libc::SYS_read, libc::SYS_write, libc::SYS_exit_group, libc::SYS_mmap] {
        for calls in [Calls::Stream, Calls::Files] {
            assert_eq!(answer_to(calls, call, [0; 4]), ALLOW, "{call}");
        }
    }
    assert_eq!(answer_to(Calls::Files, libc::SYS_linkat, [0; 4]), ALLOW);
    assert_eq!(answer_to(Calls::Files, libc::SYS_openat, [0; 4]), ALLOW);
    assert_eq!(answer_to(Calls::Stream, libc::SYS_openat, [0; 4]), REFUSE);
    for call in [
        libc::SYS_socket,
        libc::SYS_ptrace,
        libc::SYS_execve,
        libc::SYS_clone3,
        libc::SYS_mount,
        libc::SYS_ioctl,
        libc::SYS_io_uring_setup,
        libc::SYS_open_by_handle_at,
        libc::SYS_splice,
        libc::SYS_vmsplice,
        libc::SYS_setns,
        libc::SYS_kill,
    ] {
        assert_eq!(answer_to(Calls::Files, call, [0; 4]), REFUSE, "{call}");
    }
}

/// Where the confined process finds its root directory; set for the process that the test below starts.
const ROOT: &str = "BERTH_TEST_CONFINED_ROOT";

/// Tried in a process of its own: this test program, which is started again for this test alone.
#[test]
fn a_confined_process_opens_no_device_and_makes_none() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a_confined_process_opens_no_device_and_makes_none: needs root");
        return;
    }
    if let Ok(root) = std::env::var(ROOT) {
        return confined(&root);
    }
    for access in ["ReadWrite", "ReadOnly"] {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, kind, device| {
            let path = dir.path().join(name);
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::from_raw_mode(0o666), device).unwrap();
        };
        make("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "confine::tests::a_confined_process_opens_no_device_and_makes_none"])
            .arg("--nocapture")
            .env(ROOT, format!("{access}:{}", dir.path().display()))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{access}: {text}");
        let made = dir.path().join("made");
        assert_eq!(made.exists(), access == "ReadWrite");
        assert!(!dir.path().join("disk").exists());
    }
}

/// Exits with 0 when everything is as it must be; the program's other threads cannot go on.
fn confined(root: &str) {
    let (access, root) = root.split_once(':').unwrap();
    let access = if access == "ReadOnly" { Access::ReadOnly } else { Access::ReadWrite };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir: OwnedFd = rustix::fs::open(root, flags, Mode::empty()).unwrap();
    let limits = Limits { file_bytes: 1 << 20, open_files: 64, memory: 1 << 30 };
    // Even with the right to make devices.
    enter(dir.as_fd(), access, &[Capability::MKNOD, Capability::DAC_OVERRIDE], &limits).unwrap();
    let make = |name: &str, kind, device| {
        rustix::fs::mknodat(rustix::fs::CWD, name, kind, Mode::from_raw_mode(0o600), device)
    };
    let at = |name: &str, flags, mode| {
        rustix::fs::openat(rustix::fs::CWD, name, flags, Mode::from_raw_mode(mode)).map(drop)
    };
    let open = at("/null", OFlags::WRONLY, 0);
    let before = make("before", FileType::CharacterDevice, 0);
    system_calls(Calls::Files).unwrap();
    let disk = make("disk", FileType::BlockDevice, rustix::fs::makedev(8, 0));
    let whiteout = make("whiteout", FileType::CharacterDevice, 0);
    let made = at("/made", OFlags::WRONLY | OFlags::CREATE, 0o600);
    let wanted = match access {
        Access::ReadWrite => Ok(()),
        Access::ReadOnly => Err(Errno::ROFS),
    };
    let right = open == Err(Errno::ACCESS)
        && disk == Err(Errno::PERM)
        && (before, whiteout) == (wanted, wanted)
        && made == wanted;
    if !right {
        eprintln!("open {open:?}, made {made:?}, disk {disk:?}, whiteouts {before:?} {whiteout:?}");
    }
    crate::process::exit_now(i32::from(!right));
}
