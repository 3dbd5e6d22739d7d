//! Which images may be used: containers-policy.json(5), decided on what was fetched.
//!
//! ```text
//! policy      the file: scopes and what each requires      registries  registries.d: where signatures are
//! rule        what holds for one image, by its name        identity    whether a signature is for that name
//! openpgp     "simple signing": messages and keys          sigstore    keys, certificates and the log of sigstore
//! payload     what both of them sign
//! ```
//!
//! Nothing here asks a registry: whoever pulls fetches signatures and asks [`Rule::decide`] about the manifest that it
//! has in its hands. See docs/adr/0103-trust-in-images.md.

#![forbid(unsafe_code)]

mod identity;
mod json;
mod openpgp;
mod payload;
pub mod policy;
pub mod registries;
mod rule;
mod sigstore;

pub use policy::{Place, Policy, PolicyError};
pub use registries::Registries;
pub use rule::{Image, Refused, Rule, Signature, rule_for};

/// The largest file that is read: policies, keys, registries.d.
pub const MAX_FILE: u64 = 1 << 20;
