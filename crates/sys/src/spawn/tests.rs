use super::*;
use std::io::Read;
use std::os::unix::net::UnixStream;

fn program(path: &str) -> OwnedFd {
    std::fs::File::open(path).unwrap().into()
}

fn wait(child: &Child) -> rustix::process::WaitIdStatus {
    let id = rustix::process::WaitId::PidFd(child.pidfd.as_fd());
    rustix::process::waitid(id, rustix::process::WaitIdOptions::EXITED).unwrap().unwrap()
}

#[test]
fn the_program_has_what_it_was_given_and_nothing_else() {
    let program = program("/bin/sh");
    // On purpose without close-on-exec.
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let leak = rustix::io::dup(&theirs).unwrap();
    let script = c"exec 2>&1 >&4; env; pwd; ls /proc/self/fd | tr '\\n' ' '; cut -d' ' -f5,6 /proc/$$/stat; echo $$; cat <&3";
    let input = crate::memfd::sealed("in", b"input\n").unwrap();
    rustix::fs::seek(&input, rustix::fs::SeekFrom::Start(0)).unwrap();
    let spawn = Spawn {
        program: Executable::File(program.as_fd()),
        argv: &[c"sh", c"-c", script],
        // Numbers that overlap with their targets in the wrong order.
        fds: &[input.as_fd(), theirs.as_fd()],
        env: &[],
        stdio: [None; 3],
        cgroup: None,
        tasks: &[],
        new_pid_namespace: false,
    };
    let child = spawn.spawn().unwrap();
    drop((theirs, leak));
    let mut text = String::new();
    ours.read_to_string(&mut text).unwrap();
    assert_eq!(wait(&child).exit_status(), Some(0));
    let lines: Vec<&str> = text
        .lines()
        .filter(|l| {
            !l.starts_with("PWD=")
                && !l.starts_with("_=")
                && !l.starts_with("OLDPWD=")
                && !l.starts_with("SHLVL=")
        })
        .collect();
    let own = child.pid.to_string();
    assert_eq!(lines, ["/", &format!("0 1 2 3 4 5 {own} {own}"), &own, "input"], "{text}");
}

#[test]
fn what_cannot_be_executed_is_an_error_and_leaves_nothing() {
    let memfd = crate::memfd::sealed("nonsense", b"not a program").unwrap();
    let spawn = Spawn {
        program: Executable::File(memfd.as_fd()),
        argv: &[c"x"],
        fds: &[],
        env: &[],
        stdio: [None; 3],
        cgroup: None,
        tasks: &[],
        new_pid_namespace: false,
    };
    let error = spawn.spawn().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC));
}

#[test]
fn a_cgroup_that_cannot_be_joined_is_an_error() {
    let sh = program("/bin/true");
    let dir = program("/");
    let spawn = Spawn {
        program: Executable::File(sh.as_fd()),
        argv: &[c"true"],
        fds: &[],
        env: &[],
        stdio: [None; 3],
        cgroup: Some(dir.as_fd()),
        tasks: &[],
        new_pid_namespace: false,
    };
    assert!(spawn.spawn().is_err());
    let spawn = Spawn { cgroup: None, tasks: &[dir.as_fd()], ..spawn };
    assert_eq!(spawn.spawn().unwrap_err().raw_os_error(), Some(libc::EBADF));
}

#[test]
fn threads_may_spawn_at_the_same_time() {
    let memfd = crate::memfd::sealed("true", &std::fs::read("/bin/true").unwrap()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let spawn = Spawn {
                        program: Executable::File(memfd.as_fd()),
                        argv: &[c"true"],
                        fds: &[],
                        env: &[],
                        stdio: [None; 3],
                        cgroup: None,
                        tasks: &[],
                        new_pid_namespace: false,
                    };
                    assert_eq!(wait(&spawn.spawn().unwrap()).exit_status(), Some(0));
                }
            });
        }
    });
}

#[test]
fn the_first_process_of_a_new_pid_namespace_has_number_one() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: the_first_process_of_a_new_pid_namespace_has_number_one: needs root");
        return;
    }
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let program = program("/bin/sh");
    let spawn = Spawn {
        program: Executable::File(program.as_fd()),
        argv: &[c"sh", c"-c", c"echo $$ >&3"],
        fds: &[theirs.as_fd()],
        env: &[],
        stdio: [None; 3],
        cgroup: None,
        tasks: &[],
        new_pid_namespace: true,
    };
    let child = spawn.spawn().unwrap();
    drop(theirs);
    let mut text = String::new();
    ours.read_to_string(&mut text).unwrap();
    assert_eq!(text, "1\n");
    assert_eq!(wait(&child).exit_status(), Some(0));
    assert!(child.pid > 1);
}

#[test]
fn a_script_has_its_streams_its_environment_and_the_usual_signals() {
    let (input, mut to_input) = std::io::pipe().unwrap();
    let (mut output, to_output) = std::io::pipe().unwrap();
    let (mut errors, to_errors) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut to_input, b"in\n").unwrap();
    // No other test here depends on it.
    crate::signal::ignore(&[libc::SIGHUP]);
    let child = Spawn {
        program: Executable::Path(c"/bin/sh"),
        argv: &[
            c"sh",
            c"-c",
            c"read -r line; echo \"$line $A $B\"; echo wrong >&2; kill -HUP $$; echo alive",
        ],
        fds: &[],
        env: &[c"A=1", c"B=two words"],
        stdio: [Some(input.as_fd()), Some(to_output.as_fd()), Some(to_errors.as_fd())],
        cgroup: None,
        tasks: &[],
        new_pid_namespace: false,
    }
    .spawn()
    .unwrap();
    drop((to_output, to_errors));
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    errors.read_to_string(&mut text).unwrap();
    assert_eq!(text, "in 1 two words\nwrong\n");
    assert_eq!(wait(&child).terminating_signal(), Some(libc::SIGHUP));
    let missing = Spawn {
        program: Executable::Path(c"/no/such/program"),
        argv: &[c"x"],
        fds: &[],
        env: &[],
        stdio: [None; 3],
        cgroup: None,
        tasks: &[],
        new_pid_namespace: false,
    };
    assert_eq!(missing.spawn().unwrap_err().raw_os_error(), Some(libc::ENOENT));
}
