//! Maintenance of the network: repair, orphans, and removal.

use std::collections::HashSet;
use std::sync::PoisonError;

use berth_sys::netlink::route::{self, By};
use berth_sys::netlink::{Family, Monitor};
use berth_types::SandboxId;

use super::bridge::{self, Gateways, Host};
use super::{Builtin, Phase, Swept, forwarding, legacy, link, lock};
use crate::error::{OpenError, SweepError};

impl Builtin {
    /// Interfaces of pods on the bridge that belong to no lease: those of pods that ended a moment
    /// ago, or leaked ones. What others have connected to the bridge is not counted.
    pub fn orphans(&self) -> Result<Vec<String>, SweepError> {
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
    /// while a pod that is not in `known` is being attached. Takes some 10 ms for each interface. Goes on past failures,
    /// and gives the first.
    pub fn sweep(&self, known: &HashSet<SandboxId>) -> Result<Swept, SweepError> {
        let unknown = self.leases().into_iter().filter(|lease| !known.contains(&lease.sandbox));
        let mut failure = None;
        let mut swept = Swept::default();
        for lease in unknown {
            match self.detach(&lease.sandbox) {
                Ok(()) => swept.leases.push(lease),
                Err(error) => {
                    failure.get_or_insert(SweepError::Detach(error));
                }
            }
        }
        for name in self.orphans()? {
            match link::disconnect(&mut lock(&self.host).socket, &name) {
                Ok(()) => swept.interfaces.push(name),
                Err(source) => {
                    let what = "remove a leaked interface";
                    failure.get_or_insert(SweepError::Kernel { what, source });
                }
            }
        }
        failure.map_or(Ok(swept), Err)
    }

    /// Repairs what other programs have changed: the firewall rules (a reload of the host's own rules, docker starting),
    /// the bridge (deleted, switched off, without its addresses). Every attach repairs the rules, too; this repairs the network of
    /// running pods. Tries again to give back what a detach could not. Costs a few small requests when nothing has
    /// changed; does nothing after a purge.
    pub fn verify(&self) -> Result<(), SweepError> {
        let phase = self.phase();
        if *phase == Phase::Purged {
            return Ok(());
        }
        let looked = self.look();
        *lock(&self.fault) = looked.as_ref().err().map(|error| berth_types::error::chain(error));
        looked?;
        self.release_again().map_err(SweepError::Detach)
    }

    fn look(&self) -> Result<(), SweepError> {
        self.verify_bridge().map_err(SweepError::Bridge)?;
        let what = "check the firewall rules";
        lock(&self.firewall).verify().map_err(|source| SweepError::Kernel { what, source })?;
        let what = "check the route to the addresses of services";
        self.verify_route().map_err(|source| SweepError::Kernel { what, source })
    }

    /// Repairs the bridge; returns whether it was damaged.
    pub(super) fn verify_bridge(&self) -> Result<bool, OpenError> {
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
        tracing::warn!(bridge = config.bridge, "another program changed the bridge; it is repaired");
        Ok(true)
    }

    /// Monitors that are readable after something has changed that [`Builtin::verify`] may have to
    /// repair. They see every change to the host's interfaces and rules, the network's own included,
    /// so that the caller waits a moment before it drains them and looks.
    pub fn monitors(&self) -> Result<[Monitor; 2], SweepError> {
        let open = |family| {
            let what = "listen to changes of the network";
            Monitor::open(family).map_err(|source| SweepError::Kernel { what, source })
        };
        Ok([open(Family::Route)?, open(Family::Netfilter)?])
    }

    /// Removes everything: interfaces, bridge, rules, leases. The pods lose their network. Kernel settings (forwarding)
    /// stay. Waits for calls in flight; no later one makes anything again. Goes on past failures and gives the first; may be
    /// repeated.
    pub fn purge(&self) -> Result<(), SweepError> {
        let mut phase = self.phase.write().unwrap_or_else(PoisonError::into_inner);
        *phase = Phase::Purged;
        let kernel = |what| move |source| SweepError::Kernel { what, source };
        let swept = self.sweep(&HashSet::new()).map(drop);
        let rules = lock(&self.firewall).purge().map_err(kernel("remove the firewall rules"));
        legacy::close_forward(&self.config.bridge);
        let mut host = lock(&self.host);
        let index = host.index;
        let bridge = link::delete(&mut host.socket, By::Index(index)).map_err(kernel("remove the bridge"));
        drop(host);
        let files = self.store.purge().map_err(|(path, source)| SweepError::File { path, source });
        swept.and(rules).and(bridge).and(files)
    }
}
