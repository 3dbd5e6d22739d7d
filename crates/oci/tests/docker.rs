//! Debian's docker, with its own containerd and shim, running its containers on berth-oci: in a mount and a network namespace of the
//! test's own, so that nothing of its state is the machine's.

use std::process::{Child, Command, Output};

use serde_json::json;

mod support;
use support::apart::{Apart, Parent, has};
use support::life::wait_until;
use support::{root, rootfs, unique};

/// Docker's client of Debian, of which another may be in the path.
const CLIENT: &str = "/usr/bin/docker";

/// A daemon with everything of its own.
struct Docker {
    dir: tempfile::TempDir,
    apart: Apart,
    daemon: Child,
    cgroup: Parent,
}

impl Docker {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let at = |name: &str| dir.path().join(name);
        // Where the states of containers are, whatever its configuration says.
        let apart = Apart::new(dir.path(), &["/run/docker"]);
        let cgroup = Parent(unique());
        let config = json!({
            "data-root": at("data"), "exec-root": at("run"), "pidfile": at("pid"),
            "hosts": [format!("unix://{}", at("socket").display())],
            "runtimes": { "berth-oci": { "path": env!("CARGO_BIN_EXE_berth-oci") } },
            "default-runtime": "berth-oci",
            "exec-opts": ["native.cgroupdriver=cgroupfs"], "cgroup-parent": format!("/{}", cgroup.0),
            "storage-driver": "vfs", "shutdown-timeout": 1,
            "bridge": "none", "iptables": false, "ip-forward": false, "ip-masq": false
        });
        std::fs::write(at("daemon.json"), config.to_string()).expect("write");
        let log = std::fs::File::create(at("log")).expect("create");
        let mut daemon = apart.command("dockerd");
        daemon.arg("--config-file").arg(at("daemon.json"));
        daemon.stdout(log.try_clone().expect("dup")).stderr(log);
        let daemon = daemon.spawn().expect("dockerd");
        let docker = Self { dir, apart, daemon, cgroup };
        let log = || std::fs::read_to_string(docker.dir.path().join("log")).unwrap_or_default();
        wait_until(|| docker.call(&["version"]).status.success(), log);
        let rootfs = rootfs();
        let image = docker.dir.path().join("image.tar");
        let tar = Command::new("tar").arg("-C").arg(rootfs.path()).arg("-cf").arg(&image).arg(".").status();
        assert!(tar.expect("tar").success());
        docker.fine(&["import", image.to_str().expect("a path"), "box"]);
        docker
    }

    fn call(&self, words: &[&str]) -> Output {
        let mut command = self.apart.command(CLIENT);
        command.arg("--host").arg(format!("unix://{}", self.dir.path().join("socket").display()));
        command.args(words).env("HOME", self.dir.path()).output().expect("docker")
    }

    #[track_caller]
    fn fine(&self, words: &[&str]) -> String {
        let output = self.call(words);
        assert!(output.status.success(), "{words:?}: {}", support::bundle::text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `run` with what all containers of the test have.
    fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = self.call(&[&["run", "--network", "none"][..], words].concat());
        (output.status.code(), support::bundle::text(&output))
    }

    /// It cleans up behind the client's back.
    fn nothing_is_left(&self) {
        wait_until(|| self.cgroup.below().is_empty(), || format!("{:?} are left", self.cgroup.below()));
    }

    fn shows(&self, container: &str, what: &str) -> String {
        let format = format!("{{{{{what}}}}}");
        self.fine(&["inspect", "--format", &format, container]).trim().to_owned()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        drop(self.call(&["rm", "--force", "one"]));
        let pid = rustix::process::Pid::from_child(&self.daemon);
        // It ends its containerd.
        let _ended = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        drop(self.daemon.wait());
    }
}

#[test]
fn docker_runs_and_manages_containers() {
    let test = "docker_runs_and_manages_containers";
    let programs = ["/usr/sbin/dockerd", CLIENT, "/usr/bin/containerd-shim-runc-v2"];
    if !root(test) || !has(test, &programs, "docker.io") {
        return;
    }
    let docker = Docker::new();
    assert_eq!(docker.run(&["--rm", "box", "echo", "hello"]), (Some(0), "hello\n".into()));
    assert_eq!(docker.run(&["--rm", "box", "sh", "-c", "exit 42"]).0, Some(42));
    let (code, text) = docker.run(&["--rm", "box", "nosuch"]);
    assert!(code == Some(127) && text.contains("executable file not found"), "{code:?} {text}");
    let (code, text) = docker.run(&["--rm", "box", "/etc"]);
    assert!(code == Some(126) && text.contains("permission denied"), "{code:?} {text}");
    docker.nothing_is_left();
    let hardened = ["--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--user", "7:8"];
    let more = ["--security-opt", "no-new-privileges", "--ulimit", "nofile=100:200", "--env", "A=b c"];
    let look =
        "id -u; id -g; echo $A; ulimit -n; grep CapBnd /proc/self/status; echo x > /tmp/x && echo made";
    let (code, text) = docker.run(&[&hardened[..], &more, &["box", "sh", "-c", look]].concat());
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text, "7\n8\nb c\n100\nCapBnd:\t0000000000000000\nmade\n");
    manages(&docker);
}

/// One container from its start to its end.
fn manages(docker: &Docker) {
    let script = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 1000 & wait; done";
    let limits = ["--memory", "64m", "--pids-limit", "40"];
    let words = [&["--detach", "--name", "one"][..], &limits, &["box", "sh", "-c", script]].concat();
    let (code, text) = docker.run(&words);
    assert_eq!(code, Some(0), "{text}");
    wait_until(|| docker.fine(&["logs", "one"]) == "ready\n", || docker.fine(&["logs", "one"]));
    assert_eq!(docker.shows("one", ".State.Status"), "running");
    assert_eq!(docker.fine(&["exec", "--env", "B=1", "one", "sh", "-c", "echo $B $(id -u)"]), "1 0\n");
    assert_eq!(docker.call(&["exec", "one", "sh", "-c", "exit 9"]).status.code(), Some(9));
    assert_ne!(docker.call(&["exec", "one", "nosuch"]).status.code(), Some(0));
    let terminal = docker.fine(&["exec", "--tty", "one", "sh", "-c", "test -t 0 && echo terminal"]);
    assert_eq!(terminal, "terminal\r\n");
    assert!(docker.fine(&["top", "one"]).contains("sleep 1000"));
    docker.fine(&["pause", "one"]);
    assert_eq!(docker.shows("one", ".State.Status"), "paused");
    docker.fine(&["unpause", "one"]);
    assert_eq!(docker.shows("one", ".State.Status"), "running");
    docker.fine(&["update", "--pids-limit", "33", "one"]);
    let limit =
        "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; : > /dev/null && echo device";
    assert_eq!(docker.call(&["exec", "one", "sh", "-c", limit]).stdout, b"33\ndevice\n");
    docker.fine(&["stop", "--time", "60", "one"]);
    assert_eq!(docker.shows("one", ".State.ExitCode"), "5");
    assert!(docker.fine(&["logs", "one"]).ends_with("bye\n"));
    docker.fine(&["start", "one"]);
    docker.fine(&["kill", "one"]);
    assert_eq!(docker.fine(&["wait", "one"]), "137\n");
    docker.fine(&["rm", "one"]);
    docker.nothing_is_left();
}
