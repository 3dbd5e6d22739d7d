//! Which images may be used: what is said of it, and a pull that is refused.

use std::path::Path;

use crate::home::{Home, program};
use berth_testkit::require_root;

fn check(dir: &Path, arguments: &[&str]) -> crate::home::Said {
    let mut command = std::process::Command::new(program());
    command.args(["policy", "check", "--config", "c.toml"]).args(arguments);
    command.stdin(std::process::Stdio::null()).current_dir(dir);
    command.env_remove("BERTH_HOST").env_remove("BERTH_INSTANCE");
    crate::home::Call::spawn(command).end()
}

fn configured(dir: &Path) -> String {
    let path = |name: &str| dir.join(name).display().to_string();
    format!(
        "signature-policy = {:?}\nsignature-policy-dir = {:?}\nsignature-registries-dir = {:?}\n",
        path("policy.json"),
        path("d"),
        path("registries.d")
    )
}

#[test]
fn a_policy_is_checked_and_explained() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("c.toml", &configured(dir.path()));
    // One that the configuration names has to be there.
    let missing = check(dir.path(), &["a.io/b:1"]).refused();
    assert!(missing.contains("there is no policy") && missing.contains("policy.json"), "{missing}");
    write(
        "policy.json",
        r#"{"default": [{"type": "reject"}], "transports": {"docker": {
            "a.io": [{"type": "insecureAcceptAnything"}],
            "a.io/signed": [{"type": "sigstoreSigned", "keyPath": "/k.pub"}]}}}"#,
    );
    let accepted = check(dir.path(), &["a.io/b:1"]).fine();
    assert!(
        accepted.contains(r#"a.io/b:1: the scope docker "a.io" in "#) && accepted.ends_with("  accepted\n"),
        "{accepted}"
    );
    let signed = check(dir.path(), &["a.io/signed/c"]).fine();
    assert!(
        signed.contains("requirement 1: sigstoreSigned") && signed.contains("use-sigstore-attachments"),
        "{signed}"
    );
    let refused = check(dir.path(), &["docker.io/library/busybox"]);
    assert!(refused.code == 1 && refused.out.contains("refused by requirement 1"), "{refused:?}");
    std::fs::create_dir(dir.path().join("d")).unwrap();
    write("d/team.json", r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
    check(dir.path(), &["--namespace", "team", "docker.io/library/busybox"]).fine();
    write("policy.json", r#"{"default": [{"type": "rejects"}]}"#);
    let wrong = check(dir.path(), &[]);
    assert!(wrong.code != 0 && wrong.err.contains("default[0].type"), "{wrong:?}");
}

#[test]
fn a_pull_is_refused_by_the_policy() {
    require_root!();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, configured(dir.path())).unwrap();
    std::fs::write(dir.path().join("policy.json"), r#"{"default": [{"type": "reject"}]}"#).unwrap();
    let home = Home::start_with(program(), &["--config", file.to_str().unwrap()]);
    let said = home.berth(&["pull", "a.io/b:1"]);
    assert!(said.code != 0 && said.err.contains("requirement 1 (reject)"), "{said:?}");
}
