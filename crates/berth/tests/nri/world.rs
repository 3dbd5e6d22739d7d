//! A daemon with a pod, and plugins of its socket.

use std::path::PathBuf;

use berth_cri::api::{self, NamespaceMode};
use tonic::Status;

use crate::cri::{self, Cri};
use crate::home::{BUSYBOX, Home};
use crate::plugin::Plugin;

/// Ends when it is asked to, so that nothing waits for the grace.
pub const IDLE: &str = "trap exit TERM; while :; do sleep 1000 & wait; done";

pub struct World {
    pub home: Home,
    pub cri: Cri,
    pub config: api::PodSandboxConfig,
    pub pod: String,
}

impl World {
    pub fn start() -> Self {
        let home = Home::start();
        home.berth(&["pull", "-q", BUSYBOX]).fine();
        let cri = Cri::connect(&home.daemon.socket()).unwrap();
        let logs = home.dir.path().join("logs");
        let config = cri::pod("box", &logs, NamespaceMode::Node, NamespaceMode::Container);
        std::fs::create_dir_all(&config.log_directory).unwrap();
        let pod = cri.run(&config).unwrap();
        Self { home, cri, config, pod }
    }

    pub fn socket(&self) -> PathBuf {
        self.home.daemon.dir().join("state/nri.sock")
    }

    /// Connects a plugin and waits until it is synchronised, or until it hangs in that.
    pub fn plugin(&self, index: &str, mode: &str) -> Plugin {
        let plugin = Plugin::connect(&self.socket(), index, mode, self.home.dir.path());
        plugin.hears("Synchronize", "");
        plugin
    }

    pub fn create(&self, name: &str) -> Result<String, Status> {
        self.cri.create(&self.pod, &self.config, cri::shell(name, &self.config, IDLE))
    }

    /// A container that runs.
    #[track_caller]
    pub fn run(&self, name: &str) -> String {
        let id = self.create(name).unwrap();
        self.cri.start(&id).unwrap();
        id
    }

    /// Removes everything, and looks that nothing is left.
    pub fn end(self) {
        self.cri.stop_pod(&self.pod).unwrap();
        self.cri.remove_pod(&self.pod).unwrap();
        self.home.clean();
    }

    pub fn memory_limit(&self, id: &str) -> i64 {
        let resources = self.cri.status(id).unwrap().resources.unwrap();
        resources.linux.unwrap().memory_limit_in_bytes
    }
}
