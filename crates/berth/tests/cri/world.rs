//! A daemon with the image that containers need, and what is left on the machine of its pods.

use std::collections::BTreeSet;
use std::path::Path;

use berth_cri::api::{self, NamespaceMode};
use berth_testkit::guard::wait_for;

use crate::cri::{self, Cri};
use crate::home::{BUSYBOX, Home, LIMIT};

/// Runs until it is asked to end.
pub const WAITS: &str = "trap 'exit 7' TERM; echo started; while :; do sleep 0.05; done";

pub struct World {
    pub home: Home,
    pub cri: Cri,
}

impl World {
    pub fn start() -> Self {
        let home = Home::start();
        home.berth(&["pull", "-q", BUSYBOX]).fine();
        let cri = Cri::connect(&home.daemon.socket()).unwrap();
        Self { home, cri }
    }

    /// A pod with a network and a log directory of its own.
    pub fn config(&self, name: &str) -> api::PodSandboxConfig {
        let config =
            cri::pod(name, &self.home.dir.path().join("logs"), NamespaceMode::Pod, NamespaceMode::Container);
        std::fs::create_dir_all(&config.log_directory).unwrap();
        config
    }

    /// A pod with a started container: both ids.
    pub fn started(&self, config: &api::PodSandboxConfig, line: &str) -> (String, String) {
        let pod = self.cri.run(config).unwrap();
        let container = self.cri.create(&pod, config, cri::shell("c", config, line)).unwrap();
        self.cri.start(&container).unwrap();
        (pod, container)
    }

    /// Waits until a container has ended; its status.
    #[track_caller]
    pub fn ended(&self, id: &str) -> api::ContainerStatus {
        let exited = api::ContainerState::ContainerExited as i32;
        let ended = wait_for(LIMIT, || self.cri.status(id).ok().filter(|status| status.state == exited));
        ended.unwrap_or_else(|| panic!("it has not ended: {:?}", self.cri.status(id)))
    }

    /// Mounts, cgroups and directories of this daemon's pods.
    pub fn traces(&self) -> BTreeSet<String> {
        let dir = self.home.daemon.dir();
        let mut traces: BTreeSet<String> = berth_sys::mount::mounted()
            .unwrap()
            .iter()
            .map(|m| &m.point)
            .filter(|point| point.starts_with(dir))
            .map(|point| point.display().to_string())
            .collect();
        for name in ["state/pods", "root/pods", "root/snapshots"] {
            traces.extend(entries(&dir.join(name)));
        }
        let ours = format!("berth-{}", self.home.daemon.instance());
        let mut todo = vec![Path::new("/sys/fs/cgroup").to_owned()];
        todo.extend(entries(Path::new("/sys/fs/cgroup")).into_iter().map(Into::into));
        let mut todo: Vec<_> = todo.into_iter().map(|hierarchy| hierarchy.join(&ours)).collect();
        while let Some(dir) = todo.pop() {
            let below = entries(&dir).into_iter().filter(|path| Path::new(path).is_dir());
            for path in below {
                traces.insert(path.clone());
                todo.push(path.into());
            }
        }
        traces
    }

    /// Removes a pod, and checks that nothing more is left than `before`.
    #[track_caller]
    pub fn removed(&self, pod: &str, before: &BTreeSet<String>) {
        self.cri.stop_pod(pod).unwrap();
        self.cri.remove_pod(pod).unwrap();
        let left = || self.traces().difference(before).cloned().collect::<Vec<_>>();
        berth_testkit::wait_until(LIMIT, || left().is_empty());
        assert_eq!(left(), [] as [String; 0], "{}", self.home.daemon.log());
    }

    /// Nothing is left, and the doctor agrees.
    #[track_caller]
    pub fn finish(self) {
        self.home.clean();
    }
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}

/// The messages of a log in the CRI's format.
pub fn messages(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(str::to_owned).collect()
}
