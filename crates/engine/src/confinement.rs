//! AppArmor and SELinux: what containers ask of them, and what is done on a host that has them.
//!
//! Berth sets no AppArmor profile and no SELinux label yet. What is requested by name is refused where it would have
//! to be set; a container that asks for nothing runs, unconfined by them, and the daemon says so (docs/adr/0003).

use crate::Engine;
use crate::error::EngineError;
use crate::model::{
    APPARMOR_DEFAULT, APPARMOR_UNCONFINED, ContainerConfig, ContainerSecurity, SandboxSecurity,
};
use crate::oci::HostFacts;

/// A security module of the host that does not confine containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfined {
    /// `AppArmor` or `SELinux`.
    pub module: &'static str,
    /// What that means, as a sentence.
    pub message: &'static str,
}

/// The security modules that are enabled, and that do not apply to containers that request nothing.
pub(crate) fn unconfined(host: &HostFacts) -> Vec<Unconfined> {
    let apparmor = Unconfined {
        module: "AppArmor",
        message: "it is enabled, but containers run without a profile: the default one is not supported yet",
    };
    let selinux = Unconfined {
        module: "SELinux",
        message: "it is enabled, but containers run in the domain of their shim: labels are not supported yet",
    };
    let modules = [(host.apparmor, apparmor), (host.selinux, selinux)];
    modules.into_iter().filter(|(in_force, _)| *in_force).map(|(_, module)| module).collect()
}

impl Engine {
    /// The security modules of the host that do not confine containers.
    pub fn unconfined(&self) -> Vec<Unconfined> {
        unconfined(&self.shared.facts)
    }
}

/// Refuses what a sandbox requests and would not get.
pub(crate) fn sandbox(security: &SandboxSecurity, host: &HostFacts) -> Result<(), EngineError> {
    if host.selinux && security.selinux.is_some() {
        return Err(EngineError::unsupported("selinux_options", LABELS));
    }
    Ok(())
}

/// Refuses what a container requests and would not get.
pub(crate) fn container(config: &ContainerConfig, host: &HostFacts) -> Result<(), EngineError> {
    apparmor(&config.security, host)?;
    // A label has no effect on a privileged container, as the CRI says; one on files has.
    let labelled = config.security.selinux.is_some() && !config.security.privileged;
    if host.selinux && labelled {
        return Err(EngineError::unsupported("selinux_options", LABELS));
    }
    if host.selinux && config.mounts.iter().any(|mount| mount.selinux_relabel) {
        return Err(EngineError::unsupported("mounts.selinux_relabel", LABELS));
    }
    Ok(())
}

const LABELS: &str = "SELinux labels are not supported yet";

/// The default profile has no effect on privileged containers, nor where AppArmor is not enabled.
fn apparmor(security: &ContainerSecurity, host: &HostFacts) -> Result<(), EngineError> {
    let message = match security.apparmor.as_deref() {
        None | Some(APPARMOR_UNCONFINED) => return Ok(()),
        Some(APPARMOR_DEFAULT) if security.privileged || !host.apparmor => return Ok(()),
        Some(APPARMOR_DEFAULT) => {
            "the default profile is not supported yet; use Unconfined, or leave it out".to_owned()
        }
        Some(profile) if host.apparmor => {
            format!("profiles are not supported yet, so not {profile:?}; use Unconfined, or leave it out")
        }
        Some(profile) => format!("profile {profile:?} needs AppArmor, which is not in force on this host"),
    };
    Err(EngineError::unsupported("apparmor", message))
}

#[cfg(test)]
mod tests;
