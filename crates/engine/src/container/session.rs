//! Exec sessions and attached clients: byte streams in and out, the terminal's size, the end.

mod attached;
mod stream;
mod tail;
mod terminal;

use std::pin::Pin;
use std::sync::Arc;

use berth_types::ExecId;
use tokio::sync::oneshot;

use crate::error::EngineError;
use crate::shim::{Shim, ShimError};

pub(crate) use attached::{Terminal, attached};
pub use stream::{Input, Output};
pub use tail::Tail;
pub(crate) use terminal::with_terminal;

/// A process to run in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The command and its arguments.
    pub argv: Vec<String>,
    /// Environment above the container's, as `NAME=value`.
    pub env: Vec<String>,
    /// Another user, as `user[:group]`; None is the container's.
    pub user: Option<String>,
    /// Another working directory; None is the container's.
    pub working_dir: Option<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Height and width that the terminal has from the beginning; None leaves them 0.
    pub size: Option<(u16, u16)>,
    /// Whether it reads what the client sends; otherwise its stdin is empty.
    pub stdin: bool,
}

/// How an exec session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecEnd {
    /// The exit status as a shell gives it.
    pub code: i32,
    /// Whether its time ran out.
    pub timed_out: bool,
}

/// The size of a session's terminal can be set through this, from any task.
#[derive(Debug, Clone)]
pub struct Resizer(pub(crate) Arc<dyn Resize>);

pub(crate) trait Resize: std::fmt::Debug + Send + Sync {
    fn resize(
        &self,
        rows: u16,
        columns: u16,
    ) -> Pin<Box<dyn Future<Output = Result<(), EngineError>> + Send + '_>>;
}

impl Resizer {
    /// Sets height and width in characters.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<(), EngineError> {
        self.0.resize(rows, columns).await
    }
}

/// A process that runs in a container.
#[derive(Debug)]
pub struct ExecSession {
    /// What it reads; None without `stdin`. A client takes it out to close it.
    pub stdin: Option<Input>,
    /// What it writes; everything of a terminal.
    pub stdout: Output,
    /// What it writes to standard error; None with a terminal.
    pub stderr: Option<Output>,
    /// Sets the terminal's size; None without one.
    pub resizer: Option<Resizer>,
    /// Its end, to be waited for beside the streams.
    pub ending: Ending,
}

impl ExecSession {
    /// What it writes, to be read to the end beside waiting for [`ExecSession::ending`]: a process that it leaves behind does
    /// not hold it for ever.
    pub fn outputs(&mut self) -> (Tail, Option<Tail>) {
        let mut tail = |output| {
            let (over, told) = oneshot::channel();
            self.ending.readers.push(over);
            Tail::new(output, told)
        };
        let stdout = tail(std::mem::replace(&mut self.stdout, Output::empty()));
        (stdout, self.stderr.take().map(tail))
    }
}

/// The end of an exec session. Dropped before it, the session is killed.
#[derive(Debug)]
pub struct Ending {
    end: oneshot::Receiver<ExecEnd>,
    guard: Guard,
    /// Those to be told that the process has ended.
    readers: Vec<oneshot::Sender<()>>,
}

/// Kills its session when it is dropped before the session ended.
#[derive(Debug)]
pub(crate) struct Guard {
    session: Option<(Shim, ExecId)>,
}

impl Guard {
    pub(crate) fn new(shim: Shim, exec: ExecId) -> Self {
        Self { session: Some((shim, exec)) }
    }

    fn ended(&mut self) {
        self.session = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some((shim, exec)) = self.session.take() {
            shim.kill_exec(exec);
        }
    }
}

impl Ending {
    pub(crate) fn new(end: oneshot::Receiver<ExecEnd>, guard: Guard) -> Self {
        Self { end, guard, readers: Vec::new() }
    }

    /// Waits for the end of the process. Output may still be on its way, or never end when the process left
    /// another behind that holds the streams.
    pub async fn wait(&mut self) -> Result<ExecEnd, EngineError> {
        let end = (&mut self.end).await;
        self.guard.ended();
        self.readers.clear();
        end.map_err(|_| EngineError::failed("wait for the command", ShimError::Lost))
    }
}

/// The stdio of a running container.
#[derive(Debug)]
pub struct AttachSession {
    /// What it reads; None when the container was made without stdin, or the client gives none.
    pub stdin: Option<Input>,
    /// What it writes from now on; everything of a terminal.
    pub stdout: Output,
    /// What it writes to standard error; None with a terminal.
    pub stderr: Option<Output>,
    /// Sets the terminal's size; None without one.
    pub resizer: Option<Resizer>,
}
