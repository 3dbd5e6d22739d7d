//! Services: a stable name and address for the pods of this machine that have certain labels and are ready.
//!
//! ```text
//! play -> lease on disk (address, host ports) -> [ look at the pods -> endpoints -> rules and names (pure) -> network, DNS ] ...
//!                                                     woken by events and by readiness
//! ```
//!
//! Connections go to the pods by the kernel's rules, which stay as they are while no daemon runs; names are answered by a DNS
//! server in the daemon, which pods that were made while there are services ask ([ADR 0100](../../../docs/adr/0100-services.md)).

mod allot;
mod dns;
mod endpoints;
mod error;
mod keep;
mod records;
mod seen;
mod task;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use berth_engine::{Engine, now};
use tokio::sync::{Mutex, MutexGuard, Notify};

pub use error::ServiceError;
pub use keep::Lease;

use crate::controller::Pods;
use crate::manifest::{Named, Service, ServicePort};
use keep::Record;
use task::State;

/// The most services.
pub const MAX_SERVICES: usize = 500;
/// What manifests call them.
const KIND: &str = "Service";

/// A service's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// That of a service of a manifest.
    pub fn of(service: &Service) -> Self {
        Self { namespace: service.namespace.clone(), name: service.name.clone() }
    }

    /// That of an object of a manifest, if it is a service.
    pub fn named(object: &Named) -> Option<Self> {
        let Named { kind, namespace, name } = object;
        (kind == KIND).then(|| Self { namespace: namespace.clone(), name: name.clone() })
    }
}

/// What became of a service that was played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is new.
    Made,
    /// It wants something else now.
    Changed,
    /// It wanted that already.
    Same,
}

/// A service as it is.
#[derive(Debug, Clone)]
pub struct Shown {
    /// What is asked for.
    pub service: Service,
    /// When it was made, in nanoseconds since 1970.
    pub created_at: i64,
    /// What it has.
    pub lease: Lease,
    /// Where each of its ports leads, in their order.
    pub endpoints: Vec<Vec<SocketAddr>>,
    /// The addresses of its pods.
    pub pods: Vec<IpAddr>,
    /// What is wrong with it.
    pub message: String,
}

impl Shown {
    /// Its ports with those of the machine.
    pub fn ports(&self) -> impl Iterator<Item = (&ServicePort, Option<u16>)> {
        let node_ports = self.lease.node_ports.iter().copied().chain(std::iter::repeat(None));
        self.service.spec.ports.iter().zip(node_ports)
    }
}

/// The services of an engine's local pods. A clone is the same services.
#[derive(Debug, Clone)]
pub struct Services {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    pods: Pods,
    /// `<root>/services`: one file per service, named by its uid.
    dir: PathBuf,
    state: Mutex<State>,
    /// Wakes the task for what no event tells.
    again: Notify,
}

impl Services {
    /// The services of `engine`, whose directory is `dir`. Those that it finds go on.
    pub async fn open(engine: Engine, pods: Pods, dir: PathBuf) -> Self {
        let state = Mutex::new(State::load(&dir, &engine));
        let services = Self { inner: Arc::new(Inner { engine, pods, dir, state, again: Notify::new() }) };
        {
            let mut state = services.lock().await;
            services.tell_pods(&state);
            services.reconcile(&mut state).await.ok();
        }
        tokio::spawn(services.clone().run());
        services
    }

    async fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().await
    }

    /// Looks at the pods again soon: containers were paused, or let go on, of which no event tells.
    pub fn look_again(&self) {
        self.inner.again.notify_one();
    }

    /// Checks services before anything of them is made, and names all that is wrong with them.
    pub async fn check(&self, wanted: &[Service]) -> Result<(), ServiceError> {
        let state = self.lock().await;
        let mut faults = Vec::new();
        let mut records = state.records.clone();
        for service in wanted {
            match self.allotted(&records, service) {
                Ok(record) => drop(records.insert(Key::of(service), record)),
                Err(fault) => faults.push(fault),
            }
        }
        ServiceError::of(faults).map_or(Ok(()), Err)
    }

    /// The record of a service as it would be.
    fn allotted(&self, records: &BTreeMap<Key, Record>, service: &Service) -> Result<Record, ServiceError> {
        let network = self.inner.engine.service_network().ok_or(ServiceError::NoNetwork)?;
        if service.spec.affinity.is_some() {
            let (path, message) =
                ("spec.sessionAffinity".to_owned(), "ClientIP is not supported yet".to_owned());
            return Err(ServiceError::Field { service: service.name.clone(), path, message });
        }
        let key = Key::of(service);
        let there = records.get(&key);
        if there.is_none() && records.len() >= MAX_SERVICES {
            return Err(ServiceError::TooMany);
        }
        let others = records.iter().filter(|(other, _)| **other != key).map(|(_, record)| &record.lease);
        let had = there.map(|record| (&record.service, &record.lease));
        let lease = allot::lease(service, had, others, &network)?;
        Ok(match there {
            Some(there) => Record { service: service.clone(), lease, ..there.clone() },
            None => Record {
                uid: crate::controller::fresh_uid(),
                created_at: now(),
                service: service.clone(),
                lease,
            },
        })
    }

    /// Makes a service, or changes the one of this name, which keeps its address. Answers when it leads to its pods. Who waits
    /// for that no longer stops nothing.
    pub async fn apply(&self, service: Service) -> Result<Applied, ServiceError> {
        let services = self.clone();
        to_the_end(async move { services.applied(service).await }).await
    }

    async fn applied(&self, service: Service) -> Result<Applied, ServiceError> {
        let mut state = self.lock().await;
        let (key, there) = (Key::of(&service), state.records.get(&Key::of(&service)).cloned());
        let record = self.allotted(&state.records, &service)?;
        let applied = match &there {
            None => Applied::Made,
            Some(there) if *there == record => return Ok(Applied::Same),
            Some(_) => Applied::Changed,
        };
        // Before the effect: the address is its own from now on, whatever happens.
        self.save(&record).await?;
        state.records.insert(key.clone(), record.clone());
        self.tell_pods(&state);
        let mut result = self.reconcile(&mut state).await;
        // A host port that is taken is told in the list, but one that is asked for now is refused.
        if let Some(fault) = state.faults.get(&key).filter(|_| result.is_ok()) {
            result = Err(ServiceError::Port { service: service.name.clone(), fault: fault.clone() });
        }
        if let Err(error) = result {
            match there {
                Some(there) => {
                    self.save(&there).await.ok();
                    state.records.insert(key, there);
                }
                None => {
                    state.records.remove(&key);
                    keep::remove(&self.inner.dir, &record.uid).ok();
                }
            }
            self.tell_pods(&state);
            self.reconcile(&mut state).await.ok();
            return Err(error);
        }
        Ok(applied)
    }

    /// Removes a service, as [`Self::apply`] makes one. True when there was one.
    pub async fn down(&self, key: &Key) -> Result<bool, ServiceError> {
        let (services, key) = (self.clone(), key.clone());
        to_the_end(async move { services.removed(&key).await }).await
    }

    async fn removed(&self, key: &Key) -> Result<bool, ServiceError> {
        let mut state = self.lock().await;
        let Some(record) = state.records.remove(key) else { return Ok(false) };
        self.tell_pods(&state);
        let result = self.reconcile(&mut state).await;
        let path = self.inner.dir.join(&record.uid);
        let removed = result.and_then(|()| {
            let name = key.name.clone();
            keep::remove(&self.inner.dir, &record.uid).map_err(|source| ServiceError::Keep {
                service: name,
                path,
                source,
            })
        });
        if removed.is_err() {
            state.records.insert(key.clone(), record);
            self.tell_pods(&state);
        }
        removed.map(|()| true)
    }

    async fn save(&self, record: &Record) -> Result<(), ServiceError> {
        let (dir, record) = (self.inner.dir.clone(), record.clone());
        let (service, path) = (record.service.name.clone(), dir.join(&record.uid));
        let saved = tokio::task::spawn_blocking(move || keep::save(&dir, &record)).await;
        let saved = saved.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        saved.map_err(|source| ServiceError::Keep { service, path, source })
    }

    /// All of them, by namespace and name.
    pub async fn list(&self) -> Vec<Shown> {
        let state = self.lock().await;
        let shown = state.records.iter().map(|(key, record)| {
            let found = state.found.get(key).cloned().unwrap_or_default();
            Shown {
                service: record.service.clone(),
                created_at: record.created_at,
                lease: record.lease.clone(),
                endpoints: found.ports.iter().map(|port| port.to.clone()).collect(),
                pods: found.pods.iter().filter_map(|pod| pod.addresses.first().copied()).collect(),
                message: state.faults.get(key).cloned().unwrap_or_default(),
            }
        });
        shown.collect()
    }

    /// What `NAME`, `service/NAME`, `svc/NAME` or `NAMESPACE/NAME` means.
    pub async fn named(&self, text: &str) -> Vec<Key> {
        let is = |key: &&Key| match text.split_once('/') {
            None => key.name == text,
            Some((before, name)) => {
                let kind =
                    ["service", "services", "svc"].iter().any(|kind| before.eq_ignore_ascii_case(kind));
                key.name == name && (kind || key.namespace == before)
            }
        };
        self.lock().await.records.keys().filter(is).cloned().collect()
    }
}

/// Does work as a whole, also when who waits for it goes away in the middle.
async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends, and with it who waits.
        Err(_) => std::future::pending().await,
    }
}
