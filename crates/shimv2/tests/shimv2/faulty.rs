//! Programs that are no good shims: each fails within its time limit with its last words, and leaves nothing.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_shimv2::answer::{Address, Started};
use berth_shimv2::launch::{Bundle, Input, Program};
use berth_shimv2::log::Log;
use berth_shimv2::message::Version;
use berth_shimv2::program::ProgramError;
use berth_testkit::executable;
use berth_testkit::guard::WAIT_LIMIT;
use berth_types::error::{Classify, Kind, chain};

/// Enough for a shell that does what it is asked.
const AMPLE: Duration = Duration::from_secs(60);
/// What a program that hangs has.
const SHORT: Duration = Duration::from_millis(500);

struct Fake {
    dir: tempfile::TempDir,
    program: Program,
    log: Log,
}

impl Fake {
    fn new(script: &str, limit: Duration) -> Self {
        let dir = tempfile::Builder::new().prefix("berth-t-shimv2-").tempdir().unwrap();
        let path = dir.path().join("containerd-shim-fake-v2");
        executable::script(&path, format!("#!/bin/sh\n{script}\n"));
        let log = Log::open(dir.path(), |_| {}).unwrap();
        let program = Program {
            path,
            namespace: "berth-test".into(),
            events: dir.path().join("events"),
            sockets: dir.path().join("sockets"),
            publisher: "/bin/false".into(),
            debug: false,
            core_scheduling: false,
            input: Input::Params,
            limit,
        };
        Self { dir, program, log }
    }

    fn bundle(&self) -> Bundle<'_> {
        Bundle { dir: self.dir.path(), id: "c1" }
    }

    fn start(&self) -> Result<Started, (String, Kind)> {
        let outcome = self.program.start(self.bundle(), None, &self.log, &[]);
        outcome.map(|launched| launched.started).map_err(|error| (chain(&error), error.kind()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// The process whose number a script wrote, if it lives.
fn lives(file: &Path) -> bool {
    let pid = std::fs::read_to_string(file).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[test]
fn what_a_program_does_wrong_is_said_with_its_last_words() {
    for (script, kind, says) in [
        (
            "echo first >&2; echo 'no such runtime' >&2; exit 3",
            Kind::Internal,
            r#"start failed with status 3: "first\nno such runtime""#,
        ),
        ("echo 'half-way' >&2; kill -9 $$", Kind::Internal, r#"was killed by signal 9: "half-way""#),
        ("exit 0", Kind::Unsupported, "it printed no address"),
        ("echo 'I am no shim'", Kind::Unsupported, r#"no address but "I am no shim""#),
        ("head -c 500 /dev/urandom", Kind::Unsupported, "no address but"),
        (r#"echo '{"version":9,"address":"unix:///a","protocol":"ttrpc"}'"#, Kind::Unsupported, "version 9"),
        (r#"echo '{"version":3,"address":"unix:///a","protocol":"grpc"}'"#, Kind::Unsupported, "only ttrpc"),
        (
            "echo 'later dead' >&2; echo unix:///nonexistent/socket",
            Kind::Unavailable,
            "connect to the shim at unix:///nonexistent/socket",
        ),
        ("yes", Kind::Corrupt, "printed over 65536 bytes"),
        (
            "echo because >&2; head -c 70000 /dev/zero",
            Kind::Corrupt,
            r#"printed over 65536 bytes: "because""#,
        ),
    ] {
        let fake = Fake::new(script, AMPLE);
        let (error, found) = fake.start().unwrap_err();
        assert_eq!(found, kind, "{script}: {error}");
        assert!(error.contains(says), "{script}: {error}");
        assert!(error.contains("start a shim for container c1"), "{error}");
    }
}

#[test]
fn endless_words_are_cut_to_the_last() {
    let fake = Fake::new("yes abcdefg | head -c 1000000 >&2; echo the end >&2; exit 1", AMPLE);
    let (error, _) = fake.start().unwrap_err();
    assert!(error.len() < 6000, "{}", error.len());
    assert!(error.contains("the end"), "{error}");
}

#[test]
fn a_program_that_is_not_there_is_not_found() {
    let mut fake = Fake::new("", AMPLE);
    fake.program.path = fake.path("nothing");
    let (error, kind) = fake.start().unwrap_err();
    assert_eq!(kind, Kind::NotFound, "{error}");
}

#[test]
fn a_program_that_hangs_is_killed_with_all_it_started() {
    let script = "setsid sh -c 'echo $$ >stray; exec sleep 1000' &\nwhile [ ! -s stray ]; do :; done\n\
                  echo thinking >&2; echo $$ >self; exec sleep 1000";
    let fake = Fake::new(script, SHORT);
    let (error, kind) = fake.start().unwrap_err();
    assert_eq!(kind, Kind::Timeout, "{error}");
    assert!(error.contains("did not end within 500ms"), "{error}");
    // On a machine that is very busy it may not have come so far.
    if fake.path("self").exists() {
        assert!(error.contains("thinking"), "{error}");
        assert!(!lives(&fake.path("self")) && !lives(&fake.path("stray")));
    }
}

#[test]
fn a_shim_whose_program_dies_half_way_does_not_stay() {
    let script = "setsid sh -c 'echo $$ >stray; exec sleep 1000' >/dev/null 2>&1 &\n\
                  while [ ! -s stray ]; do :; done\nexit 1";
    let fake = Fake::new(script, AMPLE);
    fake.start().unwrap_err();
    assert!(!lives(&fake.path("stray")));
}

#[test]
fn the_socket_of_a_shim_that_died_half_way_does_not_stay() {
    let fake = Fake::new("printf %s \"unix://$PWD/socket\" >address; exit 1", AMPLE);
    // Bound and not listened to any more: what a dead process leaves.
    drop(UnixListener::bind(fake.path("socket")).unwrap());
    fake.start().unwrap_err();
    assert!(!fake.path("socket").exists());
    // But that of one that lives does: another container's shim.
    let fake = Fake::new("printf %s \"unix://$PWD/socket\" >address; exit 1", AMPLE);
    let _listener = UnixListener::bind(fake.path("socket")).unwrap();
    fake.start().unwrap_err();
    assert!(fake.path("socket").exists());
}

#[test]
fn a_program_is_told_all_that_containerd_tells() {
    let script = "echo \"$@\" >args; env >env; cat >stdin; pwd >cwd; exit 1";
    let mut fake = Fake::new(script, AMPLE);
    fake.program.debug = true;
    fake.program.core_scheduling = true;
    fake.start().unwrap_err();
    let read = |name| String::from_utf8_lossy(&std::fs::read(fake.path(name)).unwrap()).into_owned();
    let dir = fake.dir.path().display().to_string();
    let expected = format!(
        "-namespace berth-test -address {dir}/events -publish-binary /bin/false -id c1 -debug start\n"
    );
    assert_eq!(read("args"), expected);
    assert_eq!(read("cwd"), format!("{dir}\n"));
    let env = read("env");
    for line in [
        format!("TTRPC_ADDRESS={dir}/events"),
        format!("GRPC_ADDRESS={dir}/events"),
        "NAMESPACE=berth-test".into(),
        "MAX_SHIM_VERSION=3".into(),
        "SCHED_CORE=1".into(),
    ] {
        assert!(env.lines().any(|l| l == line), "{line}: {env}");
    }
    assert!(!env.contains("CARGO"), "only what it needs: {env}");
    let params = std::fs::read(fake.path("stdin")).unwrap();
    let params =
        <berth_shimv2::message::bootstrap::Params as prost::Message>::decode(params.as_slice()).unwrap();
    assert_eq!((params.instance_id.as_str(), params.namespace.as_str()), ("c1", "berth-test"));
    assert_eq!(params.ttrpc_address, format!("{dir}/events"));
}

#[test]
fn a_program_is_asked_in_the_newer_way_and_then_in_the_older() {
    use prost::Message;
    let options = berth_shimv2::message::Any { type_url: "a.Options".into(), value: vec![1] };
    // As those of before containerd 2.3 are: what they do not know is an error.
    let script = "cat >stdin; grep -q a.Options stdin && ! grep -q c1 stdin && exec echo unix://$PWD/socket\n\
                  echo \"what is c1?\" >&2; exit 1";
    let mut fake = Fake::new(script, AMPLE);
    fake.program.input = Input::Unknown;
    let _listener = UnixListener::bind(fake.path("socket")).unwrap();
    let launched = fake.program.start(fake.bundle(), Some(&options), &fake.log, &[]).unwrap();
    assert_eq!(launched.input, Input::Options);
    assert_eq!(std::fs::read(fake.path("stdin")).unwrap(), options.encode_to_vec());
    // Without options there is nothing that such a one could read, and both tries are in the error.
    let (error, _) = fake.start().unwrap_err();
    assert_eq!(error.matches("what is c1?").count(), 2, "{error}");
    assert!(error.contains("(asked as containerd 2.3 asks: "), "{error}");
}

#[test]
fn a_shim_that_keeps_the_output_of_its_program_open_is_not_waited_for() {
    let fake = Fake::new("setsid sleep 1000 & echo $! >stray; echo unix://$PWD/socket", AMPLE);
    let _listener = UnixListener::bind(fake.path("socket")).unwrap();
    let started = fake.start().unwrap();
    assert_eq!(started, Started { address: Address::Path(fake.path("socket")), version: Version::V2 });
    assert!(lives(&fake.path("stray")), "it is the shim");
    kill(&fake.path("stray"));
}

/// Ends the process whose number a script of this test wrote.
fn kill(file: &Path) {
    let pid: i32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn the_end_of_the_log_is_in_the_error() {
    let fake = Fake::new("echo 'level=error msg=why' >log; exit 1", AMPLE);
    let (error, _) = fake.start().unwrap_err();
    assert!(error.contains("(its log: \"level=error msg=why\")"), "{error}");
}

#[test]
fn a_log_is_read_whoever_writes_and_however_much() {
    let dir = tempfile::tempdir().unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    let log = Log::open(dir.path(), move |line| send.send(line.to_vec()).unwrap()).unwrap();
    // Far more than a FIFO holds, by one writer after the other.
    for round in 0..3 {
        let line = format!("{round}{}\n", "x".repeat(99));
        std::fs::write(dir.path().join("log"), line.repeat(3000)).unwrap();
    }
    let lines: Vec<_> = (0..9000).map(|_| receive.recv_timeout(WAIT_LIMIT).unwrap()).collect();
    assert!(lines.iter().all(|line| line.len() == 100));
    std::fs::write(dir.path().join("log"), "y".repeat(10_000)).unwrap();
    assert_eq!(receive.recv_timeout(WAIT_LIMIT).unwrap().len(), 4096, "a line without an end comes in parts");
    assert!(log.words().0.len() <= 4096);
    drop(log);
    let rest: Vec<_> = receive.iter().collect();
    assert_eq!(rest.iter().map(Vec::len).sum::<usize>(), 10_000 - 4096);
}

#[test]
fn a_log_that_is_no_fifo_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("log"), "text").unwrap();
    let error = Log::open(dir.path(), |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "it is no FIFO");
}

#[test]
fn delete_fails_with_its_words_too() {
    for (script, limit, kind, says) in [
        ("echo 'busy' >&2; exit 1", AMPLE, Kind::Internal, r#"delete failed with status 1: "busy""#),
        ("sleep 1000", SHORT, Kind::Timeout, "delete did not end within"),
        ("echo warning >&2; printf '\\377\\377'", AMPLE, Kind::Corrupt, r#"cannot be read: "warning""#),
    ] {
        let fake = Fake::new(script, limit);
        let error = fake.program.delete(fake.bundle(), None).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(chain(&error).contains(says), "{}", chain(&error));
    }
}

#[test]
fn delete_removes_the_socket_of_a_dead_shim() {
    // Pid 7, status 137.
    let fake = Fake::new("printf '\\010\\007\\020\\211\\001'", AMPLE);
    drop(UnixListener::bind(fake.path("socket")).unwrap());
    let started = Started { address: Address::Path(fake.path("socket")), version: Version::V2 };
    let deleted = fake.program.delete(fake.bundle(), Some(&started)).unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (7, 137));
    assert!(!fake.path("socket").exists());
}

#[test]
fn what_is_no_socket_is_not_removed_whatever_a_program_says() {
    let fake = Fake::new("printf %s \"unix://$PWD/precious\" >address; exit 1", AMPLE);
    std::fs::write(fake.path("precious"), "data").unwrap();
    fake.start().unwrap_err();
    assert!(fake.path("precious").exists());
    let fake = Fake::new("exit 0", AMPLE);
    std::fs::write(fake.path("precious"), "data").unwrap();
    let started = Started { address: Address::Path(fake.path("precious")), version: Version::V2 };
    fake.program.delete(fake.bundle(), Some(&started)).unwrap();
    assert!(fake.path("precious").exists());
}

#[test]
fn delete_is_told_where_the_bundle_is() {
    let fake = Fake::new("echo \"$@\" >args", AMPLE);
    fake.program.delete(fake.bundle(), None).unwrap();
    let args = std::fs::read_to_string(fake.path("args")).unwrap();
    let dir = fake.dir.path().display();
    assert!(args.ends_with(&format!("-id c1 -bundle {dir} delete\n")), "{args}");
}

#[test]
fn errors_of_programs_name_the_program() {
    let error = ProgramError::Slow {
        program: "/usr/bin/containerd-shim-kata-v2".into(),
        action: "start",
        limit: Duration::from_secs(10),
        words: berth_shimv2::program::Words::default(),
    };
    assert_eq!(error.to_string(), "/usr/bin/containerd-shim-kata-v2 start did not end within 10s");
}
