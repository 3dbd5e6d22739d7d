//! What a URL stands for.

use berth_types::{ContainerId, SandboxId};

/// What the holder of a URL may do, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Run a command in a container.
    Exec(Exec),
    /// Join a container's stdio.
    Attach(Attach),
    /// Connect to ports of a pod.
    PortForward(PortForward),
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// In which container.
    pub container: ContainerId,
    /// The command and its arguments.
    pub argv: Vec<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// The streams that the client opens.
    pub streams: Wanted,
}

/// A container's stdio to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    /// Which container.
    pub container: ContainerId,
    /// Whether it has a terminal.
    pub tty: bool,
    /// The streams that the client opens.
    pub streams: Wanted,
}

/// Ports to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortForward {
    /// Of which sandbox.
    pub sandbox: SandboxId,
    /// Only these; any when there are none.
    pub ports: Vec<u16>,
}

/// Which of a process' streams a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// It sends input.
    pub stdin: bool,
    /// It reads standard output.
    pub stdout: bool,
    /// It reads standard error; never with a terminal.
    pub stderr: bool,
}

impl Request {
    /// The word for it in a URL.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Request::Exec(_) => "exec",
            Request::Attach(_) => "attach",
            Request::PortForward(_) => "portforward",
        }
    }
}
