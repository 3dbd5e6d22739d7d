//! Whether pods can be connected: the configuration, its programs, their versions and what they say of themselves.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::directory::{self, Found};
use super::error::CniError;
use super::list::{List, Network};
use super::plugin::Limit;
use super::request::{self, Command};
use super::{Cni, Places, lock};
use crate::network::{NOT_READY, NetworkStatus};

/// Between two looks while pods cannot be connected.
const LOOK: Duration = Duration::from_secs(10);
/// Between two STATUS calls while they can.
const ASK: Duration = Duration::from_secs(30);
/// The most files that a message names.
const MOST_NAMED: usize = 3;

/// What was found last.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// What the directory held; `None` before the first look.
    found: Option<Found>,
    network: Option<Arc<Network>>,
    /// Why pods cannot be connected.
    fault: Option<String>,
    versions: Versions,
}

/// What programs said of the versions that they support, for as long as they are the same files.
type Versions = HashMap<Stamp, Option<Vec<String>>>;

/// A program as it was when it was asked: path, device, inode, size and time of change.
type Stamp = (PathBuf, u64, u64, u64, (i64, i64));

impl Cni {
    /// The network that pods are connected to now.
    pub(super) fn network(&self) -> Result<Arc<Network>, CniError> {
        let loaded = lock(&self.loaded);
        loaded.network.clone().ok_or_else(|| CniError::NotReady {
            message: loaded.fault.clone().unwrap_or_else(|| "the configuration is being read".to_owned()),
        })
    }

    pub(super) fn readiness(&self) -> NetworkStatus {
        let not_ready = |message| NetworkStatus::NotReady { reason: NOT_READY, message };
        lock(&self.loaded).fault.clone().map_or(NetworkStatus::Ready, not_ready)
    }

    /// Looks at everything again. Plugins are called without a lock.
    pub(super) fn load(&self) {
        loop {
            let places = self.places();
            self.load_from(&places);
            // Somebody may have moved them meanwhile, and have been faster.
            if Arc::ptr_eq(&places, &self.places()) {
                return;
            }
        }
    }

    fn load_from(&self, places: &Places) {
        // Watched first, so that what comes after the look is noticed.
        let name = lock(&self.loaded).network.as_ref().map(|network| places.conf_dir.join(&network.name));
        let dirs = [places.conf_dir.as_path()].into_iter().chain(name.as_deref());
        let dirs: Vec<_> = dirs.chain(places.programs.dirs().iter().map(PathBuf::as_path)).collect();
        let watched = self.watch.watch(&dirs);
        let found = directory::read(&places.conf_dir);
        let mut versions = lock(&self.loaded).versions.clone();
        let (network, fault) = match self.judge(places, &found, &mut versions) {
            Ok(network) => {
                let fault = self.ask(&network).err();
                (Some(Arc::new(network)), fault)
            }
            Err(fault) => (None, Some(fault)),
        };
        let period = match (&network, &fault) {
            (_, Some(_)) => Some(LOOK),
            (Some(network), None) if network.version.has_status() => Some(ASK),
            (_, None) => None,
        };
        self.watch.look_every(period, watched);
        let mut loaded = lock(&self.loaded);
        tell(&loaded, &found, network.as_deref(), fault.as_deref());
        *loaded = Loaded { found: Some(found), network, fault, versions };
    }

    /// The network of what was found, with the version that all of its plugins support.
    fn judge(&self, places: &Places, found: &Found, versions: &mut Versions) -> Result<Network, String> {
        let Some((file, list)) = &found.network else { return Err(nothing(places, found)) };
        let limit = Limit::of(self.limits.status);
        let mut stamps = Versions::new();
        let mut supported = Vec::new();
        for plugin in &list.plugins {
            let failed = |error: &dyn std::error::Error| {
                let error = berth_types::error::chain(error);
                format!("network {} of {}: plugin {}: {error}", list.name, file.display(), plugin.kind)
            };
            let program = places.programs.find(&plugin.kind).map_err(|error| failed(&error))?;
            let stamp = stamp(&program).map_err(|error| failed(&error))?;
            let says = match versions.get(&stamp).or_else(|| stamps.get(&stamp)) {
                Some(says) => says.clone(),
                None => places.programs.versions(&program, limit).map_err(|error| failed(&error))?,
            };
            stamps.insert(stamp, says.clone());
            supported.push(says);
        }
        *versions = stamps;
        let version = request::common_version(&list.versions, &supported);
        version.map(|version| list.with(version)).ok_or_else(|| no_version(file, list, &supported))
    }

    /// Asks the plugins whether they can serve, where the network's version has STATUS.
    fn ask(&self, network: &Network) -> Result<(), String> {
        if !network.version.has_status() {
            return Ok(());
        }
        let limit = Limit::of(self.limits.status);
        let ask = |plugin| {
            let input = request::for_status(network, plugin);
            self.call(network, plugin, Command::Status, None, &input, limit)
        };
        network.plugins.iter().try_for_each(ask).map_err(|error| berth_types::error::chain(&error))
    }
}

fn nothing(places: &Places, found: &Found) -> String {
    let mut message = format!("no CNI network is configured in {}", places.conf_dir.display());
    for (file, why) in found.refused.iter().take(MOST_NAMED) {
        message.push_str(&format!("; {}: {why}", file.display()));
    }
    message.push_str("; only pods on the host's network can run");
    message
}

fn stamp(program: &Path) -> std::io::Result<Stamp> {
    let file = program.metadata()?;
    Ok((program.to_owned(), file.dev(), file.ino(), file.size(), (file.mtime(), file.mtime_nsec())))
}

fn no_version(file: &Path, list: &List, supported: &[Option<Vec<String>>]) -> String {
    let asked: Vec<_> = list.versions.iter().map(|version| version.text()).collect();
    let says: Vec<_> = list
        .plugins
        .iter()
        .zip(supported)
        .filter_map(|(plugin, says)| Some(format!("{} supports {}", plugin.kind, says.as_ref()?.join(", "))))
        .collect();
    let (asked, says) = (asked.join(", "), says.join("; "));
    format!("network {} of {} needs version {asked} of CNI, but {says}", list.name, file.display())
}

/// Says what has changed.
fn tell(before: &Loaded, found: &Found, network: Option<&Network>, fault: Option<&str>) {
    if before.found.as_ref().map(|found| &found.refused) != Some(&found.refused) {
        for (path, why) in &found.refused {
            tracing::warn!(path = %path.display(), why, "no CNI network");
        }
    }
    if let Some((network, (file, _))) = network.zip(found.network.as_ref())
        && before.network.as_deref() != Some(network)
    {
        let (name, version) = (&network.name, network.version.text());
        tracing::info!(network = name, file = %file.display(), version, "CNI network");
    }
    match (before.fault.as_deref(), fault) {
        (Some(_), None) => tracing::info!("pods can be connected by CNI"),
        (before, Some(fault)) if before != Some(fault) => {
            tracing::warn!(why = fault, "pods cannot be connected by CNI");
        }
        (_, _) => {}
    }
}
