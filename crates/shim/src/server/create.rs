//! Creating a container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use berth_container::plan::{Plan, RootSource, Space};
use berth_container::run::{self, Given, Prepared, Stdio};
use berth_sys::cgroup::Cgroup;
use berth_types::ContainerId;
use berth_types::shim::{Answer, Create, Event, Failure, PidSpace, Reason, record};

use super::{Pod, Server};
use crate::container::{Asker, Container};
use crate::outcome::{failure, refused, system};
use crate::pump::{self, Ends, Setup};
use crate::records;
use crate::stage::{Ask, Happening, Stage};

impl Server {
    /// Prepares the process. The answer comes when the pump has opened the log, which happens meanwhile.
    pub(super) fn create(
        &mut self,
        asker: Asker,
        create: Create,
        fds: &[OwnedFd],
    ) -> Result<Option<Answer>, Failure> {
        if self.containers.contains_key(&create.container) {
            let message = format!("container {} is there already", create.container);
            return Err(failure(Reason::State, message));
        }
        if self.shutdown.is_some() {
            return Err(failure(Reason::State, "the pod is being shut down"));
        }
        let pod = self.pod.as_ref().ok_or_else(|| failure(Reason::State, "the shim has no pod yet"))?;
        let cgroup = Cgroup::from_dirs(create.cgroup_dirs.iter().map(Into::into).collect());
        let (mut prepared, pipes) = self.prepare(pod, &create, fds, &cgroup)?;
        let pidfd = prepared.pidfd().try_clone_to_owned();
        let pidfd = pidfd.map_err(|e| system("duplicate a descriptor", &e))?;
        let (ends, terminal) = ends(pipes, prepared.take_console())?;
        let dir = pod.state_dir.join("containers").join(create.container.as_str());
        let notes: Vec<String> = prepared.notes().iter().map(ToString::to_string).collect();
        let pid = prepared.pid();
        record(&dir, pid)?;
        let setup = Setup {
            container: create.container.clone(),
            ends,
            log: create.log.map(Into::into),
            stdin_once: create.stdin_once,
        };
        let pump = pump::start(setup, self.notes.clone());
        let container = Container {
            stage: Stage::Opening,
            pid,
            pidfd,
            prepared: Some(prepared),
            cgroup,
            dir,
            terminal,
            pump: pump.map_err(|e| system("start the log's thread", &e))?,
            started_at: 0,
            creator: Some(asker),
            starter: None,
            forgetters: Vec::new(),
            ending: None,
            exit: None,
        };
        for text in notes {
            self.tell(Event::Note { container: create.container.clone(), text });
        }
        self.containers.insert(create.container, container);
        Ok(None)
    }

    /// The process, and with pipes the shim's ends of its stdio.
    fn prepare(
        &self,
        pod: &Pod,
        create: &Create,
        fds: &[OwnedFd],
        cgroup: &Cgroup,
    ) -> Result<(Prepared, Option<Ends>), Failure> {
        let mut plan = Plan::decode(&create.plan).map_err(|e| failure(Reason::Protocol, e.to_string()))?;
        let pid_space = self.pid_space(pod, &create.pid_space)?;
        if pid_space.is_some() {
            plan.namespaces.pid = Space::Given;
        }
        plan.process.oom_score_adj = plan.process.oom_score_adj.or(self.oom_score);
        let join = cgroup.join().map_err(|e| system("open the container's cgroup", &e))?;
        let given = given(pod, &plan, fds, pid_space.as_ref().map(AsFd::as_fd))?;
        let (stdio, pipes) = stdio(create).map_err(|e| system("make the container's stdio", &e))?;
        let prepared =
            run::create(&plan, &given, stdio, &join).map_err(|e| refused(&e.because_of(cgroup)))?;
        Ok((prepared, pipes))
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
                // It has not been reaped, so the number is still its own.
                let path = format!("/proc/{}/ns/pid", container.pid);
                let file = std::fs::File::open(&path);
                file.map(|f| Some(f.into())).map_err(|e| system(&format!("open {path}"), &e))
            }
        }
    }

    /// The pump has opened the log, or could not.
    pub(super) fn log_opened(&mut self, id: &ContainerId, outcome: Result<(), String>) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.stage = container.stage.after(Happening::LogOpened);
        let asker = container.creator.take();
        let outcome = match outcome {
            // A process that was killed meanwhile is prepared no more.
            Ok(()) if container.stage != Stage::Created => {
                Err(failure(Reason::State, "the container was ended while it was created"))
            }
            Ok(()) => Ok(Answer::Created { pid: container.pid }),
            Err(message) => {
                // Dropping the container kills and reaps its process.
                self.containers.remove(id);
                Err(failure(Reason::System, message))
            }
        };
        if let Some(asker) = asker {
            self.answer(asker, outcome, vec![]);
        }
    }
}

/// What the pump serves, and a terminal's master for its size.
fn ends(pipes: Option<Ends>, console: Option<OwnedFd>) -> Result<(Ends, Option<OwnedFd>), Failure> {
    match (pipes, console) {
        (Some(ends), _) => Ok((ends, None)),
        (None, Some(console)) => {
            let terminal = console.try_clone().map_err(|e| system("duplicate a descriptor", &e))?;
            Ok((Ends::Terminal(console), Some(terminal)))
        }
        (None, None) => Err(failure(Reason::System, "the container has no terminal")),
    }
}

/// The record of the process, on disk before its creation is answered.
fn record(dir: &Path, pid: i32) -> Result<(), Failure> {
    let started = record::Started { pid, shim: std::process::id().cast_signed() };
    std::fs::create_dir_all(dir)
        .and_then(|()| records::write(dir, record::PID, &started))
        .map_err(|e| system(&format!("write the record {}", dir.join(record::PID).display()), &e))
}

/// Assigns the descriptors that came with a Create.
fn given<'a>(
    pod: &'a Pod,
    plan: &Plan,
    fds: &'a [OwnedFd],
    pid: Option<BorrowedFd<'a>>,
) -> Result<Given<'a>, Failure> {
    let mut fds = fds.iter().map(AsFd::as_fd);
    let missing = || failure(Reason::Protocol, "Create comes without the descriptors that its plan names");
    let root = match plan.root.source {
        RootSource::Given => Some(fds.next().ok_or_else(missing)?),
        RootSource::Path(_) => None,
    };
    let user = match plan.namespaces.user {
        Space::Given => Some(fds.next().ok_or_else(missing)?),
        Space::Host | Space::New | Space::Path(_) => None,
    };
    Ok(Given {
        root,
        mounts: fds.collect(),
        user,
        pid,
        net: pod.network.as_ref().map(AsFd::as_fd),
        ipc: pod.ipc.as_ref().map(AsFd::as_fd),
        uts: pod.uts.as_ref().map(AsFd::as_fd),
        cgroup: None,
    })
}

/// What the container gets, and with pipes what the shim keeps.
fn stdio(create: &Create) -> std::io::Result<(Stdio, Option<Ends>)> {
    if create.tty {
        return Ok((Stdio::Terminal, None));
    }
    let (from_stdout, stdout) = std::io::pipe()?;
    let (from_stderr, stderr) = std::io::pipe()?;
    let (stdin, to_stdin) = match create.stdin {
        true => {
            let (stdin, to_stdin) = std::io::pipe()?;
            (Some(stdin.into()), Some(to_stdin.into()))
        }
        false => (None, None),
    };
    let given = Stdio::Fds { stdin, stdout: Some(stdout.into()), stderr: Some(stderr.into()) };
    let kept = Ends::Pipes { stdin: to_stdin, stdout: from_stdout.into(), stderr: from_stderr.into() };
    Ok((given, Some(kept)))
}
