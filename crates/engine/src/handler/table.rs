//! The handlers of an engine: its own, those that it was given, and runtimes that are found on the machine.
//!
//! ```text
//! of      the handler of a pod that exists: always, whatever became of the runtime since
//! ready   that of a new pod: its runtime is there and was checked, or the reason why not
//! look    what there is: the last results; what is new or was replaced is checked in the background
//! ```
//!
//! A runtime is checked once for each state of its file, however many ask, and on no other handler's time. What failed is
//! checked again when it is asked for a while later, since the reason may be the machine's.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use berth_types::SandboxId;
use tokio::sync::watch;

use super::check::{Check, Report, Subject};
use super::found::{Binary, Kind, Missing, Search};
use super::{ForeignShim, Gvisor, Handler, NATIVE, OciRuntime, Program};
use crate::config::EngineConfig;
use crate::error::EngineError;
use crate::status::{HandlerFeatures, HandlerState, HandlerStatus};

/// After this time what failed is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// How often callers that only read cause a look at the disk.
const LOOK: Duration = Duration::from_secs(2);
const FIELD: &str = "runtime_handler";

/// Makes the handlers of runtimes that are found.
pub trait Runtimes: std::fmt::Debug + Send + Sync {
    /// The handler of this name, which runs pods by the program at this path.
    fn handler(&self, name: &str, kind: Kind, program: &Path) -> Arc<dyn Handler>;

    /// Whether there are handlers of this kind.
    fn has(&self, kind: Kind) -> bool;
}

/// The handlers that the engine has for each kind.
#[derive(Debug)]
pub(crate) struct ByKind {
    shim: Arc<Program>,
}

impl ByKind {
    /// With the program of their pods' shims.
    pub(crate) fn new(shim: Arc<Program>) -> Self {
        Self { shim }
    }
}

impl Runtimes for ByKind {
    fn handler(&self, name: &str, kind: Kind, program: &Path) -> Arc<dyn Handler> {
        let (name, program, shim) = (name.to_owned(), program.to_owned(), Arc::clone(&self.shim));
        match kind {
            Kind::Runc => Arc::new(OciRuntime::new(name, program, shim)),
            Kind::Gvisor => Arc::new(Gvisor::new(name, program, shim)),
            Kind::Shim => Arc::new(ForeignShim::new(name, program, shim)),
        }
    }

    fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::Runc | Kind::Gvisor | Kind::Shim => true,
        }
    }
}

/// The handlers of an engine.
#[derive(Debug)]
pub(crate) struct Handlers {
    fixed: HashMap<String, Arc<dyn Handler>>,
    /// What the empty name means for a new pod.
    default: String,
    search: Search,
    runtimes: Arc<dyn Runtimes>,
    check: Arc<dyn Check>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    found: BTreeMap<String, Found>,
    /// Those of [`Handlers::of`], with the program that each has.
    made: HashMap<String, (PathBuf, Arc<dyn Handler>)>,
    looked: Option<Instant>,
}

/// What was found of a name.
#[derive(Debug, Clone)]
enum Found {
    /// Why there is no program.
    Missing(Missing),
    Program {
        binary: Binary,
        verdict: watch::Receiver<Option<Verdict>>,
    },
}

/// The result of a check.
#[derive(Debug, Clone)]
struct Verdict {
    result: Result<Report, String>,
    at: Instant,
}

/// What is known of one handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) program: Option<PathBuf>,
    pub(crate) state: Condition,
}

/// Whether a handler can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Brought along or given.
    Own {
        has_user_namespaces: bool,
    },
    Works {
        report: Report,
        has_user_namespaces: bool,
    },
    Checking,
    Unusable(String),
    /// Its program is not there.
    Missing(String),
}

impl Handlers {
    /// These, by the names they give themselves, and what is found as the configuration says.
    pub(crate) fn new(
        config: &EngineConfig,
        handlers: impl IntoIterator<Item = Arc<dyn Handler>>,
        runtimes: Arc<dyn Runtimes>,
        check: Arc<dyn Check>,
    ) -> Self {
        let fixed = handlers.into_iter().map(|handler| (handler.name().to_owned(), handler)).collect();
        let default = if config.default_handler.is_empty() { NATIVE } else { &config.default_handler };
        let search = Search { dirs: config.handler_dirs.clone(), configured: config.handlers.clone() };
        let (default, state) = (default.to_owned(), Mutex::default());
        Self { fixed, default, search, runtimes, check, state }
    }

    /// The name that a new pod has its handler by. The empty one is that of Berth's own runtime for ever, in records too.
    pub(crate) fn settled(&self, name: &str) -> String {
        let name = if name.is_empty() { self.default.as_str() } else { name };
        if name == NATIVE { String::new() } else { name.to_owned() }
    }

    /// What the empty name means for a new pod.
    pub(crate) fn default_name(&self) -> &str {
        &self.default
    }

    /// Whether there may be one of this name.
    pub(crate) fn knows(&self, name: &str) -> bool {
        name.is_empty() || self.fixed.contains_key(name) || self.search.has(name)
    }

    /// The handler of a pod that exists.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn of(&self, name: &str) -> Result<Arc<dyn Handler>, EngineError> {
        let name = if name.is_empty() { NATIVE } else { name };
        if let Some(handler) = self.fixed.get(name) {
            return Ok(Arc::clone(handler));
        }
        if !self.search.may_have_had(name) {
            return Err(self.unknown(name));
        }
        let mut state = self.state();
        let program = match state.found.get(name) {
            Some(Found::Program { binary, .. }) => binary.path.clone(),
            // Not looked for yet, or gone: what a pod has is taken down without it.
            Some(Found::Missing(_)) | None => self.search.look(name).map_or_else(
                |_| self.search.places(name).first().cloned().unwrap_or_default(),
                |binary| binary.path,
            ),
        };
        Ok(state.handler(self.runtimes.as_ref(), name, program))
    }

    /// Waits until a handler is known to work.
    ///
    /// # Errors
    /// There is none of this name, or why it cannot be used.
    pub(crate) async fn ready(self: &Arc<Self>, name: &str) -> Result<(), EngineError> {
        let name = if name.is_empty() { self.default.as_str() } else { name };
        if self.fixed.contains_key(name) {
            return Ok(());
        }
        if !self.search.has(name) {
            return Err(self.unknown(name));
        }
        let found = self.examine(vec![name.to_owned()], Some(AGAIN)).await.pop();
        let unusable = |why: String| EngineError::Handler { name: name.to_owned(), why };
        match found {
            Some(Found::Missing(why)) => Err(unusable(missing(name, &why))),
            Some(Found::Program { verdict, .. }) => match known(verdict).await {
                Some(Verdict { result, .. }) => result.map(drop).map_err(unusable),
                None => Err(EngineError::Closed),
            },
            None => Err(EngineError::Closed),
        }
    }

    /// The last results. What is on the disk is looked at in the background, now and then.
    pub(crate) fn look(self: &Arc<Self>) -> Vec<Known> {
        let due = {
            let mut state = self.state();
            let due = state.looked.is_none_or(|looked| looked.elapsed() >= LOOK);
            if due {
                state.looked = Some(Instant::now());
            }
            due
        };
        if due {
            let all = Arc::clone(self);
            tokio::spawn(async move { all.examine(all.names(), None).await });
        }
        self.known()
    }

    /// Looks at the disk and waits for every check.
    pub(crate) async fn look_closely(self: &Arc<Self>) -> Vec<Known> {
        for found in self.examine(self.names(), Some(Duration::ZERO)).await {
            if let Found::Program { verdict, .. } = found {
                known(verdict).await;
            }
        }
        self.known()
    }

    /// What is being checked has cgroups, as pods have.
    pub(crate) fn checks(&self) -> HashSet<SandboxId> {
        self.check.running()
    }

    /// Looks at these names on the disk, and begins to check what has not been; what failed and is older than `again`, too.
    async fn examine(self: &Arc<Self>, names: Vec<String>, again: Option<Duration>) -> Vec<Found> {
        let all = Arc::clone(self);
        let look = move || names.iter().map(|name| all.examine_one(name, again)).collect();
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    fn examine_one(self: &Arc<Self>, name: &str, again: Option<Duration>) -> Found {
        let looked = self.search.look(name);
        let mut state = self.state();
        let found = match (looked, state.found.get(name)) {
            (Err(why), _) => Found::Missing(why),
            (Ok(new), Some(Found::Program { binary, verdict })) if new == *binary => {
                let before = Found::Program { binary: new.clone(), verdict: verdict.clone() };
                if !again.is_some_and(|age| has_failed(verdict, age)) {
                    return before;
                }
                let now = self.begin(name, new);
                state.found.insert(name.to_owned(), now.clone());
                // One who asks for the handler is told at once what is known; one who asks for all waits.
                return if again == Some(Duration::ZERO) { now } else { before };
            }
            (Ok(new), _) => self.begin(name, new),
        };
        state.found.insert(name.to_owned(), found.clone());
        found
    }

    /// Begins to check a program, on a thread of its own.
    fn begin(&self, name: &str, binary: Binary) -> Found {
        let (sender, verdict) = watch::channel(None);
        let (kind, program) = (Kind::of(name, &binary.path), binary.path.clone());
        let subject = Subject { name: name.to_owned(), kind, program };
        let check = Arc::clone(&self.check);
        if !self.runtimes.has(kind) {
            let result = Err("there is no handler for its kind".to_owned());
            sender.send_replace(Some(Verdict { result, at: Instant::now() }));
            return Found::Program { binary, verdict };
        }
        tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let result = check.check(&subject);
            let (name, program, ms) = (&subject.name, subject.program.display(), begun.elapsed().as_millis());
            match &result {
                Ok(report) => tracing::info!(name, %program, version = report.version, ms, "a runtime works"),
                Err(why) => tracing::warn!(name, %program, why, ms, "a runtime cannot be used"),
            }
            sender.send_replace(Some(Verdict { result, at: Instant::now() }));
        });
        Found::Program { binary, verdict }
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.search.all();
        // Those that were found and may be gone.
        names.extend(self.state().found.keys().cloned());
        names.sort_unstable();
        names.dedup();
        names.retain(|name| !self.fixed.contains_key(name));
        names
    }

    fn known(&self) -> Vec<Known> {
        let own = self.fixed.values().map(|handler| Known {
            name: handler.name().to_owned(),
            kind: if handler.name() == NATIVE { "native" } else { "given" },
            program: None,
            state: Condition::Own { has_user_namespaces: handler.has_user_namespaces() },
        });
        let mut own: Vec<Known> = own.collect();
        own.sort_by(|a, b| a.name.cmp(&b.name));
        let mut state = self.state();
        let found: Vec<_> = state.found.iter().map(|(name, found)| (name.clone(), found.clone())).collect();
        own.extend(found.into_iter().map(|(name, found)| {
            let (program, condition) = match found {
                Found::Missing(why) => (None, Condition::Missing(missing(&name, &why))),
                Found::Program { binary, verdict } => {
                    let handler = || state.handler(self.runtimes.as_ref(), &name, binary.path.clone());
                    let condition = condition(verdict.borrow().as_ref(), handler);
                    (Some(binary.path), condition)
                }
            };
            let kind = Kind::of(&name, program.as_deref().unwrap_or_else(|| self.place(&name))).word();
            Known { name, kind, program, state: condition }
        }));
        own
    }

    fn place(&self, name: &str) -> &Path {
        self.search.configured.get(name).map_or(Path::new(""), PathBuf::as_path)
    }

    fn unknown(&self, name: &str) -> EngineError {
        let mut names: Vec<&str> = self.fixed.keys().map(String::as_str).collect();
        let found = self.search.all();
        names.extend(found.iter().map(String::as_str));
        names.sort_unstable();
        names.dedup();
        let message = format!("no handler is named {name:?}; known are {}", names.join(", "));
        EngineError::invalid(FIELD, message)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// For callers, on a host that has these features.
    pub(crate) fn status(self, host: HandlerFeatures, default: &str) -> HandlerStatus {
        let none = HandlerFeatures::default();
        let (state, version, features) = match self.state {
            Condition::Own { has_user_namespaces } => {
                let user_namespaces = host.user_namespaces && has_user_namespaces;
                (HandlerState::Ready, String::new(), HandlerFeatures { user_namespaces, ..host })
            }
            Condition::Works { report: Report { version, features }, has_user_namespaces } => {
                let features = HandlerFeatures {
                    recursive_read_only: host.recursive_read_only && features.recursive_read_only,
                    user_namespaces: host.user_namespaces && features.user_namespaces && has_user_namespaces,
                    checkpoint: features.checkpoint,
                };
                (HandlerState::Ready, version, features)
            }
            Condition::Checking => (HandlerState::Checking, String::new(), none),
            Condition::Unusable(why) => (HandlerState::Unusable(why), String::new(), none),
            Condition::Missing(why) => (HandlerState::Missing(why), String::new(), none),
        };
        let is_default = self.name == default;
        HandlerStatus {
            is_default,
            name: self.name,
            kind: self.kind,
            program: self.program,
            version,
            state,
            features,
        }
    }
}

impl State {
    /// The handler by this program.
    fn handler(&mut self, runtimes: &dyn Runtimes, name: &str, program: PathBuf) -> Arc<dyn Handler> {
        match self.made.get(name) {
            Some((of, handler)) if *of == program => Arc::clone(handler),
            Some(_) | None => {
                let made = runtimes.handler(name, Kind::of(name, &program), &program);
                self.made.insert(name.to_owned(), (program, Arc::clone(&made)));
                made
            }
        }
    }
}

fn condition(verdict: Option<&Verdict>, handler: impl FnOnce() -> Arc<dyn Handler>) -> Condition {
    match verdict {
        None => Condition::Checking,
        Some(Verdict { result: Ok(report), .. }) => {
            let has_user_namespaces = handler().has_user_namespaces();
            Condition::Works { report: report.clone(), has_user_namespaces }
        }
        Some(Verdict { result: Err(why), .. }) => Condition::Unusable(why.clone()),
    }
}

fn has_failed(verdict: &watch::Receiver<Option<Verdict>>, age: Duration) -> bool {
    let verdict = verdict.borrow();
    verdict.as_ref().is_some_and(|verdict| verdict.result.is_err() && verdict.at.elapsed() >= age)
}

async fn known(mut verdict: watch::Receiver<Option<Verdict>>) -> Option<Verdict> {
    verdict.wait_for(Option::is_some).await.ok()?.clone()
}

/// Why it is not there, with what to do about it.
fn missing(name: &str, why: &Missing) -> String {
    match (name, why) {
        ("runsc", Missing::Nowhere(_)) => {
            format!("{why} (hint: see https://gvisor.dev/docs/user_guide/install, then try again)")
        }
        (_, Missing::Nowhere(_)) => format!("{why} (hint: install {name}, then try again)"),
        (_, Missing::NotAFile(_) | Missing::NotExecutable(_) | Missing::Unreadable(..)) => why.to_string(),
    }
}

#[cfg(test)]
mod tests;
