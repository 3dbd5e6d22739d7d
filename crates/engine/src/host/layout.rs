//! Where things lie.
//!
//! ```text
//! <root>/sandboxes/<sandbox>/sandbox.json                what was asked for and how far it is   (daemon)
//!                            containers/<id>/container.json                                     (daemon)
//!                                            pid, exit                                          (shim)
//! <root>/network                                         leases
//! <root>/cni                                             records of what CNI plugins gave pods
//! <state>/boot                                           the boot that this directory belongs to
//! <state>/pods/<sandbox>/shim.sock                       the shim listens here                  (shim)
//!                        netns                           the network namespace, bind-mounted
//!                        shm/                            the pod's /dev/shm, a tmpfs
//!                        hosts, hostname, resolv.conf
//!                        <id>.root                       where a runtime finds the root of its container, an overlay
//!                        sandbox.copy.json, <id>.copy.json
//!                                                        second copies of the records, on another file system
//! ```
//!
//! Records lie under the root directory, so that after a restart of the machine a kubelet finds what it had run and
//! how it ended. Pods of Berth up to revision f2e472d have theirs under the state directory, and keep them there.
//! Only root may enter any of it; with one exception: the root of a pod's user namespace may pass to the roots of its containers, where
//! another runtime mounts them as that user (`handler::runtime`).

use std::path::{Path, PathBuf};

use berth_types::{ContainerId, SandboxId};

/// The directories of one engine.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
    pub(crate) state: PathBuf,
}

impl Layout {
    pub(crate) fn boot(&self) -> PathBuf {
        self.state.join("boot")
    }

    /// The pods' directories of this boot.
    pub(crate) fn pods(&self) -> PathBuf {
        self.state.join("pods")
    }

    /// The pods' records.
    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    /// The directories of local pods, which their caller fills: volumes and logs.
    pub(crate) fn local(&self) -> PathBuf {
        self.root.join("pods")
    }

    pub(crate) fn network(&self) -> PathBuf {
        self.root.join("network")
    }

    pub(crate) fn cni(&self) -> PathBuf {
        self.root.join("cni")
    }

    /// The directories of a new pod.
    pub(crate) fn pod(&self, sandbox: &SandboxId) -> PodDir {
        PodDir { run: self.pods().join(sandbox.as_str()), records: self.sandboxes().join(sandbox.as_str()) }
    }

    /// The directories of a pod on disk: an older Berth kept records and the rest in one place.
    pub(crate) fn found(&self, sandbox: &SandboxId) -> PodDir {
        let dir = self.pod(sandbox);
        let old = PodDir { records: dir.run.clone(), run: dir.run.clone() };
        if !dir.records.exists() && old.record().exists() { old } else { dir }
    }
}

/// A pod's directories.
#[derive(Debug, Clone)]
pub(crate) struct PodDir {
    /// What the pod has while it runs.
    pub(crate) run: PathBuf,
    /// What is recorded of it.
    pub(crate) records: PathBuf,
}

impl PodDir {
    pub(crate) fn record(&self) -> PathBuf {
        self.records.join("sandbox.json")
    }

    /// The second copy of [`PodDir::record`].
    pub(crate) fn record_copy(&self) -> PathBuf {
        self.run.join("sandbox.copy.json")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("shim.sock")
    }

    pub(crate) fn netns(&self) -> PathBuf {
        self.run.join("netns")
    }

    pub(crate) fn shm(&self) -> PathBuf {
        self.run.join("shm")
    }

    pub(crate) fn hosts(&self) -> PathBuf {
        self.run.join("hosts")
    }

    pub(crate) fn hostname(&self) -> PathBuf {
        self.run.join("hostname")
    }

    pub(crate) fn resolv(&self) -> PathBuf {
        self.run.join("resolv.conf")
    }

    /// What the pod's own kernel is made of.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.run.join("kernel")
    }

    /// Where the pod's runtime keeps what it knows, by the shim's order.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.records.join("runtime")
    }

    /// Where gVisor keeps an empty network namespace mounted, for what serves its files.
    pub(crate) fn gofers_netns(&self) -> PathBuf {
        self.runtime().join("null-netns")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.records.join("containers")
    }

    pub(crate) fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }

    pub(crate) fn container_record(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("container.json")
    }

    /// The second copy of [`PodDir::container_record`].
    pub(crate) fn container_copy(&self, id: &ContainerId) -> PathBuf {
        self.run.join(format!("{id}.copy.json"))
    }

    /// Where the root of a container may be mounted.
    pub(crate) fn container_root(&self, id: &ContainerId) -> PathBuf {
        self.run.join(format!("{id}.root"))
    }

    /// Both, the one with the records last.
    pub(crate) fn all(&self) -> [&Path; 2] {
        [&self.run, &self.records]
    }
}
