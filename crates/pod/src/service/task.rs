//! What services are and lead to now, brought to the network and the DNS server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use berth_dns::Server;
use berth_engine::model::Owner;
use berth_engine::services::{AttachError, Front, NetError, ServiceError as Refused, Services as Wanted};
use berth_engine::{Engine, EngineEvent, Events};
use berth_types::error::chain;
use tokio::time::timeout;

use super::endpoints::{self, Found};
use super::keep::{self, Record};
use super::seen::{Known, Said};
use super::{Key, ServiceError, Services, allot, dns, records};

/// When what failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// When the addresses of this machine are looked at again, where pods have them: nothing tells that they change.
const RENEW: Duration = Duration::from_secs(30);
/// Events come in bursts, of which one look at the end is enough.
const SETTLE: Duration = Duration::from_millis(5);
/// The most events that one look stands for.
const BURST: usize = 4096;

/// The services and what became of them.
#[derive(Debug)]
pub(super) struct State {
    pub(super) records: BTreeMap<Key, Record>,
    pub(super) found: BTreeMap<Key, Found>,
    /// What is wrong with a service.
    pub(super) faults: BTreeMap<Key, String>,
    known: Known,
    /// What the network was asked for; nothing before the first time.
    set: Option<Wanted>,
    server: Option<Server>,
    written: BTreeSet<String>,
}

impl State {
    /// What an earlier daemon left. A service whose address is not of the network's block any more gets another one.
    pub(super) fn load(dir: &Path, engine: &Engine) -> Self {
        let (found, faults) = keep::all(dir);
        for fault in faults {
            tracing::warn!(fault, "a service's record is unreadable: there is no such service now");
        }
        let mut records: BTreeMap<Key, Record> = BTreeMap::new();
        for mut record in found {
            let key = Key::of(&record.service);
            let others = records.values().map(|record| &record.lease);
            if let Some(network) = engine.service_network() {
                let had = Some((&record.service, &record.lease));
                match allot::lease(&record.service, had, others, &network) {
                    Ok(lease) if lease == record.lease => {}
                    Ok(lease) => {
                        tracing::warn!(
                            service = key.name,
                            ?lease,
                            "a service has another address: the block of addresses has changed"
                        );
                        record.lease = lease;
                        keep::save(dir, &record).ok();
                    }
                    Err(error) => {
                        tracing::warn!(service = key.name, error = %chain(&error), "a service has no address")
                    }
                }
            }
            records.insert(key, record);
        }
        let written = keep::ready(dir);
        Self {
            records,
            found: BTreeMap::new(),
            faults: BTreeMap::new(),
            known: Known::new(written.clone()),
            set: None,
            server: None,
            written,
        }
    }
}

impl Services {
    /// Looks again whenever something happens to a pod.
    pub(super) async fn run(self) {
        let mut events = self.inner.engine.events();
        let mut readiness = self.inner.pods.readiness();
        // What happened before is seen by this look.
        let mut next = self.look().await;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    None => return,
                    Some(stamped) => {
                        let local = stamped.pod.as_ref().is_none_or(|pod| pod.config.owner == Owner::Local);
                        if !local && !matches!(stamped.event, EngineEvent::Resync) {
                            continue;
                        }
                    }
                },
                changed = readiness.changed() => if changed.is_err() {
                    return;
                },
                () = self.inner.again.notified() => {}
                () = tokio::time::sleep(next.unwrap_or_default()), if next.is_some() => {}
            }
            tokio::time::sleep(SETTLE).await;
            if !drain(&mut events).await {
                return;
            }
            next = self.look().await;
        }
    }

    /// One look; when the next is due, if nothing happens.
    async fn look(&self) -> Option<Duration> {
        let mut state = self.lock().await;
        if state.records.is_empty() && state.server.is_none() && state.set.is_some() {
            return None;
        }
        match self.reconcile(&mut state).await {
            Ok(()) if state.faults.is_empty() => state.known.of_host.then_some(RENEW),
            Ok(()) => Some(AGAIN),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "failed to bring services to the network; trying again");
                Some(AGAIN)
            }
        }
    }

    /// Pods that are made from now on ask the DNS server, where there are services.
    pub(super) fn tell_pods(&self, state: &State) {
        let network = self.inner.engine.service_network().filter(|_| !state.records.is_empty());
        self.inner.pods.set_cluster(network.map(|network| dns::cluster(&network)));
    }

    /// Brings network and DNS server to what services are now.
    pub(super) async fn reconcile(&self, state: &mut State) -> Result<(), ServiceError> {
        let engine = &self.inner.engine;
        let Some(network) = engine.service_network() else { return Ok(()) };
        let views = engine.sandboxes(Some(Owner::Local));
        let asked = !state.records.is_empty() || views.iter().any(|view| dns::is_asked_by(view, &network));
        let pods = &self.inner.pods;
        let said = Said { health: &|of| pods.health(&of.id), is_paused: &|of| engine.is_paused(of) };
        let pods = state.known.look(&views, &said, &pods.host_addresses());
        let found = state.records.iter().map(|(key, record)| {
            let found = endpoints::find(&record.service, &pods);
            (key.clone(), found)
        });
        state.found = found.collect();
        self.remember(state);
        let mut unnamed = None;
        let zone = records::zone(&state.records, &state.found, &network);
        match &state.server {
            Some(server) if asked => server.set_zone(zone),
            None if asked => match dns::start(&network, zone).await {
                Ok(server) => state.server = Some(server),
                // Addresses lead to pods all the same.
                Err(error) => unnamed = Some(error),
            },
            _ => {}
        }
        let port = state.server.as_ref().map(Server::port).filter(|_| asked);
        let wanted = endpoints::rules(&state.records, &state.found, &network, port);
        let set = self.set(state, wanted).await;
        if !asked && set.is_ok() {
            state.server = None;
        }
        set.and(unnamed.map_or(Ok(()), Err))
    }

    /// Brings the rules to what is wanted. Host ports that are taken are left out, and told.
    async fn set(&self, state: &mut State, mut wanted: Wanted) -> Result<(), ServiceError> {
        // Whatever becomes of this: until the network answers, nobody knows what it has.
        let before = state.set.take();
        let mut faults = BTreeMap::new();
        // A port that is still taken leaves what is there already.
        while before.as_ref() != Some(&wanted) {
            let error = match self.inner.engine.set_services(wanted.clone()).await {
                Ok(()) => break,
                Err(error) => error,
            };
            let NetError::Services(Refused::Port(refused)) = &error else {
                return Err(ServiceError::Network(error));
            };
            let Some(taken) = port_of(refused) else { return Err(ServiceError::Network(error)) };
            let before = wanted.ports.len();
            wanted.ports.retain(|port| (port.front, port.port) != (Front::Host, taken));
            if wanted.ports.len() == before {
                return Err(ServiceError::Network(error));
            }
            let has = |record: &Record| record.lease.node_ports.contains(&Some(taken));
            for (key, _) in state.records.iter().filter(|(_, record)| has(record)) {
                faults.insert(key.clone(), chain(&error));
            }
        }
        state.faults = faults;
        state.set = Some(wanted);
        Ok(())
    }

    /// Writes which containers are ready, for the next daemon.
    fn remember(&self, state: &mut State) {
        let ready = if state.records.is_empty() { BTreeSet::new() } else { state.known.ready.clone() };
        if ready == state.written {
            return;
        }
        match keep::save_ready(&self.inner.dir, &ready) {
            Ok(()) => state.written = ready,
            Err(error) => tracing::debug!(%error, "write which containers are ready"),
        }
    }
}

/// Takes the events that are there, all of which the next look sees. False when there are no more to come.
async fn drain(events: &mut Events) -> bool {
    for _ in 0..BURST {
        match timeout(Duration::ZERO, events.next()).await {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => break,
        }
    }
    true
}

/// The host port that is in the way.
fn port_of(refused: &AttachError) -> Option<u16> {
    match refused {
        AttachError::PortTaken { port, .. }
        | AttachError::PortInUse { port, .. }
        | AttachError::BadPort { port, .. }
        | AttachError::Reserve { port, .. } => Some(port.host_port),
        _ => None,
    }
}
