//! Pod networks by CNI plugins.
//!
//! ```text
//! attach   lo up -> record -> ADD of each plugin, recorded before and after   (DEL of all if one fails)
//! detach   record -> DEL in reverse order, as it was recorded -> record removed
//! verify   directory of configurations, programs, their versions and STATUS -> ready or not
//! sweep    DEL of pods that are not known, then GC with those that are
//! ```
//! Calls of different pods run side by side, those of one pod one after the other; GC runs alone. No lock that a call of
//! a pod or of [`PodNetwork::status`](crate::PodNetwork::status) needs is held while a plugin runs, but that of this pod's turn.
//!
//! Specification: CNI 1.1 (github.com/containernetworking/cni, SPEC.md and CONVENTIONS.md). See docs/network.md.

mod arguments;
mod attach;
mod detach;
mod directory;
mod error;
mod left;
mod list;
mod plugin;
mod process;
mod readiness;
mod request;
mod result;
mod seam;
mod store;
mod turns;
mod version;
pub(crate) mod watch;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use berth_types::SandboxId;

use crate::cidr::Cidr;
use crate::port::PortMapping;
use plugin::Programs;
use readiness::Loaded;
use store::{Progress, Record, Store};
use turns::Turns;
use watch::Watch;

pub use error::{BandwidthError, CniError, PluginError};

/// The interface in every pod (`CNI_IFNAME`).
const INTERFACE: &str = "eth0";

/// How a network by CNI plugins is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniConfig {
    /// The directory of configurations; it may be made later.
    pub conf_dir: PathBuf,
    /// The directories of plugins, searched in order.
    pub bin_dirs: Vec<PathBuf>,
    /// The directory of records; it belongs to the network alone.
    pub dir: PathBuf,
    /// Whether plugins may remove what no pod of this daemon has.
    pub garbage: Garbage,
    /// How long plugins may take.
    pub limits: CniLimits,
}

/// What becomes of what plugins hold for pods that this daemon does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Garbage {
    /// GC is called: the networks belong to this daemon.
    Collect,
    /// It is left: another daemon may have pods on the same networks.
    Leave,
}

/// How long plugins may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CniLimits {
    /// All ADDs of a pod. A kubelet waits four minutes for a pod, in which a failed one is disconnected twice.
    pub add: Duration,
    /// All DELs of a pod. A kubelet waits two minutes.
    pub del: Duration,
    /// All CHECKs of a pod, GC of all plugins.
    pub upkeep: Duration,
    /// All STATUS and VERSION calls of a network.
    pub status: Duration,
    /// All DELs of a sweep.
    pub sweep: Duration,
}

impl Default for CniLimits {
    fn default() -> Self {
        Self {
            add: Duration::from_secs(100),
            del: Duration::from_secs(60),
            upkeep: Duration::from_secs(30),
            status: Duration::from_secs(10),
            sweep: Duration::from_secs(30),
        }
    }
}

/// The network of `--network cni`. All methods may be called from any number of threads of the host's network namespace;
/// they block for as long as plugins take.
#[derive(Debug)]
pub struct Cni {
    places: RwLock<Arc<Places>>,
    garbage: Garbage,
    limits: CniLimits,
    store: Store,
    /// The pods that have a record, with their host ports.
    held: Mutex<BTreeMap<SandboxId, Vec<PortMapping>>>,
    turns: Turns,
    /// What the cluster gives this node's pods addresses of.
    blocks: Mutex<Vec<Cidr>>,
    /// Held for reading by ADD and DEL, for writing by GC and the purge.
    phase: RwLock<Phase>,
    loaded: Mutex<Loaded>,
    watch: Watch,
}

/// Where configurations and plugins are.
#[derive(Debug)]
struct Places {
    conf_dir: PathBuf,
    programs: Programs,
}

/// Whether pods can still be connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Purged,
}

/// The guarded values are consistent after each statement that changes them, so that a panic of another thread does not
/// spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cni {
    /// Takes over what an earlier daemon recorded and reads the configuration, which need not exist. Must be called in the
    /// host's network namespace. Plugins are asked for their versions and status: that may take as long as
    /// [`CniLimits::status`].
    pub fn open(config: CniConfig) -> Result<Self, CniError> {
        let CniConfig { conf_dir, bin_dirs, dir, garbage, limits } = config;
        let store = Store::open(&dir)?;
        let (mut held, mut unfinished) = (BTreeMap::new(), HashSet::new());
        for sandbox in store.list()? {
            let (ports, finished) = match store.read(&sandbox) {
                Ok(Some(Record { ports, progress, .. })) => (ports, progress == Progress::Added),
                Ok(None) => continue,
                Err(error) => {
                    let error = berth_types::error::chain(&error);
                    tracing::error!(
                        sandbox = sandbox.short(),
                        error,
                        "the record of a pod's network is damaged"
                    );
                    (Vec::new(), false)
                }
            };
            if !finished {
                unfinished.insert(sandbox.clone());
            }
            held.insert(sandbox, ports);
        }
        left::end(&unfinished);
        let blocks = store.blocks()?;
        let watch = Watch::new().map_err(|error| CniError::Record {
            action: "watch",
            path: conf_dir.clone(),
            source: error.into(),
        })?;
        let network = Self {
            places: RwLock::new(Arc::new(Places { conf_dir, programs: Programs::new(bin_dirs) })),
            garbage,
            limits,
            store,
            held: Mutex::new(held),
            turns: Turns::default(),
            blocks: Mutex::new(blocks),
            phase: RwLock::new(Phase::Open),
            loaded: Mutex::default(),
            watch,
        };
        network.load();
        Ok(network)
    }

    /// Whether a directory holds records of pods, which have to be disconnected whatever network is chosen now.
    pub fn has_records(dir: &Path) -> bool {
        Store::open_existing(dir).and_then(|store| store.list().ok()).is_some_and(|list| !list.is_empty())
    }

    /// From now on configurations and plugins are there. What pods have of a network is taken down by the plugins that are
    /// found then. Blocks as [`Cni::open`] does.
    pub fn move_to(&self, conf_dir: PathBuf, bin_dirs: Vec<PathBuf>) {
        let new = Places { conf_dir, programs: Programs::new(bin_dirs) };
        *self.places.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        self.load();
    }

    fn places(&self) -> Arc<Places> {
        Arc::clone(&self.places.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn phase(&self) -> RwLockReadGuard<'_, Phase> {
        self.phase.read().unwrap_or_else(PoisonError::into_inner)
    }
}
