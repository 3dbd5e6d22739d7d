//! The OCI runtime in two halves: plan (pure) and run (executes a plan).
//!
//! ```text
//! runtime-spec + inputs --plan::plan--> Plan --run::create--> Prepared --start--> Running
//!                        (daemon)        |      (shim)
//!                                        +-- encoded, sent to the shim
//! ```
//!
//! A [`plan::Plan`] is a list of small, typed steps in the order in which they happen: everything is
//! resolved, nothing is left to find out but what only the kernel can say. Each setting of the
//! runtime specification is applied or refused by name. See docs/adr/0001 and docs/adr/0003.

pub mod hook;
pub mod plan;
pub mod run;
pub mod said;
#[cfg(feature = "plan")]
pub mod seccomp;
