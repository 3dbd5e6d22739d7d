//! AppArmor and SELinux: what containers ask of them, and what they get on a host that has them (docs/adr/0078).
//!
//! An AppArmor profile is applied, or refused by its name. SELinux labels are not set yet: what asks for one is
//! refused where it would have to be, and the daemon reports that the others run without.

use crate::Engine;
use crate::error::EngineError;
use crate::model::{
    APPARMOR_DEFAULT, APPARMOR_UNCONFINED, ContainerConfig, ContainerSecurity, SandboxSecurity,
};
use crate::oci::HostFacts;

/// The name of the profile that containers get which name none.
pub(crate) const DEFAULT_PROFILE: &str = "berth-default";
/// The name of the module.
pub(crate) const APPARMOR: &str = "AppArmor";

/// A security module that is in force on this host, and what it does to containers that do not mention it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// `AppArmor` or `SELinux`.
    pub module: &'static str,
    /// Whether it confines them.
    pub confined: bool,
    /// The same in one word.
    pub reason: &'static str,
    /// And as a sentence.
    pub message: String,
}

impl Engine {
    /// The security modules that are in force on this host.
    pub fn confinements(&self) -> Vec<Confinement> {
        self.shared.apparmor.confinement().into_iter().chain(of_selinux(&self.shared.facts)).collect()
    }
}

/// AppArmor where it is in force, by how loading the default profile went; None is that it is being loaded.
pub(crate) fn of_apparmor(loaded: Option<&Result<(), String>>) -> Confinement {
    let (confined, reason, message) = match loaded {
        Some(Ok(())) => (
            true,
            "DefaultProfileLoaded",
            format!("containers that name no profile run in {DEFAULT_PROFILE}"),
        ),
        Some(Err(why)) => (
            false,
            "DefaultProfileNotLoaded",
            format!("it is in force and containers that name no profile run without one: {why}"),
        ),
        None => (false, "DefaultProfileLoading", "the default profile is being loaded".to_owned()),
    };
    Confinement { module: APPARMOR, confined, reason, message }
}

/// SELinux where it is in force.
pub(crate) fn of_selinux(host: &HostFacts) -> Option<Confinement> {
    let message =
        "it is in force and containers run in the domain of their shim: labels are not supported yet";
    host.selinux.then(|| Confinement {
        module: "SELinux",
        confined: false,
        reason: "NotSupportedYet",
        message: message.to_owned(),
    })
}

/// What a container wants of AppArmor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    /// No profile.
    Nothing,
    /// The runtime's own.
    Default {
        /// Whether it is asked for. Otherwise nothing is said.
        asked: bool,
    },
    /// One of the host.
    Named(&'a str),
}

/// What a container wants of AppArmor. The default profile is nothing to the privileged.
pub(crate) fn wanted(security: &ContainerSecurity) -> Wanted<'_> {
    match security.apparmor.as_deref() {
        Some(APPARMOR_UNCONFINED) => Wanted::Nothing,
        None | Some(APPARMOR_DEFAULT) if security.privileged => Wanted::Nothing,
        None => Wanted::Default { asked: false },
        Some(APPARMOR_DEFAULT | DEFAULT_PROFILE) => Wanted::Default { asked: true },
        Some(name) => Wanted::Named(name),
    }
}

/// What there is for a container that wants a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Has {
    /// AppArmor is not in force.
    Nothing,
    /// It is.
    AppArmor {
        /// Whether the profile is loaded, or why not.
        loaded: Result<(), String>,
        /// Whether the pod's shim is new enough to set profiles.
        shim_can: bool,
    },
}

/// What a container gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// No profile, as requested.
    Nothing,
    /// This one.
    Profile(String),
    /// None, since the container did not mention it and the default one is not available. It is logged.
    Without(String),
}

/// What a container gets that wants this and finds that. What was asked for is given or refused; a profile that the pod's
/// shim cannot set is refused where requests are sent (`Peer::knows`).
pub(crate) fn decide(wanted: Wanted<'_>, has: Has) -> Result<Given, EngineError> {
    let refused = |message: String| Err(EngineError::unsupported("apparmor", message));
    match (wanted, has) {
        (Wanted::Nothing, _) | (Wanted::Default { .. }, Has::Nothing) => Ok(Given::Nothing),
        (Wanted::Named(name), Has::Nothing) => {
            refused(format!("profile {name:?} needs AppArmor, which is not in force on this host"))
        }
        (Wanted::Default { asked: false }, Has::AppArmor { loaded: Err(why), .. }) => Ok(Given::Without(why)),
        (Wanted::Default { asked: false }, Has::AppArmor { shim_can: false, .. }) => {
            Ok(Given::Without("the shim of its pod is of an older Berth".to_owned()))
        }
        (Wanted::Default { asked: true }, Has::AppArmor { loaded: Err(why), .. }) => {
            refused(format!("the default profile is not available: {why}"))
        }
        (Wanted::Named(_), Has::AppArmor { loaded: Err(why), .. }) => refused(why),
        (Wanted::Default { .. }, Has::AppArmor { loaded: Ok(()), .. }) => {
            Ok(Given::Profile(DEFAULT_PROFILE.to_owned()))
        }
        (Wanted::Named(name), Has::AppArmor { loaded: Ok(()), .. }) => Ok(Given::Profile(name.to_owned())),
    }
}

/// Refuses the label that a sandbox asks for and would not get.
pub(crate) fn sandbox(security: &SandboxSecurity, host: &HostFacts) -> Result<(), EngineError> {
    if host.selinux && security.selinux.is_some() {
        return Err(EngineError::unsupported("selinux_options", LABELS));
    }
    Ok(())
}

/// Refuses the label that a container asks for and would not get.
pub(crate) fn container(config: &ContainerConfig, host: &HostFacts) -> Result<(), EngineError> {
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

#[cfg(test)]
mod tests;
