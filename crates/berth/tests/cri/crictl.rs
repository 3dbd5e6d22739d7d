//! Every command of crictl against Berth.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use berth_testkit::guard::wait_until;
use berth_testkit::{require, require_root};
use serde_json::{Value, json};

use crate::home::{BUSYBOX, Call, LIMIT, Said};
use crate::world::World;

/// What a command must do, given the ids of a pod and of its container.
type Check = fn(&Crictl, &str, &str);

/// Every command of `crictl --help`. One that is new there fails the test until it has a line here.
const COMMANDS: &[(&str, Check)] = &[
    // Its input ends at once, and then it leaves.
    ("attach", |c, _, container| c.shows(&["attach", "-i", container], "")),
    ("checkpoint", |c, _, container| {
        c.refuses(&["checkpoint", "--export=/nowhere.tar", container], "not supported yet")
    }),
    ("completion", |c, _, _| c.shows(&["completion", "bash"], "crictl")),
    ("config", |c, _, _| {
        c.shows(&["config", "--set", "timeout=7"], "");
        c.shows(&["config", "--get", "timeout"], "7");
    }),
    ("create", |c, pod, _| {
        let id = c.create(pod, "created");
        c.shows(&["ps", "-a", "-q", "--no-trunc"], &id);
    }),
    ("events", |c, pod, _| c.shows_events(pod)),
    ("exec", |c, _, container| {
        c.shows(&["exec", "-s", container, "echo", "said"], "said\n");
        c.shows(&["exec", container, "echo", "said"], "said\n");
    }),
    ("imagefsinfo", |c, _, _| c.shows(&["imagefsinfo"], "usedBytes")),
    ("images", |c, _, _| c.shows(&["images"], "library/busybox")),
    ("info", |c, _, _| c.shows(&["info"], "NetworkReady")),
    ("inspect", |c, _, container| {
        let status = c.json(&["inspect", container]);
        assert_eq!(status["status"]["state"], "CONTAINER_RUNNING", "{status}");
        assert!(status["info"]["pid"].as_u64().is_some_and(|pid| pid > 1), "{status}");
    }),
    ("inspecti", |c, _, _| assert_eq!(c.json(&["inspecti", BUSYBOX])["status"]["repoTags"][0], BUSYBOX)),
    ("inspectp", |c, pod, _| {
        let status = c.json(&["inspectp", pod]);
        assert_eq!(status["status"]["state"], "SANDBOX_READY", "{status}");
        assert!(status["info"]["runtimeSpec"]["linux"]["namespaces"][0]["path"].is_string(), "{status}");
    }),
    ("logs", |c, _, container| c.shows(&["logs", "--tail=1", container], "started\n")),
    ("metricdescs", |c, _, _| c.shows(&["metricdescs"], "container_memory_working_set_bytes")),
    ("metricsp", |c, pod, _| c.shows(&["metricsp"], pod)),
    ("pods", |c, pod, _| c.shows(&["pods", "--no-trunc"], pod)),
    ("port-forward", |c, pod, _| {
        let call = Call::spawn(c.command(&["port-forward", pod, ":8080"]));
        call.shows("Forwarding from 127.0.0.1:");
        call.kill();
    }),
    ("ps", |c, _, container| c.shows(&["ps", "--no-trunc"], container)),
    ("pull", |c, _, _| c.shows(&["pull", BUSYBOX], "Image is up to date")),
    ("rm", |c, pod, _| {
        let id = c.create(pod, "removed");
        c.shows(&["rm", &id], &id);
    }),
    ("rmi", |c, _, _| {
        c.shows(&["rmi", BUSYBOX], "Deleted");
        c.shows(&["pull", BUSYBOX], "Image is up to date");
    }),
    ("rmp", |c, _, _| {
        let pod = c.run_pod("removed");
        c.shows(&["rmp", "-f", &pod], "Removed sandbox");
    }),
    ("run", |c, _, _| {
        let (pod, container) = (c.pod("both"), c.container("both"));
        let id = c.line(&["run", &path(&container), &path(&pod)]);
        c.shows(&["ps", "-q", "--no-trunc"], &id);
    }),
    ("runp", |c, _, _| {
        let id = c.run_pod("second");
        c.shows(&["pods", "-q", "--no-trunc"], &id);
    }),
    ("runtime-config", |c, _, _| c.shows(&["runtime-config"], "CGROUPFS")),
    ("start", |c, pod, _| {
        let id = c.create(pod, "started");
        c.shows(&["start", &id], &id);
    }),
    ("stats", |c, _, container| c.shows(&["stats", "-o", "json", container], "usageCoreNanoSeconds")),
    ("statsp", |c, pod, _| c.shows(&["statsp", "-o", "json", pod], "usageCoreNanoSeconds")),
    ("stop", |c, pod, _| {
        let id = c.create(pod, "stopped");
        c.shows(&["start", &id], &id);
        c.shows(&["stop", "--timeout=30", &id], &id);
        c.shows(&["ps", "--state=Exited", "-q", "--no-trunc"], &id);
    }),
    ("stopp", |c, _, _| {
        let pod = c.run_pod("stopped");
        c.shows(&["stopp", &pod], &pod);
    }),
    ("update", |c, _, container| {
        c.shows(&["update", "--memory", "67108864", container], container);
        let status = c.json(&["inspect", container]);
        assert_eq!(status["status"]["resources"]["linux"]["memoryLimitInBytes"], "67108864", "{status}");
    }),
    ("update-runtime-config", |c, _, _| c.shows(&["update-runtime-config", "--pod-cidr=10.0.0.0/24"], "")),
    ("version", |c, _, _| c.shows(&["version"], "RuntimeName:  berth")),
    ("help", |c, _, _| c.shows(&["help"], "crictl")),
];

#[test]
fn every_command_works_or_is_refused_by_name() {
    require_root!();
    let program = std::env::var_os("BERTH_CRICTL").map(PathBuf::from);
    require!(program.is_some(), "no crictl was built (cargo xtask conformance builds it)");
    let crictl = Crictl { program: program.unwrap(), world: World::start() };
    let listed = commands(&crictl.call(&["--help"]).fine());
    assert!(listed.iter().eq(COMMANDS.iter().map(|(name, _)| name)), "{listed:?}");
    let pod = crictl.run_pod("pod");
    let container = crictl.create(&pod, "c");
    crictl.shows(&["start", &container], &container);
    let log = crictl.logs("pod").join("c.log");
    assert!(wait_until(LIMIT, || !crate::world::messages(&log).is_empty()));
    for (_, check) in COMMANDS {
        check(&crictl, &pod, &container);
    }
    crictl.shows(&["rmp", "-a", "-f"], "Removed sandbox");
    crictl.world.finish();
}

/// The first name of each command, as the help has them.
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "COMMANDS:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    lines.map(|line| line.trim().split([' ', ',']).next().unwrap().to_owned()).collect()
}

struct Crictl {
    program: PathBuf,
    world: World,
}

impl Crictl {
    fn call(&self, arguments: &[&str]) -> Said {
        Call::spawn(self.command(arguments)).end()
    }

    /// Containers are made until one of them is told: the call takes a while until it listens.
    fn shows_events(&self, pod: &str) {
        let file = self.world.home.dir.path().join("events");
        let mut command = self.command(&["events"]);
        let mut call = command.stdout(std::fs::File::create(&file).unwrap()).spawn().unwrap();
        let mut serial = 0;
        let told = wait_until(LIMIT, || {
            serial += 1;
            let id = self.create(pod, &format!("told-{serial}"));
            wait_until(Duration::from_millis(200), || std::fs::read_to_string(&file).unwrap().contains(&id))
        });
        call.kill().unwrap();
        call.wait().unwrap();
        assert!(told, "{:?}", std::fs::read_to_string(&file));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        let dir = self.world.home.dir.path();
        let config = dir.join("crictl.yaml");
        if !config.exists() {
            std::fs::write(&config, "timeout: 10\n").unwrap();
        }
        command.arg("--config").arg(config).arg("--runtime-endpoint").arg(self.world.home.daemon.endpoint());
        command.args(arguments).stdin(Stdio::null()).current_dir(dir);
        command
    }

    #[track_caller]
    fn shows(&self, arguments: &[&str], text: &str) {
        let said = self.call(arguments);
        assert!(said.code == 0 && said.out.contains(text), "{arguments:?}: {text:?}: {said:?}");
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str], text: &str) {
        let said = self.call(arguments);
        assert!(said.code != 0 && said.err.contains(text), "{arguments:?}: {text:?}: {said:?}");
    }

    #[track_caller]
    fn line(&self, arguments: &[&str]) -> String {
        self.call(arguments).fine().trim().to_owned()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        self.call(arguments).json()
    }

    fn run_pod(&self, name: &str) -> String {
        self.line(&["runp", &path(&self.pod(name))])
    }

    fn create(&self, pod: &str, name: &str) -> String {
        self.line(&["create", pod, &path(&self.container(name)), &path(&self.pod("pod"))])
    }

    fn logs(&self, pod: &str) -> PathBuf {
        self.world.home.dir.path().join("logs").join(pod)
    }

    /// The file with the configuration of a pod.
    fn pod(&self, name: &str) -> PathBuf {
        let logs = self.logs(name);
        std::fs::create_dir_all(&logs).unwrap();
        let metadata = json!({ "name": name, "namespace": "test", "uid": name, "attempt": 0 });
        self.file("pod", name, &json!({ "metadata": metadata, "log_directory": logs, "linux": {} }))
    }

    fn container(&self, name: &str) -> PathBuf {
        self.file(
            "container",
            name,
            &json!({
                "metadata": { "name": name, "attempt": 0 },
                "image": { "image": BUSYBOX },
                "command": ["sh", "-c", crate::world::WAITS],
                "log_path": format!("{name}.log"),
                "linux": {},
            }),
        )
    }

    fn file(&self, kind: &str, name: &str, document: &Value) -> PathBuf {
        let path = self.world.home.dir.path().join(format!("{kind}-{name}.json"));
        std::fs::write(&path, document.to_string()).unwrap();
        path
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}
