//! The Task service (`containerd.task.v2.Task`, `containerd.task.v3.Task`): containers and their processes.

use std::collections::BTreeMap;

use super::{Any, Empty, Method, Service, Timestamp};

/// Asks how a process is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct State {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The exec session; empty for the main process.
    #[prost(string, tag = "2")]
    pub exec_id: String,
}

/// How a process is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StateAnswer {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its bundle.
    #[prost(string, tag = "2")]
    pub bundle: String,
    /// Its process id.
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    /// How far it is.
    #[prost(enumeration = "Status", tag = "4")]
    pub status: i32,
    /// The FIFO of its input.
    #[prost(string, tag = "5")]
    pub stdin: String,
    /// The FIFO of its output.
    #[prost(string, tag = "6")]
    pub stdout: String,
    /// The FIFO of its error output.
    #[prost(string, tag = "7")]
    pub stderr: String,
    /// Whether it has a terminal.
    #[prost(bool, tag = "8")]
    pub terminal: bool,
    /// Its exit status, as a shell gives it, once it has ended.
    #[prost(uint32, tag = "9")]
    pub exit_status: u32,
    /// When it ended.
    #[prost(message, optional, tag = "10")]
    pub exited_at: Option<Timestamp>,
    /// The exec session.
    #[prost(string, tag = "11")]
    pub exec_id: String,
}

/// Makes a container of the bundle, up to just before its program.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Create {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The directory with `config.json`.
    #[prost(string, tag = "2")]
    pub bundle: String,
    /// What the shim mounts at `rootfs` of the bundle; none if it is there.
    #[prost(message, repeated, tag = "3")]
    pub rootfs: Vec<Mount>,
    /// Whether the process has a terminal.
    #[prost(bool, tag = "4")]
    pub terminal: bool,
    /// The FIFO of its input; empty for none.
    #[prost(string, tag = "5")]
    pub stdin: String,
    /// The FIFO of its output.
    #[prost(string, tag = "6")]
    pub stdout: String,
    /// The FIFO of its error output; empty with a terminal.
    #[prost(string, tag = "7")]
    pub stderr: String,
    /// Where it was checkpointed to, if it is restored.
    #[prost(string, tag = "8")]
    pub checkpoint: String,
    /// The checkpoint before that.
    #[prost(string, tag = "9")]
    pub parent_checkpoint: String,
    /// The options of the runtime, whose type is its own.
    #[prost(message, optional, tag = "10")]
    pub options: Option<Any>,
}

/// The container.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreateAnswer {
    /// The process id of its main process.
    #[prost(uint32, tag = "1")]
    pub pid: u32,
}

/// Starts a container or an exec session.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Start {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The exec session; empty for the main process.
    #[prost(string, tag = "2")]
    pub exec_id: String,
}

/// The process.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StartAnswer {
    /// Its process id.
    #[prost(uint32, tag = "1")]
    pub pid: u32,
}

/// Forgets a container or an exec session that has ended.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Delete {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The exec session; empty for the main process.
    #[prost(string, tag = "2")]
    pub exec_id: String,
}

/// How it had ended; `delete` of the program writes the same to stdout.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Deleted {
    /// Its process id.
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    /// Its exit status, as a shell gives it.
    #[prost(uint32, tag = "2")]
    pub exit_status: u32,
    /// When.
    #[prost(message, optional, tag = "3")]
    pub exited_at: Option<Timestamp>,
}

/// Asks for the processes of a container.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Pids {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// The processes of a container.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PidsAnswer {
    /// Each.
    #[prost(message, repeated, tag = "1")]
    pub processes: Vec<ProcessInfo>,
}

/// Freezes a container.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Pause {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// Lets it go on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Resume {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// Writes the state of a container to a directory.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Checkpoint {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The directory.
    #[prost(string, tag = "2")]
    pub path: String,
    /// [`CheckpointOptions`] for runc.
    #[prost(message, optional, tag = "3")]
    pub options: Option<Any>,
}

/// Sends a signal.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Kill {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The exec session; empty for the main process.
    #[prost(string, tag = "2")]
    pub exec_id: String,
    /// The signal's number.
    #[prost(uint32, tag = "3")]
    pub signal: u32,
    /// To every process of the container.
    #[prost(bool, tag = "4")]
    pub all: bool,
}

/// Adds an exec session, which [`Start`] then runs.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Exec {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The session.
    #[prost(string, tag = "2")]
    pub exec_id: String,
    /// Whether the process has a terminal.
    #[prost(bool, tag = "3")]
    pub terminal: bool,
    /// The FIFO of its input; empty for none.
    #[prost(string, tag = "4")]
    pub stdin: String,
    /// The FIFO of its output.
    #[prost(string, tag = "5")]
    pub stdout: String,
    /// The FIFO of its error output; empty with a terminal.
    #[prost(string, tag = "6")]
    pub stderr: String,
    /// `process` of the OCI runtime specification, as JSON.
    #[prost(message, optional, tag = "7")]
    pub spec: Option<Any>,
}

/// Sets the size of a terminal.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Resize {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The exec session; empty for the main process.
    #[prost(string, tag = "2")]
    pub exec_id: String,
    /// Columns.
    #[prost(uint32, tag = "3")]
    pub width: u32,
    /// Rows.
    #[prost(uint32, tag = "4")]
    pub height: u32,
}

/// Closes the input of a process: it reads the end once what is in the FIFO is read.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CloseIo {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The exec session; empty for the main process.
    #[prost(string, tag = "2")]
    pub exec_id: String,
    /// Whether it is to be closed: true.
    #[prost(bool, tag = "3")]
    pub stdin: bool,
}

/// Sets other limits.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Update {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// `linux.resources` of the OCI runtime specification, as JSON.
    #[prost(message, optional, tag = "2")]
    pub resources: Option<Any>,
    /// Other settings, whose names are the shim's own.
    #[prost(btree_map = "string, string", tag = "3")]
    pub annotations: BTreeMap<String, String>,
}

/// Waits for the end of a process. It may have come.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Wait {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The exec session; empty for the main process.
    #[prost(string, tag = "2")]
    pub exec_id: String,
}

/// How a process ended.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WaitAnswer {
    /// Its exit status, as a shell gives it.
    #[prost(uint32, tag = "1")]
    pub exit_status: u32,
    /// When.
    #[prost(message, optional, tag = "2")]
    pub exited_at: Option<Timestamp>,
}

/// Asks what a container uses.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Stats {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// What a container uses: see [`stats::usage`](super::stats::usage).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StatsAnswer {
    /// The numbers, of a type of the shim's choice.
    #[prost(message, optional, tag = "1")]
    pub stats: Option<Any>,
}

/// Asks the shim about itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Connect {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// The shim.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConnectAnswer {
    /// Its process id.
    #[prost(uint32, tag = "1")]
    pub shim_pid: u32,
    /// That of the container's main process.
    #[prost(uint32, tag = "2")]
    pub task_pid: u32,
    /// The version of its interface, if it says one.
    #[prost(string, tag = "3")]
    pub version: String,
}

/// Ends the shim, if it has no containers any more.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Shutdown {
    /// The container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Even if it has.
    #[prost(bool, tag = "2")]
    pub now: bool,
}

/// A mount that a shim makes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Mount {
    /// The file system, or `bind`.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// What is mounted.
    #[prost(string, tag = "2")]
    pub source: String,
    /// Where, below the root; empty for the root.
    #[prost(string, tag = "3")]
    pub target: String,
    /// As in fstab(5).
    #[prost(string, repeated, tag = "4")]
    pub options: Vec<String>,
}

/// A process of a container.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProcessInfo {
    /// Its process id.
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    /// Whatever the shim says of it.
    #[prost(message, optional, tag = "2")]
    pub info: Option<Any>,
}

/// How far a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Status {
    /// It does not say.
    Unknown = 0,
    /// Before its program.
    Created = 1,
    /// It runs.
    Running = 2,
    /// It has ended.
    Stopped = 3,
    /// It is frozen.
    Paused = 4,
    /// It is being frozen.
    Pausing = 5,
}

/// The options of the runc shim, and of those that take the same (`containerd.runc.v1.Options`).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RuncOptions {
    /// A cgroup that the shim moves to, by its path in the hierarchy.
    #[prost(string, tag = "3")]
    pub shim_cgroup: String,
    /// The user that a container's pipes belong to.
    #[prost(uint32, tag = "4")]
    pub io_uid: u32,
    /// The group.
    #[prost(uint32, tag = "5")]
    pub io_gid: u32,
    /// The OCI runtime, if it is not `runc` in the path.
    #[prost(string, tag = "6")]
    pub binary_name: String,
    /// The directory of the OCI runtime's own state.
    #[prost(string, tag = "7")]
    pub root: String,
    /// Whether cgroups are systemd's to make.
    #[prost(bool, tag = "9")]
    pub systemd_cgroup: bool,
}

/// Options as text, which shims with a configuration of their own take: gVisor's, Kata's (`runtimeoptions.v1.Options`).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfigOptions {
    /// What the configuration is: `io.containerd.runsc.v1.options`, say.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// A file with it.
    #[prost(string, tag = "2")]
    pub config_path: String,
    /// Or itself.
    #[prost(bytes = "vec", tag = "3")]
    pub config_body: Vec<u8>,
}

/// How runc is to checkpoint (`containerd.runc.v1.CheckpointOptions`).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CheckpointOptions {
    /// Whether the container ends.
    #[prost(bool, tag = "1")]
    pub exit: bool,
    /// Open TCP connections too.
    #[prost(bool, tag = "2")]
    pub open_tcp: bool,
    /// Sockets that lead outside too.
    #[prost(bool, tag = "3")]
    pub external_unix_sockets: bool,
    /// Terminals too.
    #[prost(bool, tag = "4")]
    pub terminal: bool,
    /// Locks on files too.
    #[prost(bool, tag = "5")]
    pub file_locks: bool,
    /// The directory of the image, if it is not the request's.
    #[prost(string, tag = "8")]
    pub image_path: String,
    /// The directory for CRIU's own files.
    #[prost(string, tag = "9")]
    pub work_path: String,
}

/// `Request: method -> Answer` of a service.
macro_rules! methods {
    ($service:ident: $($request:ident: $name:literal -> $answer:ident,)+) => {
        $(impl Method for $request {
            const SERVICE: Service = Service::$service;
            const NAME: &'static str = $name;
            type Answer = $answer;
        })+
    };
}
pub(super) use methods;

methods! { Task:
    State: "State" -> StateAnswer,
    Create: "Create" -> CreateAnswer,
    Start: "Start" -> StartAnswer,
    Delete: "Delete" -> Deleted,
    Pids: "Pids" -> PidsAnswer,
    Pause: "Pause" -> Empty,
    Resume: "Resume" -> Empty,
    Checkpoint: "Checkpoint" -> Empty,
    Kill: "Kill" -> Empty,
    Exec: "Exec" -> Empty,
    Resize: "ResizePty" -> Empty,
    CloseIo: "CloseIO" -> Empty,
    Update: "Update" -> Empty,
    Wait: "Wait" -> WaitAnswer,
    Stats: "Stats" -> StatsAnswer,
    Connect: "Connect" -> ConnectAnswer,
    Shutdown: "Shutdown" -> Empty,
}
