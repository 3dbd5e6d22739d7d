//! Settings of the host's kernel that the network needs: forwarding, and 127.0.0.1 on the bridge.
//!
//! What is switched on stays on when Berth goes: others may rely on it by then (docs/adr/0031).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::OpenError;

const NET: &str = "/proc/sys/net";

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map(|text| text.trim().to_owned())
}

/// Writes a setting unless it has the value; tells whether it was written.
fn set(path: PathBuf, value: &str) -> Result<bool, OpenError> {
    if read(&path).is_ok_and(|now| now == value) {
        return Ok(false);
    }
    match fs::write(&path, value) {
        Ok(()) => Ok(true),
        Err(source) => Err(OpenError::File { action: "write", path, source }),
    }
}

/// Whether the host uses IPv6.
pub(super) fn has_ipv6() -> bool {
    read(&Path::new(NET).join("ipv6/conf/all/disable_ipv6")).is_ok_and(|off| off == "0")
}

/// Settings of the bridge itself.
pub(super) fn prepare_bridge(bridge: &str, ipv6: bool) -> Result<(), OpenError> {
    let net = Path::new(NET);
    // 127.0.0.1 may leave by the bridge: for host ports that are used from the host itself. The
    // guard chain keeps pods from using it the other way round.
    let conf4 = net.join("ipv4/conf").join(bridge);
    set(conf4.join("route_localnet"), "1")?;
    // Where forwarding is on already, the bridge may have been made with it off (conf/default).
    set(conf4.join("forwarding"), "1")?;
    if ipv6 {
        let conf6 = net.join("ipv6/conf").join(bridge);
        // A pod must not be able to give the host a route.
        set(conf6.join("accept_ra"), "0")?;
        set(conf6.join("disable_ipv6"), "0")?;
        set(conf6.join("forwarding"), "1")?;
    }
    Ok(())
}

/// Switches IPv6 off on a port of the bridge, before it is up: it would get an address and routes that nothing uses, and the
/// kernel walks through all of them whenever one goes. What passes through the bridge is not concerned.
pub(super) fn prepare_port(port: &str) {
    // Where there is no IPv6 there is nothing to switch off; where it stays on, that costs time alone.
    fs::write(Path::new(NET).join("ipv6/conf").join(port).join("disable_ipv6"), "1").ok();
}

/// Switches forwarding on. A kernel that forwards ignores router advertisements, unless told otherwise:
/// `listeners` are the interfaces that are to accept them as before, with whether the host has learnt its
/// default route there. (One that has not may still be waiting for its first advertisement.)
pub(super) fn enable(ipv6: bool, listeners: &[(&str, bool)]) -> Result<(), OpenError> {
    let net = Path::new(NET);
    if set(net.join("ipv4/ip_forward"), "1")? {
        tracing::info!("IPv4 forwarding switched on");
    }
    if !ipv6 {
        return Ok(());
    }
    for (interface, learnt) in listeners {
        let conf = net.join("ipv6/conf").join(interface);
        let is = |name: &str, value: &str| read(&conf.join(name)).is_ok_and(|now| now == value);
        let hears = is("accept_ra", "1") && (*learnt || is("forwarding", "0"));
        if hears && set(conf.join("accept_ra"), "2")? {
            tracing::info!(interface, "router advertisements accepted while forwarding");
        }
    }
    if set(net.join("ipv6/conf/all/forwarding"), "1")? {
        tracing::info!("IPv6 forwarding switched on");
    }
    Ok(())
}

/// Settings for interfaces that are created in the calling thread's network namespace, a pod's:
/// another pod must not be able to give it a route, and addresses are usable at once. Tells
/// whether the pod uses IPv6: one that has switched it off by sysctl does not.
pub(super) fn prepare_pod() -> io::Result<bool> {
    let default = Path::new(NET).join("ipv6/conf/default");
    for (name, value) in [("accept_ra", "0"), ("accept_dad", "0")] {
        match fs::write(default.join(name), value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false), // no IPv6
            result => result?,
        }
    }
    Ok(read(&default.join("disable_ipv6"))? == "0")
}
