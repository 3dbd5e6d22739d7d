//! A pod's sandbox with a kernel of its own (gVisor): begun with the first container, by a container that only waits, and ended with
//! the pod. Its process is the shim's child, and its end is that of the pod.
//!
//! A container in it has no process on the host but those that serve it: a `waiter` that stands for it, and its gofer. Its
//! streams are given when it is started, where runc takes them when it is created. See docs/adr/0097.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_sys::cgroup::Cgroup;
use berth_sys::fs::{Durability, write_atomic};
use berth_sys::spawn::{Child, Executable, Spawn};
use berth_types::shim::bundle::Bundle;
use berth_types::shim::{Failure, Reason};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;

use super::command::{Command, Failed, Given};
use super::console::Console;
use super::{CREATE_LIMIT, DELETE_LIMIT, Made, Runtime, START_LIMIT, Streams, path_of};
use crate::making::Spaces;
use crate::outcome::{failure, system};
use crate::waiter;

/// The sandbox of a pod.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// Its name for the runtime, which is the pod's.
    id: String,
    /// Where the runtime keeps what it knows. It is named by the descriptor, since the path is too long for its socket.
    root: OwnedFd,
    /// Held while it is being made.
    making: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// No container has needed it yet.
    Unmade,
    Runs(Child, Cgroup),
    Ended,
}

/// What is special about a container in one.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(super) sandbox: Arc<Sandbox>,
    /// What the sandbox begins with, and where it runs.
    pub(super) begin: Bundle,
    pub(super) cgroup: Cgroup,
    /// What the runtime is given before every verb.
    pub(super) options: Vec<String>,
    /// The container's streams, from its creation to its start.
    streams: Mutex<Option<[OwnedFd; 3]>>,
    /// What its waiter hears.
    waiter: Mutex<Option<UnixStream>>,
}

impl Sandbox {
    /// For a pod with this id and state directory.
    pub(crate) fn new(id: String, state_dir: &Path) -> std::io::Result<Self> {
        let dir = state_dir.join("runtime");
        std::fs::create_dir_all(&dir)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&dir, flags, Mode::empty())?;
        Ok(Self { id, root, making: Mutex::default(), state: Mutex::new(State::Unmade) })
    }

    /// Its process, once there is one, until its end was told of.
    pub(crate) fn process(&self) -> Option<(i32, OwnedFd)> {
        match &*self.state() {
            State::Runs(child, _) => Some((child.pid, child.pidfd.try_clone().ok()?)),
            State::Unmade | State::Ended => None,
        }
    }

    /// Its cgroup, which it may have outside of the pod's own.
    pub(crate) fn cgroup(&self) -> Option<Cgroup> {
        match &*self.state() {
            State::Runs(_, cgroup) => Some(cgroup.clone()),
            State::Unmade | State::Ended => None,
        }
    }

    /// Whether it was this process that ended.
    pub(crate) fn has_ended(&self, pid: i32) -> bool {
        let mut state = self.state();
        let is = matches!(&*state, State::Runs(child, _) if child.pid == pid);
        if is {
            *state = State::Ended;
        }
        is
    }

    pub(super) fn root(&self) -> PathBuf {
        path_of(&self.root).into()
    }

    /// Whether the runtime has something of a container in it: it has a file for each, of which this is the name.
    pub(super) fn knows(&self, container: &str) -> bool {
        self.root().join(format!("{container}_sandbox:{}.state", self.id)).exists()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    pub(super) fn new(sandbox: Arc<Sandbox>, begin: Bundle, cgroup: Cgroup, options: Vec<String>) -> Self {
        Self { sandbox, begin, cgroup, options, streams: Mutex::default(), waiter: Mutex::default() }
    }

    pub(super) fn take_streams(&self) -> Option<[OwnedFd; 3]> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Tells the container's waiter.
    pub(super) fn tell(&self, what: u8) -> std::io::Result<()> {
        let waiter = self.waiter.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiter) = &*waiter else { return Err(std::io::ErrorKind::NotConnected.into()) };
        rustix::io::write(waiter, &[what])?;
        Ok(())
    }
}

impl Runtime {
    /// Makes the pod's sandbox, if there is none yet.
    pub(super) fn begin_sandbox(&self, inside: &Inside, spaces: &Spaces) -> Result<(), Failure> {
        let sandbox = &inside.sandbox;
        let _making = sandbox.making.lock().unwrap_or_else(PoisonError::into_inner);
        match &*sandbox.state() {
            State::Unmade => {}
            State::Runs(..) => return Ok(()),
            State::Ended => return Err(failure(Reason::State, "the pod's sandbox has ended")),
        }
        let made = self.make_sandbox(inside, spaces);
        let made = made.map_err(|failure| match inside.cgroup.oom_kills() {
            Ok(1..) => Failure {
                message: format!(
                    "memory ran out for the pod's own kernel, which its limit is for too: {}",
                    failure.message
                ),
                ..failure
            },
            _ => failure,
        });
        match made {
            Ok(()) => Ok(()),
            Err(failure) => {
                // It may have got half of the way.
                let delete = self.command("delete").arg("--force").arg(&sandbox.id);
                drop(delete.run(DELETE_LIMIT, &Given::default()));
                drop(inside.cgroup.kill_all(std::time::Instant::now() + DELETE_LIMIT));
                Err(failure)
            }
        }
    }

    /// From its process on the sandbox runs, whatever follows: the pod's addresses are then taken from its network namespace, so
    /// that another one could not be made in its place. Its end is that of the pod.
    fn make_sandbox(&self, inside: &Inside, spaces: &Spaces) -> Result<(), Failure> {
        let id = &inside.sandbox.id;
        let join = || inside.cgroup.join().map_err(|e| system("open the sandbox's cgroup", &e));
        let config = Self::config(&inside.begin, spaces, None)?;
        let bundle = &inside.begin.dir;
        write_config(bundle, &config)?;
        let pid_file = self.dir.join("sandbox.pid");
        let create = self.command("create").within(join()?);
        let create = create.arg("--pid-file").arg(&pid_file).arg("--bundle").arg(bundle).arg(id);
        let done = self.run(&create, CREATE_LIMIT);
        let done = done.map_err(|e| self.refused("create", &e));
        let number = done.and_then(|()| self.number("create", &pid_file, &inside.cgroup));
        // Read, or not needed.
        drop(std::fs::remove_file(&pid_file));
        let (pid, pidfd) = number?;
        *inside.sandbox.state() = State::Runs(Child { pid, pidfd }, inside.cgroup.clone());
        let start = self.command("start").within(join()?).arg(id);
        let started = self.run(&start, START_LIMIT);
        started.map_err(|e| self.refused("start", &e))
    }

    /// Makes a container in its pod's sandbox, up to just before its command.
    pub(super) fn create_inside(
        &self,
        inside: &Inside,
        spaces: &Spaces,
        stdio: Option<&Streams<'_>>,
    ) -> Result<Made, Failure> {
        self.begin_sandbox(inside, spaces)?;
        let config = Self::config(&self.bundle, spaces, None)?;
        write_config(&self.bundle.dir, &config)?;
        let console = match stdio {
            Some(_) => None,
            None => Some(
                Console::new(&self.dir, self.id.as_str()).map_err(|e| system("listen for a terminal", &e))?,
            ),
        };
        let mut create = self.command("create").within(self.join()?).arg("--bundle").arg(&self.bundle.dir);
        if let Some(console) = &console {
            create = create.arg("--console-socket").arg(console.path());
        }
        let create = create.arg(self.id.as_str());
        self.run(&create, CREATE_LIMIT).map_err(|e| self.refused("create", &e))?;
        let console = console.map(|console| console.receive()).transpose();
        let console = console.map_err(|e| self.wrong("create", &format!("it gave no terminal: {e}")))?;
        let owned = |fd: BorrowedFd<'_>| fd.try_clone_to_owned();
        let kept = stdio
            .map(|streams| streams.fds)
            .map(|[a, b, c]| Ok::<_, std::io::Error>([owned(a)?, owned(b)?, owned(c)?]));
        let kept = kept.transpose().map_err(|e| system("duplicate a descriptor", &e))?;
        *inside.streams.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        let (child, socket) = self.waiter(inside).map_err(|e| system("start what waits for it", &e))?;
        *inside.waiter.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
        Ok(Made { pid: child.pid, pidfd: child.pidfd, console, inner: None })
    }

    /// Runs a command of which nothing is the container's, unless it is cancelled.
    fn run(&self, command: &Command, limit: Duration) -> Result<(), Failed> {
        command.run(limit, &Given { cancels: &[self.cancelled.0.as_fd()], ..Given::default() })
    }

    /// What stands for the container on the host.
    fn waiter(&self, inside: &Inside) -> std::io::Result<(Child, UnixStream)> {
        let program = std::fs::File::open("/proc/self/exe")?;
        let (ours, theirs) = UnixStream::pair()?;
        // The shim's loop does not wait for one that hears nothing.
        ours.set_nonblocking(true)?;
        let root = inside.sandbox.root();
        let options = inside.options.iter().map(AsRef::<OsStr>::as_ref);
        let options = [OsStr::new("--root"), root.as_os_str()].into_iter().chain(options);
        let arguments = waiter::arguments(&self.program, options, self.id.as_str());
        let argv: Vec<&std::ffi::CStr> = arguments.iter().map(std::ffi::CString::as_c_str).collect();
        let join = self.cgroup.join().map_err(std::io::Error::other)?;
        let tasks: Vec<BorrowedFd<'_>> = join.tasks.iter().map(AsFd::as_fd).collect();
        let spawn = Spawn {
            program: Executable::File(program.as_fd()),
            argv: &argv,
            fds: &[theirs.as_fd()],
            env: &[],
            stdio: [None; 3],
            cgroup: join.v2_dir.as_ref().map(AsFd::as_fd),
            tasks: &tasks,
            new_pid_namespace: false,
        };
        Ok((spawn.spawn()?, ours))
    }

    /// Signals a process in the sandbox by its number there.
    pub(crate) fn kill_inside(&self, pid: i32) {
        let kill = self.command("kill").arg("--pid").arg(pid.to_string()).arg(self.id.as_str());
        // One that has ended cannot be signalled.
        drop(kill.arg("KILL").run(DELETE_LIMIT, &Given::default()));
    }

    /// Kills the whole sandbox, of which a container cannot be taken.
    pub(super) fn end_sandbox(&self, inside: &Inside) {
        if let Some((_, pidfd)) = inside.sandbox.process() {
            // One that has ended cannot be signalled.
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
}

fn write_config(bundle: &str, config: &str) -> Result<(), Failure> {
    let file = Path::new(bundle).join("config.json");
    write_atomic(&file, config.as_bytes(), Durability::Process)
        .map_err(|e| system(&format!("write {}", file.display()), &e))
}
