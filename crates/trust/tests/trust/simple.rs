//! Simple signing, with the messages and keys that gpg makes.

use std::path::{Path, PathBuf};
use std::process::Command;

use berth_testkit::guard::has_program;
use berth_testkit::require;
use berth_trust::Signature;

use super::{DIGEST, NAME, at, decide, decide_of, payload, run};

const KIND: &str = "atomic container signature";
/// When the keys are made, and two days later.
const THEN: u64 = 1_700_000_000;
const LATER: u64 = THEN + 2 * 86_400;

/// A directory with keys, whose clock is set.
struct Gpg {
    dir: tempfile::TempDir,
}

impl Drop for Gpg {
    fn drop(&mut self) {
        drop(Command::new("gpgconf").arg("--homedir").arg(self.dir.path()).args(["--kill", "all"]).status());
    }
}

impl Gpg {
    fn new() -> Self {
        // Short: gpg's agent has a socket there.
        Self { dir: tempfile::Builder::new().prefix("g").tempdir_in("/tmp").unwrap() }
    }

    fn command(&self, time: u64) -> Command {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.dir.path()).args([
            "--batch",
            "--yes",
            "--pinentry-mode",
            "loopback",
        ]);
        command.args(["--passphrase", "", "--no-auto-check-trustdb", "--trust-model", "always"]);
        command.args(["--faked-system-time", &format!("{time}!")]);
        command
    }

    fn key(&self, name: &str, algorithm: &str, usage: &str, life: &str) {
        run(self.command(THEN).args(["--quick-gen-key", name, algorithm, usage, life]));
    }

    fn fingerprint(&self, name: &str) -> String {
        let listed = run(self.command(THEN).args(["--with-colons", "--list-keys", name]));
        let listed = String::from_utf8(listed).unwrap();
        let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    fn export(&self, name: &str, armor: bool) -> PathBuf {
        let path = self.dir.path().join(format!("{name}-{armor}.pub"));
        let armor: &[&str] = if armor { &["--armor"] } else { &[] };
        std::fs::write(&path, run(self.command(LATER).args(armor).args(["--export", name]))).unwrap();
        path
    }

    fn sign_as(&self, name: &str, more: &[&str], text: &str) -> Signature {
        let file = self.dir.path().join("text");
        std::fs::write(&file, text).unwrap();
        let mut command = self.command(THEN + 60);
        command.args(more).args(["-u", name, "--output", "-", "--sign"]).arg(file);
        Signature::Simple(run(&mut command))
    }

    fn sign(&self, name: &str) -> Signature {
        self.sign_as(name, &[], &payload(KIND, NAME, DIGEST))
    }
}

fn by(key: &Path) -> String {
    format!(r#"{{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "{}"}}"#, key.display())
}

#[test]
fn keys_and_messages_of_gpg_are_understood() {
    require!(has_program("gpg"), "needs gpg");
    let gpg = Gpg::new();
    for (name, algorithm) in [
        ("rsa", "rsa3072"),
        ("ed", "ed25519"),
        ("p256", "nistp256"),
        ("p384", "nistp384"),
        ("small", "rsa2048"),
    ] {
        gpg.key(name, algorithm, "sign", "never");
        let signature = gpg.sign(name);
        for armor in [false, true] {
            let decided = decide(&by(&gpg.export(name, armor)), std::slice::from_ref(&signature));
            assert_eq!(decided, Ok(()), "{name}");
        }
        for more in [["--compress-algo", "none"], ["--compress-algo", "zip"], ["--digest-algo", "SHA384"]] {
            let signature = gpg.sign_as(name, &more, &payload(KIND, NAME, DIGEST));
            assert_eq!(decide(&by(&gpg.export(name, false)), &[signature]), Ok(()), "{name} {more:?}");
        }
    }
    // Keys of several people in one file, and in several.
    let all = gpg.dir.path().join("all");
    let files = ["rsa", "ed"].map(|name| gpg.export(name, false));
    std::fs::write(&all, files.each_ref().map(|file| std::fs::read(file).unwrap()).concat()).unwrap();
    assert_eq!(decide(&by(&all), &[gpg.sign("ed")]), Ok(()));
    let paths = format!(
        r#"{{"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["{}", "{}"]}}"#,
        files[0].display(),
        files[1].display()
    );
    assert_eq!(decide(&paths, &[gpg.sign("ed")]), Ok(()));
    let both = format!("{}, {}", by(&files[0]), by(&files[1]));
    assert!(decide(&both, &[gpg.sign("ed")]).unwrap_err().contains("requirement 1 (signedBy)"));
    // Each by a signature of its own; one that is bad beside them harms nothing.
    let signatures = [Signature::Simple(vec![0x90]), gpg.sign("ed"), gpg.sign("rsa")];
    assert_eq!(decide(&both, &signatures), Ok(()));
}

#[test]
fn what_is_signed_is_the_image_or_the_image_is_refused() {
    require!(has_program("gpg"), "needs gpg");
    let gpg = Gpg::new();
    gpg.key("a", "ed25519", "sign", "never");
    gpg.key("other", "ed25519", "sign", "never");
    let key = by(&gpg.export("a", false));
    let refused = |signatures: &[Signature], words: &str| {
        let error = decide(&key, signatures).unwrap_err();
        assert!(
            error.starts_with("a.io/b/c:1 is refused by the default in /p.json, requirement 1 (signedBy): "),
            "{error}"
        );
        assert!(error.contains(words), "{error}");
    };
    refused(&[], "it has no signature");
    refused(&[gpg.sign("other")], "none of the keys");
    let other = DIGEST.replace("01234567", "11234567");
    refused(&[gpg.sign_as("a", &[], &payload(KIND, NAME, &other))], "and the manifest is sha256:01234567");
    refused(
        &[gpg.sign_as("a", &[], &payload(KIND, "a.io/b/c:2", DIGEST))],
        "which matchRepoDigestOrExact does not take",
    );
    refused(&[gpg.sign_as("a", &[], &payload(KIND, "a.io/b/c", DIGEST))], "does not take");
    refused(
        &[gpg.sign_as("a", &[], &payload("cosign container image signature", NAME, DIGEST))],
        "critical.type",
    );
    refused(&[gpg.sign_as("a", &["--textmode"], &payload(KIND, NAME, DIGEST))], "another kind");
    refused(&[Signature::Simple(payload(KIND, NAME, DIGEST).into_bytes())], "it is not OpenPGP");
    let Signature::Simple(good) =
        gpg.sign_as("a", &["--compress-algo", "none"], &payload(KIND, NAME, DIGEST))
    else {
        unreachable!()
    };
    assert_eq!(decide(&key, &[Signature::Simple(good.clone())]), Ok(()));
    // Two messages in one, and anything behind one.
    refused(&[Signature::Simple([good.clone(), good.clone()].concat())], "no message with one signature");
    for cut in 0..good.len() {
        refused(&[Signature::Simple(good[..cut].to_vec())], "");
    }
    // A byte that is changed is never taken for another signature: what is not signed of it may change.
    let mut accepted = 0;
    for index in 0..good.len() {
        let mut changed = good.clone();
        changed[index] ^= 0x01;
        accepted += usize::from(decide(&key, &[Signature::Simple(changed)]).is_ok());
    }
    assert!(accepted < 40, "{accepted} of {} changes were not seen", good.len());
}

#[test]
fn keys_that_may_not_sign_any_longer_do_not() {
    require!(has_program("gpg"), "needs gpg");
    let gpg = Gpg::new();
    gpg.key("short", "ed25519", "sign", "1d");
    let (key, signature) = (by(&gpg.export("short", false)), gpg.sign("short"));
    let decided = |now| decide_of(&key, std::slice::from_ref(&signature), NAME, at(now));
    assert_eq!(decided(THEN + 3600), Ok(()));
    assert!(decided(LATER).unwrap_err().contains("has expired"));
    // Its life is made longer: the newer word counts.
    run(gpg.command(THEN + 7200).args(["--quick-set-expire", &gpg.fingerprint("short"), "7d"]));
    let key = by(&gpg.export("short", false));
    assert_eq!(decide_of(&key, std::slice::from_ref(&signature), NAME, at(LATER)), Ok(()));
    let over = gpg.sign_as("short", &["--default-sig-expire", "1d"], &payload(KIND, NAME, DIGEST));
    let error = decide_of(&key, &[over], NAME, at(LATER)).unwrap_err();
    assert!(error.contains("the signature has expired"), "{error}");

    gpg.key("gone", "rsa2048", "sign", "never");
    let signature = gpg.sign("gone");
    let fingerprint = gpg.fingerprint("gone");
    let revocation = gpg.dir.path().join(format!("openpgp-revocs.d/{fingerprint}.rev"));
    let text = std::fs::read_to_string(revocation).unwrap().replace(":-----BEGIN", "-----BEGIN");
    let file = gpg.dir.path().join("revocation");
    std::fs::write(&file, text).unwrap();
    run(gpg.command(THEN + 120).arg("--import").arg(file));
    let error = decide(&by(&gpg.export("gone", false)), &[signature]).unwrap_err();
    assert!(error.contains("is revoked"), "{error}");
}

#[test]
fn a_subordinate_key_signs_when_it_is_one_for_signing() {
    require!(has_program("gpg"), "needs gpg");
    let gpg = Gpg::new();
    gpg.key("main", "ed25519", "cert", "never");
    let fingerprint = gpg.fingerprint("main");
    run(gpg.command(THEN).args(["--quick-add-key", &fingerprint, "rsa2048", "sign", "1d"]));
    run(gpg.command(THEN).args(["--quick-add-key", &fingerprint, "cv25519", "encrypt", "never"]));
    let (key, signature) = (by(&gpg.export("main", true)), gpg.sign("main"));
    let decided = |now| decide_of(&key, std::slice::from_ref(&signature), NAME, at(now));
    assert_eq!(decided(THEN + 3600), Ok(()));
    assert!(decided(LATER).unwrap_err().contains("has expired"));
}
