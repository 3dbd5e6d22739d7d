use super::*;

const HERE: Form<'static> =
    Form { goes_on: RunsIn::Here, terminal: false, door: false, file: None, fds: &[] };

fn plan(args: &[&str], env: &[&str]) -> ProcessPlan {
    let bytes = |list: &[&str]| list.iter().map(|s| s.as_bytes().to_vec()).collect();
    ProcessPlan {
        args: bytes(args),
        env: bytes(env),
        cwd: b"/".to_vec(),
        identity: crate::plan::Identity::default(),
        umask: None,
        capabilities: Capabilities::default(),
        no_new_privileges: true,
        rlimits: Vec::new(),
        oom_score_adj: None,
        seccomp: None,
        personality: None,
        window: None,
        user_namespace: false,
        apparmor: None,
        scheduling: None,
    }
}

fn tried(args: &[&str], env: &[&str]) -> Vec<String> {
    let found = candidates(&plan(args, env)).expect("candidates");
    found.into_iter().map(|c| c.into_string().expect("text")).collect()
}

#[test]
fn a_command_with_a_slash_is_a_path() {
    assert_eq!(tried(&["/bin/x"], &["PATH=/a"]), ["/bin/x"]);
    assert_eq!(tried(&["./x"], &[]), ["./x"]);
}

#[test]
fn a_bare_command_is_looked_for_in_path() {
    assert_eq!(tried(&["x"], &["PATH=/a:/b"]), ["/a/x", "/b/x"]);
    // The last setting counts; an empty directory would be the working directory and is left out.
    assert_eq!(tried(&["x"], &["PATH=/a", "PATH=/c::"]), ["/c/x"]);
    assert_eq!(tried(&["x"], &[]).len(), 6);
}

#[test]
fn nothing_to_run_and_null_bytes_are_refused() {
    assert!(candidates(&plan(&[], &[])).is_err());
    assert!(Process::new(&plan(&["a\0b"], &[]), HERE, &mut Vec::new()).is_err());
    let error = Process::new(&plan(&["a"], &["b\0"]), HERE, &mut Vec::new()).expect_err("null");
    assert!(error.to_string().contains("environment variable"), "{error}");
}

#[test]
fn limits_are_not_above_what_this_process_may_set() {
    let mut notes = Vec::new();
    let mut wanted = plan(&["a"], &[]);
    wanted.rlimits.push(crate::plan::Rlimit { resource: 7, soft: 16, hard: u64::MAX - 1 });
    let process = Process::new(&wanted, HERE, &mut notes).expect("prepared");
    let own = rlimit::get(0, 7).expect("own limit");
    let may_raise = caps::effective().expect("capabilities") & caps::SYS_RESOURCE != 0;
    let hard = process.rlimits.list()[0].1.hard;
    assert_eq!(process.rlimits.list()[0].1.soft, 16);
    assert!(may_raise || hard <= own.hard);
    assert_eq!(notes.is_empty(), may_raise || own.hard == u64::MAX);
}

#[test]
fn more_limits_than_there_are_kinds_are_refused() {
    let mut wanted = plan(&["a"], &[]);
    wanted.rlimits = vec![crate::plan::Rlimit { resource: 7, soft: 16, hard: 16 }; last::MAX_LIMITS];
    let new = |plan: &ProcessPlan| Process::new(plan, HERE, &mut Vec::new());
    assert_eq!(new(&wanted).expect("as many as there are").rlimits.list().len(), last::MAX_LIMITS);
    wanted.rlimits.push(wanted.rlimits[0]);
    assert!(matches!(new(&wanted), Err(RunError::Plan { .. })));
}
