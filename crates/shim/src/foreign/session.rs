//! A further process in a container: its FIFOs are the shim's, its descriptors the daemon's, and a thread carries bytes between
//! them. With a terminal the daemon expects its master: it has that of a raw one, whose other side is carried.

mod relay;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_container::run::{Running, Stdio};
use berth_shimv2::message::{Any, task, type_url};
use berth_shimv2::shim::Shim as Client;
use berth_shimv2::stdio::{self, Streams};
use berth_sys::pty;
use berth_types::ExecId;
use berth_types::shim::Failure;
use berth_types::shim::bundle::Process;
use rustix::fs::Mode;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::ask::{NoAnswer, Patience, ask};
use super::{ACTION_LIMIT, Foreign, LIMIT, fifos};
use crate::driver::Cancel;
use crate::outcome::{failure, system};
use crate::pump::Then;
use crate::runtime::has;
use berth_types::shim::Reason;
use relay::{Lane, Relay};

/// A session as the shim knows it.
struct Session {
    client: Client,
    container: String,
    exec: String,
    /// Its FIFOs.
    dir: PathBuf,
}

impl Session {
    fn kill(&self, signal: Signal) -> task::Kill {
        let signal = signal.as_raw().cast_unsigned();
        task::Kill { id: self.container.clone(), exec_id: self.exec.clone(), signal, all: false }
    }

    fn delete(&self) -> task::Delete {
        task::Delete { id: self.container.clone(), exec_id: self.exec.clone() }
    }

    /// Takes away what there may be of it, and waits for nothing.
    fn undo(&self) {
        let wait = task::Wait { id: self.container.clone(), exec_id: self.exec.clone() };
        let (delete, client) = (self.delete(), self.client.clone());
        // One that runs is not deleted.
        let ended = move |_| drop(client.begin(&delete, Some(LIMIT), |_| ()));
        let client = self.client.clone();
        let killed = move |_| drop(client.begin(&wait, Some(LIMIT), ended));
        drop(self.client.begin(&self.kill(Signal::KILL), Some(LIMIT), killed));
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// Begins one.
pub(super) fn begin(
    of: &Arc<Foreign>,
    exec: &ExecId,
    process: &Process,
    stdio: Stdio,
    cancel: &Cancel,
) -> Result<Running, Failure> {
    let client = of.made.get().ok_or_else(|| failure(Reason::State, "the container was not made"))?.clone();
    let dir = fifos(&of.dir.join(format!("exec-{}", exec.short())))?;
    let session = Session { client, container: of.name(), exec: exec.to_string(), dir };
    let tty = matches!(stdio, Stdio::Terminal);
    let streams = stdio::Stdio::make(&session.dir, Streams { stdin: true, terminal: tty });
    let mut streams = streams.map_err(|e| {
        drop(std::fs::remove_dir_all(&session.dir));
        system("make the session's FIFOs", &e)
    })?;
    let cancels = [of.cancelled.0.as_fd(), cancel.0.as_fd()];
    let until = Instant::now() + ACTION_LIMIT;
    let patience = Patience { until, cancels: &cancels, grace: Duration::ZERO };
    let number = match start(&session, process, tty, &streams.paths, patience) {
        Ok(number) => number,
        Err(NoAnswer::Failed(error)) => {
            session.undo();
            return Err(of.refused(&error));
        }
        Err(NoAnswer::Late(error, late)) => {
            // A shim that does not find its FIFOs, or nobody at their other ends, may have started the process already, and forget it.
            late.then(move || {
                session.undo();
                drop(streams);
            });
            return Err(of.refused(&error));
        }
    };
    let settled = streams.settle(LIMIT.min(patience.left()));
    let carried = match settled {
        Ok(()) => carry(of, exec, &session, streams, stdio, number),
        Err(e) => Err(of.wrong(&format!("it does not open a session's input: {e}"))),
    };
    carried.inspect_err(|_| session.undo())
}

/// Has the process made and started: its number.
fn start(
    session: &Session,
    process: &Process,
    tty: bool,
    paths: &stdio::Paths,
    patience: Patience<'_>,
) -> Result<u32, NoAnswer> {
    let paths = paths.clone();
    let request = task::Exec {
        id: session.container.clone(),
        exec_id: session.exec.clone(),
        terminal: tty,
        stdin: paths.stdin,
        stdout: paths.stdout,
        stderr: paths.stderr,
        spec: Some(Any::json(type_url::PROCESS, process.text.clone().into_bytes())),
    };
    ask(&session.client, &request, patience)?;
    let request = task::Start { id: session.container.clone(), exec_id: session.exec.clone() };
    ask(&session.client, &request, patience).map(|started| started.pid)
}

/// Begins to carry its streams and to wait for its end.
fn carry(
    of: &Arc<Foreign>,
    exec: &ExecId,
    session: &Session,
    theirs: stdio::Stdio,
    ours: Stdio,
    number: u32,
) -> Result<Running, Failure> {
    let (pid, pidfd) = process(of, number)?;
    let tty = matches!(ours, Stdio::Terminal);
    let (lanes, console) =
        lanes(session, theirs, ours).map_err(|e| system("carry the session's streams", &e))?;
    let failed = |e: std::io::Error| system("wait for the session", &e);
    let told = Cancel::new().map_err(failed)?;
    let relay = Relay {
        lanes,
        process: pidfd.as_ref().map(OwnedFd::try_clone).transpose().map_err(failed)?,
        told: told.clone(),
    };
    of.told.wait_for_session(&session.client, exec, tty, move || told.set());
    let (client, delete, dir) = (session.client.clone(), session.delete(), session.dir.clone());
    let shim = Arc::clone(&of.shim);
    let end = move |was_told: bool| {
        if !was_told {
            shim.lose(&client);
        }
        // One that is not there any more has been deleted with its container.
        drop(client.call(&delete, Some(LIMIT)));
        drop(std::fs::remove_dir_all(&dir));
    };
    relay.begin(end).map_err(|e| {
        of.told.forget(exec);
        failed(e)
    })?;
    // What has ended already is no process any more: nothing can be done to it by this descriptor.
    let pidfd = match pidfd {
        Some(pidfd) => pidfd,
        None => {
            Arc::into_inner(Cancel::new().map_err(failed)?.0).ok_or_else(|| of.wrong("it has no process"))?
        }
    };
    Ok(Running { pid, pidfd, console, notes: Vec::new() })
}

/// The process that the shim names, which must be in the container's cgroup; without a descriptor, if it has ended already.
fn process(of: &Foreign, number: u32) -> Result<(i32, Option<OwnedFd>), Failure> {
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw).filter(|pid| pid.as_raw_nonzero().get() > 1);
    let pid = pid.ok_or_else(|| of.wrong(&format!("{number} is no number of a process")))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok();
    // One that is in no such group is another by now, to which its number was given.
    let pidfd = pidfd.filter(|_| has(&of.cgroup, pid));
    Ok((pid.as_raw_nonzero().get(), pidfd))
}

/// What is carried where, and the master of a terminal.
fn lanes(
    session: &Session,
    theirs: stdio::Stdio,
    ours: Stdio,
) -> std::io::Result<(Vec<Lane>, Option<OwnedFd>)> {
    let client = session.client.clone();
    match ours {
        Stdio::Terminal => {
            let multiplexer = rustix::fs::open("/dev/pts/ptmx", pty::MULTIPLEXER, Mode::empty())?;
            let pty = pty::open(multiplexer)?;
            let mut raw = tcgetattr(&pty.slave)?;
            raw.make_raw();
            tcsetattr(&pty.slave, OptionalActions::Now, &raw)?;
            // Its user has gone.
            let hang_up = session.kill(Signal::HUP);
            let then = Then::new(move || drop(client.begin(&hang_up, Some(LIMIT), |_| ())));
            let input =
                theirs.stdin.map(|to| Ok::<_, std::io::Error>(Lane::input(pty.slave.try_clone()?, to, then)));
            let output = Lane::output(theirs.stdout, Some(pty.slave));
            Ok((input.transpose()?.into_iter().chain([output]).collect(), Some(pty.master)))
        }
        Stdio::Fds { stdin, stdout, stderr } => {
            let (id, exec_id) = (session.container.clone(), session.exec.clone());
            let close = task::CloseIo { id, exec_id, stdin: true };
            let then = Then::new(move || drop(client.begin(&close, Some(LIMIT), |_| ())));
            let input = stdin.zip(theirs.stdin).map(|(from, to)| Lane::input(from, to, then));
            let output = Lane::output(theirs.stdout, stdout);
            let errors = theirs.stderr.map(|from| Lane::output(from, stderr));
            Ok((input.into_iter().chain([output]).chain(errors).collect(), None))
        }
    }
}
