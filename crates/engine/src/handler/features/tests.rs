use std::process::Command;

use super::*;

#[test]
fn what_is_said_counts() {
    let answer = br#"{
        "ociVersionMin": "1.0.0", "ociVersionMax": "1.2.0", "mountOptions": ["ro", "rro"],
        "linux": { "namespaces": ["pid", "user"] },
        "annotations": { "org.example.checkpoint.enabled": "true" }
    }"#;
    let all = Features { recursive_read_only: true, user_namespaces: true, checkpoint: true };
    assert_eq!(parse(answer), Some(all));
}

#[test]
fn what_is_not_said_is_not_there() {
    for rest in [
        "",
        r#", "mountOptions": ["ro", "rrw"], "linux": { "namespaces": ["pid"] }, "annotations": {}"#,
        r#", "linux": { "mountExtensions": { "idmap": { "enabled": true } } }"#,
        r#", "annotations": { "a.checkpoint.enabled": "false", "checkpoint": "true" }"#,
        // Of another form.
        r#", "mountOptions": "rro", "linux": ["user"]"#,
        r#", "mountOptions": { "rro": true }, "linux": { "namespaces": 7, "mountExtensions": [] }"#,
        r#", "linux": { "namespaces": "user" }"#,
        r#", "mountOptions": null, "linux": null"#,
    ] {
        let answer = format!("{{ \"ociVersionMin\": \"1.0.0\"{rest} }}");
        assert_eq!(parse(answer.as_bytes()), Some(Features::default()), "{answer}");
    }
}

#[test]
fn what_is_no_answer_is_none() {
    let deep = format!("{{ \"ociVersionMin\": \"1.0.0\", \"linux\": {} }}", "[".repeat(1 << 16));
    for answer in [
        b"".as_slice(),
        b"unknown command features",
        b"{}",
        b"[]",
        b"null",
        b"{ \"ociVersionMin\": 1 }",
        b"{ \"ociVersionMin\": \"1.0.0\" } { }",
        b"{ \"ociVersionMin\": \"1.0.0\", \"annotations\": [] }",
        b"{ \"ociVersionMin\": \"1.0.0\"",
        b"\xff\xfe\x00",
        deep.as_bytes(),
    ] {
        assert_eq!(parse(answer), None, "{}", String::from_utf8_lossy(answer));
    }
}

/// Debian's runc says it, and Debian's crun of 2023 has no such command.
#[test]
fn real_runtimes_are_understood() {
    let ask = |program: &str| Command::new(program).arg("features").output().unwrap();
    berth_testkit::require!(berth_testkit::guard::has_program("runc"), "needs the package runc");
    let runc = ask("runc");
    let features = parse(&runc.stdout).expect("runc answers");
    let all = Features { recursive_read_only: true, user_namespaces: true, checkpoint: true };
    assert_eq!(features, all);
    berth_testkit::require!(berth_testkit::guard::has_program("crun"), "needs the package crun");
    let crun = ask("crun");
    assert_eq!(parse(&crun.stdout).is_some(), crun.status.success(), "{crun:?}");
}
