use super::*;

#[test]
fn the_control_file_has_what_dpkg_needs() {
    let text = control("amd64", "2.36");
    for field in ["Package: berth", "Architecture: amd64", "Maintainer: ", "Description: "] {
        assert!(text.lines().any(|line| line.starts_with(field)), "{field} in {text}");
    }
    assert!(text.contains(&format!("\nVersion: {VERSION}\n")));
    assert!(text.contains("libc6 (>= 2.36)"));
    // A line that continues a field begins with a space; an empty line would end the paragraph.
    assert!(text.lines().all(|line| line.starts_with(' ') || line.contains(": ")), "{text}");
}

#[test]
fn a_version_loses_the_revision_of_debian() {
    assert_eq!(upstream("2.36-9+deb12u10\n"), "2.36");
    assert_eq!(upstream("2.41"), "2.41");
}

#[test]
fn the_unit_ends_nothing_but_the_daemon() {
    let lines: Vec<&str> = UNIT.lines().collect();
    for line in [
        "KillMode=process",
        "ExecStart=/usr/bin/berth serve",
        "Delegate=yes",
        "Restart=always",
        "StartLimitIntervalSec=0",
    ] {
        assert!(lines.contains(&line), "{line}");
    }
    // systemd empties the directories that are configured in the unit when it stops: the records of running pods.
    assert!(!lines.iter().any(|line| line.starts_with("RuntimeDirectory") || line.starts_with("ExecStop")));
}

#[test]
fn the_scripts_are_shell() {
    for (name, text) in SCRIPTS {
        let mut shell = Command::new("sh").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success(), "{name}");
        assert!(text.starts_with("#!/bin/sh\n"), "{name}");
    }
}

#[test]
fn a_packed_file_is_the_same_again() {
    let content = b"one and the same ".repeat(100_000);
    let packed = gzip(&content).unwrap();
    assert_eq!(packed, gzip(&content).unwrap());
    assert_eq!(packed[..2], [0x1f, 0x8b]);
    assert!(packed.len() < content.len() / 100);
}
