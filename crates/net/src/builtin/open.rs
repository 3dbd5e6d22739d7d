//! Opening the network: what an earlier daemon left is taken over, what is missing is made.

use std::collections::HashSet;
use std::sync::{Mutex, RwLock};

use berth_sys::netlink::{Family, Socket};

use super::bridge::{self, Gateways, Host, Side};
use super::firewall::Firewall;
use super::link::{self, Uplink};
use super::pool::Pool;
use super::reserve::{self, Reservations};
use super::store::Store;
use super::{Builtin, Lease, Phase, State, forwarding, legacy, ruleset, services};
use crate::cidr::{Cidr4, Cidr6};
use crate::config::{Config, Ipv6};
use crate::error::OpenError;

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
        let services = services::network(&config, &store, (&mut socket, &host), (cidr4, cidr6))?;
        let prepare = || forwarding::prepare_bridge(&config.bridge, cidr6.is_some());
        let index = bridge::ensure(&mut socket, &config, &host, (gateways, uplink.mtu), prepare)?;
        let mut side = Side { socket, index, group: config.group() };
        side.plug(&host, &leases);
        forwarding::enable(cidr6.is_some(), &host.listeners(&config.bridge))?;
        let plan = ruleset::Plan {
            table: config.table.clone(),
            bridge: config.bridge.clone(),
            cidr4,
            cidr6,
            group: config.group(),
            senders: ruleset::Senders::Bound,
        };
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
            services,
            phase: RwLock::new(Phase::Open),
            fault: Mutex::new(None),
        })
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
                    tracing::warn!(sandbox = lease.sandbox.short(), error, "failed to reserve a host port");
                }
            }
            let sandbox = lease.sandbox.clone();
            if !pool.restore(lease) {
                tracing::warn!(sandbox = sandbox.short(), "lease of an address that is in use");
            }
        }
        for address in host.links.iter().filter_map(|link| link::address_of(&link.name)) {
            if let Some(offset) = pool.offset_of(address) {
                pool.drain(offset);
            }
        }
        Self { pool, reservations, releasing: HashSet::new(), service_ports: services::Held::new() }
    }
}

/// The IPv4 block; the one in use stays while there are leases.
fn block(config: &Config, store: &Store, leases: &[Lease], host: &Host) -> Result<Cidr4, OpenError> {
    let chosen = store.subnet();
    let in_use = |cidr: &Cidr4| leases.iter().all(|lease| cidr.contains(lease.address4));
    // Also when a network of the host overlaps it by now: running pods are kept.
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
        tracing::warn!(error, "the IPv6 block may change at the next start");
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
