//! One daemon for an instance: its bridge, its table and its cgroups have names that are made of the instance's alone, so that a second one
//! with other directories would take them from the first.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use anyhow::{Context, bail};

/// Takes the instance for this process, for as long as what is returned lives. It is a socket without a file, so that nothing is
/// left of a daemon that is killed.
pub(super) fn of(instance: &str) -> anyhow::Result<UnixListener> {
    let address = SocketAddr::from_abstract_name(format!("berth/instance/{instance}"));
    let address = address.context("name the instance's lock")?;
    let named = if instance.is_empty() { "this machine".to_owned() } else { format!("instance {instance}") };
    match UnixListener::bind_addr(&address) {
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => bail!(
            "a daemon of {named} runs already (hint: use that one, or end it first; one with other directories beside it needs a name of its own: --instance NAME)"
        ),
        bound => bound.with_context(|| format!("take {named}")),
    }
}
