//! Pods of every kind under one daemon, and what must be the same of them under the next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_cri::api::{self, NamespaceMode};
use berth_testkit::guard::{free_port, wait_until};
use berth_testkit::leak;
use serde_json::Value;

use crate::cri::{self, Cri};
use crate::home::{BUSYBOX, DEMO, Home, LIMIT, page};

/// Writes numbers, and ends with 7 when it is asked to.
const WRITER: &str = "trap 'echo bye; exit 7' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";
/// Pods with a writer made over the CRI.
const WRITERS: usize = 14;

/// A pod with one container.
#[derive(Debug, Clone)]
pub struct Pod {
    pub config: api::PodSandboxConfig,
    pub id: String,
    pub container: String,
}

impl Pod {
    /// The log of a container of this name.
    pub fn log(&self, name: &str) -> PathBuf {
        Path::new(&self.config.log_directory).join(format!("{name}.log"))
    }
}

pub struct World {
    pub home: Home,
    pub writers: Vec<Pod>,
    /// Its containers share a PID namespace.
    pub shared: Pod,
    pub exited: Pod,
    pub created: Pod,
    /// Where the page of the local pod `web` is.
    pub page: String,
    before: leak::Snapshot,
}

impl World {
    /// 20 pods under this program.
    pub fn make(program: &Path) -> Self {
        let before = leak::Snapshot::take(&[]);
        let home = Home::start_by(program);
        home.berth(&["pull", "-q", BUSYBOX]).fine();
        let cri = Cri::connect(&home.daemon.socket()).unwrap();
        let writers = (0..WRITERS).map(|n| {
            let network = if n % 2 == 0 { NamespaceMode::Pod } else { NamespaceMode::Node };
            running(&home, &cri, &format!("writer{n}"), network, NamespaceMode::Container, WRITER)
        });
        let writers: Vec<_> = writers.collect();
        let own = |name, pid, line| running(&home, &cri, name, NamespaceMode::Pod, pid, line);
        let shared = own("shared", NamespaceMode::Pod, WRITER);
        let exited = own("exited", NamespaceMode::Container, "exit 5");
        let stopped = own("stopped", NamespaceMode::Container, WRITER);
        cri.stop_pod(&stopped.id).unwrap();
        let created = prepared(&home, &cri, "created", NamespaceMode::Pod, NamespaceMode::Container, WRITER);
        let page = format!("127.0.0.1:{}", free_port());
        home.berth(&["run", "-d", "-q", "--name", "local", BUSYBOX, "sh", "-c", WRITER]).fine();
        home.berth(&["run", "-d", "-q", "--name", "web", "-p", &format!("{page}:8080"), DEMO]).fine();
        let world = Self { home, writers, shared, exited, created, page, before };
        world.served();
        world.home.wait_state("exited", "c", "exited");
        world.written_more();
        world
    }

    pub fn cri(&self) -> Cri {
        Cri::connect(&self.home.daemon.socket()).unwrap()
    }

    /// Another program on the same directories.
    pub fn replace(&mut self, program: &Path) {
        self.home.daemon.stop().unwrap();
        // Lines that are written while no daemon runs.
        self.written_more();
        self.home.daemon.set_program(program);
        self.home.daemon.start().unwrap();
    }

    pub fn served(&self) {
        assert!(page(&self.page).contains("200"), "no page at {}", self.page);
    }

    /// Waits until each writer has written more than now.
    pub fn written_more(&self) {
        for pod in self.writers.iter().chain([&self.shared]) {
            grows(&pod.log("c"));
        }
    }

    /// What an upgrade must not change: containers with pid and start time, and sandboxes.
    pub fn facts(&self) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::new();
        for container in self.home.containers() {
            let keys = [
                "pod",
                "podId",
                "namespace",
                "owner",
                "name",
                "attempt",
                "state",
                "createdAt",
                "startedAt",
                "finishedAt",
                "exitCode",
                "reason",
                "pid",
                "logPath",
                "ports",
            ];
            let kept: Vec<_> = keys.iter().map(|&key| format!("{key}={}", container[key])).collect();
            let born = container["pid"].as_u64().filter(|pid| *pid > 0).map(started);
            let id = container["id"].as_str().unwrap().to_owned();
            facts.insert(id, format!("{} born={born:?}", kept.join(" ")));
        }
        for pod in self.cri().pods().unwrap() {
            let kept = (pod.state, pod.created_at, pod.metadata, pod.labels, pod.annotations);
            facts.insert(pod.id, format!("{kept:?}"));
        }
        facts
    }

    /// Removes all pods; then nothing of them may be left.
    pub fn end(self) {
        let cri = self.cri();
        self.home.berth(&["down", "local", "web"]).fine();
        for pod in cri.pods().unwrap() {
            cri.stop_pod(&pod.id).unwrap();
            cri.remove_pod(&pod.id).unwrap();
        }
        self.home.clean();
        let Self { mut home, before, .. } = self;
        home.daemon.purge().unwrap();
        let (instance, dir) = (home.daemon.instance().to_owned(), home.daemon.dir().display().to_string());
        let left = leak::Snapshot::take(&[]).since(&before);
        let ours: Vec<_> =
            left.found().iter().filter(|(_, name)| name.contains(&instance) || name.contains(&dir)).collect();
        // The daemon's own directory goes with it.
        let left: Vec<_> = ours.iter().filter(|(_, name)| !name.starts_with(&dir)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn prepared(
    home: &Home,
    cri: &Cri,
    name: &str,
    network: NamespaceMode,
    pid: NamespaceMode,
    line: &str,
) -> Pod {
    let config = cri::pod(name, &home.dir.path().join("logs"), network, pid);
    std::fs::create_dir_all(&config.log_directory).unwrap();
    let id = cri.run(&config).unwrap();
    let container = cri.create(&id, &config, cri::shell("c", &config, line)).unwrap();
    Pod { config, id, container }
}

fn running(
    home: &Home,
    cri: &Cri,
    name: &str,
    network: NamespaceMode,
    pid: NamespaceMode,
    line: &str,
) -> Pod {
    let pod = prepared(home, cri, name, network, pid, line);
    cri.start(&pod.container).unwrap();
    pod
}

/// The start time of a process, field 22 of its stat.
fn started(pid: u64) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let behind_name = stat.rsplit_once(')').unwrap_or_default().1;
    behind_name.split_whitespace().nth(19).unwrap_or("gone").to_owned()
}

/// The whole lines of a CRI log.
pub fn lines(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|line| line.splitn(4, ' ').nth(3).expect("time, stream, tag, text").to_owned())
        .collect()
}

pub fn grows(log: &Path) {
    let then = lines(log).len();
    assert!(wait_until(LIMIT, || lines(log).len() > then + 1), "{}: nothing more than {then}", log.display());
}

/// Numbers from 1, each once, and at the end `bye` when it was asked to stop.
#[track_caller]
pub fn complete(lines: &[String]) {
    let numbers = lines.iter().filter(|line| *line != "bye");
    for (n, line) in numbers.enumerate() {
        assert_eq!(*line, (n + 1).to_string(), "lost or doubled");
    }
    let byes = lines.iter().filter(|line| *line == "bye").count();
    assert!(byes == 0 || (byes == 1 && lines.last().is_some_and(|l| l == "bye")), "{byes} ends");
}

/// The answer of `berth ps` for a container.
pub fn of_name<'a>(containers: &'a [Value], pod: &str) -> &'a Value {
    containers.iter().find(|c| c["pod"] == pod).unwrap_or_else(|| panic!("{pod} is not listed"))
}
