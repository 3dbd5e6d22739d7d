//! What pods have by one kind of handler and not by another. The one table of it: what refuses asks it
//! ([`Ability::need`]), and `cargo xtask docs` writes it into `docs/handlers.md`.

use std::fmt;

/// A kind of handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// Berth's own runtime.
    Native,
    /// A program with runc's command line: runc, crun.
    Runtime,
    /// A program with runsc's command line, whose pods have a kernel of their own.
    Gvisor,
    /// A shim of containerd's protocol whose containers are processes of the host.
    Shim,
}

/// Something that not every kind has in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Pods with user namespaces.
    UserNamespaces,
    /// Environment variables whose values are not text.
    RawEnvironment,
    /// Mounts that a container makes in a volume with id mappings appear on the host.
    MappedPropagation,
    /// Mounts that are read-only with everything below them.
    RecursiveReadOnly,
    /// No mount of a container's root on the host.
    UnmountedRoot,
    /// Limits of memory and processor time for each container.
    ContainerLimits,
    /// Memory that runs out ends one container.
    OutOfMemory,
    /// Limits of a container that change while it runs.
    LimitChanges,
    /// A limit of a container's processes.
    PidsLimit,
    /// Files of cgroup v2.
    Unified,
    /// Huge pages.
    HugePages,
    /// Statistics of a container.
    Statistics,
    /// Privileged containers.
    Privileged,
    /// Devices of the host.
    HostDevices,
    /// The host's PID namespace.
    HostPid,
    /// The host's IPC namespace.
    HostIpc,
    /// Sysctls.
    Sysctls,
    /// Labels of SELinux.
    Selinux,
    /// Profiles of AppArmor.
    Apparmor,
    /// Programs of the host that are run on the way, as devices of the Container Device Interface ask for.
    Hooks,
    /// Mounts that propagate.
    Propagation,
    /// Paths that are hidden or read-only.
    ProtectedPaths,
    /// Filters of system calls.
    Seccomp,
    /// Scheduling policies, I/O priorities and memory policies.
    Scheduling,
    /// The host's network.
    HostNetwork,
    /// Port forwarding.
    PortForward,
    /// Stop signals that are real-time ones.
    RealtimeSignals,
    /// The end of an exec session ends all that it started.
    SessionKill,
    /// Signals to a container's process from outside of Berth.
    OutsideSignals,
}

/// What is in place of [`Ability::UnmountedRoot`].
const MOUNTED_ROOT: &str = "one mount for each container, in its pod's directory";

/// How far a kind has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Has {
    /// It does.
    Yes,
    /// It does, with this to be said about it.
    But(&'static str),
    /// The runtime decides, as this says; nothing is refused before it.
    Depends(&'static str),
    /// Another way to the same, which an operator sees.
    Otherwise(&'static str),
    /// What asks for it is refused by name.
    Refused,
}

/// What a kind of handler does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lacking {
    ability: Ability,
    maker: Maker,
}

impl Maker {
    /// Every kind.
    pub const ALL: [Maker; 4] = [Maker::Native, Maker::Runtime, Maker::Gvisor, Maker::Shim];

    /// The names of its handlers.
    pub fn words(self) -> &'static str {
        match self {
            Maker::Native => "native",
            Maker::Runtime => "runc, crun",
            Maker::Gvisor => "runsc (gVisor)",
            Maker::Shim => "shims of containerd's protocol",
        }
    }
}

impl Ability {
    /// Every one, in the order of the document.
    pub const ALL: [Ability; 29] = [
        Ability::UserNamespaces,
        Ability::RawEnvironment,
        Ability::MappedPropagation,
        Ability::RecursiveReadOnly,
        Ability::UnmountedRoot,
        Ability::ContainerLimits,
        Ability::OutOfMemory,
        Ability::LimitChanges,
        Ability::PidsLimit,
        Ability::Unified,
        Ability::HugePages,
        Ability::Statistics,
        Ability::Privileged,
        Ability::HostDevices,
        Ability::HostPid,
        Ability::HostIpc,
        Ability::Sysctls,
        Ability::Selinux,
        Ability::Apparmor,
        Ability::Hooks,
        Ability::Propagation,
        Ability::ProtectedPaths,
        Ability::Seccomp,
        Ability::Scheduling,
        Ability::HostNetwork,
        Ability::PortForward,
        Ability::RealtimeSignals,
        Ability::SessionKill,
        Ability::OutsideSignals,
    ];

    /// What it is.
    pub fn words(self) -> &'static str {
        match self {
            Ability::UserNamespaces => "user namespaces of pods",
            Ability::RawEnvironment => "environment variables whose values are not text",
            Ability::MappedPropagation => {
                "mounts in a volume with id mappings that appear on the host (`Bidirectional`)"
            }
            Ability::RecursiveReadOnly => "recursive read-only mounts",
            Ability::UnmountedRoot => "root file systems outside of the host's mount table",
            Ability::ContainerLimits => "memory and CPU limits of each container",
            Ability::OutOfMemory => "an end of one container alone when its memory runs out (`OOMKilled`)",
            Ability::LimitChanges => "limits that change while a container runs (UpdateContainerResources)",
            Ability::PidsLimit => "limits of a container's processes (`pids_limit`)",
            Ability::Unified => "files of cgroup v2 (`unified`)",
            Ability::HugePages => "huge pages",
            Ability::Statistics => "statistics of each container",
            Ability::Privileged => "privileged containers",
            Ability::HostDevices => "devices of the host",
            Ability::HostPid => "the host's PID namespace",
            Ability::HostIpc => "the host's IPC namespace",
            Ability::Sysctls => "sysctls",
            Ability::Selinux => "SELinux labels",
            Ability::Apparmor => "AppArmor profiles of the host",
            Ability::Hooks => "OCI hooks",
            Ability::Propagation => "mounts that propagate",
            Ability::ProtectedPaths => {
                "paths to hide or to make read-only (`masked_paths`, `readonly_paths`) outside of `/proc` and `/sys`"
            }
            Ability::Seccomp => "seccomp profiles",
            Ability::Scheduling => {
                "scheduling policies, I/O priorities and memory policies, which NRI plugins may set"
            }
            Ability::HostNetwork => "the host's network",
            Ability::PortForward => "port forwarding",
            Ability::RealtimeSignals => "real-time signals as stop signals (`SIGRTMIN+3`)",
            Ability::SessionKill => "an end of all that an exec session started, with the session",
            Ability::OutsideSignals => "signals to a container's process from outside of Berth",
        }
    }

    /// Whether pods have it by this kind of handler.
    pub fn of(self, maker: Maker) -> Has {
        match maker {
            Maker::Native => Has::Yes,
            Maker::Runtime => self.of_runtime(),
            Maker::Gvisor => self.of_gvisor(),
            Maker::Shim => self.of_shim(),
        }
    }

    fn of_runtime(self) -> Has {
        match self {
            Ability::UserNamespaces => Has::But(
                "a kubelet is told so where the runtime has `features`, as crun has from 1.9 on; crun 1.8 shows nothing that is mounted \
                 below a volume",
            ),
            // Those that do not know them pass over them in silence, and do not tell.
            Ability::RawEnvironment | Ability::MappedPropagation | Ability::Scheduling => Has::Refused,
            Ability::RecursiveReadOnly => Has::Depends("runc; crun from 1.9 on, which tells that it can"),
            Ability::UnmountedRoot => Has::Otherwise(MOUNTED_ROOT),
            Ability::ContainerLimits
            | Ability::OutOfMemory
            | Ability::LimitChanges
            | Ability::PidsLimit
            | Ability::Unified
            | Ability::HugePages
            | Ability::Statistics
            | Ability::Privileged
            | Ability::HostDevices
            | Ability::HostPid
            | Ability::HostIpc
            | Ability::Sysctls
            | Ability::Selinux
            | Ability::Apparmor
            | Ability::Hooks
            | Ability::Propagation
            | Ability::ProtectedPaths
            | Ability::Seccomp
            | Ability::HostNetwork
            | Ability::PortForward
            | Ability::RealtimeSignals
            | Ability::SessionKill
            | Ability::OutsideSignals => Has::Yes,
        }
    }

    fn of_gvisor(self) -> Has {
        match self {
            Ability::UserNamespaces
            | Ability::RawEnvironment
            | Ability::MappedPropagation
            | Ability::RecursiveReadOnly
            | Ability::LimitChanges
            | Ability::PidsLimit
            | Ability::Unified
            | Ability::Privileged
            | Ability::HostDevices
            | Ability::HostPid
            | Ability::HostIpc
            | Ability::Sysctls
            | Ability::Selinux
            | Ability::Apparmor
            | Ability::Hooks
            | Ability::Propagation
            | Ability::RealtimeSignals
            | Ability::Scheduling
            | Ability::ProtectedPaths => Has::Refused,
            Ability::PortForward => Has::But(
                "by a `runsc port-forward` for each connection, one after the other, to 127.0.0.1 alone; a client's half-close is not \
                     told to the pod",
            ),
            Ability::UnmountedRoot => Has::Otherwise(MOUNTED_ROOT),
            Ability::ContainerLimits => Has::Otherwise(
                "those of the pod's containers that live when one is made, added up, for the sandbox as a whole; none where one of them has none. \
                 The kernel itself (some 20 MB) counts, as it does for a limit of the pod",
            ),
            Ability::OutOfMemory => Has::Otherwise(
                "of the sandbox, and with it of every container of the pod; the pod is not ready then",
            ),
            Ability::HugePages => Has::Otherwise("there are none"),
            Ability::Statistics => Has::Otherwise(
                "of the sandbox as a whole while it is the only one of its pod that runs; of several as gVisor's kernel tells, which knows the \
                 processor time of each and gives each an equal part of the memory",
            ),
            Ability::Seccomp => Has::But(
                "obeyed by gVisor's kernel; other actions than allow, kill (of the thread), trap, trace and the errors EPERM and \
                 ENOSYS are refused by name",
            ),
            Ability::HostNetwork => Has::But("passed through (`--network=host`)"),
            Ability::SessionKill => Has::Otherwise("of its process alone"),
            Ability::OutsideSignals => Has::Otherwise("to what stands for it; SIGKILL ends it"),
        }
    }

    /// As what is behind the shim, which is runc, but for what the protocol does not say.
    fn of_shim(self) -> Has {
        match self {
            Ability::UserNamespaces | Ability::RawEnvironment | Ability::MappedPropagation => Has::Refused,
            Ability::RecursiveReadOnly => {
                Has::Depends("what is behind the shim decides; a kubelet is not told that there are any")
            }
            other => other.of_runtime(),
        }
    }

    /// Asks for it by this kind of handler.
    ///
    /// # Errors
    /// It is to be refused.
    pub fn need(self, maker: Maker) -> Result<(), Lacking> {
        match self.of(maker) {
            Has::Yes | Has::But(_) | Has::Depends(_) | Has::Otherwise(_) => Ok(()),
            Has::Refused => Err(Lacking { ability: self, maker }),
        }
    }
}

impl fmt::Display for Has {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Has::Yes => f.write_str("yes"),
            Has::But(but) => write!(f, "yes; {but}"),
            Has::Depends(how) | Has::Otherwise(how) => f.write_str(how),
            Has::Refused => f.write_str("refused by name"),
        }
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ability, maker } = self;
        write!(f, "handlers of the kind of {} do not have {}", maker.words(), ability.words())
    }
}

impl std::error::Error for Lacking {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_the_table_once_and_native_has_all() {
        let mut words: Vec<&str> = Ability::ALL.iter().map(|ability| ability.words()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Ability::ALL.len());
        for ability in Ability::ALL {
            assert!(ability.need(Maker::Native).is_ok());
            // A row in which nothing differs is none.
            assert!(Maker::ALL.iter().any(|maker| ability.of(*maker) != Has::Yes), "{ability:?}");
        }
    }

    #[test]
    fn what_is_refused_is_named() {
        let refused = Ability::RawEnvironment.need(Maker::Runtime).unwrap_err().to_string();
        assert_eq!(
            refused,
            "handlers of the kind of runc, crun do not have environment variables whose values are not text"
        );
        assert_eq!(Ability::UserNamespaces.need(Maker::Runtime), Ok(()));
    }
}
