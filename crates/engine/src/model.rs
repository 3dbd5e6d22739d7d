//! What callers ask the engine for and what they see.
//!
//! The configurations are also what is written to disk in a pod's record, so a restarted daemon
//! knows what was asked. Fields follow the CRI's meaning unless they say otherwise; what the CRI
//! leaves unset is `None` or empty here, never a magic value.

mod container;
mod resources;
mod sandbox;
mod security;
mod view;

pub use container::{
    ContainerConfig, ContainerMetadata, Device, DeviceNode, EnvVar, ImageSpec, ImageVolume, Mount,
    Propagation, Rlimit,
};
pub use resources::{HugepageLimit, Resources};
pub use sandbox::{
    Dns, IdMap, Names, NamespaceMode, Namespaces, Network, Owner, PidMode, PortMapping, Protocol,
    SandboxConfig, SandboxMetadata, UserNamespace,
};
pub use security::{
    APPARMOR_DEFAULT, APPARMOR_UNCONFINED, ContainerSecurity, GroupsPolicy, SandboxSecurity, SeccompChoice,
    SelinuxLabel, User,
};
pub use view::{ContainerUser, ContainerView, ExecOutput, ExitReason, ExitView, SandboxView};
