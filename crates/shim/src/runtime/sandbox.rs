//! A pod's sandbox with a kernel of its own (gVisor): begun with the pod or else with its first container, by a container that only
//! waits, and ended with the pod. Its process is the shim's child, and its end is that of the pod.
//!
//! A container in it has no process on the host but those that serve it: a `waiter` that stands for it, and its gofer. The runtime
//! makes it when it is started, in one call; one with a terminal when it is created, since its terminal comes then. See docs/adr/0097.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use berth_sys::cgroup::Cgroup;
use berth_sys::fs::{Durability, write_atomic};
use berth_sys::spawn::{Child, Executable, Spawn};
use berth_types::shim::bundle::Bundle;
use berth_types::shim::{Failure, Reason};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Signal;

use super::command::{Command, Failed, Given};
use super::console::Console;
use super::{DELETE_LIMIT, Made, Runtime, Streams, left, path_of, read_number};
use crate::driver::Cancel;
use crate::making::Spaces;
use crate::outcome::{failure, system};
use crate::pump::{Note, Notes};
use crate::waiter;

/// The sandbox of a pod.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// Its name for the runtime, which is the pod's.
    id: String,
    /// Where the runtime keeps what it knows. It is named by the descriptor, since the path is too long for its socket.
    root: OwnedFd,
    state: Mutex<State>,
    /// Why it could not be started, where it had begun.
    why: OnceLock<String>,
    /// Told when it ended before it was a child of this process.
    notes: Notes,
}

#[derive(Debug)]
enum State {
    /// Nothing has needed it yet.
    Unmade,
    /// A thread makes it. This can be read when that is over.
    Begins(Arc<OwnedFd>),
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
    pub(crate) fn new(id: String, state_dir: &Path, notes: Notes) -> std::io::Result<Self> {
        let dir = state_dir.join("runtime");
        std::fs::create_dir_all(&dir)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&dir, flags, Mode::empty())?;
        Ok(Self { id, root, state: Mutex::new(State::Unmade), why: OnceLock::new(), notes })
    }

    /// Its process, once there is one, until its end was told of.
    pub(crate) fn process(&self) -> Option<(i32, OwnedFd)> {
        match &*self.state() {
            State::Runs(child, _) => Some((child.pid, child.pidfd.try_clone().ok()?)),
            State::Unmade | State::Begins(_) | State::Ended => None,
        }
    }

    /// Its cgroup, which it may have outside of the pod's own.
    pub(crate) fn cgroup(&self) -> Option<Cgroup> {
        match &*self.state() {
            State::Runs(_, cgroup) => Some(cgroup.clone()),
            State::Unmade | State::Begins(_) | State::Ended => None,
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

    /// Waits until it runs, or until it is the caller's turn to make it: one at a time does.
    fn turn(&self, until: Instant, cancelled: &Cancel) -> Result<Option<Turn<'_>>, Failure> {
        loop {
            let over = match &mut *self.state() {
                state @ State::Unmade => {
                    let (over, end) = std::io::pipe().map_err(|e| system("make a pipe", &e))?;
                    *state = State::Begins(Arc::new(over.into()));
                    return Ok(Some(Turn { sandbox: self, _end: end }));
                }
                State::Begins(over) => Arc::clone(over),
                State::Runs(..) => return Ok(None),
                State::Ended => return Err(self.ended()),
            };
            let mut polled = [&*over, &*cancelled.0].map(|fd| PollFd::new(fd, PollFlags::IN));
            let late = || failure(Reason::Refused, "the pod's sandbox was not made in time");
            match poll(&mut polled, Timespec::try_from(left(until)).ok().as_ref()) {
                Ok(0) => return Err(late()),
                Ok(_) if !polled[1].revents().is_empty() => {
                    return Err(failure(Reason::State, "the pod's sandbox was not waited for any longer"));
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(system("wait for the pod's sandbox", &std::io::Error::from(e))),
            }
        }
    }

    fn ended(&self) -> Failure {
        let why = self.why.get().map(|why| format!(": {why}")).unwrap_or_default();
        failure(Reason::State, format!("the pod's sandbox has ended{why}"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to make the sandbox. Those who wait look again when this is dropped.
#[derive(Debug)]
struct Turn<'a> {
    sandbox: &'a Sandbox,
    _end: std::io::PipeWriter,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.sandbox.state();
        if matches!(*state, State::Begins(_)) {
            *state = State::Unmade;
        }
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
    pub(super) fn begin_sandbox(
        &self,
        inside: &Inside,
        spaces: &Spaces,
        until: Instant,
    ) -> Result<(), Failure> {
        let sandbox = &inside.sandbox;
        let Some(_turn) = sandbox.turn(until, &self.cancelled)? else { return Ok(()) };
        let made = self.make_sandbox(inside, spaces, until);
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
        made.inspect_err(|failure| {
            if !matches!(*sandbox.state(), State::Begins(_)) {
                // It has ended, or will: whoever comes later is told why.
                drop(sandbox.why.set(failure.message.clone()));
            }
            // It may have got half of the way.
            let delete = self.command("delete").arg("--force").arg(&sandbox.id);
            drop(delete.run(DELETE_LIMIT, &Given::default()));
            // Not when there is nothing to kill: Linux 6.14 and newer kill at once what is born in a group that was killed before, and the
            // next attempt is.
            if inside.cgroup.pids().map_or(true, |pids| !pids.is_empty()) {
                drop(inside.cgroup.kill_all(Instant::now() + DELETE_LIMIT));
            }
        })
    }

    /// From its process on the sandbox has begun, whatever follows: the pod's addresses are then taken from its network namespace, so
    /// that another one could not be made in its place. Its end is that of the pod, also where the runtime itself has ended it.
    fn make_sandbox(&self, inside: &Inside, spaces: &Spaces, until: Instant) -> Result<(), Failure> {
        let id = &inside.sandbox.id;
        let join = inside.cgroup.join().map_err(|e| system("open the sandbox's cgroup", &e))?;
        let config = Self::config(&inside.begin, spaces, None)?;
        let bundle = &inside.begin.dir;
        write_config(bundle, &config)?;
        let pid_file = self.dir.join("sandbox.pid");
        let run = self.command("run").within(join).arg("--detach");
        let run = run.arg("--pid-file").arg(&pid_file).arg("--bundle").arg(bundle).arg(id);
        let done = self.run(&run, until).map_err(|e| self.refused("run", &e));
        // It is written when there is a process, which then is started.
        let begun = done.is_ok() || read_number(&pid_file).is_ok();
        let number = self.number("run", &pid_file, &inside.cgroup);
        // Read, or not needed.
        drop(std::fs::remove_file(&pid_file));
        match number {
            Ok((pid, pidfd)) => {
                *inside.sandbox.state() = State::Runs(Child { pid, pidfd }, inside.cgroup.clone());
                done
            }
            Err(failure) => {
                if begun {
                    *inside.sandbox.state() = State::Ended;
                    inside.sandbox.notes.send(&self.id, Note::SandboxEnded);
                }
                done.and(Err(failure))
            }
        }
    }

    /// Makes a container in its pod's sandbox, up to just before its command: what stands for it, and its terminal if it has one.
    /// Without one the runtime has nothing to do before the start.
    pub(super) fn create_inside(
        &self,
        inside: &Inside,
        spaces: &Spaces,
        stdio: Option<&Streams<'_>>,
        until: Instant,
    ) -> Result<Made, Failure> {
        self.begin_sandbox(inside, spaces, until)?;
        let config = Self::config(&self.bundle, spaces, None)?;
        write_config(&self.bundle.dir, &config)?;
        let console = match stdio {
            Some(_) => None,
            None => Some(self.create_with_terminal(until)?),
        };
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

    fn create_with_terminal(&self, until: Instant) -> Result<OwnedFd, Failure> {
        let console = Console::new(&self.dir, self.id.as_str());
        let console = console.map_err(|e| system("listen for a terminal", &e))?;
        let create = self.command("create").within(self.join()?).arg("--bundle").arg(&self.bundle.dir);
        let create = create.arg("--console-socket").arg(console.path()).arg(self.id.as_str());
        self.run(&create, until).map_err(|e| self.refused("create", &e))?;
        console.receive().map_err(|e| self.wrong("create", &format!("it gave no terminal: {e}")))
    }

    /// Runs the command of a container in the sandbox; what has no terminal is made by the same call. It takes the streams then.
    pub(super) fn run_inside(&self, inside: &Inside, until: Instant) -> Result<(), Failure> {
        let streams = inside.take_streams();
        let verb = if streams.is_some() { "run" } else { "start" };
        let command = self.command(verb).within(self.join()?);
        let command = match streams {
            Some(_) => command.arg("--detach").arg("--bundle").arg(&self.bundle.dir),
            None => command,
        };
        let stdio = streams.as_ref().map_or([None; 3], |fds| fds.each_ref().map(|fd| Some(fd.as_fd())));
        let given = Given { stdio, cancels: &[self.cancelled.0.as_fd()], ..Given::default() };
        let done = command.arg(self.id.as_str()).run(left(until), &given);
        done.map_err(|e| self.refused(verb, &e))?;
        inside.tell(waiter::STARTED).map_err(|e| system("wait for the container", &e))
    }

    /// Runs a command of which nothing is the container's, unless it is cancelled.
    fn run(&self, command: &Command, until: Instant) -> Result<(), Failed> {
        command.run(left(until), &Given { cancels: &[self.cancelled.0.as_fd()], ..Given::default() })
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

#[cfg(test)]
mod tests;
