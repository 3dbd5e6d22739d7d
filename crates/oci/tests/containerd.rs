//! Debian's containerd, with its own shim, running its containers on berth-oci: in a mount namespace of the test's own.

use std::process::{Child, Output};

mod support;
use support::apart::{Apart, Parent, has};
use support::life::wait_until;
use support::{root, rootfs, unique};

/// containerd with everything of its own.
struct Containerd {
    dir: tempfile::TempDir,
    apart: Apart,
    daemon: Child,
    /// Its namespace for containers, and so the cgroup above theirs.
    namespace: Parent,
    rootfs: tempfile::TempDir,
}

impl Containerd {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        // Where the sockets of its shims are, whatever its configuration says.
        let apart = Apart::new(dir.path(), &["/run/containerd"]);
        let at = dir.path().display();
        let config = format!(
            "version = 2\nroot = \"{at}/root\"\nstate = \"{at}/run\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = \"{at}/socket\"\n[ttrpc]\naddress = \"{at}/socket.ttrpc\"\n"
        );
        let path = dir.path().join("config.toml");
        std::fs::write(&path, config).expect("write");
        let log = std::fs::File::create(dir.path().join("log")).expect("create");
        let mut daemon = apart.command("containerd");
        daemon.arg("--config").arg(&path).stdout(log.try_clone().expect("dup")).stderr(log);
        let daemon = daemon.spawn().expect("containerd");
        let containerd = Self { dir, apart, daemon, namespace: Parent(unique()), rootfs: rootfs() };
        let log = || std::fs::read_to_string(containerd.dir.path().join("log")).unwrap_or_default();
        wait_until(|| containerd.call(&["version"]).status.success(), log);
        containerd
    }

    fn call(&self, words: &[&str]) -> Output {
        let mut command = self.apart.command("ctr");
        command.arg("--address").arg(self.dir.path().join("socket"));
        command.args(["--namespace", &self.namespace.0]).args(words);
        command.output().expect("ctr")
    }

    #[track_caller]
    fn fine(&self, words: &[&str]) -> String {
        let output = self.call(words);
        assert!(output.status.success(), "{words:?}: {}", support::bundle::text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn run(&self, options: &[&str], id: &str, command: &[&str]) -> (Option<i32>, String) {
        let root = self.dir.path().join("runc");
        let ours =
            ["--runc-binary", env!("CARGO_BIN_EXE_berth-oci"), "--runc-root", root.to_str().expect("a path")];
        let rootfs = ["--rootfs", self.rootfs.path().to_str().expect("a path"), id];
        let output = self.call(&[&["run"][..], options, &ours, &rootfs, command].concat());
        (output.status.code(), support::bundle::text(&output))
    }

    /// What its list says of a task.
    fn task(&self, id: &str) -> String {
        let list = self.fine(&["task", "ls"]);
        let line = list.lines().find(|line| line.split_ascii_whitespace().next() == Some(id));
        line.and_then(|line| line.split_ascii_whitespace().nth(2)).unwrap_or_default().to_owned()
    }

    fn states(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("runc").join(&self.namespace.0)).map_or(0, Iterator::count)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        drop(self.call(&["task", "rm", "--force", "a"]));
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

#[test]
fn containerd_runs_and_manages_containers() {
    let test = "containerd_runs_and_manages_containers";
    let programs = ["/usr/bin/containerd", "/usr/bin/ctr", "/usr/bin/containerd-shim-runc-v2"];
    if !root(test) || !has(test, &programs, "containerd") {
        return;
    }
    let containerd = Containerd::new();
    assert_eq!(containerd.run(&["--rm"], "x", &["echo", "hello"]), (Some(0), "hello\n".into()));
    assert_eq!(containerd.run(&["--rm"], "x", &["sh", "-c", "exit 7"]).0, Some(7));
    let (code, text) = containerd.run(&["--rm"], "x", &["nosuch"]);
    assert!(code == Some(1) && text.contains("executable file not found"), "{code:?} {text}");
    let (code, text) = containerd.run(&["--detach"], "a", &["sleep", "1000"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(containerd.task("a"), "RUNNING");
    assert_eq!(containerd.fine(&["task", "exec", "--exec-id", "e", "a", "sh", "-c", "id -u"]), "0\n");
    assert_eq!(
        containerd.call(&["task", "exec", "--exec-id", "f", "a", "sh", "-c", "exit 9"]).status.code(),
        Some(9)
    );
    assert_eq!(containerd.fine(&["task", "ps", "a"]).lines().count(), 2);
    containerd.fine(&["task", "pause", "a"]);
    assert_eq!(containerd.task("a"), "PAUSED");
    containerd.fine(&["task", "resume", "a"]);
    assert_eq!(containerd.task("a"), "RUNNING");
    containerd.fine(&["task", "kill", "--signal", "KILL", "a"]);
    wait_until(|| containerd.task("a") == "STOPPED", || containerd.task("a"));
    // A second kill is for a process that has finished, which containerd reads from our words.
    let again = containerd.call(&["task", "kill", "--signal", "KILL", "a"]);
    assert!(support::bundle::text(&again).contains("process already finished"), "{again:?}");
    drop(containerd.call(&["task", "rm", "a"]));
    containerd.fine(&["container", "rm", "a"]);
    wait_until(|| containerd.states() == 0, || format!("{} containers are left", containerd.states()));
}
