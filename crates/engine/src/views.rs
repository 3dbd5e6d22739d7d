//! The published views: every read answers from here. A pod's owner puts a new view of its pod;
//! the locks are held for the moment of a look-up or an exchange, never over a wait.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use berth_types::{ContainerId, SandboxId, id};
use tokio::sync::broadcast;

use crate::error::EngineError;
use crate::events::{CAPACITY, EngineEvent, Events, Stamped};
use crate::host::clock;
use crate::model::{ContainerView, Owner, SandboxMetadata, SandboxView};

/// The published views and the events of their changes.
#[derive(Debug)]
pub(crate) struct Views {
    published: RwLock<Published>,
    events: broadcast::Sender<Stamped>,
}

#[derive(Debug, Default)]
struct Published {
    sandboxes: BTreeMap<SandboxId, Arc<SandboxView>>,
    containers: BTreeMap<ContainerId, Arc<ContainerView>>,
}

impl Views {
    pub(crate) fn new() -> Self {
        Self { published: RwLock::default(), events: broadcast::channel(CAPACITY).0 }
    }

    /// Publishes a pod as it is now, and sends the events.
    pub(crate) fn put(&self, view: &Arc<SandboxView>) {
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        let old = published.sandboxes.insert(view.id.clone(), Arc::clone(view));
        let mut events = Vec::new();
        if old.as_ref().is_none_or(|old| old.state != view.state || old.message != view.message) {
            let before = old.as_ref().map(|old| old.state);
            events.push(EngineEvent::Sandbox { now: Arc::clone(view), before });
        }
        for container in &view.containers {
            let before = published.containers.insert(container.id.clone(), Arc::clone(container));
            let before = before.map(|before| before.state);
            if before != Some(container.state) {
                events.push(EngineEvent::Container { now: Arc::clone(container), before });
            }
        }
        for gone in old.iter().flat_map(|old| &old.containers) {
            if !view.containers.iter().any(|now| now.id == gone.id) {
                published.containers.remove(&gone.id);
                events.push(EngineEvent::ContainerRemoved {
                    sandbox: view.id.clone(),
                    container: gone.id.clone(),
                });
            }
        }
        self.tell(view, events);
    }

    /// Removes a removed pod's views.
    pub(crate) fn remove(&self, sandbox: &SandboxId) {
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        let Some(old) = published.sandboxes.remove(sandbox) else { return };
        let mut events = Vec::new();
        for gone in &old.containers {
            published.containers.remove(&gone.id);
            let (sandbox, container) = (sandbox.clone(), gone.id.clone());
            events.push(EngineEvent::ContainerRemoved { sandbox, container });
        }
        events.push(EngineEvent::SandboxRemoved(sandbox.clone()));
        self.tell(&old, events);
    }

    /// Sent with the views locked, so that events come in the order of the changes. Sending to a
    /// broadcast channel does not wait.
    fn tell(&self, pod: &Arc<SandboxView>, events: Vec<EngineEvent>) {
        let at = clock::now();
        for event in events {
            // Having no watcher is not a failure.
            drop(self.events.send(Stamped { at, pod: Some(Arc::clone(pod)), event }));
        }
    }

    pub(crate) fn watch(&self) -> Events {
        Events::new(self.events.subscribe())
    }

    fn read(&self) -> RwLockReadGuard<'_, Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sandboxes(&self, owner: Option<Owner>) -> Vec<Arc<SandboxView>> {
        let wanted = |view: &&Arc<SandboxView>| owner.is_none_or(|owner| view.config.owner == owner);
        let mut list: Vec<_> = self.read().sandboxes.values().filter(wanted).cloned().collect();
        list.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id)));
        list
    }

    pub(crate) fn containers(&self, owner: Option<Owner>) -> Vec<Arc<ContainerView>> {
        let mut list: Vec<_> =
            self.sandboxes(owner).iter().flat_map(|sandbox| sandbox.containers.clone()).collect();
        list.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id)));
        list
    }

    /// When the newest sandbox of the same pod was made.
    pub(crate) fn newest_attempt(&self, owner: Owner, of: &SandboxMetadata) -> Option<i64> {
        let same = |view: &&Arc<SandboxView>| {
            let other = &view.config.metadata;
            view.config.owner == owner
                && (&other.namespace, &other.name, &other.uid) == (&of.namespace, &of.name, &of.uid)
        };
        self.read().sandboxes.values().filter(same).map(|view| view.created_at).max()
    }

    pub(crate) fn sandbox(&self, key: &str) -> Result<Arc<SandboxView>, EngineError> {
        lookup("pod sandbox", key, &self.read().sandboxes)
    }

    pub(crate) fn container(&self, key: &str) -> Result<Arc<ContainerView>, EngineError> {
        lookup("container", key, &self.read().containers)
    }
}

fn lookup<K: Ord + Borrow<str>, V>(
    thing: &'static str,
    key: &str,
    map: &BTreeMap<K, Arc<V>>,
) -> Result<Arc<V>, EngineError> {
    let not_found = || EngineError::NotFound { thing, key: key.to_owned() };
    if !id::is_prefix(key) {
        return Err(not_found());
    }
    let begins = map.range::<str, _>((Bound::Included(key), Bound::Unbounded));
    let mut found = begins.take_while(|(id, _)| (*id).borrow().starts_with(key)).map(|(_, view)| view);
    match (found.next(), found.next()) {
        (Some(view), None) => Ok(Arc::clone(view)),
        (None, _) => Err(not_found()),
        (Some(_), Some(_)) => Err(EngineError::Ambiguous { thing, key: key.to_owned() }),
    }
}

#[cfg(test)]
mod tests;
