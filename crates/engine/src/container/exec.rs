//! Further processes in a container, and its stdio. None of this is the owner's work: it gives a
//! [`Target`] and does not wait.
//!
//! A probe's command may write without end, and may leave a process in the background that keeps its output open. So
//! what is kept is bounded and the rest is read and dropped; and the answer is given soon after the process itself has
//! ended, even if another process still holds the pipe. The time limit is the shim's to enforce, so that a command does not run for ever
//! under a daemon that died. A session whose caller goes away is killed: nothing can read its output any more.

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use berth_types::shim::{Answer, Exec, Failure, Reason, Request};
use berth_types::{ContainerId, ExecId};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Semaphore;

use super::Facts;
use super::session::{self, AttachSession, Ending, ExecRequest, ExecSession, Guard, Input, Output};
use crate::error::EngineError;
use crate::handler::Handler;
use crate::model::{ContainerConfig, ExecOutput, UserNamespace};
use crate::shared::Shared;
use crate::shim::{Shim, ShimError};
use crate::user_namespace;

/// The time that a shim has to begin a process.
const EXEC_LIMIT: Duration = Duration::from_secs(60);
/// Sessions of one container that are being begun at once. A shim takes 16 of a container and 64 in all.
const AT_ONCE: usize = 10;
/// The time that other requests of this kind have.
const LIMIT: Duration = Duration::from_secs(10);
/// The most output that is kept of each stream; the rest is read and dropped.
const MAX_OUTPUT: usize = 16 << 20;
/// The most output of all calls together; the rest is dropped likewise.
const MAX_ALL_OUTPUT: usize = 256 << 20;
/// How long to wait for output after the process' end, when a background process holds it open.
const DRAIN: Duration = Duration::from_secs(1);
/// How much later than the shim's own time limit the answer may come.
const LATE: Duration = Duration::from_secs(10);

/// A running container and the way to it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) container: ContainerId,
    pub(crate) config: Arc<ContainerConfig>,
    /// The pod's user namespace.
    pub(crate) user: Option<UserNamespace>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) shim: Shim,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) turns: Arc<Semaphore>,
}

/// The turns of a container: the others wait here, since a shim refuses those that are too many.
pub(crate) fn turns() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(AT_ONCE))
}

/// The streams of a process: the shim's ends and ours.
struct Streams {
    theirs: Vec<OwnedFd>,
    stdin: Option<Input>,
    stdout: Output,
    stderr: Output,
}

fn streams(stdin: bool) -> std::io::Result<Streams> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    // Also where nothing is to be read: a device or file of the host could be changed through its descriptor, and a pipe
    // without a writer is at its end.
    let (input, write) = pipe()?;
    let stdin = if stdin { Some(Input::pipe(write)?) } else { None };
    let ((out, out_end), (err, err_end)) = (pipe()?, pipe()?);
    Ok(Streams {
        theirs: vec![input, out_end, err_end],
        stdin,
        stdout: Output::pipe(out)?,
        stderr: Output::pipe(err)?,
    })
}

/// Begins a process with its streams.
pub(crate) async fn exec(
    shared: &Shared,
    target: &Target,
    request: &ExecRequest,
    timeout: Option<Duration>,
) -> Result<ExecSession, EngineError> {
    let (asked, ending) = asked(shared, target, request, timeout).await?;
    if request.tty {
        let other = target.handler.has_own_terminals().then(|| session::Terminal {
            shim: target.shim.clone(),
            container: target.container.clone(),
            exec: Some(asked.exec.clone()),
        });
        let (_, mut fds) = begin(target, asked, Vec::new()).await?;
        let master = fds.pop().ok_or_else(|| {
            EngineError::system("exec", std::io::Error::other("the shim returned no terminal"))
        })?;
        return session::with_terminal(master, ending, other).map_err(broken);
    }
    let Streams { theirs, stdin, stdout, stderr } = streams(request.stdin).map_err(broken)?;
    begin(target, asked, theirs).await?;
    Ok(ExecSession { stdin, stdout, stderr: Some(stderr), resizer: None, ending })
}

/// The error of streams that could not be made.
fn broken(e: std::io::Error) -> EngineError {
    EngineError::system("make the streams of an exec session", e)
}

/// What the shim is to be asked, and the session's end.
async fn asked(
    shared: &Shared,
    target: &Target,
    request: &ExecRequest,
    timeout: Option<Duration>,
) -> Result<(Exec, Ending), EngineError> {
    shared.apparmor.keep_loaded(&target.facts.process).await;
    let plan = plan(shared, target, request).await?;
    let id = ExecId::from_random(crate::host::random::bytes());
    let end = target.shim.exec_end(&id);
    let ending = Ending::new(end, Guard::new(target.shim.clone(), id.clone()));
    let asked = Exec {
        exec: id,
        container: target.container.clone(),
        plan,
        tty: request.tty,
        timeout_ms: timeout.map_or(0, |t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX).max(1)),
    };
    Ok((asked, ending))
}

async fn begin(target: &Target, exec: Exec, fds: Vec<OwnedFd>) -> Result<(i32, Vec<OwnedFd>), EngineError> {
    let turn = tokio::time::timeout(EXEC_LIMIT, target.turns.acquire()).await;
    let _turn = turn.map_err(|_| EngineError::Timeout {
        what: "the start of other commands in the container".to_owned(),
        millis: u64::try_from(EXEC_LIMIT.as_millis()).unwrap_or(u64::MAX),
    })?;
    match target.shim.ask(Request::Exec(exec), fds, EXEC_LIMIT).await {
        Ok((Answer::ExecStarted { pid }, fds)) => Ok((pid, fds)),
        Ok(_) => {
            let error = ShimError::Unexpected { request: "Exec" };
            Err(EngineError::failed("run the command", error))
        }
        Err(ShimError::Failed(Failure { reason: Reason::CommandNotFound, message })) => {
            Err(EngineError::Command { message, code: 127 })
        }
        Err(ShimError::Failed(Failure { reason: Reason::CommandDenied | Reason::Refused, message })) => {
            Err(EngineError::Command { message, code: 126 })
        }
        Err(error) => Err(EngineError::failed("run the command", error)),
    }
}

async fn plan(shared: &Shared, target: &Target, request: &ExecRequest) -> Result<Vec<u8>, EngineError> {
    if request.argv.is_empty() {
        return Err(EngineError::invalid("cmd", "there is no command"));
    }
    let mut process = target.facts.process.clone();
    process.set_args(Some(request.argv.clone()));
    process.set_terminal(Some(request.tty));
    process.set_console_size(request.size.map(|(rows, columns)| {
        let size = oci_spec::runtime::BoxBuilder::default().height(rows).width(columns).build();
        size.expect("every field has a default")
    }));
    let mut env = process.env().clone().unwrap_or_default();
    if request.tty && !env.iter().any(|line| line.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    if let Some(user) = &request.user {
        let image = target.facts.image_id.parse().map_err(|e| EngineError::system("the image's id", e))?;
        let user = shared.users.named(&shared.images, &image, user).await?;
        user_namespace::has(target.user, &user)?;
        process.user_mut().set_uid(user.uid).set_gid(user.gid).set_additional_gids(Some(user.groups));
        if !says_home(shared, target) {
            env.retain(|line| !line.starts_with("HOME="));
            env.push(format!("HOME={}", user.home));
        }
    }
    for line in &request.env {
        let name = line.split_once('=').map_or(line.as_str(), |(name, _)| name);
        env.retain(|other| other.split_once('=').is_none_or(|(known, _)| known != name));
        env.push(line.clone());
    }
    process.set_env(Some(env));
    if let Some(dir) = &request.working_dir {
        process.set_cwd(dir.into());
    }
    let mut security = Cow::Borrowed(&target.config.security);
    if let Some(given) = &target.facts.seccomp {
        security.to_mut().seccomp = given.clone();
    }
    target.handler.process(&process, &target.facts.raw_env, &security, target.user)
}

/// Whether `HOME` is set by the container or its image, and is not only the home directory of its user.
fn says_home(shared: &Shared, target: &Target) -> bool {
    let image = shared.images.find(&target.facts.image_id).ok().flatten();
    let line = |line: &String| line.starts_with("HOME=");
    target.config.envs.iter().any(|var| var.name == "HOME")
        || image.is_some_and(|image| image.config.env.iter().any(line))
}

/// Runs a command and gives its output.
pub(crate) async fn exec_sync(
    shared: &Shared,
    target: &Target,
    argv: Vec<String>,
    timeout: Option<Duration>,
) -> Result<ExecOutput, EngineError> {
    let request = ExecRequest { argv, ..ExecRequest::default() };
    let timeout = timeout.filter(|t| !t.is_zero());
    let (asked, mut ending) = asked(shared, target, &request, timeout).await?;
    let Streams { theirs, stdout, stderr, .. } = streams(false).map_err(broken)?;
    // Before there is a process: what makes it may print much, and would wait for a reader.
    let (stdout, stderr) = (Collect::begin(stdout, &shared.outputs), Collect::begin(stderr, &shared.outputs));
    if let Err(error) = begin(target, asked, theirs).await {
        stdout.task.abort();
        stderr.task.abort();
        return Err(error);
    }
    let expired = |t: Duration| EngineError::Timeout {
        what: "the command".to_owned(),
        millis: u64::try_from(t.as_millis()).unwrap_or(u64::MAX),
    };
    let end = match timeout {
        None => ending.wait().await?,
        Some(limit) => match tokio::time::timeout(limit.saturating_add(LATE), ending.wait()).await {
            Ok(end) => end?,
            Err(_) => return Err(expired(limit)),
        },
    };
    if let (true, Some(limit)) = (end.timed_out, timeout) {
        return Err(expired(limit));
    }
    let until = tokio::time::Instant::now() + DRAIN;
    let (stdout, stderr) = tokio::join!(stdout.until(until), stderr.until(until));
    Ok(ExecOutput { stdout, stderr, code: end.code })
}

/// The memory for the output of all commands that are being waited for.
#[derive(Debug, Clone, Default)]
pub(crate) struct OutputBudget(Arc<std::sync::atomic::AtomicUsize>);

impl OutputBudget {
    /// Reserves so many bytes, or as many as are left.
    fn take(&self, wanted: usize) -> usize {
        use std::sync::atomic::Ordering::Relaxed;
        let mut got = 0;
        let taken = self.0.fetch_update(Relaxed, Relaxed, |used| {
            got = wanted.min(MAX_ALL_OUTPUT.saturating_sub(used));
            Some(used + got)
        });
        taken.map_or(0, |_| got)
    }
}

/// Output that is kept, with the budget that it counts against.
#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    budget: OutputBudget,
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        let wanted = MAX_OUTPUT.saturating_sub(self.bytes.len()).min(bytes.len());
        let got = self.budget.take(wanted);
        self.bytes.extend_from_slice(&bytes[..got]);
    }

    fn give(&mut self) -> Vec<u8> {
        self.budget.0.fetch_sub(self.bytes.len(), std::sync::atomic::Ordering::Relaxed);
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.give());
    }
}

/// A stream being read to its end, whether its bytes are kept or not.
struct Collect {
    kept: Arc<std::sync::Mutex<Kept>>,
    task: tokio::task::JoinHandle<()>,
}

impl Collect {
    fn begin(mut stream: impl AsyncRead + Unpin + Send + 'static, budget: &OutputBudget) -> Self {
        let kept = Arc::new(std::sync::Mutex::new(Kept { bytes: Vec::new(), budget: budget.clone() }));
        let into = Arc::clone(&kept);
        let task = tokio::spawn(async move {
            let mut chunk = vec![0; 16 << 10];
            while let Ok(got @ 1..) = stream.read(&mut chunk).await {
                into.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(&chunk[..got]);
            }
        });
        Self { kept, task }
    }

    /// What came until the end of the stream, or until that time.
    async fn until(self, until: tokio::time::Instant) -> Vec<u8> {
        let abort = self.task.abort_handle();
        if tokio::time::timeout_at(until, self.task).await.is_err() {
            abort.abort();
        }
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).give()
    }
}

/// Joins the container's stdio; with `stdin` to give input, too.
pub(crate) async fn attach(target: &Target, stdin: bool) -> Result<AttachSession, EngineError> {
    let stdin = stdin && target.config.stdin;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(|e| EngineError::system("make a socket to attach with", e))?;
    target
        .shim
        .attach(target.container.clone(), stdin, theirs, LIMIT)
        .await
        .map_err(|e| EngineError::failed("attach to the container", e))?;
    session::attached(target, stdin, ours).map_err(|e| EngineError::system("attach to the container", e))
}

/// Signals the container's main process.
pub(crate) async fn signal(target: &Target, signal: i32) -> Result<(), EngineError> {
    let request = Request::Signal { container: target.container.clone(), signal, all: false };
    let sent = target.shim.tell(request, Vec::new(), LIMIT).await;
    sent.map_err(|e| EngineError::failed("signal the container", e))
}

/// Opens the container's log again.
pub(crate) async fn reopen_log(target: &Target) -> Result<(), EngineError> {
    let request = Request::ReopenLog { container: target.container.clone() };
    target
        .shim
        .tell(request, Vec::new(), LIMIT)
        .await
        .map_err(|e| EngineError::failed("reopen the container's log", e))
}

#[cfg(test)]
mod tests;
