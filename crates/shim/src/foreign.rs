//! A container by a shim that others wrote: one that speaks containerd's protocol (`berth_shimv2`), in the place of an OCI
//! runtime. There is one for the pod; to it this process is containerd.
//!
//! ```text
//! foreign   a container: what is asked of its shim         session   a further process, and what carries its streams
//! shim      the pod's shim: begun, lost, ended              told      ends, as the shim tells them
//! ask       one call, with a limit, unless it is cancelled       trial     one container, for the daemon's check
//! ```
//!
//! The container's processes are the foreign shim's children and in the container's cgroup, so that signals and kills are
//! the same as those of any other container; streams are FIFOs, which the same pump reads; ends are the answers to Wait. See
//! docs/adr/0095.

mod ask;
mod session;
mod shim;
mod told;
pub(crate) mod trial;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use berth_container::run::{Running, Stdio};
use berth_shimv2::error::CallError;
use berth_shimv2::launch::Bundle;
use berth_shimv2::message::task;
use berth_shimv2::shim::Shim as Client;
use berth_shimv2::stdio::{self, Streams};
use berth_sys::cgroup::Cgroup;
use berth_sys::fs::{Durability, write_atomic};
use berth_types::error::{Classify as _, Kind, chain};
use berth_types::shim::bundle::{Process, Task};
use berth_types::shim::{Create, Failure, Reason};
use berth_types::{ContainerId, ExecId};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use rustix::termios::Winsize;

use crate::driver::{Cancel, Created, Driver, End, Order, Resized, Unclaimed};
use crate::exec::Inner;
use crate::making;
use crate::outcome::{failure, system};
use crate::pump::{Ends, Fifos, Notes, Then};
use crate::runtime::{Runtime, has, placeholder, status_of, words};
use ask::{NoAnswer, Patience, ask};
pub(crate) use shim::Shim;
use told::Told;

/// The time for a container to be made, with a shim that has to be started first, for it to be started, and for it to be entered. Less
/// than what the daemon waits, which then is told why.
const ACTION_LIMIT: Duration = Duration::from_secs(45);
/// The time for what is left of it to be deleted, and for what takes no time.
const LIMIT: Duration = Duration::from_secs(10);
/// How long the answer to a creation that is cancelled is waited for: without it nobody knows what there is.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A container as its shim has it.
#[derive(Debug)]
pub(crate) struct Foreign {
    task: Task,
    shim: Arc<Shim>,
    id: ContainerId,
    cgroup: Cgroup,
    /// The container's directory for records, where its FIFOs are.
    dir: PathBuf,
    cancelled: Cancel,
    /// The connection to the shim that made it.
    made: OnceLock<Client>,
    /// Whether its streams are a terminal.
    tty: OnceLock<()>,
    /// Why its command cannot be run, where the shim said so when it made the container: told when it is started.
    hopeless: OnceLock<Failure>,
    told: Arc<Told>,
}

impl Foreign {
    /// For a container of this plan.
    pub(crate) fn new(
        task: Task,
        shim: Arc<Shim>,
        (id, cgroup): (ContainerId, Cgroup),
        dir: PathBuf,
        notes: Notes,
    ) -> std::io::Result<Self> {
        let told = Arc::new(Told::new(id.clone(), notes));
        let (made, tty, hopeless) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Ok(Self { task, shim, id, cgroup, dir, cancelled: Cancel::new()?, made, tty, hopeless, told })
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn bundle(&self) -> &Path {
        Path::new(&self.task.container.dir)
    }

    /// What a call did not do, in the shim's words.
    fn refused(&self, error: &CallError) -> Failure {
        let message = format!("{}: {}", self.task.container.runtime, chain(error));
        Failure { reason: words::reason(&message), message }
    }

    fn wrong(&self, what: &str) -> Failure {
        failure(Reason::Refused, format!("{}: {what}", self.task.container.runtime))
    }

    /// A container that was made, up to just before its command.
    fn make(self: &Arc<Self>, create: &Create) -> Result<Created, Failure> {
        let cancels = [self.cancelled.0.as_fd()];
        let until = Instant::now() + ACTION_LIMIT;
        let patience = Patience { until, cancels: &cancels, grace: ANSWER_LIMIT };
        let client = self.shim.connected(patience)?;
        let fifos = fifos(&self.dir.join("fifos"))?;
        let streams = Streams { stdin: create.stdin || create.tty, terminal: create.tty };
        let stdio =
            stdio::Stdio::make(&fifos, streams).map_err(|e| system("make the container's FIFOs", &e))?;
        let made = self.make_by(&client, stdio, create.tty, patience);
        made.inspect_err(|_| self.undo(&client))
    }

    fn make_by(
        self: &Arc<Self>,
        client: &Client,
        mut stdio: stdio::Stdio,
        tty: bool,
        patience: Patience<'_>,
    ) -> Result<Created, Failure> {
        let paths = stdio.paths.clone();
        let request = task::Create {
            id: self.name(),
            bundle: self.task.container.dir.clone(),
            terminal: tty,
            stdin: paths.stdin,
            stdout: paths.stdout,
            stderr: paths.stderr,
            options: self.shim.options(),
            ..task::Create::default()
        };
        let answer = ask(client, &request, patience).map_err(|e| {
            if matches!(e, NoAnswer::Late(..) | NoAnswer::Failed(CallError::Lost { .. })) {
                // What it makes later nobody would end.
                self.shim.lose(client);
            }
            self.refused(&e.error())
        })?;
        let (pid, pidfd) = self.process(answer.pid)?;
        let settled = stdio.settle(LIMIT.min(patience.left()));
        settled.map_err(|e| self.wrong(&format!("it does not open its input: {e}")))?;
        let taken = self.made.set(client.clone());
        taken.map_err(|_| failure(Reason::State, "the container is made already"))?;
        if tty {
            // It is made once.
            let _ = self.tty.set(());
        }
        self.told.wait_for(client, &pidfd, &self.shim).map_err(|e| system("wait for the container", &e))?;
        let owned = pidfd.try_clone().map_err(|e| system("duplicate a descriptor", &e))?;
        let unclaimed = Unclaimed::new(Arc::clone(self) as _, owned);
        let ends = Ends::Fifos(self.ends(client, stdio));
        Ok(Created { pid, pidfd, ends, terminal: None, unclaimed, notes: Vec::new() })
    }

    /// The process that the shim names, which must be in the container's cgroup.
    fn process(&self, number: u32) -> Result<(i32, OwnedFd), Failure> {
        let pid =
            i32::try_from(number).ok().and_then(Pid::from_raw).filter(|pid| pid.as_raw_nonzero().get() > 1);
        let pid = pid.ok_or_else(|| self.wrong(&format!("{number} is no number of a process")))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())
            .map_err(|e| self.wrong(&format!("process {number}, which it names: {e}")))?;
        if !has(&self.cgroup, pid) {
            return Err(self.wrong(&format!(
                "process {number}, which it names, is not in the container's cgroup: shims whose containers are no processes of \
                 this host are not supported yet"
            )));
        }
        Ok((pid.as_raw_nonzero().get(), pidfd))
    }

    /// What the pump serves.
    fn ends(&self, client: &Client, stdio: stdio::Stdio) -> Fifos {
        let close = task::CloseIo { id: self.name(), exec_id: String::new(), stdin: true };
        let client = client.clone();
        // The shim keeps the other end open until it is told.
        let then = Then::new(move || drop(client.begin(&close, Some(LIMIT), |_| ())));
        let stdin = stdio.stdin.map(|fd| (fd, then));
        Fifos { stdin, stdout: stdio.stdout, stderr: stdio.stderr }
    }

    /// Takes away what a creation that failed has made: all of it, since the shim may have failed half-way.
    fn undo(&self, client: &Client) {
        let kill = Signal::KILL.as_raw().cast_unsigned();
        let kill = task::Kill { id: self.name(), exec_id: String::new(), signal: kill, all: true };
        let delete = task::Delete { id: self.name(), exec_id: String::new() };
        // It knows nothing of one that it has not made; what is left, its program takes away.
        if client.lost().is_none() {
            drop(client.call(&kill, Some(LIMIT)));
            drop(client.call(&delete, Some(LIMIT)));
        }
        drop(self.delete_by_program());
        drop(std::fs::remove_dir_all(self.dir.join("fifos")));
    }

    fn delete_by_program(&self) -> Result<(), String> {
        let (dir, id) = (self.bundle(), self.name());
        let deleted = self.shim.program().delete(Bundle { dir, id: &id }, None);
        deleted.map(drop).map_err(|e| chain(&e))
    }

    /// A container whose command cannot be run, if that is why it was not made.
    fn without_command(self: &Arc<Self>, failure: Failure, create: &Create) -> Result<Created, Failure> {
        let is_about_command = status_of(&failure) != 128 && words::is_about_command(&failure.message);
        let placeholder = if is_about_command { placeholder::start(create.tty).ok() } else { None };
        // What was said counts more than why there can be no process in its place.
        let (Some(made), Ok((_, pipes))) = (placeholder, making::stdio(create)) else { return Err(failure) };
        let pidfd = made.pidfd.try_clone().map_err(|e| system("duplicate a descriptor", &e))?;
        // It is made once.
        drop(self.hopeless.set(failure));
        let (ends, terminal) = making::ends(pipes, made.console)?;
        let unclaimed = Unclaimed::new(Arc::clone(self) as _, pidfd);
        Ok(Created { pid: made.pid, pidfd: made.pidfd, ends, terminal, unclaimed, notes: Vec::new() })
    }
}

impl Driver for Foreign {
    fn create(self: Arc<Self>, order: &Order<'_>) -> Result<Created, Failure> {
        std::fs::create_dir_all(&self.dir).map_err(|e| system("make the container's directory", &e))?;
        let config = Runtime::config(&self.task.container, order.spaces, order.pid_space)?;
        let file = self.bundle().join("config.json");
        write_atomic(&file, config.as_bytes(), Durability::Process)
            .map_err(|e| system(&format!("write {}", file.display()), &e))?;
        let made = self.make(order.create);
        made.or_else(|failure| self.without_command(failure, order.create))
    }

    fn start(&self) -> Result<(), Failure> {
        if let Some(failure) = self.hopeless.get() {
            return Err(failure.clone());
        }
        let client = self.made.get().ok_or_else(|| failure(Reason::State, "the container was not made"))?;
        let request = task::Start { id: self.name(), exec_id: String::new() };
        let cancels = [self.cancelled.0.as_fd()];
        let until = Instant::now() + ACTION_LIMIT;
        // Who gives it up ends the container.
        let patience = Patience { until, cancels: &cancels, grace: Duration::ZERO };
        ask(client, &request, patience).map(drop).map_err(|e| self.refused(&e.error()))
    }

    fn exec(
        self: Arc<Self>,
        exec: &ExecId,
        process: &Process,
        stdio: Stdio,
        cancel: &Cancel,
    ) -> Result<(Running, Option<Inner>), Failure> {
        session::begin(&self, exec, process, stdio, cancel).map(|running| (running, None))
    }

    fn delete(&self) -> Result<(), String> {
        let Some(client) = self.made.get() else { return Ok(()) };
        let request = task::Delete { id: self.name(), exec_id: String::new() };
        let deleted = match client.call(&request, Some(LIMIT)) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            // One that is slow has the pod's other containers too; what it leaves, its program takes away.
            Err(_) => self.delete_by_program(),
        };
        drop(std::fs::remove_dir_all(self.dir.join("fifos")));
        deleted
    }

    fn cancel(&self) {
        self.cancelled.set();
    }

    fn memory(&self) -> &Cgroup {
        &self.cgroup
    }

    fn ended(&self) -> Option<End> {
        self.told.main()
    }

    fn session_ended(&self, exec: &ExecId) -> Option<End> {
        self.told.take(exec)
    }

    fn has_terminal(&self, exec: Option<&ExecId>) -> bool {
        match exec {
            None => self.tty.get().is_some(),
            Some(exec) => self.told.has_terminal(exec),
        }
    }

    fn resize(&self, exec: Option<&ExecId>, size: Winsize, then: Resized) {
        let Some(client) = self.made.get() else { return then(Ok(())) };
        let exec_id = exec.map(ExecId::to_string).unwrap_or_default();
        let (width, height) = (size.ws_col.into(), size.ws_row.into());
        let request = task::Resize { id: self.name(), exec_id, width, height };
        let done = move |outcome: Result<_, CallError>| {
            then(outcome.map(drop).map_err(|e| system("set the terminal's size", &e)));
        };
        drop(client.begin(&request, Some(LIMIT), done));
    }
}

/// An empty directory for FIFOs.
fn fifos(dir: &Path) -> Result<PathBuf, Failure> {
    // Of an earlier attempt.
    drop(std::fs::remove_dir_all(dir));
    std::fs::create_dir_all(dir).map_err(|e| system("make the place of the FIFOs", &e))?;
    Ok(dir.to_owned())
}
