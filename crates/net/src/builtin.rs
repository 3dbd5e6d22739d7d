//! The built-in bridge network.
//!
//! ```text
//! attach   address and ports from the pool -> ports bound -> lease on disk -> pair of interfaces
//!          -> lo, eth0, routes in the pod -> elements of the maps             (undone if one fails)
//! detach   elements removed -> ports closed -> lease removed -> address drains until the interface is gone
//! ```
//! Everything is netlink in process. Locks are taken in the order phase, firewall, pool, host socket. All but the
//! phase, which calls share, are held for single requests to the kernel, never for a whole attach.

mod bridge;
mod firewall;
mod forwarding;
mod legacy;
mod link;
mod open;
mod pool;
mod reserve;
mod ruleset;
mod seam;
mod services;
mod store;
mod upkeep;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use berth_types::SandboxId;
use rustix::io::Errno;

use crate::cidr::{Cidr4, Cidr6};
use crate::config::Config;
use crate::error::{AttachError, DetachError};
use crate::port::{self, PortMapping, Scope};
use crate::services::ServiceNetwork;

use bridge::Side;
use firewall::Firewall;
use link::{Pod, PrepareError, Uplink};
use pool::{Pool, Refusal};
use reserve::Reservations;
use store::Store;

/// The built-in network of one instance. All methods may be called from any number of threads of
/// the host's network namespace; they block for about a millisecond, so an async caller uses a
/// blocking thread.
#[derive(Debug)]
pub struct Builtin {
    config: Config,
    cidr4: Cidr4,
    cidr6: Option<Cidr6>,
    uplink: Uplink,
    firewall: Mutex<Firewall>,
    state: Mutex<State>,
    host: Mutex<Side>,
    store: Store,
    phase: RwLock<Phase>,
    /// Where services have their addresses; nothing where no block is free.
    services: Option<ServiceNetwork>,
    /// What the last check of the network found and could not repair.
    fault: Mutex<Option<String>>,
}

/// Whether there is a network to work on. Held for reading by every call that creates something, so that a purge waits for
/// it and no call makes anything again afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Purged,
}

/// The most host ports of a pod: each costs two descriptors of the daemon.
const MAX_PORTS: usize = 1000;

/// What is known of the pods.
#[derive(Debug)]
struct State {
    pool: Pool,
    reservations: Reservations,
    /// Pods that are detached but still have their lease, since something of theirs could not be removed.
    releasing: HashSet<SandboxId>,
    /// The host ports of services.
    service_ports: services::Held,
}

/// The guarded values are consistent after each statement that changes them, so that a panic of
/// another thread does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a pod got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The pod's addresses: IPv4, then IPv6 where there is one.
    pub addresses: Vec<IpAddr>,
    /// The host's addresses on the bridge, which are the pod's gateways; in the same order.
    pub gateways: Vec<IpAddr>,
    /// The interface in the pod: `eth0`.
    pub interface: &'static str,
    /// The other end, on the bridge.
    pub host_interface: String,
    /// Largest packet of the interface, in bytes.
    pub mtu: u32,
}

/// An address that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The pod.
    pub sandbox: SandboxId,
    /// Its IPv4 address.
    pub address4: Ipv4Addr,
    /// Its IPv6 address.
    pub address6: Option<Ipv6Addr>,
    /// Its host ports.
    pub ports: Vec<PortMapping>,
}

/// Whether the kernel may have the interface of a pod still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interface {
    Gone,
    MayExist,
}

/// What [`Builtin::sweep`] removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Leases of pods that are not known.
    pub leases: Vec<Lease>,
    /// Interfaces on the bridge that belong to no pod.
    pub interfaces: Vec<String>,
}

impl Builtin {
    /// Connects the network namespace `netns` of a pod: `lo` up, `eth0` with addresses and default
    /// routes, host ports. After an error nothing is left behind, except that `lo` is up.
    pub fn attach(
        &self,
        sandbox: &SandboxId,
        netns: BorrowedFd<'_>,
        ports: &[PortMapping],
    ) -> Result<Attachment, AttachError> {
        let phase = self.phase();
        if *phase == Phase::Purged {
            return Err(AttachError::Purged { bridge: self.config.bridge.clone() });
        }
        self.check_ports(ports)?;
        // What is given back may be what this pod needs; what cannot be given back is reported by the next check.
        drop(self.release_again());
        let ports = &port::distinct(ports);
        let mut pod = Pod::enter(netns).map_err(|error| match error {
            PrepareError::Settings(source) => AttachError::Settings { sandbox: sandbox.clone(), source },
            PrepareError::Kernel(source) => AttachError::Kernel { sandbox: sandbox.clone(), source },
        })?;
        if let Some(port) = ports.iter().find(|port| !pod.ipv6 && port.scope4() == Scope::None) {
            return Err(AttachError::BadPort { port: *port, reason: "the pod has no IPv6 address" });
        }
        let lease = self.lease(sandbox, ports, pod.ipv6)?;
        if let Err(error) = self.connect(&lease, &mut pod) {
            self.undo(&lease);
            return Err(error);
        }
        Ok(self.attachment(&lease))
    }

    fn phase(&self) -> RwLockReadGuard<'_, Phase> {
        self.phase.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_ports(&self, ports: &[PortMapping]) -> Result<(), AttachError> {
        for (i, port) in ports.iter().enumerate() {
            let bad = |reason| Err(AttachError::BadPort { port: *port, reason });
            if i >= MAX_PORTS {
                return bad("a pod can have 1000 host ports at most");
            }
            if port.host_port == 0 || port.container_port == 0 {
                return bad("0 is not a port");
            }
            if port.host_ip == Some(Ipv6Addr::LOCALHOST.into()) {
                return bad("::1 cannot lead to a pod, 127.0.0.1 can");
            }
            if self.cidr6.is_none() && port.scope4() == Scope::None {
                return bad("the pod network has no IPv6");
            }
            if ports[..i].iter().any(|o| o.conflicts(port) && !o.includes(port) && !port.includes(o)) {
                return bad("it is mapped to two different ports of the pod");
            }
        }
        Ok(())
    }

    fn lease(&self, sandbox: &SandboxId, ports: &[PortMapping], ipv6: bool) -> Result<Lease, AttachError> {
        let gone = |offset| {
            let address = self.cidr4.nth(offset).expect("offsets are inside the block");
            link::is_gone(&mut lock(&self.host).socket, &link::host_name(address))
        };
        lock(&self.state).pool.take(sandbox, ports, ipv6, gone).map_err(|refusal| match refusal {
            Refusal::AlreadyAttached => AttachError::AlreadyAttached { sandbox: sandbox.clone() },
            Refusal::PortTaken { port, holder } => AttachError::PortTaken { port, holder },
            Refusal::Exhausted { leases, draining } => {
                AttachError::Exhausted { cidr: self.cidr4, leases, draining }
            }
        })
    }

    fn connect(&self, lease: &Lease, pod: &mut Pod<'_>) -> Result<(), AttachError> {
        let sandbox = &lease.sandbox;
        let kernel = |source| AttachError::Kernel { sandbox: sandbox.clone(), source };
        let sockets = reserve::bind_all(&lease.ports, self.cidr6.is_some())?;
        lock(&self.state).reservations.hold(sandbox, sockets);
        let offset = self.cidr4.offset(lease.address4).expect("leases are inside the block");
        self.store
            .write(lease, offset)
            .map_err(|source| AttachError::Lease { path: self.store.path(sandbox), source })?;
        self.plug(lease, pod)?;
        pod.configure(lease, &self.uplink).map_err(kernel)?;
        lock(&self.firewall).admit(lease).map_err(kernel)
    }

    /// Makes the pod's interfaces; again when the bridge was deleted.
    fn plug(&self, lease: &Lease, pod: &mut Pod<'_>) -> Result<(), AttachError> {
        let mut connect = || pod.connect(&mut lock(&self.host), lease, &self.uplink);
        let result = match connect() {
            Err(_) if self.verify_bridge().unwrap_or(false) => connect(),
            result => result,
        };
        result.map_err(|source| match source.errno() {
            Some(Errno::XFULL) => AttachError::BridgeFull { bridge: self.config.bridge.clone() },
            _ => AttachError::Kernel { sandbox: lease.sandbox.clone(), source },
        })
    }

    /// Takes back all that [`Builtin::connect`] may have done; goes on past failures.
    fn undo(&self, lease: &Lease) {
        let failed = |what: &str, error: &dyn std::error::Error| {
            let error = berth_types::error::chain(error);
            tracing::warn!(sandbox = lease.sandbox.short(), error, "{what} left behind");
        };
        let name = link::host_name(lease.address4);
        let disconnected = link::disconnect(&mut lock(&self.host).socket, &name);
        if let Err(error) = &disconnected {
            failed("interface", error);
        }
        let rest = if disconnected.is_ok() { Interface::Gone } else { Interface::MayExist };
        if let Err(error) = self.release(&lease.sandbox, rest) {
            failed("lease", &error);
        }
    }

    fn attachment(&self, lease: &Lease) -> Attachment {
        let has6 = lease.address6.is_some();
        Attachment {
            addresses: lease.addresses(),
            gateways: self.uplink.gateways.iter().copied().filter(|ip| ip.is_ipv4() || has6).collect(),
            interface: link::POD_INTERFACE,
            host_interface: link::host_name(lease.address4),
            mtu: self.uplink.mtu,
        }
    }

    /// Takes the host ports away and gives the addresses back. Succeeds for a pod that is not
    /// connected. The interfaces go with the pod's network namespace, which the caller drops; the
    /// addresses are not used again before the kernel has removed them. What fails is tried again by the next check of
    /// the network, and may be called again.
    pub fn detach(&self, sandbox: &SandboxId) -> Result<(), DetachError> {
        if lock(&self.state).pool.get(sandbox).is_none() {
            return Ok(());
        }
        self.release(sandbox, Interface::MayExist)
    }

    /// Gives back what a pod has: in the order that leaves the lease for another try when something fails, which is
    /// then made by the next [`Builtin::verify`] or attach.
    fn release(&self, sandbox: &SandboxId, interface: Interface) -> Result<(), DetachError> {
        let released = lock(&self.firewall)
            .dismiss(sandbox)
            .map_err(|source| DetachError::Kernel { sandbox: sandbox.clone(), source })
            .and_then(|()| {
                let failed = |source| DetachError::Lease { path: self.store.path(sandbox), source };
                self.store.remove(sandbox).map_err(failed)
            });
        let mut state = lock(&self.state);
        match &released {
            Ok(()) => {
                state.releasing.remove(sandbox);
                state.reservations.release(sandbox);
                state.pool.give_back(sandbox, interface == Interface::MayExist);
            }
            Err(_) => {
                state.releasing.insert(sandbox.clone());
            }
        }
        released
    }

    /// Tries again to give back what could not be given back before; all of it, and gives the first error.
    fn release_again(&self) -> Result<(), DetachError> {
        let pending: Vec<_> = lock(&self.state).releasing.iter().cloned().collect();
        let results: Vec<_> = pending.iter().map(|id| self.release(id, Interface::MayExist)).collect();
        results.into_iter().collect()
    }

    /// The addresses in use, in order.
    pub fn leases(&self) -> Vec<Lease> {
        let mut leases: Vec<_> = lock(&self.state).pool.leases().cloned().collect();
        leases.sort_by_key(|lease| lease.address4);
        leases
    }

    /// What `sandbox` was given; `None` when it is not connected. For a daemon that finds its pods
    /// again.
    pub fn find(&self, sandbox: &SandboxId) -> Option<Attachment> {
        let lease = lock(&self.state).pool.get(sandbox).cloned()?;
        Some(self.attachment(&lease))
    }

    /// The name of the bridge.
    pub fn bridge(&self) -> &str {
        &self.config.bridge
    }

    /// The IPv4 block that pods get addresses from.
    pub fn cidr4(&self) -> Cidr4 {
        self.cidr4
    }

    /// The IPv6 block that pods get addresses from; `None` when they get none.
    pub fn cidr6(&self) -> Option<Cidr6> {
        self.cidr6
    }
}

impl Lease {
    /// The pod's addresses: IPv4, then IPv6 where there is one.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let v6 = self.address6.map(IpAddr::from);
        std::iter::once(IpAddr::from(self.address4)).chain(v6).collect()
    }
}
