//! Bundles, and the runtimes that run them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::unique;

/// A bundle that is removed at the end.
pub struct Bundle {
    dir: tempfile::TempDir,
    _rootfs: tempfile::TempDir,
    pub config: Value,
    last_id: std::cell::RefCell<String>,
}

/// A low-level runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    Ours,
    Runc,
    Crun,
}

impl Runtime {
    pub fn program(self) -> &'static str {
        match self {
            Runtime::Ours => env!("CARGO_BIN_EXE_berth-oci"),
            Runtime::Runc => "runc",
            Runtime::Crun => "crun",
        }
    }
}

impl Bundle {
    /// What container engines usually write, for a shell script.
    pub fn new(script: &str) -> Self {
        let rootfs = super::rootfs();
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": { "uid": 0, "gid": 0 },
                "args": ["sh", "-c", script],
                "env": ["PATH=/bin", "A=b c"],
                "cwd": "/",
                "capabilities": {
                    "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
                    "effective": ["CAP_CHOWN", "CAP_KILL"],
                    "permitted": ["CAP_CHOWN", "CAP_KILL"]
                },
                "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512 }],
                "noNewPrivileges": true
            },
            "root": { "path": rootfs.path(), "readonly": false },
            "hostname": "bundle",
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                  "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
                { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                  "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
                { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                  "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
                { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                  "options": ["nosuid", "noexec", "nodev"] },
                { "destination": "/sys", "type": "sysfs", "source": "sysfs",
                  "options": ["nosuid", "noexec", "nodev", "ro"] }
            ],
            "linux": {
                "namespaces": [
                    { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                    { "type": "mount" }, { "type": "cgroup" }
                ],
                "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
                "maskedPaths": ["/proc/interrupts", "/proc/irq", "/sys/firmware", "/proc/none"],
                "readonlyPaths": ["/proc/sys", "/proc/fs"]
            }
        });
        Self {
            dir: tempfile::tempdir().expect("tempdir"),
            _rootfs: rootfs,
            config,
            last_id: Default::default(),
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn rootfs(&self) -> PathBuf {
        self.config["root"]["path"].as_str().expect("a path").into()
    }

    /// The name of the run before, and of its cgroup.
    pub fn last_id(&self) -> String {
        self.last_id.borrow().clone()
    }

    /// The directory for the states of containers.
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Writes the configuration with a cgroup of its own.
    pub fn write(&self, id: &str) {
        let mut config = self.config.clone();
        config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        let text = serde_json::to_vec(&config).expect("json");
        let mut file = std::fs::File::create(self.path().join("config.json")).expect("create");
        file.write_all(&text).expect("write");
    }

    /// The command that runs the bundle.
    pub fn command(&self, runtime: Runtime) -> Command {
        let id = unique();
        self.write(&id);
        self.last_id.replace(id.clone());
        let mut command = Command::new(runtime.program());
        command.arg("--root").arg(self.state());
        command.args(["run", "--bundle"]).arg(self.path()).arg(&id);
        command.stdin(Stdio::piped());
        command
    }

    pub fn run(&self, runtime: Runtime) -> Output {
        self.command(runtime).output().expect("the runtime is there")
    }

    /// Runs it with ours: exit status and both streams.
    pub fn ours(&self) -> (i32, String) {
        let output = self.run(Runtime::Ours);
        (output.status.code().unwrap_or(-1), text(&output))
    }
}

/// Both streams, one after the other.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Those of runc and crun that work here; the others are skips, counted by their line.
pub fn oracles(test: &str) -> Vec<Runtime> {
    let works = |runtime: &Runtime| {
        let probe = Bundle::new("exit 7");
        let outcome = probe.command(*runtime).output();
        let reason = match outcome {
            Ok(output) if output.status.code() == Some(7) => return true,
            Ok(output) => text(&output).trim().to_owned(),
            Err(e) => format!("cannot be executed: {e}"),
        };
        eprintln!("skipped: {test} with {runtime:?}: {reason}");
        false
    };
    [Runtime::Runc, Runtime::Crun].into_iter().filter(works).collect()
}
