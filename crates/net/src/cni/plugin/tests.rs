use berth_testkit::executable;
use berth_types::{Classify, Kind};

use super::*;

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn plugin(&self, name: &str, script: &str) -> PathBuf {
        let path = self.0.path().join(name);
        executable::script(&path, format!("#!/bin/sh\n{script}\n"));
        path
    }

    fn programs(&self) -> Programs {
        Programs::new(vec!["/nonexistent".into(), self.0.path().to_owned()])
    }

    fn call(&self, script: &str) -> Result<Vec<u8>, PluginError> {
        let program = self.plugin("plugin", script);
        self.programs().call(&program, Command::Gc, None, b"{}", limit())
    }
}

fn limit() -> Limit {
    Limit::of(Duration::from_secs(30))
}

#[test]
fn a_program_is_an_executable_file_of_one_of_the_directories() {
    let dir = Dir::new();
    let path = dir.plugin("bridge", "");
    assert_eq!(dir.programs().find("bridge").unwrap(), path);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::create_dir(dir.0.path().join("ptp")).unwrap();
    for kind in ["bridge", "ptp", "portmap"] {
        let error = dir.programs().find(kind).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("no executable file {kind} in /nonexistent, ")),
            "{error}"
        );
        assert_eq!(error.kind(), Kind::Precondition);
        assert!(error.hint().unwrap().contains("--cni-bin-dir"));
    }
}

#[test]
fn what_a_plugin_says_of_its_failure_is_repeated() {
    let dir = Dir::new();
    let cases = [
        (
            r#"echo '{ "cniVersion": "1.0.0", "code": 7, "msg": "invalid config", "details": "subnet too small" }'; exit 1"#,
            "invalid config: subnet too small (code 7)",
            Kind::Internal,
        ),
        (r#"echo '{ "code": 11, "msg": "later" }'; exit 1"#, "later (code 11)", Kind::Unavailable),
        (r#"echo '{ "code": 50 }'; exit 1"#, " (code 50)", Kind::Unavailable),
        (
            "echo some log >&2; echo panic: nil map >&2; exit 2",
            "exit status: 2: panic: nil map",
            Kind::Internal,
        ),
        ("echo not json at all; exit 1", "exit status: 1: not json at all", Kind::Internal),
        ("exit 4", "exit status: 4", Kind::Internal),
        ("kill -9 $$", "signal: 9 (SIGKILL)", Kind::Internal),
        (r#"echo '{ "code": "x" }'; exit 1"#, r#"exit status: 1: { "code": "x" }"#, Kind::Internal),
    ];
    for (script, want, kind) in cases {
        let error = dir.call(script).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.kind()), (want, kind), "{script}");
    }
    let long = dir.call("head -c 5000 /dev/zero | tr '\\0' x; exit 1").unwrap_err().to_string();
    assert!(long.len() < 400, "{} bytes", long.len());
}

#[test]
fn a_plugin_finds_its_command_and_the_directories() {
    let dir = Dir::new();
    let said = dir.call("echo \"$CNI_COMMAND $CNI_PATH $PATH ${CNI_NETNS-unset}\"").unwrap();
    let want = format!("GC /nonexistent:{} {PROGRAMS} unset\n", dir.0.path().display());
    assert_eq!(String::from_utf8(said).unwrap(), want);
}

#[test]
fn versions_are_what_a_plugin_says_if_it_says_any() {
    let dir = Dir::new();
    let versions = |script: &str| {
        let program = dir.plugin("plugin", script);
        dir.programs().versions(&program, limit())
    };
    let says = versions(
        r#"cat >/dev/null; echo '{ "cniVersion": "1.1.0", "supportedVersions": ["0.4.0", "1.0.0"] }'"#,
    );
    assert_eq!(says.unwrap(), Some(vec!["0.4.0".to_owned(), "1.0.0".to_owned()]));
    for silent in
        [r#"echo '{ "code": 4, "msg": "unknown CNI_COMMAND" }'; exit 1"#, "exit 1", "echo '{}'", "echo x", ""]
    {
        assert_eq!(versions(silent).unwrap(), None, "{silent}");
    }
    let program = dir.plugin("plugin", "sleep 600");
    let error = dir.programs().versions(&program, Limit::of(Duration::from_millis(100))).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    assert_eq!(error.to_string(), "it did not end within 0 s and was killed");
}

#[test]
fn what_is_repeated_is_one_line() {
    assert_eq!(beginning(b" a\n\tb\0c\x1b[31m\xff ", 100), "a b c [31m\u{fffd}");
    assert_eq!(beginning(b"abcdef", 3), "abc");
}
