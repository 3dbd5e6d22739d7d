//! What all pods of an engine share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use berth_image::Images;
use berth_sys::cgroup;
use berth_types::SandboxId;

use crate::config::EngineConfig;
use crate::container::adjust::{Adjust, Heard, Moment, Unseen};
use crate::error::EngineError;
use crate::handler::Handlers;
use crate::host::apparmor::AppArmor;
use crate::host::layout::Layout;
use crate::host::networks::Networks;
use crate::host::placement::{Placement, Roots};
use crate::host::stages;
use crate::model::{Owner, SandboxConfig, SandboxMetadata};
use crate::oci::HostFacts;
use crate::sandbox::Handle;
use crate::shim::spawn::Launcher;
use crate::user_namespace::UserNamespaces;
use crate::views::Views;

/// What all pods of an engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// As it was at the start; what may change is beside it.
    pub(crate) config: EngineConfig,
    pub(crate) cdi_dirs: RwLock<Arc<[PathBuf]>>,
    /// The same with hooks.
    pub(crate) hooks_dirs: RwLock<Arc<[PathBuf]>>,
    pub(crate) layout: Layout,
    pub(crate) views: Views,
    pub(crate) stages: stages::Log,
    pub(crate) images: Images,
    pub(crate) cgroups: cgroup::Host,
    pub(crate) roots: Roots,
    pub(crate) launcher: Launcher,
    pub(crate) networks: Networks,
    pub(crate) facts: HostFacts,
    pub(crate) apparmor: AppArmor,
    pub(crate) handlers: Arc<Handlers>,
    pub(crate) placement: Arc<dyn Placement>,
    pub(crate) adjust: Vec<Arc<dyn Adjust>>,
    /// Held for reading from before plugins are told of something new until it is published.
    pub(crate) unseen: Arc<tokio::sync::RwLock<()>>,
    pub(crate) users: crate::users::Users,
    pub(crate) user_namespaces: UserNamespaces,
    pub(crate) pods: Pods,
    /// Whether the machine was restarted since the last daemon: none of its pods runs.
    pub(crate) restarted: bool,
    /// Connections that are being made to ports of pods with a kernel of their own.
    pub(crate) forwards: crate::sandbox::dial::Forwards,
    /// Images that go when the disk is full.
    pub(crate) collection: crate::collection::Collection,
    /// What pods and containers used lately.
    pub(crate) stats: crate::stats::Sampler,
    /// For the output of commands that are being waited for.
    pub(crate) outputs: crate::container::exec::OutputBudget,
}

impl Shared {
    /// Whether a plugin is there to be told of what happens.
    pub(crate) fn has_plugins(&self) -> bool {
        self.adjust.iter().any(|adjust| adjust.listens())
    }

    /// To be held from before plugins are told of something new until it is published: without plugins nothing.
    pub(crate) async fn unseen(&self) -> Option<Unseen> {
        if self.adjust.is_empty() {
            return None;
        }
        Some(Arc::clone(&self.unseen).read_owned().await)
    }

    /// Tells plugins, in the order of the calls; gives what they say.
    pub(crate) fn hear(&self, moment: Moment<'_>) -> Option<Heard> {
        let mut all: Vec<Heard> = self
            .adjust
            .iter()
            .filter(|adjust| adjust.listens())
            .filter_map(|adjust| adjust.hear(moment))
            .collect();
        match all.len() {
            0 | 1 => all.pop(),
            _ => Some(Box::pin(async move {
                for heard in all {
                    heard.await?;
                }
                Ok(())
            })),
        }
    }

    /// Where devices of the Container Device Interface are described now.
    pub(crate) fn cdi_dirs(&self) -> Arc<[PathBuf]> {
        Arc::clone(&self.cdi_dirs.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on it is there.
    pub(crate) fn set_cdi_dirs(&self, dirs: Vec<PathBuf>) {
        *self.cdi_dirs.write().unwrap_or_else(PoisonError::into_inner) = dirs.into();
    }

    /// Where hooks are described now.
    pub(crate) fn hooks_dirs(&self) -> Arc<[PathBuf]> {
        Arc::clone(&self.hooks_dirs.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on it is there.
    pub(crate) fn set_hooks_dirs(&self, dirs: Vec<PathBuf>) {
        *self.hooks_dirs.write().unwrap_or_else(PoisonError::into_inner) = dirs.into();
    }

    /// Runs short blocking work on a thread that may block.
    pub(crate) async fn blocking<T, F>(work: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, EngineError> + Send + 'static,
    {
        tokio::task::spawn_blocking(work).await.map_err(|e| EngineError::system("run a blocking step", e))?
    }
}

/// The identity of a sandbox: pods of different owners never share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    owner: Owner,
    metadata: SandboxMetadata,
}

impl Identity {
    pub(crate) fn of(config: &SandboxConfig) -> Self {
        Self { owner: config.owner, metadata: config.metadata.clone() }
    }

    /// `namespace/name` with the attempt, for users.
    pub(crate) fn words(&self) -> String {
        let m = &self.metadata;
        format!("{}/{} (uid {:?}, attempt {})", m.namespace, m.name, m.uid, m.attempt)
    }
}

/// The pods' owners, by id and by identity.
#[derive(Debug, Default)]
pub(crate) struct Pods(Mutex<Index>);

#[derive(Debug, Default)]
struct Index {
    by_id: HashMap<SandboxId, Handle>,
    by_identity: HashMap<Identity, SandboxId>,
}

impl Pods {
    fn index(&self) -> std::sync::MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, id: &SandboxId) -> Option<Handle> {
        self.index().by_id.get(id).cloned()
    }

    pub(crate) fn ids(&self) -> Vec<SandboxId> {
        self.index().by_id.keys().cloned().collect()
    }

    /// The owner of the pod with this identity, made by `make` if there is none.
    pub(crate) fn join_or<F>(&self, identity: &Identity, make: F) -> (Handle, bool)
    where
        F: FnOnce() -> (SandboxId, Handle),
    {
        let mut index = self.index();
        if let Some(handle) = index.by_identity.get(identity).and_then(|id| index.by_id.get(id)) {
            return (handle.clone(), true);
        }
        let (id, handle) = make();
        index.by_identity.insert(identity.clone(), id.clone());
        index.by_id.insert(id, handle.clone());
        (handle, false)
    }

    /// Removes the owner of a removed pod.
    pub(crate) fn forget(&self, id: &SandboxId, identity: &Identity) {
        let mut index = self.index();
        index.by_id.remove(id);
        if index.by_identity.get(identity) == Some(id) {
            index.by_identity.remove(identity);
        }
    }
}
