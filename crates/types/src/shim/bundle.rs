//! What a container of an OCI runtime is made of: the `plan` of a [`Create`](super::Create) or [`Exec`](super::Exec) that the shim
//! does not execute itself but gives to a program with runc's command line.
//!
//! Such a plan begins with [`VERSION`] where those of `berth-container` have theirs, so that a shim which does not know it is
//! never asked ([`Peer::plans`](super::Peer)). Structs are frozen as those of the protocol are: what is to be changed is another
//! version.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::CodecError;

/// The first two bytes of such a plan, little-endian: far from the versions of `berth-container`.
pub const VERSION: u16 = 0x100;
/// The same of a [`Member`].
pub const MEMBER: u16 = 0x101;

/// A container that a runtime makes from a bundle on the disk (OCI runtime-spec, bundle.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The runtime's program, absolute.
    pub runtime: String,
    /// The bundle's directory, absolute. Its root file system is mounted; the shim writes `config.json`.
    pub dir: String,
    /// The text of that file, with places for what only the shim knows.
    pub config: Vec<Piece>,
}

/// A part of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// The path by which the runtime finds a namespace of the pod.
    Namespace(Namespace),
}

/// A namespace that the shim holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    /// The pod's network.
    Network,
    /// The pod's System V IPC and message queues.
    Ipc,
    /// The pod's host name.
    Uts,
    /// The process ids that [`Create::pid_space`](super::Create) names.
    Pid,
}

/// A container of a pod whose containers share a kernel of their own: a program with gVisor's command line makes it in the
/// pod's sandbox, and that with the first of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What the sandbox is begun with: a container that only waits.
    pub sandbox: Bundle,
    /// The directories of the sandbox's cgroup in all hierarchies, absolute, as those of
    /// [`Create::cgroup_dirs`](super::Create).
    pub cgroup_dirs: Vec<String>,
    /// What the program is given before every verb.
    pub options: Vec<String>,
    /// The container.
    pub container: Bundle,
}

/// A further process in such a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// `process` of the specification, as the text of a file.
    pub text: String,
}

/// Whether a plan is of this kind.
pub fn is_bundle(plan: &[u8]) -> bool {
    plan.starts_with(&VERSION.to_le_bytes())
}

/// Whether it is a [`Member`].
pub fn is_member(plan: &[u8]) -> bool {
    plan.starts_with(&MEMBER.to_le_bytes())
}

/// A [`Bundle`] or [`Process`] as a plan.
///
/// # Errors
/// It is larger than a frame may be.
pub fn encode<T: Serialize>(what: &T) -> Result<Vec<u8>, CodecError> {
    encode_as(VERSION, what)
}

/// A [`Member`] as a plan.
///
/// # Errors
/// As [`encode`].
pub fn encode_member(member: &Member) -> Result<Vec<u8>, CodecError> {
    encode_as(MEMBER, member)
}

fn encode_as<T: Serialize>(version: u16, what: &T) -> Result<Vec<u8>, CodecError> {
    let bytes = postcard::to_extend(what, version.to_le_bytes().to_vec()).map_err(CodecError::Malformed)?;
    if bytes.len() > super::MAX_FRAME { Err(CodecError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// The other way round; trailing bytes are refused.
///
/// # Errors
/// It is not a plan of this kind.
pub fn decode<T: DeserializeOwned>(plan: &[u8]) -> Result<T, CodecError> {
    decode_as(VERSION, plan)
}

/// The same for a [`Member`].
///
/// # Errors
/// As [`decode`].
pub fn decode_member(plan: &[u8]) -> Result<Member, CodecError> {
    decode_as(MEMBER, plan)
}

fn decode_as<T: DeserializeOwned>(version: u16, plan: &[u8]) -> Result<T, CodecError> {
    let malformed = || CodecError::Malformed(postcard::Error::DeserializeBadEncoding);
    let body = plan.strip_prefix(&version.to_le_bytes()).ok_or_else(malformed)?;
    super::decode(body)
}

#[cfg(test)]
mod tests;
