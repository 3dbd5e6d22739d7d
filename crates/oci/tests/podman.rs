//! Debian's podman, with conmon, running its containers on berth-oci: in a mount namespace of the test's own, so that nothing of
//! its state is the machine's.

use std::path::PathBuf;
use std::process::{Command, Output};

use berth_testkit::executable;

mod support;
use support::apart::{Apart, Parent, has};
use support::life::wait_until;
use support::{root, rootfs, unique};

/// Where podman keeps state that no option moves.
const ELSEWHERE: [&str; 4] = ["/var/lib/containers", "/run/containers", "/run/lock", "/dev/shm"];

/// Podman with everything of its own. Its containers are removed when this is dropped.
struct Podman {
    dir: tempfile::TempDir,
    apart: Apart,
    cgroup: Parent,
}

impl Podman {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let at = |name: &str| dir.path().join(name);
        let apart = Apart::new(dir.path(), &ELSEWHERE);
        // What podman runs when a container has ended does not know the options for its runtime: a program that adds the root.
        let program = format!(
            "#!/bin/sh\nexec {} --root {} \"$@\"\n",
            env!("CARGO_BIN_EXE_berth-oci"),
            at("state").display()
        );
        executable::script(at("berth-oci"), program);
        let config = "[engine]\nlock_type = \"file\"\nevents_logger = \"file\"\n\
             [containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
        std::fs::write(at("containers.conf"), config).expect("write");
        let podman = Self { dir, apart, cgroup: Parent(unique()) };
        let rootfs = rootfs();
        std::fs::write(rootfs.path().join("etc/of-the-image"), "of the image\n").expect("write");
        let image = podman.dir.path().join("image.tar");
        let tar = Command::new("tar").arg("-C").arg(rootfs.path()).arg("-cf").arg(&image).arg(".").status();
        assert!(tar.expect("tar").success());
        podman.fine(&["import", image.to_str().expect("a path"), "box"]);
        podman
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.apart.command("podman");
        for (option, value) in
            [("--runtime", "berth-oci"), ("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")]
        {
            command.arg(option).arg(self.at(value));
        }
        command.args(["--cgroup-manager", "cgroupfs", "--storage-driver", "vfs"]).args(words);
        command.env("CONTAINERS_CONF", self.at("containers.conf")).env("HOME", self.dir.path());
        command
    }

    fn call(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("nsenter")
    }

    /// `run` of a container that is given a file with this text as descriptor 3.
    fn run_with_descriptor(&self, text: &str, words: &[&str]) -> String {
        let file = self.at("given");
        std::fs::write(&file, text).expect("write");
        let options = ["run", "--preserve-fds", "1", "--network", "none", "--cgroup-parent", &self.cgroup.0];
        let podman = self.command(&[&options[..], words].concat());
        let mut shell = Command::new("sh");
        shell.args(["-c", "file=$1; shift; exec \"$@\" 3<$file", "sh"]).arg(&file);
        shell.arg(podman.get_program()).args(podman.get_args());
        shell.envs(podman.get_envs().filter_map(|(name, value)| Some((name, value?))));
        support::bundle::text(&shell.output().expect("sh"))
    }

    /// `run` with what all containers of the test have.
    fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = self
            .call(&[&["run", "--network", "none", "--cgroup-parent", &self.cgroup.0][..], words].concat());
        (output.status.code(), support::bundle::text(&output))
    }

    #[track_caller]
    fn fine(&self, words: &[&str]) -> String {
        let output = self.call(words);
        assert!(output.status.success(), "{words:?}: {}", support::bundle::text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A field of what podman knows of a container.
    fn shows(&self, name: &str, field: &str) -> String {
        self.fine(&["inspect", "--format", &format!("{{{{{field}}}}}"), name]).trim().to_owned()
    }

    /// The containers that the runtime knows.
    fn states(&self) -> usize {
        std::fs::read_dir(self.at("state")).map_or(0, Iterator::count)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        drop(self.call(&["rm", "--force", "--all", "--time", "0"]));
    }
}

fn podman(test: &str) -> Option<Podman> {
    if !root(test) {
        return None;
    }
    let programs = ["/usr/bin/podman", "/usr/bin/conmon"];
    has(test, &programs, "podman").then(Podman::new)
}

#[test]
fn podman_runs_containers_in_the_foreground() {
    let Some(podman) = podman("podman_runs_containers_in_the_foreground") else { return };
    assert_eq!(podman.run(&["--rm", "box", "echo", "hello"]), (Some(0), "hello\n".into()));
    assert_eq!(podman.run(&["--rm", "box", "sh", "-c", "exit 42"]).0, Some(42));
    assert_eq!(podman.run(&["--rm", "--init", "box", "sh", "-c", "kill -KILL $$"]).0, Some(137));
    let (code, text) = podman.run(&["--rm", "box", "nosuch"]);
    assert!(code == Some(127) && text.contains("executable file not found"), "{code:?} {text}");
    let (code, text) = podman.run(&["--rm", "box", "/etc"]);
    assert!(code == Some(126) && text.contains("permission denied"), "{code:?} {text}");
    let volume = format!("{}:/v", podman.dir.path().display());
    let look = "id -u; id -g; hostname; pwd; echo $A; cat /v/containers.conf | wc -l; mkdir /x && echo made";
    let words = [
        "--rm",
        "--user",
        "7:8",
        "--hostname",
        "h",
        "--workdir",
        "/tmp",
        "--env",
        "A=b c",
        "--volume",
        &volume,
        "box",
        "sh",
        "-c",
        look,
    ];
    let (_, text) = podman.run(&words);
    assert!(text.starts_with("7\n8\nh\n/tmp\nb c\n5\nmkdir:"), "{text}");
    let (_, text) = podman.run(&["--rm", "--tty", "box", "sh", "-c", "test -t 1 && echo terminal"]);
    assert_eq!(text, "terminal\r\n");
    let limits = [
        "--rm",
        "--memory",
        "64m",
        "--pids-limit",
        "33",
        "--cpus",
        "0.5",
        "--init",
        "box",
        "sh",
        "-c",
        "cat /proc/1/comm /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null",
    ];
    let (_, text) = podman.run(&limits);
    assert_eq!(text, "podman-init\n33\n");
    // podman asks for `tmpcopyup`, here of what the image has in /etc, and for the usual places of a read-only root.
    let words = ["--rm", "--read-only", "--tmpfs", "/etc", "box"];
    let look = "cat /etc/of-the-image && echo x > /etc/new && echo x > /tmp/x && echo made";
    let (code, text) = podman.run(&[&words[..], &["sh", "-c", look]].concat());
    assert_eq!((code, text.as_str()), (Some(0), "of the image\nmade\n"));
    assert_eq!(podman.run_with_descriptor("given\n", &["--rm", "box", "sh", "-c", "cat <&3"]), "given\n");
    // What conmon has podman do at the end of each may take a moment.
    wait_until(|| podman.states() == 0, || format!("{} containers are left", podman.states()));
}

#[test]
fn podman_manages_a_container_in_the_background() {
    let Some(podman) = podman("podman_manages_a_container_in_the_background") else { return };
    let script = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 1000 & wait; done";
    let health = ["--health-cmd", "test -e /tmp/well", "--health-interval", "disable"];
    let words = [&["--detach", "--name", "a"][..], &health, &["box", "sh", "-c", script]].concat();
    let (code, text) = podman.run(&words);
    assert_eq!(code, Some(0), "{text}");
    wait_until(|| podman.fine(&["logs", "a"]) == "ready\n", || podman.fine(&["logs", "a"]));
    assert_eq!(podman.shows("a", ".State.Status"), "running");
    assert_eq!(podman.fine(&["exec", "--env", "B=1", "a", "sh", "-c", "echo $B $(id -u)"]), "1 0\n");
    assert_eq!(podman.call(&["exec", "a", "sh", "-c", "exit 9"]).status.code(), Some(9));
    assert_eq!(podman.call(&["exec", "a", "nosuch"]).status.code(), Some(127));
    let terminal = podman.fine(&["exec", "--tty", "a", "sh", "-c", "test -t 0 && echo terminal"]);
    assert_eq!(terminal, "terminal\r\n");
    assert!(!podman.call(&["healthcheck", "run", "a"]).status.success());
    podman.fine(&["exec", "a", "touch", "/tmp/well"]);
    podman.fine(&["healthcheck", "run", "a"]);
    let stats = podman.fine(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "a"]);
    assert_eq!(stats.trim(), "a 2");
    assert!(podman.fine(&["top", "a", "pid", "args"]).contains("sleep 1000"));
    podman.fine(&["pause", "a"]);
    assert_eq!(podman.shows("a", ".State.Status"), "paused");
    podman.fine(&["unpause", "a"]);
    assert_eq!(podman.shows("a", ".State.Status"), "running");
    podman.fine(&["stop", "--time", "60", "a"]);
    assert_eq!(podman.shows("a", ".State.ExitCode"), "5");
    assert!(podman.fine(&["logs", "a"]).ends_with("bye\n"));
    podman.fine(&["start", "a"]);
    podman.fine(&["kill", "--signal", "KILL", "a"]);
    podman.fine(&["wait", "a"]);
    assert_eq!(podman.shows("a", ".State.ExitCode"), "137");
    podman.fine(&["rm", "a"]);
    wait_until(|| podman.states() == 0, || format!("{} containers are left", podman.states()));
}

/// Two containers of a pod share namespaces by path.
#[test]
fn podman_has_two_containers_share_a_pod() {
    let Some(podman) = podman("podman_has_two_containers_share_a_pod") else { return };
    let (code, text) =
        podman.run(&["--detach", "--name", "one", "--hostname", "pod", "box", "sleep", "1000"]);
    assert_eq!(code, Some(0), "{text}");
    let join = [
        "--rm",
        "--network",
        "container:one",
        "--pid",
        "container:one",
        "--ipc",
        "container:one",
        "--uts",
        "container:one",
    ];
    let look = "hostname; cat /proc/1/cmdline | grep -c sleep; test $(readlink /proc/self/ns/net) = $(readlink /proc/1/ns/net) && echo net";
    let output = podman.call(
        &[&["run", "--cgroup-parent", &podman.cgroup.0][..], &join, &["box", "sh", "-c", look]].concat(),
    );
    assert_eq!(support::bundle::text(&output), "pod\n1\nnet\n");
    podman.fine(&["rm", "--force", "--time", "0", "one"]);
    wait_until(|| podman.states() == 0, || format!("{} containers are left", podman.states()));
}
