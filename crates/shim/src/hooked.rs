//! A container of this program's own that has hooks. They may take long, so that what is at once without them is a thread's here: hooks
//! of its creation run while its process waits for the thread that makes it, those of its start before and after its command
//! begins, and those of its end when nothing of it runs and its cgroup is gone.
//!
//! What is to be run at the end is on the disk before the first hook runs: the daemon does it where this process was killed.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use berth_container::hook::{self, Course, HookError, Interrupt, Place, State, pid_inside};
use berth_container::plan::{Plan, ProcessPlan, Space};
use berth_container::run::{Company, Prepared, RunError, Running, Stdio, Visitor};
use berth_sys::cgroup::Cgroup;
use berth_types::hook::At;
use berth_types::shim::bundle::{self, POSTSTOP, Poststop, Process};
use berth_types::shim::{Failure, Reason};
use berth_types::{ContainerId, ExecId};

use crate::driver::{Cancel, Created, Driver, Order, Unclaimed};
use crate::exec::Inner;
use crate::making::{ends, prepare};
use crate::outcome::{exec_refused, failure, refused, system};
use crate::records;
use crate::runtime::Runtime;

/// The time of a hook that names none.
const HOOK_LIMIT: Duration = Duration::from_secs(30);
/// The time for all hooks of a creation. It is less than what the daemon waits, which then is told why.
const CREATE_LIMIT: Duration = Duration::from_secs(45);
/// The same for those of a start.
const START_LIMIT: Duration = Duration::from_secs(40);
/// The same for those of an end, which whoever stops the container waits for.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Such a container.
#[derive(Debug)]
pub(crate) struct Hooked {
    of: bundle::Hooked,
    id: ContainerId,
    /// Where its processes are.
    cgroup: Cgroup,
    /// Set when nothing more is to be waited for.
    cancelled: Cancel,
    /// From its creation to its start.
    waiting: Mutex<Option<Waiting>>,
    /// Whether hooks are to run at its end.
    due: Mutex<bool>,
}

/// A container that was made and not started.
#[derive(Debug)]
struct Waiting {
    prepared: Prepared,
    process: ProcessPlan,
}

impl Hooked {
    pub(crate) fn new(of: bundle::Hooked, (id, cgroup): (ContainerId, Cgroup)) -> std::io::Result<Self> {
        let (waiting, due) = (Mutex::new(None), Mutex::new(false));
        Ok(Self { of, id, cgroup, cancelled: Cancel::new()?, waiting, due })
    }

    fn dir(&self) -> &Path {
        Path::new(&self.of.bundle.dir)
    }

    /// The state as JSON.
    fn state(&self, status: &str, pid: i32) -> Result<Vec<u8>, Failure> {
        let state = State {
            oci_version: &self.of.oci_version,
            id: self.id.as_str(),
            status,
            pid,
            bundle: &self.of.bundle.dir,
            annotations: self.of.annotations.iter().map(|(key, value)| (&**key, &**value)).collect(),
        };
        serde_json::to_vec(&state).map_err(|e| system("write the state for hooks", &e))
    }

    /// Runs hooks, which end when the container is to end.
    fn run(&self, at: At, place: Place<'_>, state: &[u8], until: Instant) -> Result<(), HookError> {
        let cancelled = || Ok(Some("the end of the container".to_owned()));
        let interrupt = Interrupt { fd: self.cancelled.0.as_fd(), what: &cancelled };
        let course = Course {
            state,
            bundle: self.dir(),
            default: Some(HOOK_LIMIT),
            until: Some(until),
            interrupt: Some(interrupt),
        };
        hook::run(at, self.of.hooks.at(at), place, &course)
    }

    /// What hooks find, and what is to be run at the end.
    fn lay_out(&self, order: &Order<'_>) -> Result<(), Failure> {
        let config = Runtime::config(&self.of.bundle, order.spaces, order.pid_space)?;
        let path = self.dir().join("config.json");
        std::fs::write(&path, config).map_err(|e| system(&format!("write {}", path.display()), &e))?;
        let hooks = self.of.hooks.poststop.clone();
        if !hooks.is_empty() {
            let record = Poststop { hooks, state: self.state("stopped", 0)? };
            records::write(self.dir(), POSTSTOP, &record)
                .map_err(|e| system("write down the hooks of the container's end", &e))?;
            *self.due.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
        Ok(())
    }

    fn make(self: &Arc<Self>, order: &Order<'_>) -> Result<Created, Failure> {
        let plan = Plan::decode(&self.of.plan).map_err(|e| failure(Reason::Protocol, e.to_string()))?;
        let (process, user) = (plan.process.clone(), plan.namespaces.user != Space::Host);
        let mut failed = None;
        let mut visit = |pid: i32| {
            self.visit(pid, user).map_err(|why| {
                failed = Some(why);
                RunError::Died { before: "its hooks had succeeded" }
            })
        };
        let any = [At::Prestart, At::CreateRuntime, At::CreateContainer];
        let visited = any.into_iter().any(|at| !self.of.hooks.at(at).is_empty());
        let visitor: Option<Visitor<'_>> = if visited { Some(&mut visit) } else { None };
        let prepared = prepare(order, plan, Company { visitor, ..Company::default() });
        let (mut prepared, pipes) = prepared.map_err(|error| failed.take().unwrap_or(error))?;
        let copy = |prepared: &Prepared| prepared.pidfd().try_clone_to_owned();
        let both = copy(&prepared).and_then(|one| Ok((one, copy(&prepared)?)));
        let (pidfd, owned) = both.map_err(|e| system("duplicate a descriptor", &e))?;
        let (ends, terminal) = ends(pipes, prepared.take_console())?;
        let notes = prepared.notes().iter().map(ToString::to_string).collect();
        let pid = prepared.pid();
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(Waiting { prepared, process });
        let unclaimed = Unclaimed::new(Arc::clone(self) as _, owned);
        Ok(Created { pid, pidfd, ends, terminal, unclaimed, notes })
    }

    /// The hooks of the creation, while the process waits.
    fn visit(&self, pid: i32, user: bool) -> Result<(), Failure> {
        let until = Instant::now() + CREATE_LIMIT;
        let (outside, inside) = (self.state("creating", pid)?, self.state("creating", pid_inside(pid))?);
        self.run(At::Prestart, Place::Here, &outside, until)
            .and_then(|()| self.run(At::CreateRuntime, Place::Here, &outside, until))
            .and_then(|()| self.run(At::CreateContainer, Place::Beside { pid, user }, &inside, until))
            .map_err(|e| failure(Reason::Refused, e.to_string()))
    }

    /// Runs the command between the hooks of the start.
    fn run_command(&self, prepared: &Prepared, process: &ProcessPlan) -> Result<(), Failure> {
        let until = Instant::now() + START_LIMIT;
        let refuse = |e: HookError| failure(Reason::Refused, e.to_string());
        if !self.of.hooks.start_container.is_empty() {
            let join = self.cgroup.join().map_err(|e| system("open the container's cgroup", &e))?;
            let place = Place::Inside { process, target: prepared.pidfd(), join: &join };
            let state = self.state("created", pid_inside(prepared.pid()))?;
            self.run(At::StartContainer, place, &state, until).map_err(refuse)?;
        }
        prepared.release().and_then(|()| prepared.outcome()).map_err(|error| match error {
            RunError::Died { .. } => refused(&error),
            error => exec_refused(&error),
        })?;
        let state = self.state("running", prepared.pid())?;
        self.run(At::Poststart, Place::Here, &state, until).map_err(refuse)
    }

    /// Runs the hooks of the end, once.
    fn after(&self) -> Result<(), String> {
        if !std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        let state = self.state("stopped", 0).map_err(|failure| failure.message)?;
        let failed = run_poststop(&self.of.hooks.poststop, &state, self.dir());
        let record: PathBuf = self.dir().join(POSTSTOP);
        match std::fs::remove_file(&record) {
            Err(e) => Err(format!("{}: {e}", record.display())),
            Ok(()) => failed,
        }
    }
}

/// Runs hooks of an end, none of which keeps the others from being run.
fn run_poststop(hooks: &[berth_types::hook::Hook], state: &[u8], dir: &Path) -> Result<(), String> {
    let until = Some(Instant::now() + END_LIMIT);
    let course = Course { state, bundle: dir, default: Some(END_LIMIT), until, interrupt: None };
    let failed = hook::run_all(At::Poststop, hooks, Place::Here, &course);
    let failed: Vec<String> = failed.iter().map(ToString::to_string).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

impl Driver for Hooked {
    fn create(self: Arc<Self>, order: &Order<'_>) -> Result<Created, Failure> {
        let made = self.lay_out(order).and_then(|()| self.make(order));
        made.map_err(|mut failure| {
            // What hooks have done is taken back; nobody waits for the process any more.
            if let Err(why) = self.delete() {
                failure.message.push_str(&format!("; {why}"));
            }
            failure
        })
    }

    fn start(&self) -> Result<(), Failure> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let gone = || failure(Reason::State, "the process is gone");
        let Waiting { prepared, process } = waiting.ok_or_else(gone)?;
        let done = self.run_command(&prepared, &process);
        // The loop waits for it, whatever came of it.
        drop(prepared.into_running());
        done
    }

    fn exec(
        self: Arc<Self>,
        _: &ExecId,
        _: &Process,
        _: Stdio,
        _: &Cancel,
    ) -> Result<(Running, Option<Inner>), Failure> {
        Err(failure(Reason::Protocol, "a process of a container with hooks comes with a plan of its own"))
    }

    fn delete(&self) -> Result<(), String> {
        // The loop reaps its process, or has.
        if let Some(waiting) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(waiting.prepared.into_running());
        }
        // What is left in it is the loop's to kill, which removes it then.
        drop(self.cgroup.remove());
        self.after()
    }

    fn cancel(&self) {
        self.cancelled.set();
    }

    fn memory(&self) -> &Cgroup {
        &self.cgroup
    }

    fn makes_sessions(&self) -> bool {
        false
    }
}
