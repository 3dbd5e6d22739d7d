//! The messages between the daemon and the shim of a pod.
//!
//! ```text
//! daemon                                         berth-shim (one per pod)
//!   spawns it from the sealed memfd with
//!   fd 3 = listening socket, fd 4 = first connection
//!   Hello, Pod        ------------------------->   takes the namespaces
//!   Create, Start, Signal, Exec, ...   -------->   answers each by its number
//!                     <-------------------------   Exited, ExecExited (unasked)
//! ```
//!
//! Transport: a stream socket in the pod's state directory. A frame is a little-endian `u32` (the
//! length of the body in the low 24 bits, the number of file descriptors in the high 8), then the
//! body: one [`ToShim`] or [`FromShim`] encoded by postcard. The descriptors travel with the first
//! byte of their frame (SCM_RIGHTS), in the order that the message's document names; a receiver may
//! get them together with the end of the frame before, so the number in the header is what
//! assigns them. Both sides refuse a frame over [`MAX_FRAME`] bytes or with more than [`MAX_FDS`]
//! descriptors. [`header`] and [`parse_header`] are that `u32`.
//!
//! A daemon that was restarted connects to the same socket and says Hello; the answer holds
//! everything the shim knows, so the new daemon needs no memory of the old.
//!
//! # How it may change
//!
//! A shim runs for as long as its pod, under daemons that are newer and, after a step back, older than it. A
//! mismatch never ends a pod, so (see `docs/adr/0080-protocol-evolution.md`):
//!
//! 1. Structs and existing variants are frozen: no field is added, removed, moved or given another type.
//! 2. Variants are appended at the end of their enum, with the version that brings them in `since`. A new
//!    field is a new variant. [`VERSION`] is raised once for each release that appends.
//! 3. Each side sends only what the other knows: a daemon asks [`Peer::knows`] before it sends, and a shim
//!    sends events and answers only up to the version in the daemon's Hello.
//! 4. What is not understood costs no more than itself: the shim answers such a request with
//!    [`Reason::Protocol`] by its number ([`request_number`]), the daemon fails the one request whose
//!    answer it cannot read ([`answer_number`]) and skips other messages.
//! 5. What a shim of some kind does beyond its version is an [`Abilities`] bit, told in [`Answer::Welcome`].
//! 6. Every message of every release lies in `tests/fixtures` of this crate and is decoded forever.

use serde::{Deserialize, Serialize};

use crate::id::{ContainerId, ExecId, SandboxId};

pub mod bundle;
mod codec;
mod peer;
pub mod record;

pub use codec::{CodecError, answer_number, decode, encode, header, parse_header, request_number};
pub use peer::{Abilities, Peer, Unsupported};

/// The version of this protocol. A daemon speaks to shims of its own and all older versions, and a shim to
/// daemons of all versions.
pub const VERSION: u16 = 3 + cfg!(feature = "raised-versions") as u16;
/// The most bytes in the body of a frame. A command line and environment may have 2 MiB together
/// (the kernel's own limit is a quarter of the stack limit), a compiled seccomp program 32 KiB.
pub const MAX_FRAME: usize = 8 << 20;
/// The most file descriptors with one frame (the kernel allows 253).
pub const MAX_FDS: usize = 200;
/// The most bytes of output or input in one packet of an attached client.
pub const MAX_PACKET: usize = 16 << 10;
/// How long what an attached client has sent before it went is input still: a container may never read it.
pub const LEFT_INPUT_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
/// The descriptor on which a new shim finds its listening socket, on the next the connection to the daemon that made it, and
/// then the mount namespace that those of its containers begin as copies of.
pub const LISTEN_FD: i32 = 3;

/// A request of the daemon, with the number that the answer repeats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToShim {
    /// Chosen by the daemon, unique on the connection among requests without an answer.
    pub number: u64,
    /// What to do.
    pub request: Request,
}

/// What the shim sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromShim {
    /// The answer to the request with this number.
    Answer {
        /// The request's number.
        number: u64,
        /// Success or the reason of failure.
        outcome: Result<Answer, Failure>,
    },
    /// Something happened.
    Event(Event),
}

/// What the daemon may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// First on every connection. Answer: [`Answer::Welcome`] to a daemon of version 2 or newer, else
    /// [`Answer::Hello`]. From then on this connection gets the events that its version knows.
    Hello {
        /// The daemon's [`VERSION`].
        version: u16,
    },
    /// Second on the first connection of a new shim. Fds: one for each `true` of `namespaces`, in
    /// the order network, IPC, UTS. Answer: [`Answer::Done`].
    Pod(Pod),
    /// Prepares a container up to just before its `execve`. Fds: the root (a detached mount) if the
    /// plan's root is given, the user namespace if that is given and the pod has none, then the bind mounts' sources
    /// in the order of the plan's numbers. The pod's own namespaces are those of [`Pod`].
    /// Answer: [`Answer::Created`], when the process is prepared, the log file exists and the
    /// record is on disk.
    Create(Create),
    /// Releases a prepared container. Answered when `execve` succeeded ([`Answer::Started`]; shims
    /// of before say [`Answer::Done`]), or with why it failed ([`Reason::Refused`]); in that case the
    /// container is exited and [`Event::Exited`] came before.
    Start {
        /// Which.
        container: ContainerId,
    },
    /// Sends a signal to the main process, or to every process of the container. A container that
    /// is prepared but not started has no program that could handle one: any signal ends it. Success
    /// when the container has ended already.
    Signal {
        /// Which.
        container: ContainerId,
        /// The signal's number.
        signal: i32,
        /// Every process of the container's cgroup.
        all: bool,
    },
    /// Forgets a container that has exited, or ends it if it was never started. Answered when it is
    /// gone; refused while it runs.
    Forget {
        /// Which.
        container: ContainerId,
    },
    /// Runs another process in a running container. Fds: stdin, stdout, stderr when `tty` is false;
    /// none when it is true, and then the answer carries the terminal's master. Answer:
    /// [`Answer::ExecStarted`]; the end comes as [`Event::ExecExited`], to this connection only.
    Exec(Exec),
    /// Kills an exec session with everything it started that is still in its session.
    KillExec {
        /// Which.
        exec: ExecId,
    },
    /// Opens the log file again by its path, after a rotation. On failure the old file stays in use.
    ReopenLog {
        /// Which.
        container: ContainerId,
    },
    /// Joins the stdio of a running container. Fds: one end of a SOCK_SEQPACKET pair. Each packet
    /// from the shim is a [`Stream`] byte and output; each packet to the shim is input; neither has
    /// more than [`MAX_PACKET`] bytes of content. An empty packet to the shim closes the container's
    /// stdin. What a client sent before it disconnected is input for [`LEFT_INPUT_LIMIT`]. A client that does not read for
    /// two seconds is cut off. The end of all output is the
    /// end of the connection. A container that is prepared may be joined too: nothing is missed then.
    Attach {
        /// Which.
        container: ContainerId,
    },
    /// Sets the size of a terminal.
    ///
    /// (The daemon may as well do it on the master that it has of an exec session.)
    Resize {
        /// Whose: the container's, or an exec session's in it.
        container: ContainerId,
        /// The exec session, if it is its terminal.
        exec: Option<ExecId>,
        /// Height in characters.
        rows: u16,
        /// Width in characters.
        columns: u16,
    },
    /// Kills everything in the pod, answers when it is gone, and ends the shim.
    Shutdown,
    /// As [`Request::Pod`], of a pod with a user namespace, which owns its other namespaces. Fds: the user namespace, then
    /// those of [`Request::Pod`]. Since version 3.
    PodWithUser(Pod),
    /// As [`Request::Attach`], of a client that says whether it gives input. One that only watches does not end the
    /// stdin of a container whose stdin ends with a client ([`Create::stdin_once`]); what it sends goes nowhere. Since
    /// version 3.
    AttachClient {
        /// Which.
        container: ContainerId,
        /// Whether it gives input.
        stdin: bool,
    },
    /// Begins the kernel that the pod's containers share, before the first of them needs it. Answered at once
    /// ([`Answer::Done`]): where it does not begin, the first container begins it. Of shims with [`Abilities::BEGINS`].
    Begin {
        /// As of a container in it ([`bundle::Member`]), of which the container is not looked at.
        plan: Vec<u8>,
    },
    /// How long the shim's own steps of a container's creation and start took. Answer: [`Answer::Steps`]. Of shims with
    /// [`Abilities::STEPS`].
    Steps {
        /// Which.
        container: ContainerId,
    },
}

/// The streams of an attached client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Stream {
    /// Standard output, or everything of a terminal.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

/// What a shim is told about its pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// The pod's id.
    pub sandbox: SandboxId,
    /// The pod's state directory: the shim's records go to `containers/<id>/` in it.
    pub state_dir: String,
    /// Which namespaces come as fds: network, IPC, UTS.
    pub namespaces: [bool; 3],
    /// Whether the pod's containers share one PID namespace, kept by a minimal init of the shim's.
    /// Its end ends the pod.
    pub shared_pid: bool,
    /// The pod's cgroup directories in all hierarchies, absolute: everything below is the pod's.
    pub cgroup_dirs: Vec<String>,
}

/// A container to prepare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// Its id.
    pub container: ContainerId,
    /// The encoded plan of `berth-container`.
    pub plan: Vec<u8>,
    /// Where output goes in CRI's format: an absolute path, or nowhere.
    pub log: Option<String>,
    /// Whether stdin stays open for clients to attach; otherwise it reads as empty.
    pub stdin: bool,
    /// Whether stdin closes for good when the first attached client goes that gives input.
    pub stdin_once: bool,
    /// Whether the container gets a terminal.
    pub tty: bool,
    /// The container's cgroup directories in all hierarchies, absolute. The daemon has made them and
    /// set the limits; the shim puts the process there and removes them when the container has ended.
    pub cgroup_dirs: Vec<String>,
    /// Which PID namespace the container gets.
    pub pid_space: PidSpace,
}

/// The PID namespace of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidSpace {
    /// What the plan says: one of its own, or the host's.
    Plan,
    /// The pod's, which [`Pod::shared_pid`] asked for.
    Pod,
    /// That of another running container of the pod.
    Container(ContainerId),
}

/// A further process to run in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The session's id.
    pub exec: ExecId,
    /// The container.
    pub container: ContainerId,
    /// The encoded process plan of `berth-container`.
    pub plan: Vec<u8>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Kill it after so many milliseconds; 0 is never.
    pub timeout_ms: u64,
}

/// A successful answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To the Hello of a daemon of version 1.
    Hello {
        /// The shim's version.
        version: u16,
        /// The pod, once the shim was configured.
        sandbox: Option<SandboxId>,
        /// Every container the shim knows.
        containers: Vec<Known>,
    },
    /// To everything that has nothing more to say.
    Done,
    /// To Create.
    Created {
        /// The process id in the host's namespace, for users and tools; nothing signals it.
        pid: i32,
    },
    /// To Exec.
    ExecStarted {
        /// The process id in the host's namespace.
        pid: i32,
    },
    /// To Start.
    Started {
        /// When (nanoseconds since 1970): the same number as in [`Phase::Running`] ever after.
        at: i64,
    },
    /// To the Hello of a daemon of version 2 or newer: what the shim is, and all that it knows.
    Welcome {
        /// The shim's version.
        version: u16,
        /// The versions of `berth-container`'s plans that it executes.
        plans: Vec<u16>,
        /// What it can do beyond its version.
        abilities: Abilities,
        /// The pod, once the shim was configured.
        sandbox: Option<SandboxId>,
        /// Every container the shim knows.
        containers: Vec<Known>,
    },
    /// To Steps: those that have ended, in their order.
    Steps(Vec<Step>),
}

/// Something that a shim did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What, in one or two words for users.
    pub name: String,
    /// When it began, in nanoseconds of CLOCK_MONOTONIC.
    pub since: u64,
    /// When it ended, the same.
    pub until: u64,
}

/// What the shim knows of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its id.
    pub container: ContainerId,
    /// The main process; 0 while it is being made.
    pub pid: i32,
    /// How far it is.
    pub phase: Phase,
}

/// How far a container is, as its shim sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Being prepared, or prepared and before its `execve`.
    Created,
    /// Running since then (nanoseconds since 1970).
    Running {
        /// When.
        started_at: i64,
    },
    /// Ended.
    Exited {
        /// When it was started (nanoseconds since 1970); 0 when it never ran.
        started_at: i64,
        /// How.
        exit: Exit,
    },
}

/// How a container's main process ended. The shim has written it to disk before it says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit status as a shell gives it: the process' own, or 128 and the signal's number.
    pub code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// When (nanoseconds since 1970).
    pub at: i64,
    /// Whether the kernel killed a process of this container because memory ran out.
    pub oom_killed: bool,
    /// A message beside the code: why `execve` failed, for example.
    pub message: String,
}

/// The events of the shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A container's main process ended, everything in its cgroup was ended, and the record is on disk.
    Exited {
        /// Which.
        container: ContainerId,
        /// How.
        exit: Exit,
    },
    /// An exec session ended.
    ExecExited {
        /// Which.
        exec: ExecId,
        /// The exit status as a shell gives it.
        code: i32,
        /// Whether its time ran out.
        timed_out: bool,
    },
    /// The pod's init ended, and with it every container of the pod.
    PodEnded,
    /// Something of a container was done in another way than asked, since the system allows no other: a
    /// score or limit clamped, a capability left out. Comes before the answer to its Create.
    Note {
        /// Which.
        container: ContainerId,
        /// What, for users.
        text: String,
    },
    /// A container's `execve` succeeded. Comes before the answer to its Start, and also when the request's asker
    /// waits no more. Since version 2.
    Started {
        /// Which.
        container: ContainerId,
        /// When (nanoseconds since 1970): the same number as in [`Phase::Running`].
        at: i64,
    },
    /// The main process of a container is gone, and something of the container lives on that cannot be killed: a
    /// process that waits for a disk or a file server. The container has not ended; [`Event::Exited`] comes when it
    /// has. Told again when the text changes. Since version 2; older daemons get a [`Event::Note`].
    Lingers {
        /// Which.
        container: ContainerId,
        /// What lives, for users.
        text: String,
    },
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the daemon may branch on.
    pub reason: Reason,
    /// The thing, the place and the cause, for users.
    pub message: String,
}

/// The reasons that the daemon tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// No such container or exec session.
    NotFound,
    /// Not in the container's present state.
    State,
    /// The plan is not supported or the command cannot be executed.
    Refused,
    /// The frame or message is malformed.
    Protocol,
    /// The system refused what should have worked.
    System,
    /// The command of an Exec was not found (exit status 127 to a shell).
    CommandNotFound,
    /// The command of an Exec cannot be executed (exit status 126 to a shell).
    CommandDenied,
}

#[cfg(test)]
mod tests;
