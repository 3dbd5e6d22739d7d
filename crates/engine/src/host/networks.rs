//! The pod networks of an engine: which one the pods of each owner get. What a network is made of is known only here.

use std::collections::HashSet;
use std::sync::Arc;

use berth_net::{
    Builtin, Cidr, Cni, CniConfig, CniLimits, Garbage, Inventory, Loopback, NetError, PodNetwork,
    ServiceNetwork, Services,
};
use berth_types::SandboxId;

use super::layout::Layout;
use crate::config::{CniNetwork, EngineConfig, NetworkChoice};
use crate::error::EngineError;
use crate::model::{Network, Owner, SandboxConfig};
use crate::status::NetworkStatus;

/// The networks, and which owner's pods get which.
#[derive(Debug)]
pub(crate) struct Networks {
    cri: Arc<dyn PodNetwork>,
    local: Arc<dyn PodNetwork>,
    /// The network of pods that request none.
    none: Arc<dyn PodNetwork>,
    /// Each network once: a pod is disconnected from whichever it was given, whatever is configured now.
    all: Vec<Arc<dyn PodNetwork>>,
    /// That of CNI, where it is among them.
    cni: Option<Arc<Cni>>,
}

impl Networks {
    /// Opens what is configured, and what pods may still have of a network that was.
    pub(crate) fn open(config: &EngineConfig, layout: &Layout) -> Result<Self, EngineError> {
        let none: Arc<dyn PodNetwork> = Arc::new(Loopback);
        let wanted = |choice| [config.cri_network, config.local_network].contains(&choice);
        let mut builtin: Option<Arc<dyn PodNetwork>> = None;
        if wanted(NetworkChoice::Builtin) {
            builtin = Some(Arc::new(self::builtin(config, layout)?));
        }
        let mut plugins: Option<Arc<Cni>> = None;
        if wanted(NetworkChoice::Cni) || Cni::has_records(&layout.cni()) {
            plugins = Some(Arc::new(self::cni(config, layout)?));
        }
        let cni: Option<Arc<dyn PodNetwork>> = plugins.clone().map(|plugins| plugins as _);
        let choice = |owner| {
            let chosen = match config.network(owner) {
                NetworkChoice::Builtin => builtin.as_ref(),
                NetworkChoice::Cni => cni.as_ref(),
                NetworkChoice::None => Some(&none),
            };
            Arc::clone(chosen.expect("what is wanted was opened"))
        };
        let (cri, local) = (choice(Owner::Cri), choice(Owner::Local));
        let all = builtin.into_iter().chain(cni).chain([Arc::clone(&none)]).collect();
        Ok(Self { cri, local, none, all, cni: plugins })
    }

    /// Configurations and plugins of CNI are elsewhere now. Blocks, for seconds perhaps.
    pub(crate) fn move_cni(&self, to: CniNetwork) {
        if let Some(cni) = &self.cni {
            cni.move_to(to.conf_dir, to.bin_dirs);
        }
    }

    fn of_owner(&self, owner: Owner) -> &Arc<dyn PodNetwork> {
        match owner {
            Owner::Cri => &self.cri,
            Owner::Local => &self.local,
        }
    }

    /// The network that a pod is connected to; None when it uses the host's.
    pub(crate) fn of(&self, config: &SandboxConfig) -> Option<Arc<dyn PodNetwork>> {
        match config.namespaces.network {
            Network::Host => None,
            Network::None => Some(Arc::clone(&self.none)),
            Network::Pod => Some(Arc::clone(self.of_owner(config.owner))),
        }
    }

    /// Whether pods of an owner can be connected now.
    pub(crate) fn status(&self, owner: Owner) -> NetworkStatus {
        match self.of_owner(owner).status() {
            berth_net::NetworkStatus::Ready => {
                NetworkStatus { ready: true, reason: String::new(), message: String::new() }
            }
            berth_net::NetworkStatus::NotReady { reason, message } => {
                NetworkStatus { ready: false, reason: reason.to_owned(), message }
            }
        }
    }

    /// Disconnects a pod from whatever it was connected to.
    ///
    /// # Errors
    /// The first that failed; all are tried.
    pub(crate) fn detach(&self, sandbox: &SandboxId) -> Result<(), EngineError> {
        let mut first = Ok(());
        for network in &self.all {
            let detached = network.detach(sandbox);
            first = first.and(detached.map_err(|e| EngineError::failed("disconnect the pod", e)));
        }
        first
    }

    /// Whether the addresses of a pod may be given to another. Blocks. Only a network that certainly does not know the pod
    /// says so; a fault that may pass does not.
    pub(crate) fn has_lost(&self, config: &SandboxConfig, sandbox: &SandboxId) -> bool {
        let Some(network) = self.of(config) else { return false };
        match network.check(sandbox) {
            Ok(()) => false,
            Err(NetError::NotAttached { .. }) => true,
            Err(error) => {
                let error = berth_types::error::chain(&error);
                tracing::warn!(sandbox = sandbox.short(), error, "the pod's network is damaged");
                false
            }
        }
    }

    /// What is wrong with a pod's connection, as far as can be found out. Blocks, for seconds perhaps.
    pub(crate) fn examine(&self, config: &SandboxConfig, sandbox: &SandboxId) -> Result<(), NetError> {
        self.of(config).map_or(Ok(()), |network| network.examine(sandbox))
    }

    /// Tells the network of an owner's pods which blocks the cluster gives this node. Blocks.
    pub(crate) fn set_pod_blocks(&self, owner: Owner, blocks: &[Cidr]) -> Result<(), EngineError> {
        let set = self.of_owner(owner).set_pod_blocks(blocks);
        set.map_err(|e| EngineError::failed("keep the node's blocks of addresses", e))
    }

    /// What its network knows of a pod, for users and their tools. Blocks.
    pub(crate) fn details(&self, config: &SandboxConfig, sandbox: &SandboxId) -> Option<serde_json::Value> {
        self.of(config)?.details(sandbox)
    }

    /// Where the services of an owner's pods have their addresses.
    pub(crate) fn service_network(&self, owner: Owner) -> Option<ServiceNetwork> {
        self.of_owner(owner).service_network()
    }

    /// Tables of rules that there are without services. Blocks.
    pub(crate) fn stray_services(&self) -> Vec<String> {
        self.all.iter().filter_map(|network| network.stray_services()).collect()
    }

    /// Makes these the services of an owner's pods. Blocks.
    pub(crate) fn set_services(&self, owner: Owner, services: &Services) -> Result<(), NetError> {
        self.of_owner(owner).set_services(services)
    }

    /// What the networks have of pods.
    pub(crate) fn inventory(&self) -> Result<Inventory, EngineError> {
        let mut all = Inventory::default();
        for network in &self.all {
            let of = network.inventory().map_err(|e| EngineError::failed("inspect the network", e))?;
            all.sandboxes.extend(of.sandboxes);
            all.orphans.extend(of.orphans);
        }
        Ok(all)
    }

    /// Removes what belongs to pods that are not known.
    pub(crate) fn sweep(&self, known: &HashSet<SandboxId>) -> Result<(), EngineError> {
        for network in &self.all {
            network.sweep(known).map_err(|e| EngineError::failed("sweep the network", e))?;
        }
        Ok(())
    }

    /// Each network once.
    pub(crate) fn all(&self) -> &[Arc<dyn PodNetwork>] {
        &self.all
    }
}

fn builtin(config: &EngineConfig, layout: &Layout) -> Result<Builtin, EngineError> {
    let builtin = &config.builtin;
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let mut net = berth_net::Config::for_instance(&config.instance, machine.trim(), layout.network());
    if !builtin.bridge.is_empty() {
        net.bridge.clone_from(&builtin.bridge);
    }
    if !builtin.table.is_empty() {
        net.table.clone_from(&builtin.table);
    }
    let refused = |e: berth_net::ParseCidrError| EngineError::invalid("pod-cidr", e.to_string());
    if !builtin.cidr4.is_empty() {
        net.cidr4 = Some(builtin.cidr4.parse().map_err(refused)?);
    }
    let refused = |e: berth_net::ParseCidrError| EngineError::invalid("service-cidr", e.to_string());
    if !builtin.services4.is_empty() {
        net.services4 = Some(builtin.services4.parse().map_err(refused)?);
    }
    Builtin::open(net).map_err(|e| EngineError::failed("open the built-in network", e))
}

fn cni(config: &EngineConfig, layout: &Layout) -> Result<Cni, EngineError> {
    // A second daemon of a machine is beside the one whose pods the networks are for.
    let garbage = if config.instance.is_empty() { Garbage::Collect } else { Garbage::Leave };
    let of_cni = CniConfig {
        conf_dir: config.cni.conf_dir.clone(),
        bin_dirs: config.cni.bin_dirs.clone(),
        dir: layout.cni(),
        garbage,
        limits: CniLimits::default(),
    };
    Cni::open(of_cni).map_err(|e| EngineError::failed("open the network of CNI plugins", e))
}
