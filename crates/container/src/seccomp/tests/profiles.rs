//! Random profiles and calls.

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::arch::Arch;
use super::super::profile::{Action, Arg, Flags, Op, Profile, Rule};

/// Ordinary calls, calls that one architecture lacks, calls that i386 makes through others.
pub(super) const NAMES: &[&str] = &[
    "read",
    "write",
    "open",
    "close",
    "stat",
    "mmap",
    "clone",
    "clone3",
    "personality",
    "openat2",
    "socket",
    "connect",
    "accept4",
    "semop",
    "shmget",
    "ptrace",
    "mount",
    "umount",
    "umount2",
    "keyctl",
    "bpf",
    "execve",
    "writev",
    "ioctl",
    "time",
    "stime",
    "chown32",
    "clock_gettime64",
    "futex",
    "futex_time64",
    "arch_prctl",
    "_llseek",
    "pidfd_open",
    "close_range",
    "process_madvise",
    "socketcall",
    "ipc",
    "fork",
    "waitpid",
    "getpid",
];

/// Of these no argument can be told when they go through another.
pub(super) const CARRIED: &[&str] = &["socket", "connect", "accept4", "semop", "shmget", "socketcall", "ipc"];

const VALUES: &[u64] = &[
    0,
    1,
    2,
    3,
    5,
    38,
    40,
    0x7e02_0000,
    0x2_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0002,
    0x8000_0000,
    u64::MAX,
];

pub(super) fn action() -> impl Strategy<Value = Action> {
    select(vec![
        Action::Allow,
        Action::Log,
        Action::Trace(7),
        Action::Errno(1),
        Action::Errno(38),
        Action::Errno(4095),
        Action::Trap,
        Action::KillThread,
        Action::KillProcess,
    ])
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![4 => select(VALUES), 1 => any::<u64>()]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        select(vec![Op::Ne, Op::Lt, Op::Le, Op::Eq, Op::Ge, Op::Gt]),
        select(VALUES).prop_map(Op::MaskedEq),
    ]
}

fn arg() -> impl Strategy<Value = Arg> {
    (0u8..6, value(), op()).prop_map(|(index, value, op)| Arg { index, value, op })
}

fn names() -> impl Strategy<Value = Vec<Cow<'static, str>>> {
    subsequence(NAMES, 1..12).prop_map(|names| names.into_iter().map(Cow::Borrowed).collect())
}

pub(super) fn rule(action: impl Strategy<Value = Action>) -> impl Strategy<Value = Rule> {
    let args = prop_oneof![2 => Just(Vec::new()), 3 => vec(arg(), 1..4)];
    (names(), action, args).prop_map(|(names, action, args)| Rule { names, action, args })
}

/// Rules of every kind, that may contradict each other.
pub(super) fn any_profile() -> impl Strategy<Value = Profile> {
    let arches = subsequence(vec![Arch::X86_64, Arch::X86, Arch::X32, Arch::Arm], 0..=4);
    (action(), arches, vec(rule(action()), 0..12)).prop_map(|(default, architectures, rules)| Profile {
        default,
        architectures,
        flags: Flags::default(),
        rules,
    })
}

/// A call's number near those of the rules, or anywhere.
pub(super) fn number(arch: Arch) -> impl Strategy<Value = u32> {
    let near = (select(NAMES), 0u32..3).prop_map(move |(name, more)| arch.number(name).unwrap_or(400) + more);
    prop_oneof![6 => near, 1 => 0u32..600, 1 => any::<u32>()]
}

pub(super) fn args() -> impl Strategy<Value = [u64; 6]> {
    proptest::array::uniform6((value(), 0u64..2).prop_map(|(value, more)| value.wrapping_add(more)))
}
