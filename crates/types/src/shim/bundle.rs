//! What a container of an OCI runtime is made of: the `plan` of a [`Create`](super::Create) or [`Exec`](super::Exec) that the shim
//! does not execute itself but gives to a program with runc's command line.
//!
//! Such a plan begins with a version where those of `berth-container` have theirs, so that a shim which does not know it is
//! never asked ([`Peer::plans`](super::Peer)). Structs are frozen as those of the protocol are: what is to be changed is another
//! version.
//!
//! ```text
//! 0x100  Bundle    a container
//! 0x100  Process   a further process in any
//! 0x101  Mapped    a container of a pod with a user namespace
//! 0x102  Member    a container of a pod whose containers share a kernel of their own
//! 0x103  Task      a container by a shim of containerd's protocol
//! 0x104  Hooked    a container of the shim's own, with hooks
//! ```

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::CodecError;
use crate::hook::{Hook, Hooks};

/// The first two bytes of such plans, little-endian: far from the versions of `berth-container`.
pub const VERSIONS: [u16; 5] =
    [Bundle::VERSION, Mapped::VERSION, Member::VERSION, Task::VERSION, Hooked::VERSION];

/// What is a plan by itself.
pub trait Versioned: Serialize + DeserializeOwned {
    /// Its first two bytes.
    const VERSION: u16;
}

impl Versioned for Bundle {
    const VERSION: u16 = 0x100;
}

impl Versioned for Process {
    const VERSION: u16 = 0x100;
}

impl Versioned for Mapped {
    const VERSION: u16 = 0x101;
}

impl Versioned for Member {
    const VERSION: u16 = 0x102;
}

impl Versioned for Task {
    const VERSION: u16 = 0x103;
}

impl Versioned for Hooked {
    const VERSION: u16 = 0x104;
}

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
    /// The pod's user ids: in a [`Mapped`] alone.
    User,
}

/// A container of a pod with a user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapped {
    /// As without.
    pub bundle: Bundle,
    /// Who is given its streams: the host's ids of the user namespace's root, whom the runtime then can take them from for
    /// the container's user.
    pub owner: Owner,
}

/// A user and a group, as the host has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
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

/// A container that a shim makes which speaks containerd's protocol (its Task service): one for all containers of the pod, begun with
/// the first of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The container, with the shim's program in the place of the runtime's. Its directory has the container's id as its name.
    pub container: Bundle,
    /// The directories of the shim's own cgroup in all hierarchies, absolute, as those of
    /// [`Create::cgroup_dirs`](super::Create).
    pub cgroup_dirs: Vec<String>,
}

/// A container that the shim makes itself and that has hooks: they find it by a bundle, which nothing is made of. The descriptors
/// are those of the plan within.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooked {
    /// The plan of `berth-container`. Its root is a path.
    pub plan: Vec<u8>,
    /// The directory of the bundle and its configuration, for hooks to read; there is no runtime's program.
    pub bundle: Bundle,
    /// The hooks.
    pub hooks: Hooks,
    /// What hooks are told beside: the version of the specification, and the annotations.
    pub oci_version: String,
    /// The same, by name.
    pub annotations: Vec<(String, String)>,
}

/// File name, in a [`Hooked`]'s bundle, of the [`Poststop`] that is to be done when the container is gone: written before its first
/// hook runs, and removed when all have run. Encoded as the records of [`record`](super::record) are.
pub const POSTSTOP: &str = "poststop";

/// What is to be run when a container is gone, by its shim, or by the daemon where that is dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poststop {
    /// The hooks.
    pub hooks: Vec<Hook>,
    /// What they are told: the state of the container, as JSON.
    pub state: Vec<u8>,
}

/// What a plan makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Container {
    /// A container of the host's kernel.
    Plain(Bundle),
    /// The same, in a user namespace.
    Mapped(Mapped),
    /// A container of its pod's own kernel.
    Member(Member),
    /// A container by a shim that others wrote.
    Task(Task),
    /// A container of the shim's own.
    Hooked(Hooked),
}

/// A further process in such a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// `process` of the specification, as the text of a file.
    pub text: String,
}

/// Whether a plan is of this kind.
pub fn is_bundle(plan: &[u8]) -> bool {
    plan.first_chunk().is_some_and(|version| VERSIONS.contains(&u16::from_le_bytes(*version)))
}

/// One of these as a plan.
///
/// # Errors
/// It is larger than a frame may be.
pub fn encode<T: Versioned>(what: &T) -> Result<Vec<u8>, CodecError> {
    let bytes =
        postcard::to_extend(what, T::VERSION.to_le_bytes().to_vec()).map_err(CodecError::Malformed)?;
    if bytes.len() > super::MAX_FRAME { Err(CodecError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// The other way round; trailing bytes are refused.
///
/// # Errors
/// It is not such a plan.
pub fn decode<T: Versioned>(plan: &[u8]) -> Result<T, CodecError> {
    let malformed = || CodecError::Malformed(postcard::Error::DeserializeBadEncoding);
    let body = plan.strip_prefix(&T::VERSION.to_le_bytes()).ok_or_else(malformed)?;
    super::decode(body)
}

/// The plan of a container, of whichever kind.
///
/// # Errors
/// It is not the plan of one.
pub fn container(plan: &[u8]) -> Result<Container, CodecError> {
    match plan.first_chunk().map(|version| u16::from_le_bytes(*version)) {
        Some(Mapped::VERSION) => decode(plan).map(Container::Mapped),
        Some(Member::VERSION) => decode(plan).map(Container::Member),
        Some(Task::VERSION) => decode(plan).map(Container::Task),
        Some(Hooked::VERSION) => decode(plan).map(Container::Hooked),
        _ => decode(plan).map(Container::Plain),
    }
}

#[cfg(test)]
mod tests;
