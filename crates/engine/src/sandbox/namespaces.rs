//! The pod's network, IPC and UTS namespace: made by a thread that lives only for it. With a user namespace, to which they
//! belong, a process makes all of them (a process with threads cannot enter one), and the thread enters the others.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use berth_sys::user::{self, OwnerError};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::error::EngineError;
use crate::model::{NamespaceMode, Network, SandboxConfig, UserNamespace};
use crate::oci::{self, HostFacts};
use crate::sysctl;

/// The pod's namespaces; None where the pod uses the host's.
#[derive(Debug)]
pub(crate) struct PodNamespaces {
    pub(crate) user: Option<OwnedFd>,
    pub(crate) net: Option<OwnedFd>,
    pub(crate) ipc: Option<OwnedFd>,
    pub(crate) uts: Option<OwnedFd>,
}

/// What to make.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    user: Option<UserNamespace>,
    net: bool,
    ipc: bool,
    hostname: String,
    /// Dotted names and values.
    sysctls: Vec<(String, String)>,
    /// Where the network namespace is pinned.
    pin: PathBuf,
}

impl Wanted {
    /// What this pod needs. With a network of its own it may open low ports and send pings without
    /// rights, unless its sysctls say otherwise.
    pub(crate) fn of(config: &SandboxConfig, facts: &HostFacts, pin: PathBuf) -> Self {
        let net = config.namespaces.network != Network::Host;
        let ipc = config.namespaces.ipc == NamespaceMode::Pod;
        let mut sysctls: Vec<_> = config.sysctls.clone().into_iter().collect();
        // Those of an interface wait until it is there.
        sysctls.retain(|(name, _)| !net || !sysctl::of_interface(name));
        if net {
            for (name, value) in
                [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")]
            {
                if !config.sysctls.keys().any(|asked| sysctl::path(asked) == sysctl::path(name)) {
                    sysctls.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        let user = config.namespaces.user;
        Self { user, net, ipc, hostname: oci::hostname(config, facts).to_owned(), sysctls, pin }
    }
}

/// Makes them. Blocks for about a millisecond.
pub(crate) fn make(wanted: Wanted) -> Result<PodNamespaces, EngineError> {
    if !wanted.net && !wanted.ipc && wanted.user.is_none() {
        return Ok(PodNamespaces { user: None, net: None, ipc: None, uts: None });
    }
    // The thread's namespaces end with it; the descriptors and the pin keep the pod's.
    let thread = std::thread::Builder::new()
        .name("pod-namespaces".to_owned())
        .stack_size(64 << 10)
        .spawn(move || inside(&wanted))
        .map_err(|e| EngineError::system("start the thread that makes namespaces", e))?;
    thread.join().map_err(|_| EngineError::Closed)?
}

fn inside(wanted: &Wanted) -> Result<PodNamespaces, EngineError> {
    use berth_sys::namespace::{IPC, NET, UTS, enter, unshare};
    let failed = |e: io::Error| EngineError::system("make the pod's namespaces", e);
    let kinds: Vec<u64> = [(wanted.net, NET), (wanted.net, UTS), (wanted.ipc, IPC)]
        .iter()
        .filter(|k| k.0)
        .map(|k| k.1)
        .collect();
    // Those of the IPC namespace are for its root.
    let (of_ipc, others): (Vec<_>, Vec<_>) = wanted
        .sysctls
        .iter()
        .partition(|(name, _)| wanted.user.is_some() && !sysctl::path(name).starts_with("net/"));
    let user = match wanted.user {
        None => {
            unshare(kinds.iter().fold(0, |all, kind| all | kind)).map_err(|e| failed(e.into()))?;
            None
        }
        Some(UserNamespace { uids, gids }) => {
            let settings = of_ipc.into_iter().map(setting).collect::<Result<Vec<_>, _>>()?;
            let made = user::owner(&[uids.range()], &[gids.range()], &kinds, &settings);
            let made = made.map_err(|e| match e {
                OwnerError::Setting(path, error) => not_set(&path.to_string_lossy(), error),
                OwnerError::Make(error) => failed(error),
            })?;
            for (namespace, kind) in made.owned.iter().zip(kinds) {
                enter(namespace.as_fd(), kind).map_err(|e| failed(e.into()))?;
            }
            Some(made.user)
        }
    };
    if wanted.net {
        rustix::system::sethostname(wanted.hostname.as_bytes())
            .map_err(|e| EngineError::system("set the pod's host name", e))?;
    }
    for (name, value) in others {
        set(name, value)?;
    }
    let open = |kind: &str| {
        let path = Path::new("/proc/thread-self/ns").join(kind);
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| EngineError::system(format!("open {}", path.display()), e))
    };
    let net = wanted.net.then(|| open("net")).transpose()?;
    let made = PodNamespaces {
        user,
        ipc: wanted.ipc.then(|| open("ipc")).transpose()?,
        uts: wanted.net.then(|| open("uts")).transpose()?,
        net,
    };
    if wanted.net {
        pin(&wanted.pin).map_err(|e| EngineError::system("pin the pod's network namespace", e))?;
    }
    Ok(made)
}

/// Sets the sysctls of the interfaces that the network gave the pod.
pub(crate) fn set_of_interfaces(config: &SandboxConfig, net: &OwnedFd) -> Result<(), EngineError> {
    let of: Vec<_> = config.sysctls.iter().filter(|(name, _)| sysctl::of_interface(name)).collect();
    if of.is_empty() {
        return Ok(());
    }
    // /proc/sys/net is that of the namespace of the thread that opens it.
    let inside = || {
        rustix::thread::move_into_link_name_space(net.as_fd(), None)
            .map_err(|e| EngineError::system("enter the pod's network namespace", e))?;
        of.iter().try_for_each(|(name, value)| set(name, value))
    };
    std::thread::scope(|scope| scope.spawn(inside).join()).map_err(|_| EngineError::Closed)?
}

/// Writes a sysctl of the calling thread's namespaces. Names were checked when the pod was asked for.
fn set(name: &str, value: &str) -> Result<(), EngineError> {
    let path = Path::new("/proc/sys").join(sysctl::path(name));
    std::fs::write(&path, value).map_err(|e| not_set(&format!("{name}={value}"), e))
}

fn not_set(what: &str, error: io::Error) -> EngineError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => {
            EngineError::invalid("sysctls", format!("{what}: {error}"))
        }
        _ => EngineError::system(format!("set sysctl {what}"), error),
    }
}

fn setting((name, value): &(String, String)) -> Result<user::Setting, EngineError> {
    let path = CString::new(format!("/proc/sys/{}", sysctl::path(name)));
    let path =
        path.map_err(|_| EngineError::invalid("sysctls", format!("{name:?} is not a sysctl's name")))?;
    Ok(user::Setting { path, value: value.clone().into_bytes() })
}

fn pin(path: &Path) -> io::Result<()> {
    std::fs::File::create(path)?;
    let pinned = rustix::mount::mount_bind("/proc/thread-self/ns/net", path);
    if pinned.is_err() {
        drop(std::fs::remove_file(path));
    }
    Ok(pinned?)
}

/// Unpins the namespace and removes its file.
pub(crate) fn unpin(path: &Path) -> Result<(), EngineError> {
    unmount(path)?;
    crate::host::record::remove(path)
        .map_err(|e| EngineError::system("remove the network namespace's file", e))
}

/// Unmounts what is mounted at `path`; success when nothing is.
pub(crate) fn unmount(path: &Path) -> Result<(), EngineError> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(e) => Err(EngineError::system(format!("unmount {}", path.display()), e)),
    }
}
