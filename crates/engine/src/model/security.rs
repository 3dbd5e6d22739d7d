//! Security settings of sandboxes and containers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which seccomp profile filters system calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeccompChoice {
    /// None.
    #[default]
    Unconfined,
    /// Berth's default profile.
    Default,
    /// A JSON profile in a file of the host.
    Localhost(PathBuf),
    /// A JSON profile, which a plugin gives: also a privileged container has it.
    Rules(String),
}

/// An SELinux label.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelinuxLabel {
    /// user
    pub user: String,
    /// role
    pub role: String,
    /// type
    pub kind: String,
    /// level
    pub level: String,
}

/// Which supplementary groups a process gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupsPolicy {
    /// Those asked for and those of the user in the image's /etc/group.
    #[default]
    Merge,
    /// Only those asked for.
    Strict,
}

/// Who a container's process runs as. None asks the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum User {
    /// A numeric user.
    Id(u32),
    /// A name, which must be in the image's /etc/passwd.
    Name(String),
}

/// Security settings of the sandbox itself. Without a pause process they bind only what containers inherit: what
/// would bind a process of the sandbox (its user, seccomp) is not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxSecurity {
    /// Whether the pod may hold privileged containers.
    pub privileged: bool,
    /// SELinux label of the pod; refused where SELinux is in force.
    pub selinux: Option<SelinuxLabel>,
}

/// The word for the runtime's own AppArmor profile.
pub const APPARMOR_DEFAULT: &str = "runtime/default";
/// The name that means no AppArmor profile.
pub const APPARMOR_UNCONFINED: &str = "unconfined";

/// Security settings of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSecurity {
    /// All capabilities, all devices, no seccomp, no default AppArmor profile, no masked paths.
    pub privileged: bool,
    /// Capabilities added to the default set, without `CAP_`; `ALL` is all.
    pub add_capabilities: Vec<String>,
    /// Capabilities dropped from the default set; `ALL` is all.
    pub drop_capabilities: Vec<String>,
    /// Capabilities added to the ambient set too.
    pub ambient_capabilities: Vec<String>,
    /// Who the process runs as.
    pub user: Option<User>,
    /// The group; needs a user.
    pub group: Option<u32>,
    /// Supplementary groups asked for.
    pub supplemental_groups: Vec<u32>,
    /// Which further groups it gets.
    pub groups_policy: GroupsPolicy,
    /// A read-only root file system.
    pub readonly_rootfs: bool,
    /// No privileges gained by execve.
    pub no_new_privs: bool,
    /// Paths hidden from the container.
    pub masked_paths: Vec<PathBuf>,
    /// Paths made read-only.
    pub readonly_paths: Vec<PathBuf>,
    /// The seccomp profile.
    pub seccomp: SeccompChoice,
    /// The AppArmor profile; None is one that was not asked for, [`APPARMOR_UNCONFINED`] none,
    /// [`APPARMOR_DEFAULT`] the runtime's own.
    pub apparmor: Option<String>,
    /// SELinux label of the process.
    pub selinux: Option<SelinuxLabel>,
}

#[cfg(test)]
mod tests;
