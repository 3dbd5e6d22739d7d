//! A profile: what to do with which system call.

use std::borrow::Cow;

use berth_types::{Classify, Kind};

use super::Arch;

/// The most rules of a profile. Docker's has fewer than a hundred.
pub const MAX_RULES: usize = 4096;
/// The most names in all rules together.
pub const MAX_NAMES: usize = 65_536;
/// The greatest error number that a system call returns.
pub const MAX_ERRNO: u32 = 4095;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The process is killed.
    KillProcess,
    /// The thread is killed.
    KillThread,
    /// The thread gets SIGSYS.
    Trap,
    /// The call fails with this error number.
    Errno(u16),
    /// A tracer decides, and gets this number.
    Trace(u16),
    /// The call is made, and logged.
    Log,
    /// The call is made.
    Allow,
}

impl Action {
    /// As a filter returns it (`SECCOMP_RET_*`).
    pub fn code(self) -> u32 {
        match self {
            Action::KillProcess => 0x8000_0000,
            Action::KillThread => 0,
            Action::Trap => 0x0003_0000,
            Action::Errno(number) => 0x0005_0000 | u32::from(number),
            Action::Trace(number) => 0x7ff0_0000 | u32::from(number),
            Action::Log => 0x7ffc_0000,
            Action::Allow => 0x7fff_0000,
        }
    }

    /// How much it denies: the kernel's own order, in which the most strict of several filters wins.
    pub fn strictness(self) -> u8 {
        match self {
            Action::KillProcess => 6,
            Action::KillThread => 5,
            Action::Trap => 4,
            Action::Errno(_) => 3,
            Action::Trace(_) => 2,
            Action::Log => 1,
            Action::Allow => 0,
        }
    }

    /// Whether the call is, or may be, made.
    pub fn permits(self) -> bool {
        matches!(self, Action::Allow | Action::Log | Action::Trace(_))
    }
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Not equal.
    Ne,
    /// Less than.
    Lt,
    /// Less than or equal.
    Le,
    /// Equal.
    Eq,
    /// Greater than or equal.
    Ge,
    /// Greater than.
    Gt,
    /// Equal under this mask.
    MaskedEq(u64),
}

/// A condition on one argument. Comparisons are unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Arg {
    /// Which argument, from 0 to 5.
    pub index: u8,
    /// What it is compared with.
    pub value: u64,
    /// How.
    pub op: Op,
}

/// What to do with some calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The calls.
    pub names: Vec<Cow<'static, str>>,
    /// What happens.
    pub action: Action,
    /// All must hold. Conditions on the same argument are alternatives instead, as in runc and crun:
    /// then each condition is a rule of its own.
    pub args: Vec<Arg>,
}

/// A whole profile.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Profile {
    /// For calls that no rule matches.
    pub default: Action,
    /// Whose calls are filtered beside the native ones; every other architecture's are killed.
    pub architectures: Vec<Arch>,
    /// What to tell the kernel with the filter.
    pub flags: Flags,
    /// The rules. Where several match, the most strict decides, whatever their order.
    pub rules: Vec<Rule>,
}

/// Flags of seccomp(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags {
    /// Log every action but `Allow`.
    pub log: bool,
    /// Leave the speculative store bypass mitigation off.
    pub spec_allow: bool,
}

impl Flags {
    /// As `SECCOMP_FILTER_FLAG_*`.
    pub fn bits(self) -> u32 {
        u32::from(self.log) << 1 | u32::from(self.spec_allow) << 2
    }
}

/// Why a profile is not supported.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The text is not a profile.
    #[error("seccomp profile is malformed")]
    Json(#[source] serde_json::Error),
    /// The text is too large.
    #[error("seccomp profile of {0} bytes is over the limit of {max}", max = super::MAX_PROFILE)]
    TooLarge(usize),
    /// A place in the profile has an invalid value.
    #[error("seccomp profile: {place}: {why}")]
    Invalid {
        /// Where, as a path in the profile: `syscalls[3].args[0].index`.
        place: String,
        /// The rule it breaks, with the value.
        why: String,
    },
    /// A place in the profile asks for something that Berth does not support.
    #[error("seccomp profile: {place} is not supported: {why}")]
    Unsupported {
        /// Where, as a path in the profile.
        place: String,
        /// What is missing.
        why: String,
    },
    /// The filter is longer than the kernel takes.
    #[error("seccomp profile: the filter needs {0} instructions, the kernel takes {max}", max = super::MAX_PROGRAM)]
    TooLong(usize),
}

impl SeccompError {
    pub(super) fn invalid(place: impl Into<String>, why: impl Into<String>) -> SeccompError {
        SeccompError::Invalid { place: place.into(), why: why.into() }
    }

    pub(super) fn unsupported(place: impl Into<String>, why: impl Into<String>) -> SeccompError {
        SeccompError::Unsupported { place: place.into(), why: why.into() }
    }
}

impl Classify for SeccompError {
    fn kind(&self) -> Kind {
        match self {
            SeccompError::Json(_) | SeccompError::Invalid { .. } => Kind::Invalid,
            SeccompError::Unsupported { .. } => Kind::Unsupported,
            SeccompError::TooLarge(_) | SeccompError::TooLong(_) => Kind::Exhausted,
        }
    }
}
