//! Connecting a pod: ADD of every plugin.

use std::path::PathBuf;

use berth_sys::netlink::route::{self, By, LOOPBACK};
use berth_sys::netlink::{Family, Socket};
use berth_types::SandboxId;

use super::error::{CniError, PluginError};
use super::list::{Network, Plugin};
use super::plugin::{self, Limit};
use super::request::{self, Attachment, Command};
use super::result::AddResult;
use super::store::{self, Progress, Record};
use super::{Cni, INTERFACE, Phase, arguments, lock};
use crate::network::{AttachRequest, Attached};
use crate::port::PortMapping;

impl Cni {
    pub(super) fn add(&self, request: &AttachRequest<'_>) -> Result<Attached, CniError> {
        let phase = self.phase();
        if *phase == Phase::Purged {
            return Err(CniError::Purged);
        }
        let sandbox = request.sandbox;
        let netns =
            request.netns_path.ok_or_else(|| CniError::NoNamespace { sandbox: sandbox.clone() })?.to_owned();
        loopback_up(request)?;
        let network = self.network()?;
        let (args, capabilities) =
            (arguments::args(request)?, arguments::capabilities(request, &lock(&self.blocks))?);
        // Nothing is begun that a missing program ends half-way.
        let programs = self.programs_of(&network)?;
        // Without a plugin for them they are the network's own affair, as where it learns of pods from the API server.
        let mapped = network.plugins.iter().any(|plugin| plugin.capabilities.contains(arguments::PORTS));
        let ports = if mapped { request.ports.to_vec() } else { Vec::new() };
        let _turn = self.turns.take(sandbox);
        self.claim(sandbox, &ports)?;
        let mut record = Record {
            version: store::VERSION,
            sandbox: sandbox.clone(),
            progress: Progress::Adding(0),
            network: (*network).clone(),
            interface: INTERFACE.to_owned(),
            netns,
            args,
            capabilities,
            ports,
            result: None,
        };
        self.add_all(&mut record, &programs).inspect_err(|_| self.undo(record))
    }

    /// The programs of a network's plugins.
    pub(super) fn programs_of(&self, network: &Network) -> Result<Vec<PathBuf>, CniError> {
        let places = self.places();
        let find = |plugin: &Plugin| {
            places.programs.find(&plugin.kind).map_err(|source| failed(Command::Add, network, plugin, source))
        };
        network.plugins.iter().map(find).collect()
    }

    /// Takes the pod's host ports; plugins do not look whether another pod has them.
    fn claim(&self, sandbox: &SandboxId, ports: &[PortMapping]) -> Result<(), CniError> {
        let mut held = lock(&self.held);
        if held.contains_key(sandbox) {
            return Err(CniError::AlreadyAttached { sandbox: sandbox.clone() });
        }
        for (holder, others) in held.iter() {
            if let Some(port) = ports.iter().find(|port| others.iter().any(|other| other.conflicts(port))) {
                return Err(CniError::PortTaken { port: *port, holder: holder.clone() });
            }
        }
        held.insert(sandbox.clone(), ports.to_vec());
        Ok(())
    }

    fn add_all(&self, record: &mut Record, programs: &[PathBuf]) -> Result<Attached, CniError> {
        let limit = Limit::of(self.limits.add);
        let network = record.network.clone();
        let mut result = None;
        for (index, (plugin, program)) in network.plugins.iter().zip(programs).enumerate() {
            self.store.write(&Record { progress: Progress::Adding(index + 1), ..record.clone() })?;
            record.progress = Progress::Adding(index + 1);
            let attachment = attachment(record);
            let input = request::for_pod(&network, plugin, &attachment, result.as_ref());
            let failed = |source| failed(Command::Add, &network, plugin, source);
            let answer = self.places().programs.call(program, Command::Add, Some(&attachment), &input, limit);
            let answer = answer.map_err(failed)?;
            let added = AddResult::parse(&answer, network.version);
            let added = added.map_err(|error| failed(plugin::unreadable(&answer, error.to_string())))?;
            record.result = Some(added.object());
            result = Some(added);
        }
        let got = result.and_then(|result| result.got().ok());
        let Some(got) = got.filter(|got| !got.addresses.is_empty()) else {
            return Err(CniError::NoAddress { network: network.name });
        };
        self.store.write(&Record { progress: Progress::Added, ..record.clone() })?;
        record.progress = Progress::Added;
        let interface = got.interface.unwrap_or_else(|| INTERFACE.to_owned());
        Ok(Attached { interface: Some(interface), addresses: got.addresses, dns: got.dns })
    }

    /// Takes back what the plugins may have done.
    fn undo(&self, record: Record) {
        let sandbox = record.sandbox.clone();
        if record.progress == Progress::Adding(0) {
            lock(&self.held).remove(&sandbox);
            return;
        }
        if let Err(error) = self.del(record, Limit::of(self.limits.del)) {
            let error = berth_types::error::chain(&error);
            tracing::warn!(
                sandbox = sandbox.short(),
                error,
                "what was begun of a pod's network is left behind"
            );
        }
    }
}

/// A recorded pod as plugins are told of it, while its namespace is there.
pub(super) fn attachment(record: &Record) -> Attachment<'_> {
    Attachment {
        container: record.sandbox.as_str(),
        netns: Some(&record.netns),
        interface: &record.interface,
        args: &record.args,
        capabilities: &record.capabilities,
    }
}

pub(super) fn failed(command: Command, network: &Network, plugin: &Plugin, source: PluginError) -> CniError {
    let (plugin, network) = (plugin.kind.clone(), network.name.clone());
    CniError::Plugin { command: command.word(), plugin, network, source }
}

fn loopback_up(request: &AttachRequest<'_>) -> Result<(), CniError> {
    let up = || {
        let mut socket = Socket::open_in(request.netns, Family::Route)?;
        socket.exchange(vec![route::set_up(By::Index(LOOPBACK))]).map(drop)
    };
    up().map_err(|source| CniError::Loopback { sandbox: request.sandbox.clone(), source })
}
