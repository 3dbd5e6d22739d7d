//! One daemon for an instance: its bridge, its table and its cgroups have names that are made of the instance's alone, so that a second one
//! with other directories would take them from the first.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::test_kill_process;

/// One that ends has it to its last moment.
const LIMIT: Duration = Duration::from_secs(2);
/// A daemon that was killed shares what it had with a child that it was just starting, until that is executed.
const KILLED_LIMIT: Duration = Duration::from_secs(20);
/// The wait before it is tried again.
const AGAIN: Duration = Duration::from_millis(5);

/// Takes the instance for this process, for as long as what is returned lives. It is a socket without a file, so that nothing is
/// left of a daemon that is killed. Anybody may have such a socket: one of a user that is not root counts for nothing.
pub(super) fn of(instance: &str) -> anyhow::Result<Option<UnixListener>> {
    let address = SocketAddr::from_abstract_name(format!("berth/instance/{instance}"));
    let address = address.context("name the instance's lock")?;
    let named = if instance.is_empty() { "this machine".to_owned() } else { format!("instance {instance}") };
    let begun = Instant::now();
    loop {
        match UnixListener::bind_addr(&address) {
            Err(e) if e.kind() == ErrorKind::AddrInUse => {}
            bound => return bound.map(Some).with_context(|| format!("take {named}")),
        }
        if begun.elapsed() < LIMIT {
            std::thread::sleep(AGAIN);
            continue;
        }
        let holder = UnixStream::connect_addr(&address).and_then(|stream| Ok(socket_peercred(&stream)?));
        let is_gone = holder.as_ref().is_ok_and(|holder| test_kill_process(holder.pid) == Err(Errno::SRCH));
        if is_gone && begun.elapsed() < KILLED_LIMIT {
            std::thread::sleep(AGAIN);
            continue;
        }
        let pid = match holder {
            Ok(holder) if !holder.uid.is_root() => {
                let (pid, uid) = (holder.pid.as_raw_nonzero(), holder.uid.as_raw());
                tracing::warn!(%pid, uid, "a process that is no daemon of Berth's has the lock of {named}; it is not minded");
                return Ok(None);
            }
            Ok(holder) => format!(", process {}", holder.pid.as_raw_nonzero()),
            Err(_) => String::new(),
        };
        bail!(
            "a daemon of {named} runs already{pid} (hint: use that one, or end it first; one with other directories beside it needs a name of its own: --instance NAME)"
        );
    }
}
