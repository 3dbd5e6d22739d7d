//! A file of devices: the form that the specification gives it, in JSON or YAML. Unknown fields are refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::check;

/// The largest file.
pub const MAX_BYTES: u64 = 4 << 20;

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// The version of the specification.
    pub cdi_version: String,
    /// `vendor.com/class`.
    pub kind: String,
    /// For whoever reads the file.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// The devices, at least one.
    pub devices: Vec<Device>,
    /// What changes with any of them.
    #[serde(default)]
    pub container_edits: Edits,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// For whoever reads the file.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// What changes with it.
    pub container_edits: Edits,
}

/// What changes in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Edits {
    /// Variables, `NAME=VALUE`.
    pub env: Vec<String>,
    /// Device nodes.
    pub device_nodes: Vec<DeviceNode>,
    /// Interfaces of the host.
    pub net_devices: Vec<NetDevice>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Programs of the host that are run on the way.
    pub hooks: Vec<Hook>,
    /// Settings of the cache and of memory bandwidth.
    pub intel_rdt: Option<IntelRdt>,
    /// Further groups of the container's process. 0 means nothing.
    pub additional_gids: Vec<u32>,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceNode {
    /// Where it appears.
    pub path: PathBuf,
    /// Where it is on the host; at `path` if this is empty.
    #[serde(default)]
    pub host_path: PathBuf,
    /// `b`, `c`, `u` or `p`; as the host has it if this is empty.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// As the host has it if this is 0.
    #[serde(default)]
    pub major: i64,
    /// As the host has it if this is 0.
    #[serde(default)]
    pub minor: i64,
    /// As the host has it if this is missing.
    pub file_mode: Option<u32>,
    /// Any of `r`, `w` and `m`, or `none`; empty means all.
    #[serde(default)]
    pub permissions: String,
    /// The owner, as the container sees it; missing means the container's user.
    pub uid: Option<u32>,
    /// The group, in the same way.
    pub gid: Option<u32>,
}

impl DeviceNode {
    /// Where it is on the host.
    pub fn source(&self) -> &Path {
        if self.host_path.as_os_str().is_empty() { &self.path } else { &self.host_path }
    }
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// What appears.
    pub host_path: PathBuf,
    /// Where.
    pub container_path: PathBuf,
    /// Its options, as OCI's.
    #[serde(default)]
    pub options: Vec<String>,
    /// The file system; anything for bind mounts.
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// A program of the host that is run on the way, as OCI's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    /// When.
    pub hook_name: String,
    /// The program.
    pub path: PathBuf,
    /// Its arguments, the first of which is its name.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its environment.
    #[serde(default)]
    pub env: Vec<String>,
    /// In seconds.
    pub timeout: Option<i64>,
}

/// An interface of the host that goes into the container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetDevice {
    /// Its name on the host.
    pub host_interface_name: String,
    /// Its name in the container.
    pub name: String,
}

/// resctrl(5) settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntelRdt {
    /// The class of service.
    #[serde(rename = "closID")]
    pub clos_id: String,
    /// Of the cache.
    #[serde(rename = "l3CacheSchema")]
    pub l3_cache_schema: String,
    /// Of the bandwidth.
    #[serde(rename = "memBwSchema")]
    pub mem_bw_schema: String,
    /// Of anything.
    pub schemata: Option<Vec<String>>,
    /// Whether it is measured.
    #[serde(rename = "enableMonitoring")]
    pub enable_monitoring: bool,
    /// Of before 1.1.0, which no longer means anything.
    #[serde(rename = "enableCMT")]
    pub enable_cmt: bool,
    /// The same.
    #[serde(rename = "enableMBM")]
    pub enable_mbm: bool,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what the specification describes; with line and column where that is known.
    #[error("{}: {why}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It says something that may not be said.
    #[error("{}: {field}: {why}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// Where in it.
        field: String,
        /// What is wrong.
        why: String,
    },
}

impl Spec {
    /// Whether a file with this name is one.
    pub fn is_file(path: &Path) -> bool {
        path.extension().is_some_and(|ending| ending == "json" || ending == "yaml")
    }

    /// Reads a file and checks it.
    ///
    /// # Errors
    /// See [`SpecError`].
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let read = |source| SpecError::Read { path: path.to_owned(), source };
        let bytes = berth_sys::fs::read_regular(path, MAX_BYTES).map_err(read)?;
        Self::parse(path, &bytes)
    }

    /// The same of a file's content.
    ///
    /// # Errors
    /// See [`SpecError`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, SpecError> {
        let wrong = |why: String| SpecError::Syntax { path: path.to_owned(), why };
        let spec: Self = if path.extension().is_some_and(|ending| ending == "json") {
            serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?
        } else {
            let text = std::str::from_utf8(bytes).map_err(|e| wrong(e.to_string()))?;
            // Modes are written 0644, as others read them.
            let options = serde_saphyr::options! { legacy_octal_numbers: true };
            let read = serde_saphyr::from_str_with_options(text, options);
            read.map_err(|e: serde_saphyr::Error| wrong(e.without_snippet().to_string()))?
        };
        match check::check(&spec) {
            Ok(()) => Ok(spec),
            Err((field, why)) => Err(SpecError::Field { path: path.to_owned(), field, why }),
        }
    }
}

#[cfg(test)]
mod tests;
