//! Starting a shim, and taking away what one that is gone has left: the two actions of a shim's program.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use berth_types::error::{Classify, Kind};
use prost::Message;

use crate::answer::{Address, AnswerError, Started, parse};
use crate::log::Log;
use crate::message::Any;
use crate::message::bootstrap::{Extension, Params};
use crate::message::task::Deleted;
use crate::program::{Output, ProgramError, Run, Words};
use crate::shim::{ConnectError, Shim};
use crate::strays;

/// Where a shim finds its address when it ends and removes its socket, in the bundle: those of before containerd 1.7 write it
/// themselves, those since 2.0 know no other name for that of a whole pod.
const ADDRESS_FILE: &str = "address";

/// A shim's program and what it is told.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program: `containerd-shim-NAME-v2`.
    pub path: PathBuf,
    /// The namespace of containerd's kind: shims and OCI runtimes keep the state of each apart.
    pub namespace: String,
    /// The socket of [`Events`](crate::events::Events): shims are told no other address. Their own sockets' names depend on it, so
    /// each pod has one of its own.
    pub events: PathBuf,
    /// Where shims since containerd 2.3 make their sockets; the name must be short. Older ones have no choice: `/run/containerd/s`.
    pub sockets: PathBuf,
    /// The program that shims may publish events by, which calls [`publish`](crate::publish::publish).
    pub publisher: PathBuf,
    /// Whether they log everything.
    pub debug: bool,
    /// Whether the pod's processes get a core scheduling domain.
    pub core_scheduling: bool,
    /// What it reads from its stdin.
    pub input: Input,
    /// How long an action may take.
    pub limit: Duration,
}

/// What a shim's program reads from its stdin: each kind fails on what the other reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Input {
    /// It is to be found out: [`Params`](Input::Params) first, and [`Options`](Input::Options) if it fails on that.
    #[default]
    Unknown,
    /// All that it is told ([`Params`]), since containerd 2.3.
    Params,
    /// The options of the runtime, if it has some. Before.
    Options,
}

/// A shim that was started, or found.
#[derive(Debug)]
pub struct Launched {
    /// Where it is: all that a later connection needs.
    pub started: Started,
    /// The first connection.
    pub shim: Shim,
    /// What its program reads, to spare the next start the search.
    pub input: Input,
    /// What its process is found by.
    mark: OsString,
}

impl Launched {
    /// Kills the shim, whichever process it is, and removes its socket: for one that cannot be used.
    pub fn end(&self) {
        strays::kill(&self.mark);
        clear(&self.started);
    }
}

/// The directory of a container, with its `config.json`.
#[derive(Debug, Clone, Copy)]
pub struct Bundle<'a> {
    /// The directory.
    pub dir: &'a Path,
    /// The container's id.
    pub id: &'a str,
}

/// What a shim's program does for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Start,
    Delete,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Action::Start => "start",
            Action::Delete => "delete",
        }
    }
}

/// Why there is no shim.
#[derive(Debug, thiserror::Error)]
#[error("start a shim for container {container}{log}{before}")]
pub struct StartError {
    /// The container.
    pub container: String,
    /// The last of the shim's log.
    pub log: LastOfLog,
    /// Why it failed when it was asked in the newer way.
    pub before: Before,
    /// What failed.
    pub source: Box<StartFailure>,
}

/// What failed of a start.
#[derive(Debug, thiserror::Error)]
pub enum StartFailure {
    /// The program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It did not say where the shim listens.
    #[error("{program} gave no shim{words}")]
    Answer {
        /// The program.
        program: PathBuf,
        /// What it said beside its answer.
        words: Words,
        /// What is wrong with its answer.
        source: AnswerError,
    },
    /// The shim does not listen where its program says.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// The last of a shim's log: in a message ` (its log: "...")`, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastOfLog(pub String);

impl std::fmt::Display for LastOfLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (its log: {:?})", self.0) }
    }
}

/// Why an earlier try failed: in a message ` (asked as containerd 2.3 asks: ...)`, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Before(pub String);

impl std::fmt::Display for Before {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (asked as containerd 2.3 asks: {})", self.0) }
    }
}

/// Why `delete` did not work.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The program failed.
    #[error("delete what a shim left of container {id}")]
    Program {
        /// The container.
        id: String,
        /// What the program did.
        source: ProgramError,
    },
    /// It printed something else than how the container ended.
    #[error("delete what a shim left of container {id}: {program} printed what cannot be read{words}")]
    Answer {
        /// The container.
        id: String,
        /// The program.
        program: PathBuf,
        /// What it said beside that.
        words: Words,
        /// What is wrong with it.
        source: prost::DecodeError,
    },
}

impl Program {
    /// Starts a shim for the container of this bundle, or finds that of its pod, and connects to it. `log` is the reader of the bundle's
    /// log, `options` are the runtime's. Once one of `cancels` is readable, the program is ended.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing of the shim is left then, unless it had been started for another container.
    pub fn start(
        &self,
        bundle: Bundle<'_>,
        options: Option<&Any>,
        log: &Log,
        cancels: &[BorrowedFd<'_>],
    ) -> Result<Launched, StartError> {
        let (first, searches) = match self.input {
            Input::Unknown => (Input::Params, true),
            known => (known, false),
        };
        let failed = |before, source| StartError {
            container: bundle.id.to_owned(),
            log: LastOfLog(log.words().0),
            before,
            source: Box::new(source),
        };
        let before = match self.start_by(first, bundle, options, cancels) {
            Ok(launched) => return Ok(launched),
            Err(StartFailure::Program(error @ ProgramError::Failed { .. })) if searches => {
                Before(error.to_string())
            }
            Err(failure) => return Err(failed(Before::default(), failure)),
        };
        self.start_by(Input::Options, bundle, options, cancels).map_err(|failure| failed(before, failure))
    }

    fn start_by(
        &self,
        input: Input,
        bundle: Bundle<'_>,
        options: Option<&Any>,
        cancels: &[BorrowedFd<'_>],
    ) -> Result<Launched, StartFailure> {
        let mark = strays::mark();
        let outcome = self.try_start(input, bundle, options, (&mark, cancels));
        if outcome.is_err() {
            strays::kill(&mark);
            remove_socket(bundle.dir);
        }
        outcome
    }

    fn try_start(
        &self,
        input: Input,
        bundle: Bundle<'_>,
        options: Option<&Any>,
        (mark, cancels): (&OsString, &[BorrowedFd<'_>]),
    ) -> Result<Launched, StartFailure> {
        let deadline = Instant::now() + self.limit;
        let mut env = self.env();
        env.push((strays::VARIABLE, mark.clone()));
        let stdin = match input {
            Input::Unknown | Input::Params => self.params(bundle, options).encode_to_vec(),
            Input::Options => options.map(Message::encode_to_vec).unwrap_or_default(),
        };
        let run = Run {
            program: &self.path,
            args: self.args(bundle, Action::Start),
            env,
            dir: bundle.dir,
            input: &stdin,
            limit: self.limit,
            cancels,
        };
        let Output { stdout, words } = run.run(Action::Start.word())?;
        let started = parse(&stdout).map_err(|source| StartFailure::Answer {
            program: self.path.clone(),
            words,
            source,
        })?;
        let shim = Shim::connect(&started, deadline.saturating_duration_since(Instant::now()))?;
        let file = bundle.dir.join(ADDRESS_FILE);
        let file = std::fs::File::options().write(true).create_new(true).open(file);
        // It has written it itself. If we cannot, a socket is left, and nothing else.
        drop(file.and_then(|mut file| write!(file, "{}", started.address)));
        Ok(Launched { started, shim, input, mark: mark.clone() })
    }

    /// What the program says of its version, for users: a text of its own, of some lines.
    ///
    /// # Errors
    /// See [`ProgramError`].
    pub fn version(&self) -> Result<String, ProgramError> {
        let run = Run {
            program: &self.path,
            args: vec!["-v".into()],
            env: Vec::new(),
            dir: Path::new("/"),
            input: &[],
            limit: self.limit,
            cancels: &[],
        };
        let Output { stdout, words } = run.run("-v")?;
        let text = String::from_utf8_lossy(&stdout).trim().to_owned();
        // Some print it as words.
        Ok(if text.is_empty() { words.0 } else { text })
    }

    /// Takes away what a shim that is gone has left of a container: its processes, mounts, the OCI runtime's state. How the container
    /// ended is what the program makes of it.
    ///
    /// `started` is where the shim was, if no other container is left there: its socket is removed.
    ///
    /// # Errors
    /// See [`DeleteError`]; called again, it tries again.
    pub fn delete(&self, bundle: Bundle<'_>, started: Option<&Started>) -> Result<Deleted, DeleteError> {
        let id = || bundle.id.to_owned();
        let run = Run {
            program: &self.path,
            args: self.args(bundle, Action::Delete),
            env: self.env(),
            dir: bundle.dir,
            input: &[],
            limit: self.limit,
            cancels: &[],
        };
        let output =
            run.run(Action::Delete.word()).map_err(|source| DeleteError::Program { id: id(), source })?;
        started.into_iter().for_each(clear);
        let words = output.words;
        Deleted::decode(output.stdout.as_slice()).map_err(|source| DeleteError::Answer {
            id: id(),
            program: self.path.clone(),
            words,
            source,
        })
    }

    fn args(&self, bundle: Bundle<'_>, action: Action) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            "-namespace".into(),
            self.namespace.clone().into(),
            "-address".into(),
            self.events.clone().into(),
            "-publish-binary".into(),
            self.publisher.clone().into(),
            "-id".into(),
            bundle.id.into(),
        ];
        if action == Action::Delete {
            args.extend(["-bundle".into(), bundle.dir.into()]);
        }
        args.extend(self.debug.then(|| "-debug".into()));
        args.push(action.word().into());
        args
    }

    fn env(&self) -> Vec<(&'static str, OsString)> {
        let mut env: Vec<(&'static str, OsString)> = vec![
            ("TTRPC_ADDRESS", self.events.clone().into()),
            ("GRPC_ADDRESS", self.events.clone().into()),
            ("NAMESPACE", self.namespace.clone().into()),
            ("MAX_SHIM_VERSION", "3".into()),
            // As containerd has it: a shim mostly waits.
            ("GOMAXPROCS", "2".into()),
        ];
        env.extend(self.core_scheduling.then(|| ("SCHED_CORE", "1".into())));
        env
    }

    fn params(&self, bundle: Bundle<'_>, options: Option<&Any>) -> Params {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Params {
            instance_id: bundle.id.to_owned(),
            namespace: self.namespace.clone(),
            log_level: if self.debug { -4 } else { 0 },
            version: format!("berth {}", env!("CARGO_PKG_VERSION")),
            ttrpc_address: text(&self.events),
            grpc_address: text(&self.events),
            binary: text(&self.publisher),
            extensions: options.map(|value| Extension { value: Some(value.clone()) }).into_iter().collect(),
            socket_dir: Some(text(&self.sockets)),
        }
    }
}

/// Removes the socket of a shim that has just been killed, as far as it had got round to writing where it is.
fn remove_socket(bundle: &Path) {
    let written = berth_sys::fs::read_regular(&bundle.join(ADDRESS_FILE), 4096);
    let address =
        written.ok().and_then(|bytes| Address::parse(std::str::from_utf8(&bytes).ok()?.trim()).ok());
    if let Some(path) = address.as_ref().and_then(Address::path) {
        remove_if_dead(path);
    }
}

/// Removes the socket of a shim that is gone, if it has left one.
pub fn clear(started: &Started) {
    if let Some(path) = started.address.path() {
        remove_if_dead(path);
    }
}

/// Removes a socket to which nobody listens. The path is what a foreign program says, so it may be anything.
fn remove_if_dead(path: &Path) {
    if !std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        return;
    }
    let connected = crate::shim::connect(&Address::Path(path.to_owned()), Duration::ZERO);
    if connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        // The next shim of this name would replace it as well.
        drop(std::fs::remove_file(path));
    }
}

impl Classify for StartError {
    fn kind(&self) -> Kind {
        match &*self.source {
            StartFailure::Program(error) => of_program(error),
            StartFailure::Answer { .. } => Kind::Unsupported,
            StartFailure::Connect(_) => Kind::Unavailable,
        }
    }
}

impl Classify for DeleteError {
    fn kind(&self) -> Kind {
        match self {
            DeleteError::Program { source, .. } => of_program(source),
            DeleteError::Answer { .. } => Kind::Corrupt,
        }
    }
}

fn of_program(error: &ProgramError) -> Kind {
    match error {
        ProgramError::Spawn { source, .. } if source.kind() == io::ErrorKind::NotFound => Kind::NotFound,
        ProgramError::Slow { .. } => Kind::Timeout,
        ProgramError::Cancelled { .. } => Kind::Cancelled,
        ProgramError::TooMuch { .. } => Kind::Corrupt,
        ProgramError::Spawn { .. } | ProgramError::Failed { .. } => Kind::Internal,
    }
}
