use std::process::Stdio;

use berth_testkit::executable;

use super::*;

/// A program in place of apparmor_parser.
fn parser(script: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("parser");
    executable::script(&path, format!("#!/bin/sh\n{script}\n"));
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

/// Loads by such a program.
fn loads(script: &str, limit: Duration) -> Result<(), String> {
    let (_dir, path) = parser(script);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(load_by(&path, limit))
}

#[test]
fn the_profile_is_given_as_it_is_and_replaces_one_of_before() {
    let dir = tempfile::tempdir().unwrap();
    let (args, text) = (dir.path().join("args"), dir.path().join("text"));
    let script =
        format!("echo \"$@\" >{}; while read -r l; do echo \"$l\"; done >{}", args.display(), text.display());
    loads(&script, LIMIT).unwrap();
    assert_eq!(std::fs::read_to_string(args).unwrap(), "--replace --skip-cache\n");
    let got = std::fs::read_to_string(text).unwrap();
    let trimmed = TEXT.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert_eq!(got.trim_end(), trimmed);
}

#[test]
fn a_failure_is_one_sentence() {
    let error = loads("echo first >&2; echo 'AppArmor parser error: bad' >&2; echo >&2; exit 3", LIMIT);
    let error = error.unwrap_err();
    assert!(error.ends_with("exit status: 3: AppArmor parser error: bad"), "{error}");
    let silent = loads("exit 1", LIMIT).unwrap_err();
    assert!(silent.ends_with("exit status: 1: without a word"), "{silent}");
    let many = loads("while :; do echo much >&2 || exit 4; done", LIMIT).unwrap_err();
    assert!(many.len() < 4096, "{many}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let missing = runtime.block_on(load_by("/no/such/program", LIMIT)).unwrap_err();
    assert!(missing.starts_with("/no/such/program: "), "{missing}");
}

#[test]
fn a_program_that_hangs_is_ended() {
    let error = loads("while :; do read -r _; done", Duration::from_millis(200)).unwrap_err();
    assert!(error.ends_with("did not end within 0.2 seconds"), "{error}");
}

/// Lines of the profile without comments.
fn rules() -> Vec<&'static str> {
    TEXT.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test]
fn the_profile_has_its_name_and_stands_alone() {
    let rules = rules();
    assert!(rules[0].starts_with(&format!("profile {DEFAULT_PROFILE} ")));
    assert_eq!(rules.last(), Some(&"}"));
    assert!(!rules.iter().any(|rule| rule.contains("include")), "it depends on no file of the host");
    assert!(rules.iter().all(|rule| rule.ends_with(',') || rule.ends_with(['{', '}'])), "{rules:?}");
    for peer in rules.iter().filter_map(|rule| rule.split_once("peer=")) {
        assert!([format!("{DEFAULT_PROFILE},"), "unconfined,".to_owned()].contains(&peer.1.to_owned()));
    }
}

/// The real program compiles it, where it is installed. That needs no kernel with AppArmor.
#[test]
fn the_profile_compiles() {
    let parser = PARSERS.iter().find(|parser| Path::new(parser).exists());
    berth_testkit::require!(parser.is_some(), "needs apparmor_parser (package apparmor)");
    let mut child = std::process::Command::new(parser.unwrap())
        .args(["--skip-kernel-load", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), TEXT.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(output.stdout.windows(DEFAULT_PROFILE.len()).any(|part| part == DEFAULT_PROFILE.as_bytes()));
}
