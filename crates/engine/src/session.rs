//! Exec sessions and attached clients: byte streams in and out, the terminal's size, the end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use berth_types::ContainerId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::error::EngineError;

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

/// Bytes for a process. Shutting it down closes the process' stdin.
#[derive(Debug)]
pub struct Input(pub(crate) Sink);

/// Bytes of a process. It ends when the process and all that inherited the stream are gone.
#[derive(Debug)]
pub struct Output(pub(crate) Source);

#[derive(Debug)]
pub(crate) enum Sink {
    Pipe(tokio::net::unix::pipe::Sender),
    Memory(tokio::io::DuplexStream),
}

#[derive(Debug)]
pub(crate) enum Source {
    Pipe(tokio::net::unix::pipe::Receiver),
    Memory(tokio::io::DuplexStream),
}

impl AsyncWrite for Input {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match &mut self.0 {
            Sink::Pipe(pipe) => Pin::new(pipe).poll_write(cx, buf),
            Sink::Memory(memory) => Pin::new(memory).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.0 {
            Sink::Pipe(pipe) => Pin::new(pipe).poll_flush(cx),
            Sink::Memory(memory) => Pin::new(memory).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.0 {
            Sink::Pipe(pipe) => Pin::new(pipe).poll_shutdown(cx),
            Sink::Memory(memory) => Pin::new(memory).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Output {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match &mut self.0 {
            Source::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buf),
            Source::Memory(memory) => Pin::new(memory).poll_read(cx, buf),
        }
    }
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
    /// The container.
    pub container: ContainerId,
    /// What it reads; None without `stdin`. A client takes it out to close it.
    pub stdin: Option<Input>,
    /// What it writes; everything of a terminal.
    pub stdout: Output,
    /// What it writes to standard error; None with a terminal.
    pub stderr: Option<Output>,
    /// Sets the terminal's size; None without one.
    pub resizer: Option<Resizer>,
    pub(crate) end: oneshot::Receiver<ExecEnd>,
}

impl ExecSession {
    /// Waits for the end of the process. Output may still be on its way.
    pub async fn wait(&mut self) -> Result<ExecEnd, EngineError> {
        (&mut self.end).await.map_err(|_| EngineError::Closed)
    }
}

/// The stdio of a running container.
#[derive(Debug)]
pub struct AttachSession {
    /// The container.
    pub container: ContainerId,
    /// What it reads; None when the container was made without stdin.
    pub stdin: Option<Input>,
    /// What it writes from now on; everything of a terminal.
    pub stdout: Output,
    /// What it writes to standard error; None with a terminal.
    pub stderr: Option<Output>,
    /// Sets the terminal's size; None without one.
    pub resizer: Option<Resizer>,
}
