use std::os::unix::process::ExitStatusExt;

use super::*;

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(30);

fn sh(script: &str, input: &[u8], limit: Duration) -> Result<Output, Failure> {
    // A program of its own, as plugins are.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).unwrap();
    run(
        &path,
        &[("PATH", "/usr/bin:/bin".to_owned()), ("GIVEN", "yes".to_owned())],
        input,
        Instant::now() + limit,
    )
}

fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn wait_for_end(pid: &str) {
    let deadline = Instant::now() + LONG;
    while lives(pid) {
        assert!(Instant::now() < deadline, "process {pid} lives");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_plugin_reads_its_configuration_and_answers() {
    let output = sh("cat; echo $GIVEN >&2; exit 3", b"{\"a\": 1}", LONG).unwrap();
    assert_eq!(output.stdout, b"{\"a\": 1}");
    assert_eq!(output.stderr, b"yes\n");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn it_gets_neither_the_environment_nor_the_descriptors_of_the_daemon() {
    let open = tempfile::NamedTempFile::new().unwrap();
    let output =
        sh("tr '\\0' '\\n' </proc/$$/environ; pwd; ls /proc/$$/fd; readlink /proc/$$/fd/*", b"", LONG)
            .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.contains(&"GIVEN=yes") && lines.contains(&"/"), "{text}");
    assert!(!text.contains("CARGO") && !text.contains("HOME"), "{text}");
    let path = open.path().to_str().unwrap();
    assert!(lines.contains(&"2") && !text.contains(path), "{path}: {text}");
}

#[test]
fn one_that_does_not_read_or_dies_at_once_is_no_failure_of_ours() {
    let large = vec![b'x'; 1 << 20];
    assert!(sh("exit 0", &large, LONG).unwrap().status.success());
    let output = sh("kill -9 $$", &large, LONG).unwrap();
    assert_eq!(output.status.signal(), Some(9));
    let output = sh("exec cat >/dev/null", &large, LONG).unwrap();
    assert!(output.status.success());
}

#[test]
fn one_that_hangs_is_killed_with_all_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let file = pids.display();
    for script in [
        format!("echo $$ >{file}; sleep 600 & echo $! >>{file}; trap '' TERM INT HUP; sleep 600"),
        format!("exec >&-; exec 2>&-; exec <&-; echo $$ >{file}; exec sleep 600"),
        format!("echo $$ >{file}; kill -STOP $$"),
    ] {
        let failure = sh(&script, b"{}", Duration::from_secs(3)).unwrap_err();
        assert!(matches!(failure, Failure::TimedOut), "{script}: {failure:?}");
        for pid in std::fs::read_to_string(&pids).unwrap().lines() {
            wait_for_end(pid);
        }
    }
}

#[test]
fn a_child_that_holds_the_output_open_is_not_waited_for_and_ends() {
    let begun = Instant::now();
    let output = sh("sleep 600 & echo $!", b"", LONG).unwrap();
    assert!(begun.elapsed() < LONG);
    wait_for_end(String::from_utf8(output.stdout).unwrap().trim());
    // One that wants to stay has a session of its own, whose output is not waited for either.
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        "f={}; setsid sh -c \"echo \\$\\$ >$f; exec sleep 600\" & until [ -s $f ]; do :; done",
        file.path().display()
    );
    assert!(sh(&script, b"", LONG).unwrap().status.success());
    let text = std::fs::read_to_string(file.path()).unwrap();
    let pid = text.trim();
    assert!(lives(pid), "{text}");
    let number = Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(number, Signal::KILL).unwrap();
}

#[test]
fn one_that_prints_without_end_is_killed() {
    let failure = sh("exec yes", b"", LONG).unwrap_err();
    assert!(matches!(failure, Failure::TooMuch), "{failure:?}");
    // Up to the limit all of it is read; of its errors the end is kept, however much there is.
    let most = format!("head -c {MAX_OUTPUT} /dev/zero; head -c 100000000 /dev/zero >&2; echo last >&2");
    let output = sh(&most, b"", LONG).unwrap();
    assert_eq!(output.stdout.len(), MAX_OUTPUT);
    assert!(output.stderr.len() <= MAX_STDERR && output.stderr.ends_with(b"last\n"));
    let failure = sh("exec yes >&2", b"", Duration::from_millis(300)).unwrap_err();
    assert!(matches!(failure, Failure::TimedOut), "{failure:?}");
}

#[test]
fn what_is_no_program_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin");
    let start = || run(&path, &[], b"", Instant::now() + LONG).unwrap_err();
    assert!(matches!(start(), Failure::Run(error) if error.kind() == io::ErrorKind::NotFound));
    std::fs::write(&path, b"\x7fELF half of it").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert!(matches!(start(), Failure::Run(_)));
}

#[test]
fn a_program_that_is_being_written_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin");
    std::fs::copy("/bin/true", &path).unwrap();
    let open = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    let closing = std::thread::spawn(move || {
        std::thread::park_timeout(Duration::from_millis(60));
        drop(open);
    });
    assert!(run(&path, &[], b"", Instant::now() + LONG).unwrap().status.success());
    closing.join().unwrap();
}
