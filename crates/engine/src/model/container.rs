//! A container as asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ContainerSecurity, IdMap, PidMode, Resources};

/// A container as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Its identity within the sandbox: a second request with the same metadata joins the first.
    pub metadata: ContainerMetadata,
    /// The image.
    pub image: ImageSpec,
    /// Replaces the image's entrypoint; empty keeps it.
    pub command: Vec<String>,
    /// Replaces the image's arguments; empty keeps them unless `command` is given.
    pub args: Vec<String>,
    /// The working directory; None is the image's.
    pub working_dir: Option<String>,
    /// Environment above the image's; the last of one name wins.
    pub envs: Vec<EnvVar>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Devices by the Container Device Interface, `vendor.com/class=device`; annotations that begin with `cdi.k8s.io/` name more.
    #[serde(default)]
    pub cdi_devices: Vec<String>,
    /// Given back unchanged.
    pub labels: BTreeMap<String, String>,
    /// Given back unchanged.
    pub annotations: BTreeMap<String, String>,
    /// The log file, relative to the sandbox's log directory; None logs nothing.
    pub log_path: Option<PathBuf>,
    /// Whether stdin stays open for clients to attach.
    pub stdin: bool,
    /// Whether stdin closes when the first client goes.
    pub stdin_once: bool,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Limits.
    pub resources: Resources,
    /// Security settings.
    pub security: ContainerSecurity,
    /// Whose PID namespace it is in.
    pub pid: PidMode,
    /// The signal that asks it to stop, as `SIGTERM` or a number; None is the image's, else SIGTERM.
    pub stop_signal: Option<String>,
    /// Limits of each of its processes; others are those of Berth's own.
    #[serde(default)]
    pub rlimits: Vec<Rlimit>,
    /// The most bytes that its writable layer may take; None is no limit. Not in the CRI, whose kubelet measures and evicts.
    #[serde(default)]
    pub storage_limit: Option<u64>,
}

/// A limit of single processes, as setrlimit(2) has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Its name in lower case, without `RLIMIT_`: `nofile`.
    pub kind: String,
    /// The limit in force.
    pub soft: u64,
    /// The limit up to which it may be raised.
    pub hard: u64,
}

/// The identity of a container in its sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerMetadata {
    /// The container's name.
    pub name: String,
    /// Counts the containers of one name.
    pub attempt: u32,
}

/// Which image, as the caller said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSpec {
    /// A name, an id or a digest of an image that is in the store.
    pub image: String,
    /// What the user wrote, to be given back; empty when unknown.
    pub user_specified: String,
    /// Given back unchanged.
    pub annotations: BTreeMap<String, String>,
}

/// An environment variable. Values are bytes: the kernel only requires that they contain no NUL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// The name, without `=`.
    pub name: String,
    /// The value.
    pub value: Vec<u8>,
}

/// A directory or file of the host in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it appears.
    pub container_path: PathBuf,
    /// What appears. A missing directory is created, as other runtimes do. Empty with `image`.
    pub host_path: PathBuf,
    /// An image that appears, instead of a path of the host.
    #[serde(default)]
    pub image: Option<ImageVolume>,
    /// What of `host_path` appears, instead of all of it: a relative path, whose links lead nowhere else. What is missing
    /// becomes a directory.
    #[serde(default)]
    pub sub_path: PathBuf,
    /// Read-only.
    pub readonly: bool,
    /// Read-only with everything mounted below it.
    pub recursive_readonly: bool,
    /// How later mounts travel.
    pub propagation: Propagation,
    /// Whether to set an SELinux label on it.
    pub selinux_relabel: bool,
    /// User ids of the source that appear as others, of the mounts below too; with `gids`.
    #[serde(default)]
    pub uids: Vec<IdMap>,
    /// The same for group ids.
    #[serde(default)]
    pub gids: Vec<IdMap>,
    /// Further options, such as `noexec`.
    #[serde(default)]
    pub options: Vec<String>,
}

impl Mount {
    /// A writable and private mount of `host_path` at `container_path`.
    pub fn new(host_path: impl Into<PathBuf>, container_path: impl Into<PathBuf>) -> Self {
        Self {
            container_path: container_path.into(),
            host_path: host_path.into(),
            image: None,
            sub_path: PathBuf::new(),
            readonly: false,
            recursive_readonly: false,
            propagation: Propagation::Private,
            selinux_relabel: false,
            uids: Vec::new(),
            gids: Vec::new(),
            options: Vec::new(),
        }
    }
}

/// An image as a volume. It cannot be written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageVolume {
    /// Which.
    pub image: ImageSpec,
    /// The directory or file in it that appears; empty for all of it.
    pub sub_path: PathBuf,
}

/// How later mounts travel between host and container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Not at all.
    Private,
    /// From the host to the container.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}

/// A device of the host in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Where it appears.
    pub container_path: PathBuf,
    /// The host's device, or a directory of devices.
    pub host_path: PathBuf,
    /// Any of `r`, `w`, `m`.
    pub permissions: String,
    /// How its node is made, instead of as the host has it. In a user namespace the host's own appears, and this says nothing.
    #[serde(default)]
    pub node: Option<DeviceNode>,
}

/// A device node of the container's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Its permissions; None is the host's.
    pub mode: Option<u32>,
    /// Its owner; None is the container's user.
    pub uid: Option<u32>,
    /// Its group; None is that of the container's user.
    pub gid: Option<u32>,
}
