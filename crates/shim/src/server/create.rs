//! Creating a container: a thread makes it, and notifies the loop.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_sys::cgroup::Cgroup;
use berth_types::ContainerId;
use berth_types::shim::bundle::{self, Container as Of, Mapped};
use berth_types::shim::{Answer, Create, Event, Exit, Failure, PidSpace, Reason};
use rustix::process::Signal;

use super::{Pod, Server};
use crate::container::{Asker, Container, Made};
use crate::driver::Driver;
use crate::foreign::Foreign;
use crate::hooked::Hooked;
use crate::making::Making;
use crate::outcome::{self, Ended, failure, system};
use crate::pump::{self, Note};
use crate::runtime::Runtime;
use crate::stage::{Ask, Stage, StageEvent};

/// The most containers and exec sessions that are being made at once.
pub(super) const MAX_AT_WORK: usize = 64;
/// What is being made of an aborting container is killed again after so long: its process may not have been there yet.
const ABORT_RETRY: Duration = Duration::from_millis(20);
/// One round of that may take so long.
const ABORT_ROUND: Duration = Duration::from_millis(1);

impl Server {
    /// Begins to make a container. The answer comes when it is made and its log is open.
    pub(super) fn create(
        &mut self,
        asker: Asker,
        create: Create,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<Answer>, Failure> {
        let id = create.container.clone();
        if self.containers.contains_key(&id) {
            return Err(failure(Reason::State, format!("container {id} already exists")));
        }
        if self.shutdown.is_some() {
            return Err(failure(Reason::State, "the pod is being shut down"));
        }
        if self.at_work() >= MAX_AT_WORK {
            return Err(failure(Reason::State, "too many processes of the pod are being prepared already"));
        }
        let pod = self.pod.as_ref().ok_or_else(|| failure(Reason::State, "the shim has no pod yet"))?;
        let pid_space = self.pid_space(pod, &create.pid_space)?;
        let dir = pod.state_dir.join("containers").join(id.as_str());
        let cgroup = Cgroup::from_dirs(create.cgroup_dirs.iter().map(Into::into).collect());
        let spaces = Arc::clone(&pod.spaces);
        let driver = self.driver_of(&create, pod, &dir)?;
        let oom_score = self.oom_score;
        let making =
            Making { create, fds, spaces, pid_space, dir: dir.clone(), oom_score, driver: driver.clone() };
        let pump = pump::start(id.clone(), self.notes.clone(), move || making.make());
        let container = Container {
            stage: Stage::Preparing,
            main: None,
            cgroup,
            oom: None,
            killed: None,
            dir,
            driver,
            terminal: None,
            pump: pump.map_err(|e| system("start the container's thread", &e))?,
            started_at: 0,
            creator: Some(asker),
            abort_retry: None,
            start: None,
            forgetters: Vec::new(),
            ending: None,
            exit: None,
        };
        self.containers.insert(id, container);
        Ok(None)
    }

    /// Begins the kernel of the pod's containers in a thread. Who needs it waits for that.
    pub(super) fn begin_kernel(&mut self, plan: &[u8]) -> Result<Option<Answer>, Failure> {
        let pod = self.pod.as_ref().ok_or_else(|| failure(Reason::State, "the shim has no pod yet"))?;
        if self.shutdown.is_some() || self.kernel.is_some() || self.at_work() >= MAX_AT_WORK {
            return Err(failure(Reason::State, "the pod's kernel cannot be begun now"));
        }
        let protocol = |what: String| failure(Reason::Protocol, what);
        let Of::Member(member) = bundle::container(plan).map_err(|e| protocol(e.to_string()))? else {
            return Err(protocol("the plan is not that of a container in a kernel of its pod".to_owned()));
        };
        // It has what the runtime says, and the number of its process.
        let dir = member.sandbox.dir.clone().into();
        // It has the pod's name among the containers.
        let id: ContainerId =
            pod.sandbox.as_str().parse().map_err(|_| protocol("the pod's id".to_owned()))?;
        let own = (id.clone(), Cgroup::from_dirs(Vec::new()));
        let sandbox = pod.sandbox(&self.notes);
        let runtime = sandbox.and_then(|sandbox| Runtime::of_member(member, sandbox, own, dir));
        let runtime = runtime.map_err(|e| system("make what the kernel is made by", &e))?;
        let (runtime, spaces) = (Arc::new(runtime), Arc::clone(&pod.spaces));
        let kernel = Arc::clone(&runtime);
        let thread = self.by_driver(&id, move || {
            // The first container tries it again, and tells why not.
            drop(runtime.begin(&spaces));
            Note::KernelBegun
        });
        thread.map_err(|e| system("start a thread for the runtime", &e))?;
        self.kernel = Some(kernel);
        Ok(Some(Answer::Done))
    }

    /// The kernel runs, or could not be begun.
    pub(super) fn kernel_begun(&mut self) {
        self.by_drivers -= 1;
        self.kernel = None;
        self.reap_children();
        self.look_at_shutdown();
    }

    /// How many threads make something.
    pub(super) fn at_work(&self) -> usize {
        let made = self.containers.values().filter(|c| c.is_being_made()).count();
        self.beginning.len() + self.by_drivers + made
    }

    /// The PID namespace to be joined, if it is not the plan's.
    fn pid_space(&self, pod: &Pod, space: &PidSpace) -> Result<Option<OwnedFd>, Failure> {
        match space {
            PidSpace::Plan => Ok(None),
            PidSpace::Pod => {
                let init = pod.init.as_ref();
                let init = init.ok_or_else(|| failure(Reason::State, "the pod shares no PID namespace"))?;
                let namespace = init.namespace.try_clone();
                namespace.map(Some).map_err(|e| system("duplicate a descriptor", &e))
            }
            PidSpace::Container(target) => {
                let missing = || failure(Reason::NotFound, format!("no container {target} in this pod"));
                let container = self.containers.get(target).ok_or_else(missing)?;
                container.stage.allows(Ask::Exec)?;
                let pid = container.main.as_ref().map(|main| main.pid).ok_or_else(missing)?;
                // It has not been reaped, so the number is still its own.
                let path = format!("/proc/{pid}/ns/pid");
                let file = std::fs::File::open(&path);
                file.map(|f| Some(f.into())).map_err(|e| system(&format!("open {path}"), &e))
            }
        }
    }

    /// What makes a container, if it is not this program.
    fn driver_of(&self, create: &Create, pod: &Pod, dir: &Path) -> Result<Option<Arc<dyn Driver>>, Failure> {
        if !bundle::is_bundle(&create.plan) {
            return Ok(None);
        }
        let plan = bundle::container(&create.plan).map_err(|e| failure(Reason::Protocol, e.to_string()))?;
        let cgroup = Cgroup::from_dirs(create.cgroup_dirs.iter().map(Into::into).collect());
        let (own, dir) = ((create.container.clone(), cgroup), dir.to_owned());
        let plain = |of, own, dir| Runtime::new(of, own, &pod.state_dir, dir);
        let driver: std::io::Result<Arc<dyn Driver>> = match plan {
            Of::Plain(bundle) => plain((bundle, None), own, dir).map(|made| Arc::new(made) as _),
            Of::Mapped(Mapped { bundle, owner }) => {
                plain((bundle, Some(owner)), own, dir).map(|made| Arc::new(made) as _)
            }
            Of::Member(member) => pod
                .sandbox(&self.notes)
                .and_then(|sandbox| Runtime::of_member(member, sandbox, own, dir))
                .map(|made| Arc::new(made) as _),
            Of::Task(task) => pod
                .foreign(&task)
                .and_then(|shim| Foreign::new(task, shim, own, dir, self.notes.clone()))
                .map(|made| Arc::new(made) as _),
            Of::Hooked(hooked) => Hooked::new(hooked, own).map(|made| Arc::new(made) as _),
        };
        driver.map(Some).map_err(|e| system("make what a container is made by", &e))
    }

    /// A container is made and its log is open, or why not.
    pub(super) fn made(&mut self, id: &ContainerId, outcome: Result<Option<Box<Made>>, Failure>) {
        match outcome {
            Ok(Some(made)) => self.take_over(id, *made),
            Ok(None) => self.not_made(id, failure(Reason::System, "the container has no process")),
            Err(failure) => self.not_made(id, failure),
        }
        // What ended while a thread was at work.
        self.reap_children();
    }

    fn take_over(&mut self, id: &ContainerId, made: Made) {
        let Made { main, unclaimed, terminal, notes, oom } = made;
        for text in notes {
            self.tell(&Event::Note { container: id.clone(), text });
        }
        let Some(container) = self.containers.get_mut(id) else { return };
        // From here on its end and what follows are the loop's.
        if let Some(unclaimed) = unclaimed {
            unclaimed.claim();
        }
        let pid = main.pid;
        container.main = Some(main);
        container.terminal = terminal;
        container.oom = oom;
        container.abort_retry = None;
        container.stage = container.stage.after(StageEvent::Prepared);
        let outcome = match container.stage {
            Stage::Created => Ok(Answer::Created { pid }),
            Stage::Preparing
            | Stage::Aborting
            | Stage::Starting
            | Stage::Running
            | Stage::Ending
            | Stage::Exited => {
                container.kill_main();
                Err(ended_early())
            }
        };
        if let Some(asker) = container.creator.take() {
            self.answer(asker, outcome, vec![]);
        }
    }

    fn not_made(&mut self, id: &ContainerId, why: Failure) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let asker = container.creator.take();
        container.abort_retry = None;
        // One that waits for a disk or a file server may be left.
        let left = container.cgroup.pids().is_ok_and(|pids| !pids.is_empty());
        let (answer, exit) = match container.stage {
            Stage::Aborting => (ended_early(), Some(outcome::exit(Ended::by(Signal::KILL), pump::now()))),
            Stage::Preparing if left => {
                let message = why.message.clone();
                let exit = Exit { code: 128, signal: None, at: pump::now(), oom_killed: false, message };
                (why, Some(exit))
            }
            Stage::Preparing
            | Stage::Created
            | Stage::Starting
            | Stage::Running
            | Stage::Ending
            | Stage::Exited => (why, None),
        };
        if let Some(asker) = asker {
            self.answer(asker, Err(answer), vec![]);
        }
        match exit {
            Some(exit) => self.begin_ending(id, exit),
            None => drop(self.containers.remove(id)),
        }
    }

    /// Ends a container that does not run: kills what exists of it.
    pub(super) fn end_early(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.main.is_some() {
            return container.kill_main();
        }
        container.stage = container.stage.after(StageEvent::Aborted);
        self.kill_doomed(id, Instant::now());
    }

    /// One round of killing what a thread prepares.
    pub(super) fn kill_doomed(&mut self, id: &ContainerId, now: Instant) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if let Some(driver) = &container.driver {
            driver.cancel();
        }
        // What is left is killed in the next round.
        drop(container.cgroup.kill_all(now + ABORT_ROUND));
        container.abort_retry = Some(now + ABORT_RETRY);
    }
}

fn ended_early() -> Failure {
    failure(Reason::State, "the container was killed while it was being created")
}
