//! The pod's two interfaces: `eth0` in the pod, a port of the bridge on the host.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;

use berth_sys::netlink::route::{self, By, LOOPBACK, Link, Mac, Veth};
use berth_sys::netlink::{self, Family, NetlinkError, Socket};
use rustix::io::Errno;

use super::bridge::Side;
use super::{Lease, forwarding};

/// The interface in every pod.
pub(super) const POD_INTERFACE: &str = "eth0";

const PREFIX: &str = "veth";

/// The host's end of the pod with this address. The name contains the address, so that no second one
/// can be made while the kernel still has the first, and a leaked one shows which address it blocks.
pub(super) fn host_name(address: Ipv4Addr) -> String {
    format!("{PREFIX}{:08x}", address.to_bits())
}

/// The address in the name of an interface.
pub(super) fn address_of(name: &str) -> Option<Ipv4Addr> {
    let digits = name.strip_prefix(PREFIX).filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok().map(Ipv4Addr::from_bits)
}

/// The hardware address of the interface with this address: always the same one, so that what
/// neighbours remember of it is right even for the next pod that gets the address.
pub(super) fn mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// The hardware address of the host's end, which nothing is sent to.
fn port_mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x59, a, b, c, d]
}

/// How the bridge looks to a pod.
#[derive(Debug, Clone)]
pub(super) struct Uplink {
    pub(super) mtu: u32,
    pub(super) prefix4: u8,
    pub(super) prefix6: u8,
    /// The gateways: IPv4, then IPv6 where there is one.
    pub(super) gateways: Vec<IpAddr>,
}

/// A pod's network namespace, entered.
pub(super) struct Pod<'a> {
    netns: BorrowedFd<'a>,
    socket: Socket,
    /// Whether IPv6 is on inside.
    pub(super) ipv6: bool,
}

/// Why a namespace could not be prepared.
#[derive(Debug)]
pub(super) enum PrepareError {
    Settings(std::io::Error),
    Kernel(NetlinkError),
}

impl<'a> Pod<'a> {
    pub(super) fn enter(netns: BorrowedFd<'a>) -> Result<Self, PrepareError> {
        let inside = netlink::in_netns(netns, || {
            let ipv6 = forwarding::prepare_pod().map_err(PrepareError::Settings)?;
            let socket = Socket::open(Family::Route).map_err(PrepareError::Kernel)?;
            Ok((socket, ipv6))
        });
        let (socket, ipv6) = inside.map_err(PrepareError::Kernel)??;
        Ok(Self { netns, socket, ipv6 })
    }

    /// Makes both ends and sets them up, the host's by `host`.
    pub(super) fn connect(
        &mut self,
        host: &mut Side,
        lease: &Lease,
        uplink: &Uplink,
    ) -> Result<(), NetlinkError> {
        let name = host_name(lease.address4);
        let veth = Veth {
            name: &name,
            mac: port_mac(lease.address4),
            bridge: host.index,
            group: host.group,
            peer: POD_INTERFACE,
            peer_mac: mac(lease.address4),
            netns: self.netns,
            mtu: uplink.mtu,
        };
        host.socket.exchange(vec![route::add_veth(&veth)])?;
        forwarding::prepare_port(&name);
        host.socket.exchange(vec![route::set_port_up(&name)]).map(drop)
    }

    /// Sets `lo` and `eth0` up, with addresses and default routes.
    pub(super) fn configure(&mut self, lease: &Lease, uplink: &Uplink) -> Result<(), NetlinkError> {
        const EXISTS: &str = "find the pod's interface";
        let replies = self.socket.exchange(vec![
            route::set_up(By::Index(LOOPBACK)),
            route::set_up(By::Name(POD_INTERFACE)),
            route::get_link(By::Name(POD_INTERFACE)),
        ])?;
        let link = replies.iter().find_map(route::read_link);
        let index = link.ok_or(NetlinkError::Malformed { what: EXISTS })?.index;
        let mut messages = vec![route::add_address(index, lease.address4.into(), uplink.prefix4)];
        if let Some(address6) = lease.address6 {
            messages.push(route::add_address(index, address6.into(), uplink.prefix6));
        }
        let gateways = uplink.gateways.iter().filter(|ip| ip.is_ipv4() || lease.address6.is_some());
        messages.extend(gateways.map(|gateway| route::add_default_route(index, *gateway)));
        self.socket.exchange(messages).map(drop)
    }
}

/// Removes the host's end, and the pod's with it. It need not be there.
pub(super) fn disconnect(host: &mut Socket, name: &str) -> Result<(), NetlinkError> {
    delete(host, By::Name(name))
}

/// Deletes an interface, which need not be there.
pub(super) fn delete(host: &mut Socket, by: By<'_>) -> Result<(), NetlinkError> {
    match host.exchange(vec![route::delete_link(by)]) {
        Err(error) if error.errno() == Some(Errno::NODEV) => Ok(()),
        result => result.map(drop),
    }
}

/// An interface; `None` when there is none.
pub(super) fn find(host: &mut Socket, by: By<'_>) -> Result<Option<Link>, NetlinkError> {
    match host.exchange(vec![route::get_link(by)]) {
        Err(error) if error.errno() == Some(Errno::NODEV) => Ok(None),
        result => Ok(result?.iter().find_map(route::read_link)),
    }
}

/// Whether there is no interface of this name (any more).
pub(super) fn is_gone(host: &mut Socket, name: &str) -> bool {
    matches!(find(host, By::Name(name)), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_hardware_addresses_tell_the_address() {
        let address = Ipv4Addr::new(10, 208, 0, 2);
        let name = host_name(address);
        assert_eq!(name, "veth0ad00002");
        assert_eq!(address_of(&name), Some(address));
        assert_eq!(mac(address), [0x0a, 0x58, 10, 208, 0, 2]);
        for foreign in ["veth1", "eth0", "veth0ad0000g", "veth0ad000021"] {
            assert_eq!(address_of(foreign), None);
        }
    }
}
