//! Seccomp: from a profile to the filter that the kernel runs before each system call.
//!
//! ```text
//! default_profile --+
//! parse (JSON) -----+--> Profile --compile--> Program --> Plan --> loaded by the child
//! OCI bundle -------+
//! ```
//!
//! The compiler is pure and written here, checked against libseccomp in tests. Its rules, where the OCI
//! runtime specification leaves them open, are in docs/adr/0012: the strictest of the rules that match
//! decides; an unknown name is ignored only where that weakens nothing; calls that are newer
//! than the profile fail with `ENOSYS`, as under runc.

mod arch;
mod cache;
mod compile;
mod default;
mod emit;
mod json;
mod oci;
mod profile;
mod table;

pub use arch::{Arch, is_known};
pub use cache::Cache;
pub use compile::compile;
pub use default::default_profile;
pub use emit::Insn;
pub use json::{Conditions, MAX_PROFILE, parse};
pub use profile::{Action, Arg, Flags, MAX_ERRNO, MAX_NAMES, MAX_RULES, Op, Profile, Rule, SeccompError};

/// The most instructions of a filter (`BPF_MAXINSNS`).
pub const MAX_PROGRAM: usize = 4096;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its instructions.
    pub instructions: Vec<Insn>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

impl Program {
    /// As a plan carries it: each `struct sock_filter` as the native `u64` of its bytes.
    pub fn encode(&self) -> crate::plan::Seccomp {
        crate::plan::Seccomp {
            filter: self.instructions.iter().map(|i| i.encode()).collect(),
            flags: self.flags,
        }
    }
}

#[cfg(test)]
mod tests;
