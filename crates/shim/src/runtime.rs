//! A container that an OCI runtime makes: a program with runc's command line, which the shim asks to create, start, enter and
//! delete it. The processes become the shim's own when the program has ended (it is their subreaper), so that their ends, their
//! streams and their kills are the same as those of any other container.
//!
//! Everything here waits for the program, each time for a limited time: it is called by threads of their own. See
//! docs/adr/0096.

pub(crate) mod command;
mod console;
mod driven;
pub(crate) mod placeholder;
mod sandbox;
pub(crate) mod words;

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use berth_sys::cgroup::{Cgroup, Join};
use berth_sys::fs::{Durability, read_bounded, write_atomic};
use berth_types::shim::bundle::{Bundle, Member, Namespace, Owner, Piece, Process};
use berth_types::shim::{Failure, Reason};
use berth_types::{ContainerId, ExecId};
use rustix::fs::{FileType, Gid, Uid};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::driver::{Cancel, Unclaimed};
use crate::exec;
use crate::making::Spaces;
use crate::outcome::{failure, system};
use command::{Command, Failed, Given};
use console::Console;
use sandbox::Inside;
pub(crate) use sandbox::Sandbox;

/// The time for a container to be made, with its pod's sandbox where it is the first in one. What is left is removed after that, and
/// all of it is less than what the daemon waits, which then is told why.
const CREATE_LIMIT: Duration = Duration::from_secs(45);
/// The time for it to be started, or entered.
const START_LIMIT: Duration = Duration::from_secs(40);
/// The time for what is left of it to be deleted.
const DELETE_LIMIT: Duration = Duration::from_secs(10);
/// The same for one in a sandbox, whose kernel may be short of processor time, or hold still for as long as one of its network
/// stack's connections takes to fail: what cannot be deleted costs the whole pod.
const MEMBER_DELETE_LIMIT: Duration = Duration::from_secs(150);
/// The longest file with the number of a process.
const MAX_PID_FILE: u64 = 64;

/// A container as its runtime has it.
#[derive(Debug)]
pub(crate) struct Runtime {
    program: PathBuf,
    bundle: Bundle,
    /// Who is given the streams of its processes, in a user namespace.
    owner: Option<Owner>,
    id: ContainerId,
    /// Where its processes are.
    cgroup: Cgroup,
    /// Where the runtime keeps what it knows of the pod's containers.
    root: PathBuf,
    /// The container's directory for records, where the files are that shim and runtime exchange.
    dir: PathBuf,
    /// Set when nothing more is to be waited for.
    cancelled: Cancel,
    /// Why its command cannot be run, where the runtime said so when it made the container: told when it is started.
    hopeless: OnceLock<Failure>,
    /// Its pod's sandbox, if it is in one.
    inside: Option<Inside>,
}

/// The streams of a process that is to be made, unless it has a terminal.
#[derive(Debug)]
pub(crate) struct Streams<'a> {
    pub(crate) fds: [BorrowedFd<'a>; 3],
    /// The other ends of its output, if nobody reads them yet.
    pub(crate) unread: Vec<OwnedFd>,
}

/// A process that the runtime made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// The master of its terminal.
    pub(crate) console: Option<OwnedFd>,
    /// Its number in the sandbox, where the process is only what waits for it.
    pub(crate) inner: Option<i32>,
}

impl Runtime {
    /// For a container of this bundle. `state_dir` is the pod's, `dir` the container's in it.
    pub(crate) fn new(
        (bundle, owner): (Bundle, Option<Owner>),
        (id, cgroup): (ContainerId, Cgroup),
        state_dir: &Path,
        dir: PathBuf,
    ) -> std::io::Result<Self> {
        let cancelled = Cancel::new()?;
        let (program, root) = (PathBuf::from(&bundle.runtime), state_dir.join("runtime"));
        let hopeless = OnceLock::new();
        Ok(Self { program, bundle, owner, id, cgroup, root, dir, cancelled, hopeless, inside: None })
    }

    /// For a container in a sandbox.
    pub(crate) fn of_member(
        member: Member,
        sandbox: Arc<Sandbox>,
        (id, cgroup): (ContainerId, Cgroup),
        dir: PathBuf,
    ) -> std::io::Result<Self> {
        let group = Cgroup::from_dirs(member.cgroup_dirs.into_iter().map(Into::into).collect());
        let root = sandbox.root();
        let inside = Inside::new(sandbox, member.sandbox, group, member.options);
        let own = Self::new((member.container, None), (id, cgroup), Path::new(""), dir)?;
        Ok(Self { root, inside: Some(inside), ..own })
    }

    /// Makes the sandbox of a container in one, and nothing more.
    pub(crate) fn begin(&self, spaces: &Spaces) -> Result<(), Failure> {
        let until = Instant::now() + CREATE_LIMIT;
        self.inside.as_ref().map_or(Ok(()), |inside| self.begin_sandbox(inside, spaces, until))
    }

    /// Makes the container, up to just before its command. Where the runtime already says that its command cannot be run, there is
    /// a process in its place, and the start fails.
    fn make(
        self: &Arc<Self>,
        spaces: &Spaces,
        pid_space: Option<&OwnedFd>,
        stdio: Option<&Streams<'_>>,
    ) -> Result<(Made, Unclaimed), Failure> {
        let until = Instant::now() + CREATE_LIMIT;
        std::fs::create_dir_all(&self.dir).map_err(|e| system("make the container's directory", &e))?;
        if let Some(inside) = &self.inside {
            return self.unclaimed(self.create_inside(inside, spaces, stdio, until), Err);
        }
        let config = Self::config(&self.bundle, spaces, pid_space)?;
        let file = Path::new(&self.bundle.dir).join("config.json");
        write_atomic(&file, config.as_bytes(), Durability::Process)
            .map_err(|e| system(&format!("write {}", file.display()), &e))?;
        let dir = &self.bundle.dir;
        let with = |command: Command| command.arg("--bundle").arg(dir);
        let made = self.process("create", &self.id, stdio, None, with);
        self.unclaimed(made, |failure| self.without_command(failure, stdio.is_none()))
    }

    /// What was made, or what `instead` makes of the failure.
    fn unclaimed(
        self: &Arc<Self>,
        made: Result<Made, Failure>,
        instead: impl FnOnce(Failure) -> Result<Made, Failure>,
    ) -> Result<(Made, Unclaimed), Failure> {
        let made = made.or_else(|failure| {
            // It may have got half of the way. Nothing of it runs.
            drop(self.forget_within(DELETE_LIMIT));
            instead(failure)
        })?;
        let pidfd = made.pidfd.try_clone().map_err(|e| system("duplicate a descriptor", &e))?;
        Ok((made, Unclaimed::new(Arc::clone(self) as _, pidfd)))
    }

    /// A container whose command cannot be run, if that is why it was not made.
    fn without_command(&self, failure: Failure, tty: bool) -> Result<Made, Failure> {
        if status_of(&failure) == REFUSED || !words::is_about_command(&failure.message) {
            return Err(failure);
        }
        // What was said counts more than why there can be no process in its place.
        let Ok(made) = placeholder::start(tty) else { return Err(failure) };
        // It is made once.
        drop(self.hopeless.set(failure));
        Ok(made)
    }

    /// Runs its command. It may have ended when this returns.
    fn run_command(&self) -> Result<(), Failure> {
        if let Some(failure) = self.hopeless.get() {
            return Err(failure.clone());
        }
        if let Some(inside) = &self.inside {
            return self.run_inside(inside, Instant::now() + START_LIMIT);
        }
        let given = Given { cancels: &[self.cancelled.0.as_fd()], ..Given::default() };
        let start = self.command("start").arg(self.id.as_str());
        start.run(START_LIMIT, &given).map_err(|e| self.refused("start", &e))
    }

    /// Runs another process in the container, or ends the attempt when it is cancelled.
    fn enter(
        &self,
        exec: &ExecId,
        process: &Process,
        stdio: Option<&Streams<'_>>,
        cancel: &Cancel,
    ) -> Result<Made, Failure> {
        let file = self.dir.join(format!("{exec}.json"));
        let written = write_atomic(&file, process.text.as_bytes(), Durability::Process);
        written.map_err(|e| system(&format!("write {}", file.display()), &e))?;
        let with = |command: Command| command.arg("--detach").arg("--process").arg(&file);
        let made = self.process("exec", exec, stdio, Some(cancel), with);
        // It has been read, or is not needed.
        drop(std::fs::remove_file(&file));
        made
    }

    /// Removes what the runtime has of the container. Its processes are dead, or are killed; one that is not known has been deleted.
    fn forget(&self) -> Result<(), String> {
        let limit = if self.inside.is_some() { MEMBER_DELETE_LIMIT } else { DELETE_LIMIT };
        let done = self.forget_within(limit);
        if let (Some(inside), Err(_)) = (&self.inside, &done) {
            // It may run on in there, where nothing else can end it.
            self.end_sandbox(inside);
        }
        done
    }

    fn forget_within(&self, limit: Duration) -> Result<(), String> {
        if !self.is_known() {
            return Ok(());
        }
        let delete = self.command("delete").arg("--force").arg(self.id.as_str());
        delete.run(limit, &Given::default()).map_err(|e| self.refused("delete", &e).message)
    }

    /// Whether the runtime has something of the container.
    fn is_known(&self) -> bool {
        match &self.inside {
            Some(inside) => inside.sandbox.knows(self.id.as_str()),
            None => self.root.join(self.id.as_str()).exists(),
        }
    }

    fn join(&self) -> Result<Join, Failure> {
        self.cgroup.join().map_err(|e| system("open the container's cgroup", &e))
    }

    /// Asks for a process: with its streams, or with a terminal. One that was made in vain is killed.
    fn process(
        &self,
        verb: &'static str,
        name: &impl std::fmt::Display,
        stdio: Option<&Streams<'_>>,
        cancel: Option<&Cancel>,
        with: impl FnOnce(Command) -> Command,
    ) -> Result<Made, Failure> {
        let pid_file = self.dir.join(format!("{name}.pid"));
        let console = match stdio {
            Some(_) => None,
            None => Some(
                Console::new(&self.dir, &name.to_string())
                    .map_err(|e| system("listen for a terminal", &e))?,
            ),
        };
        let inner_file = self.dir.join(format!("{name}.inner"));
        let mut command = self.command(verb).arg("--pid-file").arg(&pid_file);
        if self.inside.is_some() {
            command = command.within(self.join()?).arg("--internal-pid-file").arg(&inner_file);
        }
        if let Some(console) = &console {
            command = command.arg("--console-socket").arg(console.path());
        }
        let command = with(command).arg(self.id.as_str());
        let limit = if verb == "create" { CREATE_LIMIT } else { START_LIMIT };
        if let (Some(owner), Some(streams)) = (self.owner, stdio) {
            streams.fds.iter().for_each(|fd| give(*fd, owner));
        }
        let cancels: Vec<_> =
            std::iter::once(self.cancelled.0.as_fd()).chain(cancel.map(|cancel| cancel.0.as_fd())).collect();
        let given = Given {
            stdio: stdio.map_or([None; 3], |streams| streams.fds.map(Some)),
            unread: stdio.map_or(&[], |streams| streams.unread.as_slice()),
            cancels: &cancels,
        };
        let done = command.run(limit, &given).map_err(|e| self.refused(verb, &e));
        let number = self.number(verb, &pid_file, &self.cgroup);
        let inner = read_number(&inner_file).ok().filter(|number| *number > 0);
        // Read, or not needed.
        drop(std::fs::remove_file(&pid_file));
        drop(std::fs::remove_file(&inner_file));
        let kill_inner = || inner.into_iter().for_each(|pid| self.kill_inside(pid));
        let kill = |pid, pidfd: &OwnedFd| {
            kill_inner();
            exec::kill_session(pid, pidfd, &self.cgroup);
        };
        match (&done, &number) {
            (Err(_), Ok((pid, pidfd))) => kill(*pid, pidfd),
            // It has said what it began in the sandbox, and not what stands for that.
            (_, Err(_)) => kill_inner(),
            (Ok(()), Ok(_)) => {}
        }
        let (pid, pidfd) = done.and(number)?;
        let console = console.map(|console| console.receive());
        let console = console.transpose().map_err(|e| {
            kill(pid, &pidfd);
            self.wrong(verb, &format!("it gave no terminal: {e}"))
        })?;
        Ok(Made { pid, pidfd, console, inner })
    }

    /// The process that the runtime names, which must have become a child of this shim, in that group.
    fn number(&self, verb: &str, file: &Path, group: &Cgroup) -> Result<(i32, OwnedFd), Failure> {
        let number = read_number(file);
        let number =
            number.map_err(|e| self.wrong(verb, &format!("it left no number of its process: {e}")))?;
        let pid = Pid::from_raw(number).filter(|pid| pid.as_raw_nonzero().get() > 1);
        let pid = pid.ok_or_else(|| self.wrong(verb, "what it left is no number of a process"))?;
        let wrong = |what: &str| self.wrong(verb, &format!("process {pid:?} {what}"));
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| wrong(&e.to_string()))?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let ended = || waitid(WaitId::PidFd(pidfd.as_fd()), options);
        ended().map_err(|e| match e {
            Errno::CHILD => wrong("is not one that it made"),
            e => wrong(&e.to_string()),
        })?;
        // One that has ended is in no group any more.
        if !has(group, pid) && ended().is_ok_and(|ended| ended.is_none()) {
            return Err(wrong("is not in the container's cgroup"));
        }
        Ok((pid.as_raw_nonzero().get(), pidfd))
    }

    /// The text of the configuration, with the paths of namespaces.
    pub(crate) fn config(
        bundle: &Bundle,
        spaces: &Spaces,
        pid_space: Option<&OwnedFd>,
    ) -> Result<String, Failure> {
        let mut text = String::new();
        for piece in &bundle.config {
            match piece {
                Piece::Text(more) => text.push_str(more),
                Piece::Namespace(which) => {
                    let fd = match which {
                        Namespace::Network => spaces.network.as_ref(),
                        Namespace::Ipc => spaces.ipc.as_ref(),
                        Namespace::Uts => spaces.uts.as_ref(),
                        Namespace::Pid => pid_space,
                        Namespace::User => spaces.user.as_ref(),
                    };
                    let missing =
                        || failure(Reason::Protocol, format!("the pod has no namespace for {which:?}"));
                    text.push_str(&path_of(fd.ok_or_else(missing)?));
                }
            }
        }
        Ok(text)
    }

    fn command(&self, verb: &'static str) -> Command {
        let command = Command::new(&self.program)
            .arg("--root")
            .arg(&self.root)
            .arg("--log")
            .arg(self.log())
            .arg("--log-format")
            .arg("json");
        let options = self.inside.iter().flat_map(|inside| &inside.options);
        options.fold(command, Command::arg).arg(verb)
    }

    fn log(&self) -> PathBuf {
        self.dir.join("runtime.log")
    }

    /// What the runtime did not do, with its own last words.
    fn refused(&self, verb: &str, failed: &Failed) -> Failure {
        let words = words::last(&self.log()).or_else(|| failed.said.clone());
        // So that the next command does not repeat them.
        drop(std::fs::remove_file(self.log()));
        let how = match &words {
            Some(words) => format!("{}: {words}", failed.how),
            None => failed.how.clone(),
        };
        let reason = words.as_deref().map_or(Reason::Refused, words::reason);
        Failure { reason, message: format!("{} {verb}: {how}", self.program.display()) }
    }

    fn wrong(&self, verb: &str, what: &str) -> Failure {
        failure(Reason::Refused, format!("{} {verb}: {what}", self.program.display()))
    }
}

/// The time until then.
fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Gives a pipe to a user: in a user namespace the runtime has no rights over one that was made outside, and the container's
/// user could not open `/dev/stdout`. Where that cannot be, the user has what the descriptor gives.
fn give(fd: BorrowedFd<'_>, owner: Owner) {
    let is_pipe = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
    if rustix::fs::fstat(fd).is_ok_and(is_pipe) {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        let _ = rustix::fs::fchown(fd, Some(uid), Some(gid));
    }
}

/// Whether a process is in a group, as each is that the runtime makes there.
pub(crate) fn has(group: &Cgroup, pid: Pid) -> bool {
    group.pids().is_ok_and(|pids| pids.contains(&pid))
}

/// The number in a file; what is none is 0, which is no process.
fn read_number(file: &Path) -> std::io::Result<i32> {
    let text = read_bounded(file, MAX_PID_FILE)?;
    Ok(std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

/// A path by which another process of the host's finds what this one has open.
pub(crate) fn path_of(fd: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd())
}

/// The status of a container that could not be started for another reason than its command.
const REFUSED: i32 = 128;

/// The status with which a container ends that could not be started, as a shell gives it.
pub(crate) fn status_of(failure: &Failure) -> i32 {
    match failure.reason {
        Reason::CommandNotFound => 127,
        Reason::CommandDenied => 126,
        _ => REFUSED,
    }
}
