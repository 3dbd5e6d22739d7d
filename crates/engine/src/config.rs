//! How an engine is set up. The composition root fills this in; nothing here has a default of
//! its own, so that a value is decided in one place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_sys::rlimit::Limit;

use crate::model::Owner;

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The instance's name; empty is the only one. Findings and log lines name it.
    pub instance: String,
    /// What survives a reboot: images, leases. One lock per root.
    pub root: PathBuf,
    /// What does not: pods' records, sockets, namespace files.
    pub state: PathBuf,
    /// Who manages cgroups.
    pub cgroup_driver: CgroupDriver,
    /// The cgroup for shims and for pods without a parent of their own: `/berth`. It is looked into under systemd too, for what
    /// an earlier daemon made.
    pub cgroup_root: String,
    /// The same where systemd manages cgroups: a slice, `berth.slice`.
    pub cgroup_slice: String,
    /// Handlers by name, beside `native` and those that are found.
    pub handlers: BTreeMap<String, PathBuf>,
    /// Directories in which runc, crun and runsc are looked for, in this order.
    pub handler_dirs: Vec<PathBuf>,
    /// What the empty handler means for a new pod.
    pub default_handler: String,
    /// Directories with files of the Container Device Interface, of which a later one counts more.
    pub cdi_dirs: Vec<PathBuf>,
    /// Directories with files of hooks (oci-hooks(5)), of which a later one counts more.
    pub hooks_dirs: Vec<PathBuf>,
    /// How images are found and unpacked.
    pub images: ImageConfig,
    /// The network of CRI pods.
    pub cri_network: NetworkChoice,
    /// The network of local pods.
    pub local_network: NetworkChoice,
    /// The built-in network, where it is chosen.
    pub builtin: BuiltinNetwork,
    /// The network by CNI plugins, where it is chosen.
    pub cni: CniNetwork,
    /// The shim's program, to be run from a sealed memory file.
    pub shim: &'static [u8],
    /// The limit of open files that shims get, and so containers without one of their own; none leaves
    /// them the daemon's, which a daemon raises for itself.
    pub open_files: Option<Limit>,
}

/// Who manages cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupDriver {
    /// systemd where it is the first process and cgroup v2 is alone, else this program.
    Auto,
    /// This program.
    Cgroupfs,
    /// systemd, or the engine does not open.
    Systemd,
}

/// How images are found and unpacked.
#[derive(Debug, Clone, Default)]
pub struct ImageConfig {
    /// Registries for names without a host, tried in order: `docker.io`. Empty refuses short names.
    pub short_name_hosts: Vec<String>,
    /// Directories with `HOST/hosts.toml`, the first that has the host wins.
    pub certs_dirs: Vec<PathBuf>,
    /// The program and first arguments that unpack a layer in a process of its own.
    pub unpacker: Vec<PathBuf>,
    /// Images that the program carries in itself.
    pub builtin: Vec<BuiltinImage>,
}

/// An image that the program carries in itself.
#[derive(Debug, Clone, Copy)]
pub struct BuiltinImage {
    /// Its name, complete: `berth.local/demo:latest`.
    pub name: &'static str,
    /// An OCI or docker archive.
    pub archive: &'static [u8],
}

/// Which network pods of one owner get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkChoice {
    /// The built-in bridge network.
    Builtin,
    /// CNI plugins.
    Cni,
    /// Loopback only.
    None,
}

/// The built-in network.
#[derive(Debug, Clone)]
pub struct BuiltinNetwork {
    /// The bridge's name, at most 15 characters.
    pub bridge: String,
    /// The nftables table.
    pub table: String,
    /// IPv4 addresses of pods: `10.88.0.0/16`.
    pub cidr4: String,
    /// IPv4 addresses of services; empty lets the network choose.
    pub services4: String,
}

/// The network by CNI plugins.
#[derive(Debug, Clone)]
pub struct CniNetwork {
    /// The directory of configurations; it may be made later.
    pub conf_dir: PathBuf,
    /// The directories of plugins, searched in order.
    pub bin_dirs: Vec<PathBuf>,
}

/// What may change while an engine is open.
#[derive(Debug, Clone)]
pub struct Live {
    /// As [`ImageConfig::certs_dirs`].
    pub certs_dirs: Vec<PathBuf>,
    /// As [`ImageConfig::short_name_hosts`].
    pub short_name_hosts: Vec<String>,
    /// As [`EngineConfig::cdi_dirs`].
    pub cdi_dirs: Vec<PathBuf>,
    /// As [`EngineConfig::hooks_dirs`].
    pub hooks_dirs: Vec<PathBuf>,
    /// As [`EngineConfig::cni`].
    pub cni: CniNetwork,
}

impl EngineConfig {
    /// The network of pods of `owner`.
    pub fn network(&self, owner: Owner) -> NetworkChoice {
        match owner {
            Owner::Cri => self.cri_network,
            Owner::Local => self.local_network,
        }
    }
}
