//! The rules that the OCI runtime specification leaves open.

use std::borrow::Cow;

use super::super::arch::{Arch, X32_BIT};
use super::super::profile::{Action, Arg, Flags, Op, Profile, Rule, SeccompError};
use super::super::table::{CALLS, ELSEWHERE};
use super::super::{compile, is_known};
use super::machine::{Call, run};

fn rule(names: &[&'static str], action: Action, args: &[Arg]) -> Rule {
    Rule { names: names.iter().map(|n| Cow::Borrowed(*n)).collect(), action, args: args.to_vec() }
}

fn profile(default: Action, rules: Vec<Rule>) -> Profile {
    let architectures = vec![Arch::X86_64, Arch::X86, Arch::X32];
    Profile { default, architectures, flags: Flags::default(), rules }
}

fn ask(profile: &Profile, arch: Arch, name: &str, args: [u64; 6]) -> u32 {
    let program = compile(profile, Arch::X86_64).unwrap();
    run(&program.instructions, &Call { audit: arch.audit(), number: arch.number(name).unwrap(), args }).0
}

const fn eq(value: u64) -> Arg {
    Arg { index: 0, value, op: Op::Eq }
}

#[test]
fn the_tables_are_in_order_and_true() {
    assert!(CALLS.is_sorted_by(|a, b| a.0 < b.0) && ELSEWHERE.is_sorted_by(|a, b| a < b));
    for (name, x86_64, x86, x32, aarch64, arm) in [
        ("read", Some(0), Some(3), Some(0), Some(63), Some(3)),
        ("writev", Some(20), Some(146), Some(516), Some(66), Some(146)),
        ("clone3", Some(435), Some(435), Some(435), Some(435), Some(435)),
        ("set_tls", None, None, None, None, Some(0xf0005)),
        ("socketcall", None, Some(102), None, None, None),
        ("listns", Some(470), Some(470), Some(470), Some(470), Some(470)),
    ] {
        let numbers =
            [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm].map(|arch| arch.number(name));
        assert_eq!(numbers, [x86_64, x86, x32.map(|n: u32| n | X32_BIT), aarch64, arm], "{name}");
    }
    assert!(is_known("s390_runtime_instr") && !is_known("frobnicate"));
}

#[test]
fn the_strictest_rule_decides_whatever_the_order() {
    let deny = rule(&["socket"], Action::Errno(97), &[eq(38)]);
    let allow = rule(&["socket"], Action::Allow, &[]);
    for rules in [vec![deny.clone(), allow.clone()], vec![allow, deny]] {
        let profile = profile(Action::Errno(1), rules);
        assert_eq!(ask(&profile, Arch::X86_64, "socket", [38, 0, 0, 0, 0, 0]), Action::Errno(97).code());
        assert_eq!(ask(&profile, Arch::X86_64, "socket", [2, 0, 0, 0, 0, 0]), Action::Allow.code());
    }
}

#[test]
fn conditions_on_one_argument_are_alternatives() {
    let two = rule(&["personality"], Action::Allow, &[eq(0), eq(8)]);
    let profile = profile(Action::Errno(1), vec![two]);
    for (value, action) in [(0, Action::Allow), (8, Action::Allow), (7, Action::Errno(1))] {
        assert_eq!(ask(&profile, Arch::X86_64, "personality", [value, 0, 0, 0, 0, 0]), action.code());
    }
}

#[test]
fn what_socketcall_hides_is_denied_rather_than_allowed() {
    let permits = profile(Action::Errno(1), vec![rule(&["socket"], Action::Allow, &[eq(1)])]);
    assert_eq!(ask(&permits, Arch::X86, "socketcall", [1, 0, 0, 0, 0, 0]), Action::Errno(1).code());
    let denies = profile(Action::Allow, vec![rule(&["socket"], Action::Errno(1), &[eq(38)])]);
    assert_eq!(ask(&denies, Arch::X86, "socketcall", [1, 0, 0, 0, 0, 0]), Action::Errno(1).code());
    assert_eq!(ask(&denies, Arch::X86, "socketcall", [3, 0, 0, 0, 0, 0]), Action::Allow.code());
    // ipc's first argument has a version in its upper half.
    let denies = profile(Action::Allow, vec![rule(&["shmget"], Action::Errno(1), &[])]);
    assert_eq!(ask(&denies, Arch::X86, "ipc", [0x1_0017, 0, 0, 0, 0, 0]), Action::Errno(1).code());
}

#[test]
fn an_unknown_name_may_be_allowed_but_not_denied() {
    let unknown = |default, action| {
        compile(&profile(default, vec![rule(&["read", "frobnicate"], action, &[])]), Arch::X86_64)
    };
    assert!(unknown(Action::Errno(1), Action::Allow).is_ok());
    // Another error than the default one: without the rule the call is denied anyway.
    assert!(unknown(Action::Errno(1), Action::Errno(38)).is_ok());
    let error = unknown(Action::Allow, Action::Errno(1)).unwrap_err();
    assert!(matches!(error, SeccompError::Unsupported { .. }));
    assert_eq!(
        error.to_string(),
        "seccomp profile: syscalls[0].names[1] is not supported: the system call \"frobnicate\" is unknown, so it cannot be denied"
    );
    assert!(unknown(Action::Errno(1), Action::KillProcess).is_err());
    // Known, but not to this machine.
    let elsewhere = profile(Action::Allow, vec![rule(&["s390_runtime_instr"], Action::Errno(1), &[])]);
    assert!(compile(&elsewhere, Arch::X86_64).is_ok());
}

#[test]
fn calls_newer_than_the_profile_are_missing() {
    let old = profile(Action::Errno(1), vec![rule(&["read", "openat2"], Action::Allow, &[])]);
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        assert_eq!(ask(&old, arch, "faccessat2", [0; 6]), Action::Errno(38).code(), "{arch:?}");
        assert_eq!(ask(&old, arch, "close_range", [0; 6]), Action::Errno(1).code(), "{arch:?}");
    }
    let open = profile(Action::Log, vec![rule(&["read"], Action::Errno(1), &[])]);
    assert_eq!(ask(&open, Arch::X86_64, "faccessat2", [0; 6]), Action::Log.code());
}

#[test]
fn other_architectures_are_killed() {
    let mut native = profile(Action::Allow, vec![rule(&["read"], Action::Errno(1), &[])]);
    native.architectures.clear();
    assert_eq!(ask(&native, Arch::X86, "read", [0; 6]), Action::KillProcess.code());
    assert_eq!(ask(&native, Arch::X32, "read", [0; 6]), Action::KillProcess.code());
    let program = compile(&native, Arch::X86_64).unwrap();
    let skipped = Call { audit: Arch::X86_64.audit(), number: u32::MAX, args: [0; 6] };
    assert_eq!(run(&program.instructions, &skipped).0, Action::Allow.code());
}

#[test]
fn bounds_are_kept() {
    let index = profile(Action::Allow, vec![rule(&["read"], Action::Errno(1), &[Arg { index: 6, ..eq(0) }])]);
    assert!(
        compile(&index, Arch::X86_64)
            .unwrap_err()
            .to_string()
            .contains("syscalls[0].args[0].index: 6 is more than 5")
    );
    let errno = profile(Action::Errno(4096), vec![]);
    assert!(compile(&errno, Arch::X86_64).unwrap_err().to_string().contains("defaultErrnoRet: 4096"));
    let many = profile(Action::Allow, vec![rule(&["read"], Action::Errno(1), &[]); 4097]);
    assert!(matches!(compile(&many, Arch::X86_64).unwrap_err(), SeccompError::Invalid { .. }));
    let conditions: Vec<_> = (0..4000).map(|value| rule(&["read"], Action::Errno(1), &[eq(value)])).collect();
    let error = compile(&profile(Action::Allow, conditions), Arch::X86_64).unwrap_err();
    assert!(matches!(error, SeccompError::TooLong(_)), "{error}");
}
