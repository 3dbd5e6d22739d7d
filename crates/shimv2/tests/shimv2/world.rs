//! A place for a real shim: mounts of the test's own, with a `/run` of its own, in which shims make their sockets; bundles of busybox; the service of
//! events. All of it goes when it is dropped, whatever state it is in.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use berth_shimv2::answer::Started;
use berth_shimv2::events::Events;
use berth_shimv2::launch::{Bundle, Input, Launched, Program};
use berth_shimv2::log::Log;
use berth_shimv2::message::event::{Envelope, Event};
use berth_shimv2::message::task::{self, Mount, RuncOptions};
use berth_shimv2::message::{Any, Method, type_url};
use berth_shimv2::shim::Shim;
use berth_shimv2::stdio::{Stdio, Streams};
use berth_testkit::executable;
use berth_testkit::guard::{WAIT_LIMIT, wait_until};
use berth_testkit::isolated::{self, Kind};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};

/// As long as a busy machine may take for a start.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) program: Program,
    _events: Events,
    heard: std::sync::Mutex<Receiver<Envelope>>,
    /// Containers whose shims may live.
    ids: std::sync::Mutex<Vec<String>>,
}

/// Runs a test in a world for the shim at this path.
pub(crate) fn within(shim: &Path, test: impl FnOnce(&World) + Send) {
    isolated::run(&[Kind::Mount], || {
        let flags = rustix::mount::MountFlags::NOSUID;
        rustix::mount::mount("tmpfs", "/run", "tmpfs", flags, Some(c"mode=755")).unwrap();
        let world = World::new(shim);
        test(&world);
    })
    .unwrap();
}

impl World {
    fn new(shim: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("berth-t-shimv2-").tempdir().unwrap();
        let bin = dir.path().join("root/bin");
        std::fs::create_dir_all(&bin).unwrap();
        for empty in ["proc", "dev", "tmp"] {
            std::fs::create_dir(dir.path().join("root").join(empty)).unwrap();
        }
        executable::copy(busybox(), bin.join("busybox"));
        for applet in ["sh", "cat", "sleep", "echo", "stty", "true", "head", "yes", "wc"] {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
        }
        let (send, heard) = channel();
        let events = dir.path().join("events");
        let service = Events::listen(&events, move |envelope| {
            // The world may be going.
            drop(send.send(envelope));
        });
        let program = Program {
            path: shim.to_owned(),
            namespace: "berth-test".into(),
            events,
            sockets: dir.path().join("sockets"),
            publisher: "/bin/false".into(),
            debug: false,
            core_scheduling: false,
            input: Input::Unknown,
            limit: LIMIT,
        };
        Self {
            dir,
            program,
            _events: service.unwrap(),
            heard: heard.into(),
            ids: std::sync::Mutex::default(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The name of a container's cgroup in every hierarchy.
    pub(crate) fn cgroup(&self, id: &str) -> String {
        format!("/{}-{id}", self.dir.path().file_name().unwrap().to_str().unwrap())
    }

    /// A bundle whose container runs this command in a shell.
    pub(crate) fn bundle(&self, id: &str, command: &str, edit: impl FnOnce(&mut Value)) -> PathBuf {
        let dir = self.path(id);
        std::fs::create_dir_all(dir.join("rootfs")).unwrap();
        let namespaces = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({"type": kind}));
        let mut config = json!({
            "ociVersion": "1.0.2",
            "process": process(command, false),
            "root": {"path": "rootfs", "readonly": true},
            "hostname": "test",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755", "size=64k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
            ],
            "linux": {
                "namespaces": namespaces,
                "cgroupsPath": self.cgroup(id),
                "resources": {"pids": {"limit": 100}},
            },
        });
        edit(&mut config);
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
        self.ids.lock().unwrap().push(id.to_owned());
        dir
    }

    /// The options of runc: its state is the world's.
    pub(crate) fn options(&self) -> Any {
        let root = self.path("runc").to_str().unwrap().to_owned();
        Any::of(type_url::RUNC_OPTIONS, &RuncOptions { root, ..RuncOptions::default() })
    }

    /// The root of every container.
    pub(crate) fn root(&self) -> Mount {
        Mount {
            kind: "bind".into(),
            source: self.path("root").to_str().unwrap().into(),
            target: String::new(),
            options: vec!["rbind".into(), "ro".into()],
        }
    }

    /// A shim of its own with a container that was created.
    pub(crate) fn create(&self, id: &str, command: &str, streams: Streams) -> Container {
        let terminal = |config: &mut Value| config["process"]["terminal"] = streams.terminal.into();
        self.create_edited(id, command, streams, terminal)
    }

    pub(crate) fn create_edited(
        &self,
        id: &str,
        command: &str,
        streams: Streams,
        edit: impl FnOnce(&mut Value),
    ) -> Container {
        let bundle = self.bundle(id, command, edit);
        let log = Log::open(&bundle, |_| {}).unwrap();
        let launched = self.program.start(Bundle { dir: &bundle, id }, Some(&self.options()), &log, &[]);
        let launched = launched.unwrap_or_else(|e| panic!("{}", berth_types::error::chain(&e)));
        self.create_in(id, launched, log, streams)
    }

    pub(crate) fn create_in(&self, id: &str, launched: Launched, log: Log, streams: Streams) -> Container {
        let Launched { started, shim, .. } = launched;
        let dir = self.path(id);
        let mut io = self.stdio(id, "main", streams);
        let request = task::Create {
            id: id.into(),
            bundle: dir.to_str().unwrap().into(),
            rootfs: vec![self.root()],
            terminal: streams.terminal,
            stdin: io.paths.stdin.clone(),
            stdout: io.paths.stdout.clone(),
            stderr: io.paths.stderr.clone(),
            options: Some(self.options()),
            ..task::Create::default()
        };
        let pid = call(&shim, &request).pid;
        io.settle(LIMIT).unwrap();
        Container { id: id.into(), started, shim, _log: log, io, pid }
    }

    /// FIFOs of a process of a container.
    pub(crate) fn stdio(&self, id: &str, name: &str, streams: Streams) -> Stdio {
        let dir = self.path(&format!("{id}-{name}"));
        std::fs::create_dir(&dir).unwrap();
        Stdio::make(&dir, streams).unwrap()
    }

    /// Every event up to the first that `last` wants, which is the last of them.
    pub(crate) fn events_until(&self, mut last: impl FnMut(&Event, &Envelope) -> bool) -> Vec<Envelope> {
        let mut events = Vec::new();
        loop {
            let envelope = self.heard.lock().unwrap().recv_timeout(WAIT_LIMIT);
            let envelope = envelope.unwrap_or_else(|e| panic!("{e}, after {events:?}"));
            let found = last(&envelope.decode_event().unwrap(), &envelope);
            events.push(envelope);
            if found {
                return events;
            }
        }
    }

    /// What of this world is on the machine: mounts below it, cgroups of its name, processes that work in it, sockets of shims.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let name = self.dir.path().file_name().unwrap().to_str().unwrap().to_owned();
        let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(&name)).map(|line| format!("mount {line}")));
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let groups = std::fs::read_dir(hierarchy.path()).into_iter().flatten().flatten();
            let ours = groups.filter(|group| group.file_name().to_string_lossy().starts_with(&name));
            left.extend(ours.map(|group| format!("cgroup {}", group.path().display())));
        }
        left.extend(self.processes(true).into_iter().map(|(pid, _)| format!("process {pid:?}")));
        for sockets in [Path::new("/run/containerd/s"), &self.program.sockets] {
            let sockets = std::fs::read_dir(sockets).into_iter().flatten().flatten();
            left.extend(sockets.map(|socket| format!("socket {}", socket.path().display())));
        }
        left
    }

    /// Those that work below this world's directory: shims in their bundles, processes of containers in the root.
    fn processes(&self, of_containers: bool) -> Vec<(Pid, OwnedFd)> {
        let dirs: Vec<(u64, u64)> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .flatten()
            .filter(|entry| of_containers || entry.file_name() != "root")
            .filter_map(|entry| entry.metadata().ok())
            .map(|meta| (meta.dev(), meta.ino()))
            .collect();
        let works_here = |pid: Pid| {
            let cwd = std::fs::metadata(format!("/proc/{}/cwd", pid.as_raw_nonzero()));
            cwd.is_ok_and(|meta| dirs.contains(&(meta.dev(), meta.ino())))
        };
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(Pid::from_raw)
            .filter_map(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)))
            .filter(|(pid, _)| works_here(*pid))
            .collect()
    }

    /// Kills the shims of this world, and says how many there were.
    pub(crate) fn kill_shims(&self) -> usize {
        let shims = self.processes(false);
        for (_, pidfd) in &shims {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
            let mut fds = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, None).unwrap();
        }
        shims.len()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A shim that was shut down is still on its way out.
        if wait_until(WAIT_LIMIT, || std::thread::panicking() || self.left().is_empty())
            && !std::thread::panicking()
        {
            return;
        }
        self.kill_shims();
        for id in self.ids.lock().unwrap().iter() {
            let dir = self.path(id);
            // What runc left, with the container's processes.
            drop(self.program.delete(Bundle { dir: &dir, id }, None));
        }
        if !std::thread::panicking() {
            panic!("left: {:?}", self.left());
        }
    }
}

/// A container with its shim.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) started: Started,
    pub(crate) shim: Shim,
    /// Somebody must read it.
    pub(crate) _log: Log,
    pub(crate) io: Stdio,
    pub(crate) pid: u32,
}

impl Container {
    pub(crate) fn start(&self) -> u32 {
        call(&self.shim, &task::Start { id: self.id.clone(), exec_id: String::new() }).pid
    }

    pub(crate) fn wait(&self) -> u32 {
        let request = task::Wait { id: self.id.clone(), exec_id: String::new() };
        call(&self.shim, &request).exit_status
    }

    pub(crate) fn kill(&self, signal: Signal) {
        let signal = signal.as_raw().cast_unsigned();
        call(&self.shim, &task::Kill { id: self.id.clone(), signal, ..task::Kill::default() });
    }

    pub(crate) fn delete(&self) -> task::Deleted {
        call(&self.shim, &task::Delete { id: self.id.clone(), exec_id: String::new() })
    }

    pub(crate) fn state(&self) -> task::Status {
        let request = task::State { id: self.id.clone(), exec_id: String::new() };
        call(&self.shim, &request).status()
    }

    /// Ends the shim, which closes the connection.
    pub(crate) fn shut_down(&self) {
        // It may be gone before it answers.
        drop(self.shim.call(&task::Shutdown { id: self.id.clone(), now: false }, Some(LIMIT)));
        assert!(wait_until(WAIT_LIMIT, || self.shim.lost().is_some()));
    }

    /// Adds and starts an exec session.
    pub(crate) fn exec(&self, world: &World, exec: &str, command: &str, streams: Streams) -> Stdio {
        let mut io = world.stdio(&self.id, exec, streams);
        let spec = process(command, streams.terminal).to_string().into_bytes();
        let request = task::Exec {
            id: self.id.clone(),
            exec_id: exec.into(),
            terminal: streams.terminal,
            stdin: io.paths.stdin.clone(),
            stdout: io.paths.stdout.clone(),
            stderr: io.paths.stderr.clone(),
            spec: Some(Any::json(type_url::PROCESS, spec)),
        };
        call(&self.shim, &request);
        call(&self.shim, &task::Start { id: self.id.clone(), exec_id: exec.into() });
        io.settle(LIMIT).unwrap();
        io
    }

    /// Waits for an exec session's end and forgets it; its exit status.
    pub(crate) fn end_exec(&self, exec: &str) -> u32 {
        let (id, exec_id) = (self.id.clone(), exec.to_owned());
        let status = call(&self.shim, &task::Wait { id: id.clone(), exec_id: exec_id.clone() }).exit_status;
        assert_eq!(call(&self.shim, &task::Delete { id, exec_id }).exit_status, status);
        status
    }
}

/// `process` of a specification.
pub(crate) fn process(command: &str, terminal: bool) -> Value {
    json!({
        "terminal": terminal,
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/sh", "-c", command],
        "env": ["PATH=/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {},
    })
}

/// Calls a method that is to succeed.
pub(crate) fn call<M: Method>(shim: &Shim, request: &M) -> M::Answer {
    shim.call(request, Some(LIMIT)).unwrap_or_else(|e| panic!("{}", berth_types::error::chain(&e)))
}

/// Everything that comes out of a FIFO, to its end.
pub(crate) fn read_all(fifo: &OwnedFd) -> String {
    let mut all = Vec::new();
    while let Some(bytes) = read_some(fifo) {
        all.extend(bytes);
    }
    String::from_utf8(all).unwrap()
}

/// What comes next out of a FIFO; None at its end.
pub(crate) fn read_some(fifo: &OwnedFd) -> Option<Vec<u8>> {
    let mut fds = [rustix::event::PollFd::new(fifo, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&limit)).unwrap(), 1, "nothing came");
    let mut buffer = vec![0; 64 << 10];
    let count = rustix::io::read(fifo.as_fd(), &mut buffer).unwrap();
    buffer.truncate(count);
    (count > 0).then_some(buffer)
}

/// What comes out of a FIFO until it has `text` in it.
pub(crate) fn read_until(fifo: &OwnedFd, text: &str) -> String {
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).contains(text) {
        all.extend(
            read_some(fifo)
                .unwrap_or_else(|| panic!("the end came after {:?}", String::from_utf8_lossy(&all))),
        );
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn busybox() -> &'static str {
    ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists()).unwrap()
}

/// Writes all, as far as the FIFO takes it at once.
pub(crate) fn write(fifo: Option<&OwnedFd>, bytes: &[u8]) {
    let mut file = std::fs::File::from(fifo.unwrap().try_clone().unwrap());
    file.write_all(bytes).unwrap();
}
