//! Namespaces of a test's own, so that what it mounts and the links it makes are its own
//! and go with it.
//!
//! Namespaces belong to threads: the test's body runs in a thread made for it, and programs and
//! threads started from there are inside too. A runtime of tokio has threads of its own: make it
//! inside, with a single thread.

use std::os::fd::AsFd;

use berth_sys::namespace;
use rustix::mount::{MountPropagationFlags, mount_change};

use crate::{Error, Result};

/// Kinds of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Mounts; nothing propagates out of it.
    Mount,
    /// Network, with the loopback link up.
    Network,
    /// System V IPC and message queues.
    Ipc,
    /// Host name.
    Uts,
}

/// Runs `body` in new namespaces and gives back what it returns. A panic inside is a panic outside,
/// so assertions work as usual. Needs root.
///
/// # Errors
/// When the namespaces cannot be made; `body` has not run then.
pub fn run<T: Send>(kinds: &[Kind], body: impl FnOnce() -> T + Send) -> Result<T> {
    let name = std::thread::current().name().unwrap_or("isolated").to_owned();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, || {
            enter(kinds)?;
            Ok(body())
        });
        let thread = thread.map_err(Error::io("start a thread"))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Puts the calling thread in new namespaces for good, and with it all threads and programs that it starts from then on: for
/// a test program whose main thread has started none yet. Needs root.
///
/// # Errors
/// When the namespaces cannot be made.
pub fn enter(kinds: &[Kind]) -> Result<()> {
    let flags = kinds.iter().fold(0, |flags, kind| {
        flags
            | match kind {
                Kind::Mount => namespace::MOUNT,
                Kind::Network => namespace::NET,
                Kind::Ipc => namespace::IPC,
                Kind::Uts => namespace::UTS,
            }
    });
    let about = |what: &str| Error::io(format!("{what} {kinds:?} for a test"));
    namespace::unshare(flags).map_err(|e| about("unshare")(e.into()))?;
    if kinds.contains(&Kind::Mount) {
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).map_err(|e| about("make mounts private in")(e.into()))?;
    }
    if kinds.contains(&Kind::Network) {
        loopback_up()?;
    }
    Ok(())
}

fn loopback_up() -> Result<()> {
    let status = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
    match status.map_err(Error::io("run ip"))?.success() {
        true => Ok(()),
        false => Err(Error::Other("ip could not set the loopback link up".into())),
    }
}

/// The network namespace of the calling thread, to be kept or entered.
///
/// # Errors
/// When /proc is missing.
pub fn network() -> Result<std::os::fd::OwnedFd> {
    let file = std::fs::File::open("/proc/thread-self/ns/net");
    file.map(Into::into).map_err(Error::io("open /proc/thread-self/ns/net"))
}

/// Runs `body` in a network namespace that exists already.
///
/// # Errors
/// When it cannot be entered; `body` has not run then.
pub fn inside<T: Send>(network: impl AsFd, body: impl FnOnce() -> T + Send) -> Result<T> {
    let network = network.as_fd();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            namespace::enter(network, namespace::NET)
                .map_err(|e| Error::io("enter a network namespace")(e.into()))?;
            Ok(body())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leak::{Snapshot, Thing};

    fn link(path: &str) -> std::path::PathBuf {
        std::fs::read_link(path).unwrap()
    }

    #[test]
    fn mounts_and_links_inside_are_not_seen_outside() {
        crate::require_root!();
        let dir = tempfile::tempdir().unwrap();
        let before = Snapshot::take(&[]);
        let outside = link("/proc/thread-self/ns/net");
        run(&[Kind::Mount, Kind::Network], || {
            assert_ne!(link("/proc/thread-self/ns/net"), outside);
            rustix::mount::mount(
                "none",
                dir.path(),
                "tmpfs",
                rustix::mount::MountFlags::empty(),
                None::<&std::ffi::CStr>,
            )
            .unwrap();
            std::fs::write(dir.path().join("inside"), "").unwrap();
        })
        .unwrap();
        assert!(!dir.path().join("inside").exists());
        assert_eq!(link("/proc/thread-self/ns/net"), outside);
        let left = Snapshot::take(&[]).since(&before);
        assert!(
            !left.found().iter().any(|(thing, name)| {
                *thing == Thing::Mount && name.contains(dir.path().to_str().unwrap())
            })
        );
    }

    #[test]
    fn a_network_namespace_is_entered_again() {
        crate::require_root!();
        let (fd, name) =
            run(&[Kind::Network], || (network().unwrap(), link("/proc/thread-self/ns/net"))).unwrap();
        assert_eq!(inside(&fd, || link("/proc/thread-self/ns/net")).unwrap(), name);
    }

    #[test]
    fn a_panic_inside_is_a_panic_outside() {
        crate::require_root!();
        let caught = std::panic::catch_unwind(|| run(&[Kind::Uts], || panic!("inside")));
        assert!(caught.is_err());
    }
}
