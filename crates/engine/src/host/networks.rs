//! The pod networks of an engine: which one the pods of each owner get. What a network is made of is known only here.

use std::collections::HashSet;
use std::sync::Arc;

use berth_net::{Builtin, Inventory, Loopback, NetError, PodNetwork};
use berth_types::SandboxId;

use super::layout::Layout;
use crate::config::{EngineConfig, NetworkChoice};
use crate::error::EngineError;
use crate::model::{Network, Owner, SandboxConfig};
use crate::status::NetworkStatus;

/// The networks, and which owner's pods get which.
#[derive(Debug)]
pub(crate) struct Networks {
    cri: Choice,
    local: Choice,
    /// The network of pods that request none.
    none: Arc<dyn PodNetwork>,
    /// Each network once: a pod is disconnected from whichever it was given, whatever is configured now.
    all: Vec<Arc<dyn PodNetwork>>,
}

/// The network of one owner's pods.
#[derive(Debug, Clone)]
enum Choice {
    Is(Arc<dyn PodNetwork>),
    /// No network is usable, and why.
    Missing(&'static str),
}

/// Why CNI pods have no network.
const NO_CNI: &str = "no CNI network is configured; only pods on the host's network can run";

impl Networks {
    /// Opens what is configured.
    pub(crate) fn open(config: &EngineConfig, layout: &Layout) -> Result<Self, EngineError> {
        let none: Arc<dyn PodNetwork> = Arc::new(Loopback);
        let wanted = [config.cri_network, config.local_network];
        let builtin = if wanted.contains(&NetworkChoice::Builtin) {
            let network: Arc<dyn PodNetwork> = Arc::new(builtin(config, layout)?);
            Some(network)
        } else {
            None
        };
        let choice = |owner| match (config.network(owner), &builtin) {
            (NetworkChoice::Builtin, Some(builtin)) => Choice::Is(Arc::clone(builtin)),
            (NetworkChoice::None, _) => Choice::Is(Arc::clone(&none)),
            (NetworkChoice::Cni | NetworkChoice::Builtin, _) => Choice::Missing(NO_CNI),
        };
        let (cri, local) = (choice(Owner::Cri), choice(Owner::Local));
        let all = builtin.into_iter().chain([Arc::clone(&none)]).collect();
        Ok(Self { cri, local, none, all })
    }

    fn choice(&self, owner: Owner) -> &Choice {
        match owner {
            Owner::Cri => &self.cri,
            Owner::Local => &self.local,
        }
    }

    /// The network that a pod is connected to; None when it uses the host's.
    ///
    /// # Errors
    /// There is no such network.
    pub(crate) fn of(&self, config: &SandboxConfig) -> Result<Option<Arc<dyn PodNetwork>>, EngineError> {
        match (config.namespaces.network, self.choice(config.owner)) {
            (Network::Host, _) => Ok(None),
            (Network::None, _) => Ok(Some(Arc::clone(&self.none))),
            (Network::Pod, Choice::Is(network)) => Ok(Some(Arc::clone(network))),
            (Network::Pod, Choice::Missing(why)) => {
                Err(EngineError::NetworkNotReady { message: (*why).to_owned() })
            }
        }
    }

    /// Whether pods of an owner can be connected now.
    pub(crate) fn status(&self, owner: Owner) -> NetworkStatus {
        let not_ready = |reason: &str, message: String| NetworkStatus {
            ready: false,
            reason: reason.to_owned(),
            message,
        };
        match self.choice(owner) {
            Choice::Missing(why) => not_ready(berth_net::network::NOT_READY, (*why).to_owned()),
            Choice::Is(network) => match network.status() {
                berth_net::NetworkStatus::Ready => {
                    NetworkStatus { ready: true, reason: String::new(), message: String::new() }
                }
                berth_net::NetworkStatus::NotReady { reason, message } => not_ready(reason, message),
            },
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
        let Ok(Some(network)) = self.of(config) else { return false };
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
    Builtin::open(net).map_err(|e| EngineError::failed("open the built-in network", e))
}
