//! Architectures: the instruction sets whose system calls a program may make on one kernel.

use super::table::{CALLS, ELSEWHERE, N};

/// An instruction set with its own table of system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Arch {
    /// x86_64.
    X86_64,
    /// i386.
    X86,
    /// x32: the table of x86_64 with bit 30 set, and some calls of its own.
    X32,
    /// aarch64.
    Aarch64,
    /// 32-bit ARM (EABI).
    Arm,
}

/// Bit 30 of the number marks a call of x32.
pub(super) const X32_BIT: u32 = 0x4000_0000;

impl Arch {
    /// The architecture that this program was built for; none when it is not known here.
    pub fn native() -> Option<Arch> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Arch::X86_64),
            "x86" => Some(Arch::X86),
            "aarch64" => Some(Arch::Aarch64),
            "arm" => Some(Arch::Arm),
            _ => None,
        }
    }

    /// By the name of the OCI runtime specification: `SCMP_ARCH_X86_64`.
    pub fn parse(name: &str) -> Option<Arch> {
        match name {
            "SCMP_ARCH_X86_64" => Some(Arch::X86_64),
            "SCMP_ARCH_X86" => Some(Arch::X86),
            "SCMP_ARCH_X32" => Some(Arch::X32),
            "SCMP_ARCH_AARCH64" => Some(Arch::Aarch64),
            "SCMP_ARCH_ARM" => Some(Arch::Arm),
            _ => None,
        }
    }

    /// The name that Docker's profiles use in `arches`.
    pub(super) fn go_name(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::X86 => "x86",
            Arch::X32 => "x32",
            Arch::Aarch64 => "arm64",
            Arch::Arm => "arm",
        }
    }

    /// All whose programs run on a kernel of this architecture, itself first.
    pub fn family(self) -> &'static [Arch] {
        match self {
            Arch::X86_64 | Arch::X32 => &[Arch::X86_64, Arch::X86, Arch::X32],
            Arch::X86 => &[Arch::X86],
            Arch::Aarch64 => &[Arch::Aarch64, Arch::Arm],
            Arch::Arm => &[Arch::Arm],
        }
    }

    /// `AUDIT_ARCH_*`, by which the kernel tells a filter the architecture. x32 has that of x86_64.
    pub fn audit(self) -> u32 {
        match self {
            Arch::X86_64 | Arch::X32 => 0xc000_003e,
            Arch::X86 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
            Arch::Arm => 0x4000_0028,
        }
    }

    /// Whether arguments have 32 bits: only their low words are compared. As in libseccomp this
    /// includes x32.
    pub(super) fn is_32_bit(self) -> bool {
        matches!(self, Arch::X86 | Arch::X32 | Arch::Arm)
    }

    /// The number of a call, with x32's bit; none when this architecture has no such call.
    pub fn number(self, name: &str) -> Option<u32> {
        let at = CALLS.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        let number = CALLS[at].1[self as usize];
        let bit = if self == Arch::X32 { X32_BIT } else { 0 };
        (number != N).then(|| number.cast_unsigned() | bit)
    }

    /// How i386 makes a call through another: the carrier's number and the sub-call's.
    pub(super) fn carried(self, name: &str) -> Option<Carried> {
        if self != Arch::X86 {
            return None;
        }
        if let Some(at) = SOCKETCALL.iter().position(|known| *known == name) {
            return Some(Carried { by: 102, call: u64::try_from(at).ok()? + 1, mask: 0xffff_ffff });
        }
        // The upper half of ipc's first argument is a version that decides little.
        let (_, call) = IPC.iter().find(|(known, _)| *known == name)?;
        Some(Carried { by: 117, call: *call, mask: 0xffff })
    }
}

/// A call inside `socketcall` or `ipc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) by: u32,
    pub(super) call: u64,
    pub(super) mask: u64,
}

/// The sub-calls of `socketcall`, from 1 (linux/net.h).
const SOCKETCALL: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

/// The sub-calls of `ipc` (linux/ipc.h).
const IPC: [(&str, u64); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// Whether any architecture of Linux is known to have a call of that name.
pub fn is_known(name: &str) -> bool {
    CALLS.binary_search_by(|(known, _)| (*known).cmp(name)).is_ok() || ELSEWHERE.binary_search(&name).is_ok()
}
