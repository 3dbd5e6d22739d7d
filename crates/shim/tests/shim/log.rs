//! Output: complete, in order, through rotations, full disks and lost daemons.

use std::os::fd::OwnedFd;

use berth_types::shim::{Answer, Phase, Request};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

use crate::rig::{Rig, Want, entries, possible, sh, until};

#[test]
fn a_burst_before_the_end_is_complete_when_the_end_is_reported() {
    if !possible("a_burst_before_the_end_is_complete_when_the_end_is_reported") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.run(sh("seq 1 150000; printf rest"));
    assert_eq!(rig.exit_of(&id).code, 0);
    let log = rig.log(&id);
    assert_eq!(log.len(), 150_001);
    assert!(log[..150_000].iter().enumerate().all(|(i, e)| *e == format!("stdout F {}", i + 1)));
    assert_eq!(log[150_000], "stdout P rest");
    rig.finish();
}

#[test]
fn a_rotated_log_is_reopened_and_a_failure_changes_nothing() {
    if !possible("a_rotated_log_is_reopened_and_a_failure_changes_nothing") {
        return;
    }
    let mut rig = Rig::new(false);
    let want = sh("while read line; do echo $line; done");
    let id = rig.run(Want { stdin: true, ..want });
    let client = attach(&mut rig, &id);
    let path = rig.log_path(&id);
    let (old, reopen) = (path.with_extension("old"), Request::ReopenLog { container: id.clone() });
    say(&client, "one\n");
    assert_eq!(hear(&client).unwrap(), "one\n");
    std::fs::rename(&path, &old).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(rig.client.ask(reopen.clone(), vec![]).is_err());
    say(&client, "two\n");
    assert_eq!(hear(&client).unwrap(), "two\n");
    std::fs::remove_file(&path).unwrap();
    rig.client.ask(reopen, vec![]).unwrap();
    assert!(path.exists());
    say(&client, "three\n");
    assert_eq!(hear(&client).unwrap(), "three\n");
    say(&client, "");
    assert_eq!(rig.exit_of(&id).code, 0);
    assert_eq!(hear(&client), None);
    assert_eq!(entries(&old), ["stdout F one", "stdout F two"]);
    assert_eq!(rig.log(&id), ["stdout F three"]);
    rig.finish();
}

#[test]
fn a_client_that_joins_before_the_start_misses_nothing() {
    if !possible("a_client_that_joins_before_the_start_misses_nothing") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.create(Want { stdin: true, stdin_once: true, ..sh("echo first; cat; echo last") }).unwrap();
    let client = attach(&mut rig, &id);
    rig.start(&id).unwrap();
    assert_eq!(hear(&client).unwrap(), "first\n");
    say(&client, "in\n");
    assert_eq!(hear(&client).unwrap(), "in\n");
    drop(client);
    assert_eq!(rig.exit_of(&id).code, 0);
    assert_eq!(rig.log(&id), ["stdout F first", "stdout F in", "stdout F last"]);
    rig.finish();
}

#[test]
fn a_terminal_has_a_size_and_its_output_is_logged_without_carriage_returns() {
    if !possible("a_terminal_has_a_size_and_its_output_is_logged_without_carriage_returns") {
        return;
    }
    let mut rig = Rig::new(false);
    let id =
        rig.create(Want { tty: true, stdin: true, ..sh("stty size; read x; stty size; echo $x") }).unwrap();
    let resize = |rows, columns| Request::Resize { container: id.clone(), exec: None, rows, columns };
    rig.client.ask(resize(24, 80), vec![]).unwrap();
    let client = attach(&mut rig, &id);
    rig.start(&id).unwrap();
    let mut first = String::new();
    while !first.ends_with('\n') {
        first += &hear(&client).unwrap();
    }
    assert_eq!(first, "24 80\r\n");
    rig.client.ask(resize(50, 132), vec![]).unwrap();
    say(&client, "typed\n");
    assert_eq!(rig.exit_of(&id).code, 0);
    let mut rest = String::new();
    while let Some(more) = hear(&client) {
        rest += &more;
    }
    assert_eq!(rest, "typed\r\n50 132\r\ntyped\r\n");
    assert_eq!(rig.log(&id), ["stdout F 24 80", "stdout F typed", "stdout F 50 132", "stdout F typed"]);
    rig.finish();
}

#[test]
fn a_daemon_that_is_killed_loses_no_line() {
    if !possible("a_daemon_that_is_killed_loses_no_line") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.run(sh("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; read x"));
    until("it writes", || rig.log(&id).len() > 100);
    // The old daemon is gone in the middle of a message; the new one comes by the socket.
    std::io::Write::write_all(&mut rig.client.raw(), &[9, 0, 0, 0, 1]).unwrap();
    let fresh = rig.connect();
    drop(std::mem::replace(&mut rig.client, fresh));
    let Answer::Welcome { containers, sandbox, .. } = rig.client.hello() else { panic!() };
    assert!(sandbox.is_some());
    assert_eq!(containers.len(), 1);
    let known = &containers[0];
    let ended = matches!(known.phase, Phase::Exited { .. });
    assert!(ended || matches!(known.phase, Phase::Running { started_at } if started_at > 0));
    if !ended {
        rig.exit_of(&id);
    }
    let log = rig.log(&id);
    assert_eq!(log.len(), 20_000);
    assert!(log.iter().enumerate().all(|(i, e)| *e == format!("stdout F line {i}")));
    rig.finish();
}

#[test]
fn a_full_disk_stops_neither_the_container_nor_others_and_is_said() {
    if !possible("a_full_disk_stops_neither_the_container_nor_others_and_is_said") {
        return;
    }
    // A tmpfs of this thread's own mount namespace would not be seen by the shim, so it is reached by
    // a descriptor: the shim opens it through this process.
    let disk = small_disk();
    let mount = std::os::fd::AsRawFd::as_raw_fd(&disk);
    let path = std::path::PathBuf::from(format!("/proc/{}/fd/{mount}/0.log", std::process::id()));
    let mut rig = Rig::new(false);
    let full = rig.run(Want {
        log: Some(path.clone()),
        stdin: true,
        ..sh("seq 1 60000; echo full; read x; echo on")
    });
    let client = attach(&mut rig, &full);
    let mut got = String::new();
    until("everything was written", || {
        got.push_str(&hear(&client).unwrap());
        got.contains("full")
    });
    let other = rig.run(sh("echo fine"));
    assert_eq!(rig.exit_of(&other).code, 0);
    assert_eq!(rig.log(&other), ["stdout F fine"]);
    let before = entries(&path);
    assert!(
        before.len() < 60_000 && before.iter().enumerate().all(|(i, e)| *e == format!("stdout F {}", i + 1))
    );
    std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    say(&client, "\n");
    assert_eq!(rig.exit_of(&full).code, 0);
    let after = entries(&path);
    assert_eq!(after.len(), 2, "{after:?}");
    let lost = format!("stderr F berth: {} log entries (", 60_001 - before.len());
    assert!(after[0].starts_with(&lost) && after[0].contains("No space left"), "{after:?} {lost}");
    assert_eq!(after[1], "stdout F on");
    rig.finish();
}

#[test]
fn a_hanging_disk_stops_nothing_but_the_output_that_goes_to_it() {
    let name = "a_hanging_disk_stops_nothing_but_the_output_that_goes_to_it";
    if !possible(name) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Freezable::new(dir.path()) else {
        eprintln!("skipped: {name}: needs a loop device, mkfs.ext4 (e2fsprogs) and fsfreeze (util-linux)");
        return;
    };
    let mut rig = Rig::new(false);
    let stuck = sh("i=0; while :; do echo $i; i=$((i+1)); done");
    let stuck = rig.run(Want { log: Some(disk.path.join("0.log")), ..stuck });
    until("it writes", || std::fs::metadata(disk.path.join("0.log")).is_ok_and(|m| m.len() > 0));
    assert!(disk.freeze("-f"));
    // Others run, its execs run, and its end is reported, if late and with a note about the log.
    let other = rig.run(sh("echo fine"));
    assert_eq!(rig.exit_of(&other).code, 0);
    assert_eq!(rig.log(&other), ["stdout F fine"]);
    let (_read, write) = std::io::pipe().unwrap();
    let (exec, _) = rig.exec(&stuck, &["/bin/busybox", "true"], 0, Some(write.into())).unwrap();
    let ended = berth_types::shim::Event::ExecExited { exec, code: 0, timed_out: false };
    assert_eq!(rig.client.event(), ended);
    rig.signal(&stuck, 9);
    let exit = rig.exit_of(&stuck);
    assert_eq!(exit.code, 137);
    assert!(exit.message.contains("its disk does not answer"), "{}", exit.message);
    assert!(disk.freeze("-u"));
    rig.finish();
}

/// An ext4 file system of its own, not mounted anywhere but held by a descriptor.
struct Freezable {
    path: std::path::PathBuf,
    device: String,
    _mount: OwnedFd,
}

impl Freezable {
    fn new(dir: &std::path::Path) -> Option<Self> {
        use rustix::mount::{
            FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string,
        };
        let image = dir.join("image");
        std::fs::File::create(&image).ok()?.set_len(8 << 20).ok()?;
        let image = image.to_str()?;
        run("mkfs.ext4", &["-q", image])?;
        let device = run("losetup", &["-f", "--show", image])?.trim().to_owned();
        let mount = || {
            let disk = rustix::mount::fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_set_string(&disk, "source", &device)?;
            fsconfig_create(&disk)?;
            rustix::mount::fsmount(&disk, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        };
        let Ok(mount) = mount() else {
            run("losetup", &["-d", &device]);
            return None;
        };
        let number = std::os::fd::AsRawFd::as_raw_fd(&mount);
        let path = format!("/proc/{}/fd/{number}/", std::process::id()).into();
        let disk = Self { path, device, _mount: mount };
        (disk.freeze("-f") && disk.freeze("-u")).then_some(disk)
    }

    fn freeze(&self, how: &str) -> bool {
        run("fsfreeze", &[how, self.path.to_str().unwrap()]).is_some()
    }
}

impl Drop for Freezable {
    fn drop(&mut self) {
        self.freeze("-u");
        // The device goes when the mount, which is dropped after this, releases it.
        run("losetup", &["-d", &self.device]);
    }
}

fn run(program: &str, args: &[&str]) -> Option<String> {
    let path = "/usr/sbin:/sbin:/usr/bin:/bin";
    let output = std::process::Command::new(program).args(args).env("PATH", path).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn small_disk() -> OwnedFd {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
    let disk = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    rustix::mount::fsconfig_set_string(&disk, "size", "256k").unwrap();
    rustix::mount::fsconfig_create(&disk).unwrap();
    rustix::mount::fsmount(&disk, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap()
}

fn attach(rig: &mut Rig, id: &berth_types::ContainerId) -> OwnedFd {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    rig.client.ask(Request::Attach { container: id.clone() }, vec![theirs]).unwrap();
    ours
}

fn say(client: &OwnedFd, text: &str) {
    send(client, text.as_bytes(), SendFlags::empty()).unwrap();
}

fn hear(client: &OwnedFd) -> Option<String> {
    rustix::net::sockopt::set_socket_timeout(
        client,
        rustix::net::sockopt::Timeout::Recv,
        Some(std::time::Duration::from_secs(20)),
    )
    .unwrap();
    let mut bytes = vec![0; berth_types::shim::MAX_PACKET + 1];
    let (n, _) = recv(client, &mut bytes[..], RecvFlags::empty()).unwrap();
    (n > 0).then(|| String::from_utf8_lossy(&bytes[1..n]).into_owned())
}

#[test]
fn a_client_without_a_slot_gets_an_error_and_the_next_gets_a_freed_slot() {
    if !possible("a_client_without_a_slot_gets_an_error_and_the_next_gets_a_freed_slot") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.run(sh("sleep 1000"));
    let mut clients: Vec<OwnedFd> = (0..64).map(|_| attach(&mut rig, &id)).collect();
    let one_more = |rig: &mut Rig| {
        let (_, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        rig.client.ask(Request::Attach { container: id.clone() }, vec![theirs])
    };
    let refused = one_more(&mut rig).unwrap_err();
    assert!(refused.message.contains("64 clients"), "{}", refused.message);
    drop(clients.pop());
    crate::rig::until("a slot is free", || one_more(&mut rig).is_ok());
    rig.finish();
}
