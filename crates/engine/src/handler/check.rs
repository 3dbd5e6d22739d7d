//! Whether a runtime works: it is asked for its version and its features, and has to run a container. Blocks; each question
//! has a time limit, and nothing is left whatever the program does.
//!
//! ```text
//! a runtime   NAME --version -> NAME features -> NAME run: a container that writes a word and ends with 0
//! a shim      NAME -v -> such a container by the calls of a pod (`berth-trial`, which is Berth's own shim)
//! ```

mod contained;
mod explain;
pub(super) mod program;

use std::collections::HashSet;
use std::ffi::CStr;
use std::fmt;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_sys::cgroup::{Cgroup, CgroupPath, Join, Resources};
use berth_sys::process::Exit;
use berth_types::shim::bundle::{self, Bundle, Task};
use berth_types::{ContainerId, SandboxId};
use serde_json::json;

use self::contained::{End, Executed, Ran, Space};
use self::explain::{Ended, Unusable, Words};
use super::features::{self, Features};
use super::found::Kind;
use super::{Program, foreign, gvisor};
use crate::host::placement::Placement;
use crate::host::random;

/// The time for one question.
const LIMIT: Duration = Duration::from_secs(10);
/// The time for a container by a shim: some begin a virtual machine.
const TRIAL_LIMIT: Duration = Duration::from_secs(20);
/// The argument that makes the program of pods' shims one that tries another's.
const TRIAL: &CStr = c"berth-trial";

/// What to check.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The handler's name.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) program: PathBuf,
}

/// What is known of a runtime that works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) version: String,
    pub(crate) features: Features,
}

/// Finds out whether runtimes work.
pub(crate) trait Check: fmt::Debug + Send + Sync {
    /// Checks one. Blocks for as long as it takes, at most 40 s.
    ///
    /// # Errors
    /// Why it cannot be used, in one sentence.
    fn check(&self, subject: &Subject) -> Result<Report, String>;

    /// What has cgroups meanwhile, as pods have.
    fn running(&self) -> HashSet<SandboxId>;
}

/// The self-check.
#[derive(Debug)]
pub(crate) struct SelfCheck {
    placement: Arc<dyn Placement>,
    /// The daemon's state, which the runtime does not see.
    state: PathBuf,
    /// The program of pods' shims, by which others' shims are tried.
    shim: Arc<Program>,
    running: Mutex<HashSet<SandboxId>>,
}

impl SelfCheck {
    pub(crate) fn new(placement: Arc<dyn Placement>, state: PathBuf, shim: Arc<Program>) -> Self {
        Self { placement, state, shim, running: Mutex::default() }
    }

    fn steps(&self, subject: &Subject, place: &Place<'_>) -> Result<Report, Unusable> {
        let runtime = place.runtime()?;
        let groups = runtime.join().map_err(not_placed)?;
        if subject.kind == Kind::Shim {
            return self.shim(subject, place, &runtime, &groups);
        }
        let ask = |words: &[&str], space: Space| {
            let args: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            self.ask(subject, &args, &space, &groups)
        };
        let (command, said) = ask(&["--version"], self.space()?)?;
        let version = explain::version(&command, &succeeded(&command, said)?.printed, subject.kind)?;
        let (command, said) = ask(&["features"], self.space()?)?;
        let features = features(&command, &said)?;
        let (space, args, word) = self.bundle(subject.kind, &place.container()?)?;
        let (command, said) = self.ask(subject, &args, &space, &groups)?;
        let said = succeeded(&command, said)?;
        if said.printed != word.as_bytes() {
            return Err(Unusable::NotRun { command, words: Words::of(&said.errors) });
        }
        Ok(Report { version, features: of_kind(features, subject.kind) })
    }

    /// A shim says something of its version, and runs a container by the calls that a pod's shim makes.
    fn shim(
        &self,
        subject: &Subject,
        place: &Place<'_>,
        runtime: &Cgroup,
        groups: &Join,
    ) -> Result<Report, Unusable> {
        let (command, said) = self.ask(subject, &["-v".to_owned()], &self.space()?, groups)?;
        let said = succeeded(&command, said)?;
        // Some print it as words.
        let printed = if said.printed.is_empty() { &said.errors } else { &said.printed };
        let version = explain::shim(&command, printed)?;
        let container = place.container()?;
        let group = self.placement.make(&container, &Resources::default()).map_err(not_placed)?;
        let (space, args, word) = self.task(subject, &place.id, &container, (runtime, &group))?;
        let program = self.shim.file().map_err(not_checked)?;
        let command = format!("{} start", file_name(&subject.program));
        let ran = contained::run(Executed::Own(TRIAL, program.as_fd()), &args, &space, groups, TRIAL_LIMIT);
        // Shims of before containerd 2.3 have their socket outside.
        foreign::clear(&space.own(&format!("pod/runtime/{}", place.id)));
        let (command, said) = in_time(command, ran.map_err(not_checked)?, subject, TRIAL_LIMIT)?;
        let said = succeeded(&command, said)?;
        if said.printed != word.as_bytes() {
            return Err(Unusable::NotRun { command, words: Words::of(&said.errors) });
        }
        Ok(Report { version, features: Features::default() })
    }

    /// A container of a pod that never was, for a shim in a space of its own: with the arguments of the trial, and the word that it
    /// writes.
    fn task(
        &self,
        subject: &Subject,
        pod: &SandboxId,
        cgroup: &CgroupPath,
        (runtime, group): (&Cgroup, &Cgroup),
    ) -> Result<(Space, Vec<String>, String), Unusable> {
        let space = self.space()?;
        let container = ContainerId::from_random(random::bytes());
        let (program, word) = writer()?;
        write_bundle(&space, container.as_str(), &program, cgroup).map_err(not_checked)?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let dir = text(&space.seen(container.as_str()));
        let bundle = Bundle { runtime: text(&subject.program), dir, config: Vec::new() };
        let cgroup_dirs = runtime.dirs().iter().map(|dir| text(dir)).collect();
        let plan = bundle::encode(&Task { container: bundle, cgroup_dirs });
        let plan = plan.map_err(|e| Unusable::NotChecked(e.to_string()))?;
        std::fs::write(space.own("plan"), plan).map_err(not_checked)?;
        std::fs::create_dir(space.own("pod")).map_err(not_checked)?;
        let mut args = vec![text(&space.seen("plan")), container.to_string(), pod.to_string()];
        args.push(text(&space.seen("pod")));
        args.extend(group.dirs().iter().map(|dir| text(dir)));
        Ok((space, args, word))
    }

    /// Runs the program once; with the command as users know it.
    fn ask(
        &self,
        subject: &Subject,
        args: &[String],
        space: &Space,
        groups: &Join,
    ) -> Result<(String, Ran), Unusable> {
        let words = args.iter().filter(|word| !word.starts_with('/')).map(String::as_str);
        let verb = words
            .clone()
            .find(|word| ["--version", "-v", "features", "run"].contains(word))
            .unwrap_or_default();
        let command = format!("{} {verb}", file_name(&subject.program));
        let executed = Executed::Program(&subject.program);
        let ran = contained::run(executed, args, space, groups, LIMIT).map_err(not_checked)?;
        in_time(command, ran, subject, LIMIT)
    }

    fn space(&self) -> Result<Space, Unusable> {
        Space::new(&self.state).map_err(not_checked)
    }

    /// A container in a space of its own: with what it is run by, and the word that it writes.
    fn bundle(&self, kind: Kind, cgroup: &CgroupPath) -> Result<(Space, Vec<String>, String), Unusable> {
        let space = self.space()?;
        let (program, word) = writer()?;
        write_bundle(&space, "bundle", &program, cgroup).map_err(not_checked)?;
        let path = |name: &str| space.seen(name).display().to_string();
        let own = match kind {
            Kind::Runc | Kind::Shim => Vec::new(),
            Kind::Gvisor => gvisor::options("none"),
        };
        let mut args = vec!["--root".to_owned(), path("state")];
        args.extend(own);
        args.extend(["run".to_owned(), "--bundle".to_owned(), path("bundle"), "berth-check".to_owned()]);
        Ok((space, args, word))
    }
}

impl Check for SelfCheck {
    fn check(&self, subject: &Subject) -> Result<Report, String> {
        let place = Place::new(self).map_err(|why| why.to_string())?;
        self.steps(subject, &place).map_err(|why| why.to_string())
    }

    fn running(&self) -> HashSet<SandboxId> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The cgroups of one check, where those of a pod would be: so that what a daemon leaves that is killed meanwhile goes with
/// the next one's start. Ended when dropped.
struct Place<'a> {
    of: &'a SelfCheck,
    id: SandboxId,
    pod: CgroupPath,
    parent: CgroupPath,
}

impl<'a> Place<'a> {
    fn new(of: &'a SelfCheck) -> Result<Self, Unusable> {
        let id = SandboxId::from_random(random::bytes());
        let place = of.placement.of_pod(&id, None).map_err(not_placed)?;
        of.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        let made = of.placement.make_pod(&id, &place, Some(&Resources::default()));
        let own = Self { of, id, pod: place.pod, parent: place.parent };
        made.map_err(not_placed)?;
        Ok(own)
    }

    /// What the runtime is born in.
    fn runtime(&self) -> Result<Cgroup, Unusable> {
        let path = self.parent.child("runtime").map_err(not_placed)?;
        self.of.placement.make(&path, &Resources::default()).map_err(not_placed)
    }

    /// What it makes for its container.
    fn container(&self) -> Result<CgroupPath, Unusable> {
        self.parent.child("container").map_err(not_placed)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // First the runtime's own, which it may have made in hierarchies of which the pod's has none.
        let container = self.container().map_or(Ok(()), |path| self.of.placement.end(&path));
        match container.and_then(|()| self.of.placement.end(&self.pod)) {
            Ok(()) => {
                self.of.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
            }
            Err(error) => {
                let error = berth_types::error::chain(&error);
                tracing::warn!(cgroup = %self.pod, error, "failed to remove the cgroup of a runtime's check");
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn not_checked(error: io::Error) -> Unusable {
    Unusable::NotChecked(error.to_string())
}

fn not_placed<E: std::error::Error>(error: E) -> Unusable {
    Unusable::NotChecked(berth_types::error::chain(&error))
}

fn file_name(program: &Path) -> std::borrow::Cow<'_, str> {
    program.file_name().unwrap_or_default().to_string_lossy()
}

/// A program that writes a word that nobody knows, and the word.
fn writer() -> Result<(Vec<u8>, String), Unusable> {
    let word: String = random::bytes().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let program = program::elf(&word)
        .ok_or_else(|| Unusable::NotChecked(format!("no program for {} is known", std::env::consts::ARCH)))?;
    Ok((program, word))
}

/// A program that was executed, and ended within its time.
fn in_time(command: String, ran: Ran, subject: &Subject, limit: Duration) -> Result<(String, Ran), Unusable> {
    match ran.end {
        End::Late => {
            let words = Words::of(&ran.errors);
            Err(Unusable::Late { command, seconds: limit.as_secs(), words })
        }
        End::NotExecuted(errno) => {
            let why = explain::not_executed(errno, &head(&subject.program));
            Err(Unusable::NotExecuted { program: subject.program.clone(), why })
        }
        End::Exited(_) if ran.printed_too_much => Err(Unusable::TooMuch { command }),
        End::Exited(_) => Ok((command, ran)),
    }
}

/// What a program printed that ended well.
fn succeeded(command: &str, said: Ran) -> Result<Ran, Unusable> {
    match said.end {
        End::Exited(Exit::Code(0)) => Ok(said),
        End::Exited(exit) => {
            let words = Words::of(&said.errors);
            Err(Unusable::Failed { command: command.to_owned(), end: Ended(exit), words })
        }
        End::Late | End::NotExecuted(_) => Ok(said),
    }
}

/// A runtime without the command fails, which is no fault; one that dies of it is not to be used.
fn features(command: &str, said: &Ran) -> Result<Features, Unusable> {
    match said.end {
        End::Exited(exit @ Exit::Signal(_)) => {
            let words = Words::of(&said.errors);
            Err(Unusable::Failed { command: command.to_owned(), end: Ended(exit), words })
        }
        End::Exited(Exit::Code(0)) => Ok(features::parse(&said.printed).unwrap_or_default()),
        End::Exited(Exit::Code(_)) | End::Late | End::NotExecuted(_) => Ok(Features::default()),
    }
}

/// What all of a kind can do, whatever they say.
fn of_kind(said: Features, kind: Kind) -> Features {
    match kind {
        Kind::Runc | Kind::Shim => said,
        Kind::Gvisor => Features { checkpoint: true, ..said },
    }
}

/// How a file begins.
fn head(program: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    // What cannot be read is told by the error of its execution.
    let read = std::fs::File::open(program).and_then(|file| file.take(64).read_to_end(&mut head));
    read.map_or_else(|_| Vec::new(), |_| head)
}

/// The root has nothing but the program, and the container no network but a loopback.
fn write_bundle(space: &Space, name: &str, program: &[u8], cgroup: &CgroupPath) -> io::Result<()> {
    std::fs::create_dir(space.own("state"))?;
    let dir = space.own(name);
    for dir in [dir.clone(), dir.join("rootfs"), dir.join("rootfs/proc"), dir.join("rootfs/dev")] {
        std::fs::create_dir(dir)?;
    }
    let path = dir.join("rootfs/check");
    std::fs::write(&path, program)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    let namespaces = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({ "type": kind }));
    let config = json!({
        "ociVersion": "1.0.2",
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["/check"], "cwd": "/", "noNewPrivileges": true },
        "root": { "path": "rootfs" },
        "hostname": "berth-check",
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "linux": { "namespaces": namespaces, "cgroupsPath": format!("/{}", cgroup.as_str().trim_start_matches('/')) },
    });
    std::fs::write(dir.join("config.json"), config.to_string())
}

#[cfg(test)]
mod tests;
