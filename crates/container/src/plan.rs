//! The plan of a container: what `run` executes, step by step.
//!
//! These types are what the daemon sends to the shim, encoded by postcard. [`plan`](fn@plan) makes
//! them out of an OCI runtime specification; a caller may as well build one by hand.

use serde::{Deserialize, Serialize};

#[cfg(feature = "plan")]
mod capability;
#[cfg(feature = "plan")]
mod devices;
#[cfg(feature = "plan")]
mod error;
#[cfg(feature = "plan")]
mod mounts;
#[cfg(feature = "plan")]
mod namespaces;
#[cfg(feature = "plan")]
mod options;
#[cfg(feature = "plan")]
mod parse;
mod process;
#[cfg(feature = "plan")]
mod process_of;
#[cfg(feature = "plan")]
mod resources;
mod scheduling;
#[cfg(feature = "plan")]
mod scheduling_of;
#[cfg(feature = "plan")]
mod spec;
mod step;

#[cfg(feature = "plan")]
pub use capability::{capability, capability_names};
#[cfg(feature = "plan")]
pub use error::PlanError;
#[cfg(feature = "plan")]
pub use options::mount_options;
#[cfg(feature = "plan")]
pub use parse::parse;
#[cfg(feature = "plan")]
pub use process_of::process;
#[cfg(feature = "plan")]
pub use resources::resources;
#[cfg(feature = "plan")]
pub use spec::{CgroupMount, Inputs, MAX_SPEC, cgroup_mounts, plan};

pub use process::{Capabilities, Identity, ProcessPlan, Rlimit, Seccomp, WindowSize};
pub use scheduling::{MemoryPolicy, Policy, Scheduling};
pub use step::{
    Attributes, Device, DeviceKind, Filesystem, IdMap, Mount, MountSource, Origin, Propagation, Step,
};

/// The versions of the encoding that this program executes. A plan is encoded as the oldest one that holds all of it, so
/// that shims of before are asked what they can do, and refuse nothing else.
pub const VERSIONS: [u16; 3] = [FIRST, PROFILED, SCHEDULED];
/// The version of all plans without what later ones brought.
const FIRST: u16 = 1;
/// The version that brought the AppArmor profile, which stands behind all that the first has.
pub const PROFILED: u16 = 2;
/// The version that brought how a process is scheduled. A profile or none, and this, stand behind all that the first has.
pub const SCHEDULED: u16 = 3;
/// The most bytes of an encoded plan.
pub const MAX_ENCODED: usize = 8 << 20;

/// Everything that makes a container, in the order in which it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Which namespaces the container gets.
    pub namespaces: Namespaces,
    /// The maps of the user namespace, if it is new or given; of one that is given they may be empty, and mounts of the
    /// same maps then get another with them.
    pub uid_map: Vec<IdMap>,
    /// The same for groups.
    pub gid_map: Vec<IdMap>,
    /// The root file system.
    pub root: Root,
    /// What happens inside the new namespaces before the container is reported as prepared.
    pub steps: Vec<Step>,
    /// The process.
    pub process: ProcessPlan,
}

/// The namespaces of a container. There is no way not to have a mount namespace of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Namespaces {
    /// User ids.
    pub user: Space,
    /// Process ids.
    pub pid: Space,
    /// Network.
    pub net: Space,
    /// System V IPC and POSIX message queues.
    pub ipc: Space,
    /// Host and domain name.
    pub uts: Space,
    /// The view of the cgroup hierarchy.
    pub cgroup: Space,
    /// Boot and monotonic clock, with offsets in nanoseconds.
    pub time: Option<ClockOffsets>,
}

/// The offsets of a new time namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClockOffsets {
    /// CLOCK_MONOTONIC: seconds and nanoseconds.
    pub monotonic: (i64, u32),
    /// CLOCK_BOOTTIME: seconds and nanoseconds.
    pub boottime: (i64, u32),
}

/// Where one namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Space {
    /// That of the process which runs the plan: the host's.
    #[default]
    Host,
    /// A new one.
    New,
    /// The one that the runner of the plan gives as a descriptor: the pod's. See `run::Given`.
    Given,
    /// The one that a file names, as the specification's `path`.
    Path(Vec<u8>),
}

/// The root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Where it comes from.
    pub source: RootSource,
    /// Whether it is read-only once everything in it is in place.
    pub readonly: bool,
    /// Propagation of the root mount.
    pub propagation: Propagation,
}

/// Where the root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootSource {
    /// A detached mount that the runner gives: `run::Given::root`.
    Given,
    /// A directory of the host.
    Path(Vec<u8>),
}

/// A plan that cannot be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// It is larger than [`MAX_ENCODED`].
    #[error("a plan of {0} bytes is over the limit of {MAX_ENCODED}")]
    TooLarge(usize),
    /// It was made by a Berth with another encoding.
    #[error("the plan has version {0}, this program knows those up to {SCHEDULED}")]
    Version(u16),
    /// The bytes are not a plan.
    #[error("malformed plan: {0}")]
    Malformed(postcard::Error),
}

/// What the first version does not have.
#[derive(Debug, Default)]
struct Later {
    profile: Option<String>,
    scheduling: Option<Box<Scheduling>>,
}

impl Later {
    fn of(process: &ProcessPlan) -> Self {
        Self { profile: process.apparmor.clone(), scheduling: process.scheduling.clone() }
    }

    fn give(self, process: &mut ProcessPlan) {
        (process.apparmor, process.scheduling) = (self.profile, self.scheduling);
    }
}

fn encode<T: Serialize>(what: &T, process: &ProcessPlan) -> Result<Vec<u8>, CodecError> {
    let Later { profile, scheduling } = Later::of(process);
    let version = match (&profile, &scheduling) {
        (_, Some(_)) => SCHEDULED,
        (Some(_), None) => PROFILED,
        (None, None) => FIRST,
    };
    let mut bytes =
        postcard::to_extend(what, version.to_le_bytes().to_vec()).map_err(CodecError::Malformed)?;
    bytes = match (profile, scheduling) {
        (profile, Some(scheduling)) => {
            postcard::to_extend(&(profile, scheduling), bytes).map_err(CodecError::Malformed)?
        }
        (Some(profile), None) => postcard::to_extend(&profile, bytes).map_err(CodecError::Malformed)?,
        (None, None) => bytes,
    };
    if bytes.len() > MAX_ENCODED { Err(CodecError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// What is encoded, and what came later.
fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, Later), CodecError> {
    if bytes.len() > MAX_ENCODED {
        return Err(CodecError::TooLarge(bytes.len()));
    }
    let (version, body) =
        bytes.split_first_chunk().ok_or(CodecError::Malformed(postcard::Error::DeserializeUnexpectedEnd))?;
    let version = u16::from_le_bytes(*version);
    let (what, rest) = match version {
        FIRST | PROFILED | SCHEDULED => postcard::take_from_bytes(body).map_err(CodecError::Malformed)?,
        other => return Err(CodecError::Version(other)),
    };
    let (later, rest) = match version {
        FIRST => (Later::default(), rest),
        PROFILED => {
            let (profile, rest) = postcard::take_from_bytes(rest).map_err(CodecError::Malformed)?;
            (Later { profile: Some(profile), scheduling: None }, rest)
        }
        _ => {
            let ((profile, scheduling), rest) =
                postcard::take_from_bytes(rest).map_err(CodecError::Malformed)?;
            (Later { profile, scheduling: Some(scheduling) }, rest)
        }
    };
    if rest.is_empty() {
        Ok((what, later))
    } else {
        Err(CodecError::Malformed(postcard::Error::DeserializeBadEncoding))
    }
}

impl Plan {
    /// The plan as bytes.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        encode(self, &self.process)
    }

    /// The plan in `bytes`; trailing bytes and other versions are refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (mut plan, later): (Self, _) = decode(bytes)?;
        later.give(&mut plan.process);
        Ok(plan)
    }
}

impl ProcessPlan {
    /// The plan as bytes.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        encode(self, self)
    }

    /// The plan in `bytes`; trailing bytes and other versions are refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (mut plan, later): (Self, _) = decode(bytes)?;
        later.give(&mut plan);
        Ok(plan)
    }
}

#[cfg(all(test, feature = "plan"))]
mod tests;
