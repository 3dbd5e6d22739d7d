//! Disconnecting a pod, checking it, and what belongs to no pod: DEL, CHECK, GC.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::{Mutex, TryLockError};

use berth_types::SandboxId;
use serde_json::Map;

use super::attach::{attachment, failed};
use super::error::{CniError, PluginError};
use super::list::{Network, Plugin};
use super::plugin::Limit;
use super::request::{self, Attachment, Command, Failing};
use super::result::AddResult;
use super::store::{self, Progress, Record};
use super::{Cni, Garbage, INTERFACE, lock};

/// DELs of a sweep that run side by side.
const AT_ONCE: usize = 8;
/// What a file of a namespace is on (`NSFS_MAGIC`).
const NAMESPACES: u64 = 0x6e73_6673;

impl Cni {
    /// Disconnects a pod. Succeeds for one that is not connected.
    pub(super) fn remove(&self, sandbox: &SandboxId, limit: Limit) -> Result<(), CniError> {
        let _phase = self.phase();
        if !lock(&self.held).contains_key(sandbox) {
            return Ok(());
        }
        let _turn = self.turns.take(sandbox);
        let record = match self.store.read(sandbox) {
            Ok(Some(record)) => record,
            Ok(None) => {
                lock(&self.held).remove(sandbox);
                return Ok(());
            }
            Err(error) if is_damaged(&error) => self.guess(sandbox).ok_or(error)?,
            Err(error) => return Err(error),
        };
        self.del(record, limit)
    }

    /// What a record that is damaged may have said: plugins know a pod by its id.
    fn guess(&self, sandbox: &SandboxId) -> Option<Record> {
        let network = self.network().ok()?;
        Some(Record {
            version: store::VERSION,
            sandbox: sandbox.clone(),
            progress: Progress::Removing(network.plugins.len()),
            network: (*network).clone(),
            interface: INTERFACE.to_owned(),
            netns: "/".into(),
            args: String::new(),
            capabilities: Map::new(),
            ports: Vec::new(),
            result: None,
        })
    }

    /// Calls DEL of all plugins and removes the record. It stays when one fails.
    pub(super) fn del(&self, mut record: Record, limit: Limit) -> Result<(), CniError> {
        let begun = record.begun();
        record.progress = Progress::Removing(begun);
        // A disk that is full keeps no pod alive: the old record says enough.
        if let Err(error) = self.store.write(&record) {
            tracing::debug!(
                error = berth_types::error::chain(&error),
                "a pod is disconnected without a new record"
            );
        }
        let network = &record.network;
        for (index, failing) in request::removal(network.plugins.len(), begun) {
            let plugin = &network.plugins[index];
            match (self.del_one(&record, plugin, limit), failing) {
                (Ok(()), _) => {}
                (Err(error), Failing::IsPassed) => {
                    let error = berth_types::error::chain(&error);
                    tracing::debug!(
                        sandbox = record.sandbox.short(),
                        error,
                        "DEL of a plugin that was not called before"
                    );
                }
                (Err(error), Failing::Stops) => {
                    let (sandbox, record) = (record.sandbox.clone(), self.store.path(&record.sandbox));
                    return Err(CniError::Held { sandbox, record, source: Box::new(error) });
                }
            }
        }
        self.store.remove(&record.sandbox)?;
        lock(&self.held).remove(&record.sandbox);
        Ok(())
    }

    fn del_one(&self, record: &Record, plugin: &Plugin, limit: Limit) -> Result<(), CniError> {
        let network = &record.network;
        let netns = Some(record.netns.as_path()).filter(|path| is_namespace(path));
        let attachment = Attachment { netns, ..attachment(record) };
        let result = result_of(record);
        let input = request::for_pod(network, plugin, &attachment, result.as_ref());
        match self.call(network, plugin, Command::Del, Some(&attachment), &input, limit) {
            Err(CniError::Plugin { source, .. }) if source.is_unknown_container() => Ok(()),
            result => result,
        }
    }

    pub(super) fn call(
        &self,
        network: &Network,
        plugin: &Plugin,
        command: Command,
        attachment: Option<&Attachment<'_>>,
        input: &[u8],
        limit: Limit,
    ) -> Result<(), CniError> {
        let call = || -> Result<(), PluginError> {
            let places = self.places();
            let program = places.programs.find(&plugin.kind)?;
            places.programs.call(&program, command, attachment, input, limit).map(drop)
        };
        call().map_err(|source| failed(command, network, plugin, source))
    }

    /// The record of a connected pod; `None` when it is not connected, or only half.
    pub(super) fn attached(&self, sandbox: &SandboxId) -> Result<Option<Record>, CniError> {
        if !lock(&self.held).contains_key(sandbox) {
            return Ok(None);
        }
        let record = self.store.read(sandbox)?;
        Ok(record.filter(|record| record.progress == Progress::Added))
    }

    /// Calls CHECK of all plugins of a connected pod, where the network has it.
    pub(super) fn check_plugins(&self, sandbox: &SandboxId) -> Result<(), CniError> {
        let _turn = self.turns.take(sandbox);
        let Some(record) = self.attached(sandbox)? else { return Ok(()) };
        let network = &record.network;
        if network.disable_check || !network.version.has_check() {
            return Ok(());
        }
        let limit = Limit::of(self.limits.upkeep);
        let (attachment, result) = (attachment(&record), result_of(&record));
        network.plugins.iter().try_for_each(|plugin| {
            let input = request::for_pod(network, plugin, &attachment, result.as_ref());
            self.call(network, plugin, Command::Check, Some(&attachment), &input, limit)
        })
    }

    /// Disconnects the pods that have a record and are not `known`; gives those that are disconnected, and the first
    /// failure.
    pub(super) fn remove_unknown(&self, known: &HashSet<SandboxId>) -> (Vec<SandboxId>, Option<CniError>) {
        let stale: Vec<_> = lock(&self.held).keys().filter(|id| !known.contains(*id)).cloned().collect();
        let (todo, done) = (Mutex::new(stale.into_iter()), Mutex::new((Vec::new(), None)));
        let limit = Limit::of(self.limits.sweep);
        let work = || {
            loop {
                let Some(sandbox) = lock(&todo).next() else { return };
                let removed = self.remove(&sandbox, limit);
                let mut done = lock(&done);
                match removed {
                    Ok(()) => done.0.push(sandbox),
                    Err(error) => drop(done.1.get_or_insert(error)),
                }
            }
        };
        let workers = lock(&todo).len().min(AT_ONCE);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(work);
            }
        });
        done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Has the plugins remove what no recorded pod has. Not while a pod is being connected or disconnected.
    pub(super) fn collect_garbage(&self) -> Result<(), CniError> {
        let Ok(network) = self.network() else { return Ok(()) };
        if self.garbage == Garbage::Leave || network.disable_gc || !network.version.has_status() {
            return Ok(());
        }
        let _phase = match self.phase.try_write() {
            Ok(phase) => phase,
            Err(TryLockError::Poisoned(phase)) => phase.into_inner(),
            Err(TryLockError::WouldBlock) => {
                tracing::info!(network = network.name, "GC of CNI is left out: a pod is being disconnected");
                return Ok(());
            }
        };
        let mut valid = Vec::new();
        for sandbox in lock(&self.held).keys() {
            match self.store.read(sandbox)? {
                Some(record) if record.network.name == network.name => {
                    valid.push((record.sandbox.to_string(), record.interface));
                }
                Some(_) | None => {}
            }
        }
        let limit = Limit::of(self.limits.upkeep);
        let mut first = Ok(());
        for plugin in &network.plugins {
            let input = request::for_gc(&network, plugin, &valid);
            first = first.and(self.call(&network, plugin, Command::Gc, None, &input, limit));
        }
        first
    }
}

/// The result of ADD, for versions that have it in CHECK and DEL.
fn result_of(record: &Record) -> Option<AddResult> {
    let version = record.network.version;
    let object = record.result.clone().filter(|_| version.has_check())?;
    AddResult::of(object, version).ok()
}

/// Whether a network namespace is mounted at this path: after a restart of the machine a plain file may be there.
pub(super) fn is_namespace(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|fs| u64::try_from(fs.f_type).is_ok_and(|kind| kind == NAMESPACES))
}

fn is_damaged(error: &CniError) -> bool {
    let damage = [io::ErrorKind::InvalidData, io::ErrorKind::FileTooLarge];
    matches!(error, CniError::Record { source, .. } if damage.contains(&source.kind()))
}
