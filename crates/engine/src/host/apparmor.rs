//! The host's AppArmor: the default profile of containers, which the daemon keeps loaded, and the profiles of
//! others, which are only looked for (ADR 0078).

use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use berth_sys::apparmor;
use oci_spec::runtime::Process;

use crate::confinement::{self, APPARMOR, Confinement, DEFAULT_PROFILE, Given, Has, Wanted};
use crate::error::EngineError;
use crate::host::helper;
use crate::model::ContainerSecurity;

/// The default profile, as apparmor.d(5) has it.
const TEXT: &str = include_str!("apparmor/berth-default");
/// Where distributions put the program that compiles and loads profiles. It is not looked for anywhere else: what it is
/// given to load confines containers.
const PARSERS: [&str; 3] = ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser", "/usr/bin/apparmor_parser"];
/// The longest that loading may take: a hundred times the usual.
const LIMIT: Duration = Duration::from_secs(15);
/// How long a failure stands before it is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// The host's AppArmor.
#[derive(Debug)]
pub(crate) struct AppArmor {
    in_force: bool,
    /// Loading is done once for all that wait for it.
    loading: tokio::sync::Mutex<()>,
    last: std::sync::Mutex<Option<Attempt>>,
}

/// How loading the default profile went the last time.
#[derive(Debug, Clone)]
struct Attempt {
    at: Instant,
    outcome: Result<(), String>,
}

impl AppArmor {
    /// That of this host.
    pub(crate) fn of_host() -> Self {
        let in_force = apparmor::in_force();
        if !in_force && apparmor::is_enabled() {
            tracing::warn!(
                "AppArmor is out of reach, /sys/kernel/security is not mounted: containers get no profile"
            );
        }
        Self { in_force, loading: Default::default(), last: Default::default() }
    }

    /// Loads the default profile, so that no container waits for it. A daemon replaces what one of before has loaded, also
    /// for the containers that run.
    pub(crate) async fn prepare(&self) {
        if self.in_force {
            drop(self.default_profile().await);
        }
    }

    /// What it does to containers without a word about it; None where it is not in force.
    pub(crate) fn confinement(&self) -> Option<Confinement> {
        let outcome = self.last().map(|attempt| attempt.outcome);
        self.in_force.then(|| confinement::of_apparmor(outcome.as_ref()))
    }

    /// The profile of a new container, whose shim can give it one or not.
    pub(crate) async fn profile(
        &self,
        security: &ContainerSecurity,
        shim_can: bool,
    ) -> Result<Option<String>, EngineError> {
        let wanted = confinement::wanted(security);
        let has = match wanted {
            _ if !self.in_force => Has::Nothing,
            Wanted::Nothing => return Ok(None),
            Wanted::Default { .. } => Has::AppArmor { loaded: self.default_profile().await, shim_can },
            Wanted::Named(name) => Has::AppArmor { loaded: loaded(name).await, shim_can },
        };
        match confinement::decide(wanted, has)? {
            Given::Nothing => Ok(None),
            Given::Profile(name) => Ok(Some(name)),
            Given::Without(why) => {
                tracing::warn!(why, "a container runs without an AppArmor profile");
                Ok(None)
            }
        }
    }

    /// Loads the default profile again if something has removed it since the container of this process was made.
    /// (aa-remove-unknown removes what has no file in /etc.) Without it the process is refused by the kernel, which says why.
    pub(crate) async fn keep_loaded(&self, process: &Process) {
        if self.in_force && process.apparmor_profile().as_deref() == Some(DEFAULT_PROFILE) {
            drop(self.default_profile().await);
        }
    }

    fn last(&self) -> Option<Attempt> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The default profile is loaded when this returns, or why not.
    async fn default_profile(&self) -> Result<(), String> {
        let _alone = self.loading.lock().await;
        let last = self.last();
        match &last {
            Some(Attempt { outcome: Ok(()), .. }) if loaded(DEFAULT_PROFILE).await.is_ok() => return Ok(()),
            Some(Attempt { outcome: Err(why), at }) if at.elapsed() < AGAIN => return Err(why.clone()),
            Some(_) | None => {}
        }
        let outcome = match load().await {
            Ok(()) => Ok(()),
            // That of an earlier daemon confines as well.
            Err(why) if loaded(DEFAULT_PROFILE).await.is_ok() => {
                tracing::warn!(why, "the default AppArmor profile stays as it was loaded before");
                Ok(())
            }
            Err(why) => Err(why),
        };
        tell(last.map(|attempt| attempt.outcome).as_ref(), &outcome);
        let attempt = Attempt { at: Instant::now(), outcome: outcome.clone() };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(attempt);
        outcome
    }
}

/// Says what has changed.
fn tell(before: Option<&Result<(), String>>, now: &Result<(), String>) {
    match (before, now) {
        (_, Ok(())) => tracing::info!(profile = DEFAULT_PROFILE, "the default AppArmor profile is loaded"),
        (Some(Err(before)), Err(why)) if before == why => {}
        (_, Err(why)) => {
            let message = confinement::of_apparmor(Some(&Err(why.clone()))).message;
            tracing::warn!(module = APPARMOR, "{message}");
        }
    }
}

/// Whether a profile is loaded, or why that is not so.
async fn loaded(name: &str) -> Result<(), String> {
    let wanted = name.to_owned();
    match tokio::task::spawn_blocking(move || apparmor::is_loaded(&wanted)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(format!("profile {name:?} is not loaded on this host")),
        Ok(Err(error)) => Err(format!("the kernel's list of profiles cannot be read: {error}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Has the default profile compiled and loaded.
async fn load() -> Result<(), String> {
    match PARSERS.iter().find(|parser| Path::new(parser).exists()) {
        Some(parser) => load_by(parser, LIMIT).await,
        None => Err("apparmor_parser is not installed".to_owned()),
    }
}

/// The same by this program.
async fn load_by(parser: &str, limit: Duration) -> Result<(), String> {
    // Its cache is for the files in /etc/apparmor.d.
    let arguments = ["--replace", "--skip-cache"].map(Into::into);
    helper::run(parser.as_ref(), &arguments, TEXT.as_bytes(), limit).await
}

#[cfg(test)]
mod tests;
