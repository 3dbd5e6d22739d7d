//! Signatures that other programs make: gpg and openssl.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test program")]

mod openssl;
mod sigstore;
mod simple;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use berth_trust::{Image, Policy, Signature, rule_for};
use berth_types::{Digest, ImageRef};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const NAME: &str = "a.io/b/c:1";

/// What a signature signs.
fn payload(kind: &str, name: &str, digest: &str) -> String {
    format!(
        r#"{{"critical":{{"type":"{kind}","image":{{"docker-manifest-digest":"{digest}"}},"identity":{{"docker-reference":"{name}"}}}},"optional":{{}}}}"#
    )
}

/// Whether an image is accepted, or why it is not.
fn decide_of(
    requirements: &str,
    signatures: &[Signature],
    name: &str,
    now: SystemTime,
) -> Result<(), String> {
    let text = format!(r#"{{"default": [{requirements}]}}"#);
    let policy = Policy::parse(Path::new("/p.json"), text.as_bytes()).unwrap();
    let (reference, manifest): (ImageRef, Digest) = (name.parse().unwrap(), DIGEST.parse().unwrap());
    let rule = rule_for(&policy, "docker", Some(&reference));
    let image = Image { reference: &reference, manifest: &manifest };
    rule.decide(image, signatures, now).map_err(|e| e.to_string())
}

fn decide(requirements: &str, signatures: &[Signature]) -> Result<(), String> {
    decide_of(requirements, signatures, NAME, SystemTime::now())
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Runs a program to its success; gives what it printed.
fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The policy that the documentation begins with can be used, and says what is said of it.
#[test]
fn the_documentations_policy_is_one() {
    let text = include_str!("../../../../docs/trust.md");
    let (_, rest) = text.split_once("```json\n").unwrap();
    let (policy, _) = rest.split_once("```").unwrap();
    let policy = Policy::parse(Path::new("/p.json"), policy.as_bytes()).unwrap();
    let rule = |name: &str| rule_for(&policy, "docker", Some(&name.parse().unwrap()));
    assert!(rule("docker.io/library/busybox:1").before().is_err());
    assert!(rule("registry.k8s.io/pause:3").before().is_ok());
    assert!(rule("registry.example.com/team/app:1").needs_signatures());
    assert!(rule_for(&policy, "docker-archive", None).without_signatures().is_ok());
}
