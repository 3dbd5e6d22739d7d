//! The built-in bridge network.
//!
//! ```text
//! attach   address and ports from the pool -> ports bound -> lease on disk -> pair of interfaces
//!          -> lo, eth0, routes in the pod -> elements of the port maps        (undone if one fails)
//! detach   elements away -> ports free -> lease away -> address drains until the interface is gone
//! ```
//! Everything is netlink in process. Locks are taken in the order firewall, pool, host socket, and
//! held for single requests to the kernel, never for a whole attach.

mod bridge;
mod firewall;
mod forwarding;
mod legacy;
mod link;
mod pool;
mod reserve;
mod ruleset;
mod store;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use berth_sys::netlink::route::{self, By};
use berth_sys::netlink::{Family, Monitor, Socket};
use berth_types::SandboxId;
use rustix::io::Errno;

use crate::cidr::{Cidr4, Cidr6};
use crate::config::{Config, Ipv6};
use crate::error::{AttachError, DetachError, OpenError, SweepError};
use crate::port::{self, PortMapping, Scope};

use bridge::{Gateways, Host, Side};
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
}

/// The most host ports of a pod: each costs two descriptors of the daemon.
const MAX_PORTS: usize = 1000;

/// What is known of the pods.
#[derive(Debug)]
struct State {
    pool: Pool,
    reservations: Reservations,
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

/// What [`Builtin::sweep`] removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Leases of pods that are not known.
    pub leases: Vec<Lease>,
    /// Interfaces on the bridge that belong to no pod.
    pub interfaces: Vec<String>,
}

impl Builtin {
    /// Makes the network, or takes over what an earlier daemon left: bridge, addresses, firewall
    /// table and leases. Must be called in the host's network namespace.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        bridge::check(&config)?;
        let store = Store::open(&config.dir)?;
        let leases = store.load()?;
        let kernel = |source| OpenError::Kernel { bridge: config.bridge.clone(), source };
        let mut socket = Socket::open(Family::Route).map_err(kernel)?;
        let host = Host::look(&mut socket).map_err(kernel)?;
        let cidr4 = block(&config, &store, &leases, &host)?;
        let cidr6 = match config.cidr6 {
            Ipv6::IfAvailable(cidr) if forwarding::has_ipv6() => Some(block6(cidr, &store, &leases)),
            Ipv6::IfAvailable(_) | Ipv6::Off => None,
        };
        let gateways = Gateways::of(cidr4, cidr6);
        let uplink = uplink(host.mtu(), gateways);
        let prepare = || forwarding::prepare_bridge(&config.bridge, cidr6.is_some());
        let index = bridge::ensure(&mut socket, &config, &host, (gateways, uplink.mtu), prepare)?;
        let mut side = Side { socket, index };
        side.plug(&host, &leases);
        forwarding::enable(cidr6.is_some(), &host.listeners(&config.bridge))?;
        let plan = ruleset::Plan { table: config.table.clone(), bridge: config.bridge.clone(), cidr4, cidr6 };
        legacy::open_forward(&config.bridge);
        let firewall = Firewall::open(plan, &leases).map_err(kernel)?;
        let state = State::recover(leases, &host, Pool::new(cidr4, cidr6, store.last()), cidr6.is_some());
        tracing::debug!(bridge = config.bridge, %cidr4, ?cidr6, mtu = uplink.mtu, "built-in network open");
        Ok(Self {
            config,
            cidr4,
            cidr6,
            uplink,
            firewall: Mutex::new(firewall),
            state: Mutex::new(state),
            host: Mutex::new(side),
            store,
        })
    }

    /// Connects the network namespace `netns` of a pod: `lo` up, `eth0` with addresses and default
    /// routes, host ports. After an error nothing is left but `lo` being up.
    pub fn attach(
        &self,
        sandbox: &SandboxId,
        netns: BorrowedFd<'_>,
        ports: &[PortMapping],
    ) -> Result<Attachment, AttachError> {
        self.check_ports(ports)?;
        let ports = &port::distinct(ports);
        let mut pod = Pod::enter(netns).map_err(|error| match error {
            PrepareError::Settings(source) => AttachError::Settings { sandbox: sandbox.clone(), source },
            PrepareError::Kernel(source) => AttachError::Kernel { sandbox: sandbox.clone(), source },
        })?;
        if let Some(port) = ports.iter().find(|port| !pod.ipv6 && port.scope4() == Scope::None) {
            return Err(AttachError::BadPort { port: *port, reason: "the pod has no IPv6" });
        }
        let lease = self.lease(sandbox, ports, pod.ipv6)?;
        if let Err(error) = self.connect(&lease, &mut pod) {
            self.undo(&lease);
            return Err(error);
        }
        Ok(self.attachment(&lease))
    }

    fn check_ports(&self, ports: &[PortMapping]) -> Result<(), AttachError> {
        for (i, port) in ports.iter().enumerate() {
            let bad = |reason| Err(AttachError::BadPort { port: *port, reason });
            if i >= MAX_PORTS {
                return bad("a pod can have 1000 host ports at most");
            }
            if port.host_port == 0 || port.container_port == 0 {
                return bad("0 is no port");
            }
            if port.host_ip == Some(Ipv6Addr::LOCALHOST.into()) {
                return bad("::1 cannot lead to a pod, 127.0.0.1 can");
            }
            if self.cidr6.is_none() && port.scope4() == Scope::None {
                return bad("the pod network has no IPv6");
            }
            if ports[..i].iter().any(|o| o.conflicts(port) && !o.includes(port) && !port.includes(o)) {
                return bad("it is asked for twice, to different ports of the pod");
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
        let mut firewall = lock(&self.firewall);
        if lease.ports.is_empty() {
            return firewall.verify().map_err(kernel);
        }
        firewall.open_ports(lease).map_err(kernel)
    }

    /// Makes the pod's interfaces; again when somebody has deleted the bridge.
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
        if let Err(error) = lock(&self.firewall).close_ports(&lease.sandbox) {
            failed("host ports", &error);
        }
        let name = link::host_name(lease.address4);
        let disconnected = link::disconnect(&mut lock(&self.host).socket, &name);
        if let Err(error) = &disconnected {
            failed("interface", error);
        }
        if let Err(error) = self.store.remove(&lease.sandbox) {
            failed("lease", &error);
        }
        let mut state = lock(&self.state);
        state.reservations.release(&lease.sandbox);
        state.pool.give_back(&lease.sandbox, disconnected.is_err());
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
    /// addresses are not used again before the kernel has removed them.
    pub fn detach(&self, sandbox: &SandboxId) -> Result<(), DetachError> {
        if lock(&self.state).pool.get(sandbox).is_none() {
            return Ok(());
        }
        lock(&self.firewall)
            .close_ports(sandbox)
            .map_err(|source| DetachError::Kernel { sandbox: sandbox.clone(), source })?;
        self.store
            .remove(sandbox)
            .map_err(|source| DetachError::Lease { path: self.store.path(sandbox), source })?;
        let mut state = lock(&self.state);
        state.reservations.release(sandbox);
        state.pool.give_back(sandbox, true);
        Ok(())
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

    /// Interfaces of pods on the bridge that belong to no lease: those of pods that ended a moment
    /// ago, or leaked ones. What others have connected to the bridge is not counted.
    pub fn strays(&self) -> Result<Vec<String>, SweepError> {
        let mut host = lock(&self.host);
        let replies = host.socket.dump(&route::get_links());
        let index = host.index;
        drop(host);
        let what = "list the ports of the bridge";
        let replies = replies.map_err(|source| SweepError::Kernel { what, source })?;
        let held: HashSet<_> = self.leases().iter().map(|l| link::host_name(l.address4)).collect();
        let links = replies.iter().filter_map(route::read_link).filter(|link| link.master == index);
        let pods = links.filter(|link| link.kind == "veth" && link::address_of(&link.name).is_some());
        Ok(pods.map(|link| link.name).filter(|name| !held.contains(name)).collect())
    }

    /// Removes the leases, ports and interfaces of pods that are not in `known`. Not to be called
    /// while a pod that is not in `known` is being attached. Takes some 10 ms for each interface.
    pub fn sweep(&self, known: &HashSet<SandboxId>) -> Result<Swept, SweepError> {
        let unknown: Vec<_> = self.leases().into_iter().filter(|l| !known.contains(&l.sandbox)).collect();
        for lease in &unknown {
            self.detach(&lease.sandbox).map_err(SweepError::Detach)?;
        }
        let interfaces = self.strays()?;
        for name in &interfaces {
            link::disconnect(&mut lock(&self.host).socket, name)
                .map_err(|source| SweepError::Kernel { what: "remove a leaked interface", source })?;
        }
        Ok(Swept { leases: unknown, interfaces })
    }

    /// Puts right what somebody else has undone: the firewall rules (a reload of the host's own
    /// rules, docker starting), the bridge (deleted, switched off, without its addresses). Every attach
    /// looks after the rules, too; this heals running pods. Costs a few small requests when
    /// nothing has changed.
    pub fn verify(&self) -> Result<(), SweepError> {
        self.verify_bridge().map_err(SweepError::Bridge)?;
        let what = "look after the firewall rules";
        lock(&self.firewall).verify().map_err(|source| SweepError::Kernel { what, source })
    }

    /// Puts the bridge right; tells whether it was wrong.
    fn verify_bridge(&self) -> Result<bool, OpenError> {
        let leases = self.leases();
        let config = &self.config;
        let kernel = |source| OpenError::Kernel { bridge: config.bridge.clone(), source };
        let gateways = Gateways::of(self.cidr4, self.cidr6);
        let mut side = lock(&self.host);
        if side.is_whole(&config.bridge, gateways).map_err(kernel)? {
            return Ok(false);
        }
        let host = Host::look(&mut side.socket).map_err(kernel)?;
        let prepare = || forwarding::prepare_bridge(&config.bridge, self.cidr6.is_some());
        side.index = bridge::ensure(&mut side.socket, config, &host, (gateways, self.uplink.mtu), prepare)?;
        side.plug(&host, &leases);
        tracing::warn!(bridge = config.bridge, "others have changed the bridge, put right");
        Ok(true)
    }

    /// Monitors that are readable after something has changed that [`Builtin::verify`] may have to put
    /// right. They hear of every change to the host's interfaces and rules, the network's own included,
    /// so that the caller waits a moment before it drains them and looks.
    pub fn monitors(&self) -> Result<[Monitor; 2], SweepError> {
        let open = |family| {
            let what = "listen to changes of the network";
            Monitor::open(family).map_err(|source| SweepError::Kernel { what, source })
        };
        Ok([open(Family::Route)?, open(Family::Netfilter)?])
    }

    /// Removes everything: interfaces, bridge, rules, leases. The pods lose their network. Kernel
    /// settings (forwarding) stay.
    pub fn purge(self) -> Result<(), SweepError> {
        let kernel = |what| move |source| SweepError::Kernel { what, source };
        self.sweep(&HashSet::new())?;
        lock(&self.firewall).purge().map_err(kernel("remove the firewall rules"))?;
        legacy::close_forward(&self.config.bridge);
        let mut host = lock(&self.host);
        let index = host.index;
        link::delete(&mut host.socket, By::Index(index)).map_err(kernel("remove the bridge"))?;
        drop(host);
        self.store.purge().map_err(|(path, source)| SweepError::File { path, source })
    }
}

impl Lease {
    /// The pod's addresses: IPv4, then IPv6 where there is one.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let v6 = self.address6.map(IpAddr::from);
        std::iter::once(IpAddr::from(self.address4)).chain(v6).collect()
    }
}

impl State {
    /// Puts together what an earlier daemon left: its leases, their ports, and the interfaces on
    /// the bridge that belong to none of them.
    fn recover(leases: Vec<Lease>, host: &Host, mut pool: Pool, ipv6: bool) -> Self {
        let mut reservations = Reservations::default();
        for lease in leases {
            match reserve::bind_all(&lease.ports, ipv6) {
                Ok(sockets) => reservations.hold(&lease.sandbox, sockets),
                Err(error) => {
                    let error = berth_types::error::chain(&error);
                    tracing::warn!(sandbox = lease.sandbox.short(), error, "host port not held");
                }
            }
            let sandbox = lease.sandbox.clone();
            if !pool.restore(lease) {
                tracing::warn!(sandbox = sandbox.short(), "lease of an address that is taken");
            }
        }
        for address in host.links.iter().filter_map(|link| link::address_of(&link.name)) {
            if let Some(offset) = pool.offset_of(address) {
                pool.drain(offset);
            }
        }
        Self { pool, reservations }
    }
}

/// The IPv4 block; the one in use stays while there are leases.
fn block(config: &Config, store: &Store, leases: &[Lease], host: &Host) -> Result<Cidr4, OpenError> {
    let chosen = store.subnet();
    let in_use = |cidr: &Cidr4| leases.iter().all(|lease| cidr.contains(lease.address4));
    // Also when a network of the host overlaps it by now: pods that run are not given up for that.
    let cidr4 = match chosen.filter(|cidr| !leases.is_empty() && in_use(cidr)) {
        Some(cidr) if config.cidr4.is_none_or(|asked| asked == cidr) => cidr,
        _ => bridge::choose(config, chosen, host)?,
    };
    if let Some(lease) = leases.iter().find(|lease| !cidr4.contains(lease.address4)) {
        let what = format!(
            "pod addresses cannot change to {cidr4} while sandbox {} has {}",
            lease.sandbox.short(),
            lease.address4
        );
        return Err(OpenError::Config { what });
    }
    if chosen != Some(cidr4) {
        store.set_subnet(cidr4)?;
    }
    Ok(cidr4)
}

/// The IPv6 block; the one in use stays while there are leases.
fn block6(configured: Cidr6, store: &Store, leases: &[Lease]) -> Cidr6 {
    let chosen = store.subnet6();
    let mut addresses = leases.iter().filter_map(|lease| lease.address6).peekable();
    let in_use = addresses.peek().is_some();
    if let Some(cidr) = chosen.filter(|cidr| in_use && addresses.all(|ip| cidr.contains(ip))) {
        if cidr != configured {
            tracing::warn!(%cidr, %configured, "the IPv6 block cannot change while pods have addresses of it");
        }
        return cidr;
    }
    if chosen != Some(configured)
        && let Err(error) = store.set_subnet6(configured)
    {
        let error = berth_types::error::chain(&error);
        tracing::warn!(error, "the IPv6 block may not be kept");
    }
    configured
}

fn uplink(mtu: u32, gateways: Gateways) -> Uplink {
    let v6 = gateways.v6.map(|(ip, _)| ip.into());
    Uplink {
        mtu,
        prefix4: gateways.v4.1,
        prefix6: gateways.v6.map_or(0, |(_, prefix)| prefix),
        gateways: std::iter::once(gateways.v4.0.into()).chain(v6).collect(),
    }
}
