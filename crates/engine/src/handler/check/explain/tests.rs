use super::*;

#[test]
fn versions_are_the_first_line() {
    for (printed, kind, version_) in [
        ("runc version 1.1.5+ds1\ncommit: x\n", Kind::Runc, "runc version 1.1.5+ds1"),
        ("\n crun version 1.8.1 \nspec: 1.0.0", Kind::Runc, "crun version 1.8.1"),
        ("youki version 0.5.4\n", Kind::Runc, "youki version 0.5.4"),
        (
            "runsc version release-20260831.0\nspec: 1.1.0-rc.1",
            Kind::Gvisor,
            "runsc version release-20260831.0",
        ),
        (
            "runsc version v0.0.0-20260905035102-160fafc42237",
            Kind::Gvisor,
            "runsc version v0.0.0-20260905035102-160fafc42237",
        ),
        ("runsc version 0", Kind::Gvisor, "runsc version 0"),
        ("runsc version VERSION_MISSING\nspec: 1.2.1", Kind::Gvisor, "runsc version VERSION_MISSING"),
    ] {
        assert_eq!(version("x", printed.as_bytes(), kind), Ok(version_.to_owned()), "{printed:?}");
    }
}

#[test]
fn garbage_is_no_version() {
    let long = "1".repeat(MAX_VERSION + 1);
    for printed in [b"".as_slice(), b"\n\n", b"hello", b"\xff\xfe1", b"1\x1b[2J", long.as_bytes()] {
        let said = version("x --version", printed, Kind::Runc).unwrap_err().to_string();
        assert!(said.starts_with("`x --version` printed \"") && said.len() < 200, "{said}");
        assert!(!said.contains(['\x1b', '\n']), "{said:?}");
    }
}

#[test]
fn an_old_or_mistaken_gvisor_is_told_so() {
    for (printed, kind, part) in [
        (
            "runsc version 0.0~20221219.0-2+b3",
            Kind::Gvisor,
            "is too old: Berth needs one of June 2023 or later",
        ),
        ("runsc version release-20230508.0", Kind::Gvisor, "is too old"),
        ("runsc version release-20260831.0", Kind::Runc, "it is gVisor"),
        ("runc version 1.1.5", Kind::Gvisor, "it is not gVisor"),
    ] {
        let said = version("x", printed.as_bytes(), kind).unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn what_cannot_be_executed_is_explained() {
    let elf = |machine: u16| {
        let mut head = vec![0u8; 20];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[18..].copy_from_slice(&machine.to_le_bytes());
        head
    };
    let other = if std::env::consts::ARCH == "s390x" { (243, "riscv64") } else { (22, "s390x") };
    for (errno, head, part) in [
        (Errno::NOEXEC, elf(other.0), other.1),
        (Errno::NOEXEC, elf(9999), "ELF machine 9999"),
        (Errno::NOEXEC, b"hello".to_vec(), "not a program"),
        (Errno::NOEXEC, b"\x7fELF".to_vec(), "not a program"),
        (Errno::NOEXEC, Vec::new(), "not a program"),
        (Errno::NOENT, b"#!/no/such".to_vec(), "interpreter"),
        (Errno::NOENT, elf(62), "loader"),
        (Errno::ACCESS, elf(62), "noexec"),
        (Errno::TXTBSY, elf(62), "being written"),
        (Errno::NOMEM, elf(62), "Cannot allocate memory"),
    ] {
        let said = not_executed(errno, &head);
        assert!(said.contains(part), "{errno:?}: {said}");
    }
}

#[test]
fn last_words_are_one_short_line() {
    for (errors, words) in [
        ("", ""),
        ("one\ntwo\n\n", ": two"),
        ("panic: it broke\n\ngoroutine 1 [running]:\nmain.main()\n", ": panic: it broke"),
        ("a\x1b[31mb\tc", ": a [31mb c"),
    ] {
        assert_eq!(Words::of(errors.as_bytes()).to_string(), words);
    }
    let long = Words::of("x".repeat(5000).as_bytes()).to_string();
    assert!(long.len() < MAX_WORDS + 10 && long.ends_with("..."), "{long}");
    assert_eq!(Words::of(b"\xff\xfe").to_string(), ": \u{fffd}\u{fffd}");
}
