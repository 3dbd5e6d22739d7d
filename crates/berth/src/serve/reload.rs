//! What becomes of a configuration that is read again while the daemon runs (SIGHUP).

use std::path::PathBuf;

use anyhow::Context as _;
use berth_engine::{CniNetwork, Engine, Live};
use berth_types::error::chain;
use berth_types::setting::{Change, KEYS, Key};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::logging::Level;
use super::settings::{Given, Layers, Settings, SettingsError};

/// A configuration that can be read again.
#[derive(Debug)]
pub(super) struct Reload {
    pub(super) flags: Given,
    pub(super) path: Option<PathBuf>,
    /// What the daemon runs with.
    pub(super) running: Layers,
    pub(super) level: Level,
}

/// A setting that is now another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Changed {
    key: &'static str,
    from: String,
    to: String,
    change: Change,
}

impl Reload {
    /// Reads it again each time that the process is told to.
    pub(super) fn begin(mut self, engine: Engine) -> anyhow::Result<()> {
        let mut told: Signal = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
        tokio::spawn(async move {
            while told.recv().await.is_some() {
                self.again(&engine).await;
            }
        });
        Ok(())
    }

    async fn again(&mut self, engine: &Engine) {
        let (flags, path) = (self.flags.clone(), self.path.clone());
        let read = move || -> Result<_, SettingsError> {
            let layers = Layers::read(&flags, path.as_deref())?;
            let settings = layers.resolve()?;
            Ok((layers, settings))
        };
        let (layers, settings) = match tokio::task::spawn_blocking(read).await {
            Ok(Ok(read)) => read,
            Ok(Err(SettingsError::Files(problems))) => {
                for problem in &problems {
                    tracing::error!(place = %problem.place, why = problem.message, "mistake in the configuration");
                }
                tracing::error!("the configuration was not changed");
                return;
            }
            Ok(Err(error)) => {
                tracing::error!(error = chain(&error), "the configuration was not changed");
                return;
            }
            Err(error) => {
                tracing::error!(%error, "the configuration was not read again");
                return;
            }
        };
        let changes = changes(&self.running, &layers);
        self.apply(engine, &settings).await;
        for changed in &changes {
            let Changed { key, from, to, change } = changed;
            match change {
                Change::Reload => tracing::info!("{key}: changed from {from} to {to}"),
                Change::Start => {
                    tracing::info!("{key}: changed from {from} to {to}; takes effect at the next start");
                }
            }
        }
        if changes.is_empty() {
            tracing::info!("the configuration was read again: nothing has changed");
        }
        self.running.take(&layers, Change::Reload);
    }

    async fn apply(&self, engine: &Engine, settings: &Settings) {
        if let Err(error) = self.level.set(&settings.log_level) {
            tracing::error!(error, "the log level was not changed");
        }
        engine.set_image_policy(settings.image_gc);
        engine.change(live(settings)).await;
    }
}

/// What of the settings an engine takes while it runs.
pub(super) fn live(settings: &Settings) -> Live {
    Live {
        certs_dirs: settings.certs_dirs.clone(),
        short_name_hosts: settings.short_name_hosts.clone(),
        cdi_dirs: settings.cdi_dirs.clone(),
        hooks_dirs: settings.hooks_dirs.clone(),
        cni: CniNetwork { conf_dir: settings.cni_conf_dir.clone(), bin_dirs: settings.cni_bin_dirs.clone() },
    }
}

/// What differs.
fn changes(running: &Layers, read: &Layers) -> Vec<Changed> {
    let words = |layers: &Layers, key: &Key| match layers.value(key) {
        Some(value) => value.to_string(),
        None => key.standard.words().unwrap_or_else(|| "nothing".to_owned()),
    };
    let changed = |key: &'static Key| {
        let (from, to) = (words(running, key), words(read, key));
        (from != to).then_some(Changed { key: key.name, from, to, change: key.change })
    };
    KEYS.iter().filter_map(changed).collect()
}

#[cfg(test)]
mod tests;
