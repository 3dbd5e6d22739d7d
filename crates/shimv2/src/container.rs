//! One container by a foreign shim, from its bundle to what is left of it.
//!
//! ```text
//! create: start or find the shim -> FIFOs -> Create -> the input is settled -> Wait begins
//! ended:  the answer to Wait, or the loss of the shim
//! remove: Delete and Shutdown, or, where the shim is gone, delete by its program
//! ```

use std::path::{Path, PathBuf};

use berth_types::error::{Classify, Kind, chain};

use crate::answer::Started;
use crate::error::{CallError, Lost};
use crate::launch::{Bundle, DeleteError, Input, Launched, Program, StartError};
use crate::log::Log;
use crate::message::task::{self, Deleted, Mount};
use crate::message::{Any, Method};
use crate::shim::Shim;
use crate::stdio::{Stdio, Streams};

/// A container to be made.
#[derive(Debug)]
pub struct Making<'a> {
    /// The shim's program.
    pub program: &'a Program,
    /// Its bundle.
    pub bundle: Bundle<'a>,
    /// The options of the runtime.
    pub options: Option<Any>,
    /// What the shim mounts as its root; none if it is there.
    pub rootfs: Vec<Mount>,
    /// Its streams.
    pub streams: Streams,
    /// An empty directory for its FIFOs.
    pub fifos: &'a Path,
}

/// A container that was made. When it is dropped, it goes on.
#[derive(Debug)]
pub struct Container {
    program: Program,
    dir: PathBuf,
    id: String,
    /// Where its shim is.
    pub started: Started,
    /// Its shim.
    pub shim: Shim,
    /// The process id of its main process.
    pub pid: u32,
    log: Log,
}

/// How a container ended.
#[derive(Debug)]
pub enum End {
    /// By itself.
    Exited {
        /// The exit status as a shell gives it.
        code: u32,
        /// When (nanoseconds since 1970); 0 if the shim does not say.
        at: i64,
    },
    /// Nobody knows: the shim is gone, or does not answer rightly. [`Container::remove`] ends what is left of it.
    Unknown(CallError),
}

/// Why there is no container. Nothing of it is left, but for what `left` says.
#[derive(Debug, thiserror::Error)]
#[error("create container {container} by a foreign shim{left}")]
pub struct CreateError {
    /// The container.
    pub container: String,
    /// What could not be taken away: in the message `, of which something is left: ...`.
    pub left: Left,
    /// What failed.
    pub source: Box<CreateFailure>,
}

/// What is left of a container that could not be made.
#[derive(Debug, Default)]
pub struct Left(pub Option<Box<DeleteError>>);

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(error) => write!(f, ", of which something is left: {}", chain(error.as_ref())),
            None => Ok(()),
        }
    }
}

/// What failed of a creation.
#[derive(Debug, thiserror::Error)]
pub enum CreateFailure {
    /// There is no shim.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its FIFOs.
    #[error("make the FIFOs of its streams in {dir}")]
    Fifos {
        /// Where.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The shim does not make it.
    #[error(transparent)]
    Create(#[from] CallError),
    /// The shim does not read its input.
    #[error("the shim does not open its input")]
    Input(#[source] std::io::Error),
}

impl Making<'_> {
    /// Makes the container, up to just before its program. `log` reads its bundle's log; `ended` is told its end, once, and must not
    /// wait. What is returned beside it are its streams and what the shim's program reads.
    ///
    /// # Errors
    /// See [`CreateError`]; `ended` is not told then.
    pub fn make(
        self,
        log: Log,
        ended: impl FnOnce(End) + Send + 'static,
    ) -> Result<(Container, Stdio, Input), CreateError> {
        let failed = |left: Option<DeleteError>, source| CreateError {
            container: self.bundle.id.to_owned(),
            left: Left(left.map(Box::new)),
            source: Box::new(source),
        };
        let launched = self.program.start(self.bundle, self.options.as_ref(), &log, &[]);
        let Launched { started, shim, input, .. } = launched.map_err(|e| failed(None, e.into()))?;
        match self.create(&shim) {
            Ok((stdio, pid)) => {
                let id = self.bundle.id.to_owned();
                let wait = task::Wait { id: id.clone(), exec_id: String::new() };
                // What is returned is dropped: the call goes on.
                drop(shim.begin(&wait, None, move |outcome| ended(End::of(outcome))));
                let (program, dir) = (self.program.clone(), self.bundle.dir.to_owned());
                Ok((Container { program, dir, id, started, shim, pid, log }, stdio, input))
            }
            Err(failure) => {
                let left = self.undo(&shim, &started);
                Err(failed(left.err(), failure))
            }
        }
    }

    fn create(&self, shim: &Shim) -> Result<(Stdio, u32), CreateFailure> {
        let dir = self.fifos.to_owned();
        let stdio = Stdio::make(self.fifos, self.streams);
        let mut stdio = stdio.map_err(|source| CreateFailure::Fifos { dir, source })?;
        let paths = stdio.paths.clone();
        let request = task::Create {
            id: self.bundle.id.to_owned(),
            bundle: self.bundle.dir.to_string_lossy().into_owned(),
            rootfs: self.rootfs.clone(),
            terminal: self.streams.terminal,
            stdin: paths.stdin,
            stdout: paths.stdout,
            stderr: paths.stderr,
            options: self.options.clone(),
            ..task::Create::default()
        };
        let limit = self.program.limit;
        let pid = shim.call(&request, Some(limit))?.pid;
        stdio.settle(limit).map_err(CreateFailure::Input)?;
        Ok((stdio, pid))
    }

    /// Takes away what a creation that failed has made: all of it, since a shim may have failed half-way.
    fn undo(&self, shim: &Shim, started: &Started) -> Result<(), DeleteError> {
        let limit = Some(self.program.limit);
        let id = self.bundle.id.to_owned();
        // The program does it again, and says what is left.
        drop(shim.call(&task::Delete { id: id.clone(), exec_id: String::new() }, limit));
        drop(shim.call(&task::Shutdown { id, now: false }, limit));
        self.program.delete(self.bundle, Some(started)).map(|_| ())
    }
}

impl End {
    fn of(outcome: Result<task::WaitAnswer, CallError>) -> Self {
        match outcome {
            Ok(task::WaitAnswer { exit_status, exited_at }) => {
                End::Exited { code: exit_status, at: exited_at.map_or(0, |at| at.nanoseconds()) }
            }
            Err(error) => End::Unknown(error),
        }
    }
}

impl Container {
    /// Starts its program.
    ///
    /// # Errors
    /// The shim's, in its words.
    pub fn start(&self) -> Result<(), CallError> {
        self.call(&task::Start { id: self.id.clone(), exec_id: String::new() }).map(|_| ())
    }

    /// Sends a signal to its main process, or to all of its processes. Well if it has ended.
    ///
    /// # Errors
    /// The shim's, in its words.
    pub fn signal(&self, signal: u32, all: bool) -> Result<(), CallError> {
        let request = task::Kill { id: self.id.clone(), exec_id: String::new(), signal, all };
        match self.call(&request) {
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// The last of its shim's log, and why the connection is gone if it is.
    pub fn last(&self) -> (String, Option<Lost>) {
        (self.log.words().0, self.shim.lost())
    }

    /// Takes it away, once it has ended or its shim is gone: with the shim, if it has no other container, or by the shim's program.
    /// How it ended is what the shim, or its program, makes of it.
    ///
    /// # Errors
    /// What could not be done; called again, it tries again.
    pub fn remove(&self) -> Result<Deleted, RemoveError> {
        match self.call(&task::Delete { id: self.id.clone(), exec_id: String::new() }) {
            Ok(deleted) => {
                // It may be gone before it answers; with other containers it stays.
                drop(self.call(&task::Shutdown { id: self.id.clone(), now: false }));
                Ok(deleted)
            }
            Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::NotFound) => {
                let bundle = Bundle { dir: &self.dir, id: &self.id };
                self.program
                    .delete(bundle, Some(&self.started))
                    .map_err(|e| RemoveError::Program(Box::new(e)))
            }
            Err(error) => Err(RemoveError::Shim(error)),
        }
    }

    fn call<M: Method>(&self, request: &M) -> Result<M::Answer, CallError> {
        self.shim.call(request, Some(self.program.limit))
    }
}

/// Why a container could not be taken away.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The shim refuses, or does not answer.
    #[error(transparent)]
    Shim(#[from] CallError),
    /// The shim is gone, and its program fails.
    #[error(transparent)]
    Program(Box<DeleteError>),
}

impl Classify for CreateError {
    fn kind(&self) -> Kind {
        match &*self.source {
            CreateFailure::Start(error) => error.kind(),
            CreateFailure::Create(error) => error.kind(),
            CreateFailure::Fifos { .. } => Kind::Internal,
            CreateFailure::Input(_) => Kind::Timeout,
        }
    }
}

impl Classify for RemoveError {
    fn kind(&self) -> Kind {
        match self {
            RemoveError::Shim(error) => error.kind(),
            RemoveError::Program(error) => error.kind(),
        }
    }
}
