//! Where things lie.
//!
//! ```text
//! <state>/boot                              the boot that this directory belongs to
//! <state>/pods/<sandbox>/sandbox.json       what was asked for and how far it is   (daemon)
//!                        shim.sock          the shim listens here                  (shim)
//!                        netns              the network namespace, bind-mounted
//!                        shm/               the pod's /dev/shm, a tmpfs
//!                        hosts, hostname, resolv.conf
//!                        containers/<id>/container.json                            (daemon)
//!                                        pid, exit                                 (shim)
//! <root>/network                            leases, which must survive a reboot
//! ```

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

    pub(crate) fn pods(&self) -> PathBuf {
        self.state.join("pods")
    }

    pub(crate) fn network(&self) -> PathBuf {
        self.root.join("network")
    }

    pub(crate) fn pod(&self, sandbox: &SandboxId) -> PodDir {
        PodDir(self.pods().join(sandbox.as_str()))
    }
}

/// A pod's directory.
#[derive(Debug, Clone)]
pub(crate) struct PodDir(pub(crate) PathBuf);

impl PodDir {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.0.join("sandbox.json")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("shim.sock")
    }

    pub(crate) fn netns(&self) -> PathBuf {
        self.0.join("netns")
    }

    pub(crate) fn shm(&self) -> PathBuf {
        self.0.join("shm")
    }

    pub(crate) fn hosts(&self) -> PathBuf {
        self.0.join("hosts")
    }

    pub(crate) fn hostname(&self) -> PathBuf {
        self.0.join("hostname")
    }

    pub(crate) fn resolv(&self) -> PathBuf {
        self.0.join("resolv.conf")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.0.join("containers")
    }

    pub(crate) fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }

    pub(crate) fn container_record(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("container.json")
    }
}
