//! Making a container, in the thread that will serve its stdio: mounts can hang behind a disk or a file server.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_container::plan::{Plan, RootSource, Space};
use berth_container::run::{self, Company, Given, Prepared, Stdio};
use berth_sys::cgroup::Cgroup;
use berth_types::shim::{Create, Failure, Reason, record};

use crate::container::{Made, Main};
use crate::driver::{Driver, Order};
use crate::outcome::{failure, refused, system};
use crate::pump::{Ends, Setup};
use crate::records;

/// The pod's namespaces.
#[derive(Debug)]
pub(crate) struct Spaces {
    /// User ids; the others belong to it.
    pub(crate) user: Option<OwnedFd>,
    /// Network.
    pub(crate) network: Option<OwnedFd>,
    /// IPC.
    pub(crate) ipc: Option<OwnedFd>,
    /// UTS.
    pub(crate) uts: Option<OwnedFd>,
    /// What the containers' mount namespaces begin as copies of.
    pub(crate) base: Arc<OwnedFd>,
}

/// Everything that a container is made of.
#[derive(Debug)]
pub(crate) struct Making {
    /// What it is to be.
    pub(crate) create: Create,
    /// The descriptors that came with that.
    pub(crate) fds: Vec<OwnedFd>,
    /// The pod's namespaces.
    pub(crate) spaces: Arc<Spaces>,
    /// The PID namespace to be joined, if it is not the plan's.
    pub(crate) pid_space: Option<OwnedFd>,
    /// Its directory for records.
    pub(crate) dir: PathBuf,
    /// What its processes have if the plan says nothing.
    pub(crate) oom_score: Option<i32>,
    /// What makes it, if it is not this program.
    pub(crate) driver: Option<Arc<dyn Driver>>,
}

impl Making {
    /// Prepares the process and writes its record. On failure nothing of the process is left behind, if it can be killed.
    pub(crate) fn make(self) -> Result<Setup, Failure> {
        if let Some(driver) = self.driver.clone() {
            return self.make_by(driver);
        }
        let cgroup = Cgroup::from_dirs(self.create.cgroup_dirs.iter().map(Into::into).collect());
        // Before there is a process that memory could run out for.
        let oom = cgroup.oom_watch().map_err(|e| system("watch the container's memory", &e))?;
        let plan = Plan::decode(&self.create.plan).map_err(|e| failure(Reason::Protocol, e.to_string()))?;
        let (mut prepared, pipes) = prepare(&self.order(), plan, Company::default())?;
        let pidfd = prepared.pidfd().try_clone_to_owned();
        let pidfd = pidfd.map_err(|e| system("duplicate a descriptor", &e))?;
        let (ends, terminal) = ends(pipes, prepared.take_console())?;
        let notes: Vec<String> = prepared.notes().iter().map(ToString::to_string).collect();
        let pid = prepared.pid();
        record(&self.dir, pid)?;
        let main = Main { pid, pidfd, prepared: Some(prepared) };
        Ok(Setup {
            made: Some(Box::new(Made { main, unclaimed: None, terminal, notes, oom })),
            ends,
            log: self.create.log.map(Into::into),
            stdin_once: self.create.stdin_once,
        })
    }

    /// The same by another.
    fn make_by(self, driver: Arc<dyn Driver>) -> Result<Setup, Failure> {
        let oom = driver.memory().oom_watch().map_err(|e| system("watch the container's memory", &e))?;
        let created = driver.create(&self.order())?;
        record(&self.dir, created.pid)?;
        let main = Main { pid: created.pid, pidfd: created.pidfd, prepared: None };
        let (unclaimed, terminal, notes) = (Some(created.unclaimed), created.terminal, created.notes);
        Ok(Setup {
            made: Some(Box::new(Made { main, unclaimed, terminal, notes, oom })),
            ends: created.ends,
            log: self.create.log.map(Into::into),
            stdin_once: self.create.stdin_once,
        })
    }

    fn order(&self) -> Order<'_> {
        Order {
            create: &self.create,
            spaces: &self.spaces,
            pid_space: self.pid_space.as_ref(),
            fds: &self.fds,
            oom_score: self.oom_score,
        }
    }
}

/// The process of a plan, with pipes the shim's ends of its stdio.
pub(crate) fn prepare(
    order: &Order<'_>,
    mut plan: Plan,
    company: Company<'_>,
) -> Result<(Prepared, Option<Ends>), Failure> {
    if order.pid_space.is_some() {
        plan.namespaces.pid = Space::Given;
    }
    plan.process.oom_score_adj = plan.process.oom_score_adj.or(order.oom_score);
    let cgroup = Cgroup::from_dirs(order.create.cgroup_dirs.iter().map(Into::into).collect());
    let join = cgroup.join().map_err(|e| system("open the container's cgroup", &e))?;
    let given = given(order, &plan)?;
    let (stdio, pipes) = stdio(order.create).map_err(|e| system("make the container's stdio", &e))?;
    let prepared = run::create_in_company(&plan, &given, stdio, &join, company);
    let prepared = prepared.map_err(|e| refused(&e.because_of(&cgroup)))?;
    Ok((prepared, pipes))
}

/// Assigns the descriptors that came with a Create.
fn given<'a>(order: &Order<'a>, plan: &Plan) -> Result<Given<'a>, Failure> {
    let mut fds = order.fds.iter().map(AsFd::as_fd);
    let missing = || failure(Reason::Protocol, "Create lacks descriptors that its plan names");
    // A path is found from the host's mounts alone, and so is it by who visits the container there.
    let (root, base) = match plan.root.source {
        RootSource::Given => (Some(fds.next().ok_or_else(missing)?), Some(order.spaces.base.as_fd())),
        RootSource::Path(_) => (None, None),
    };
    let user = match (&plan.namespaces.user, &order.spaces.user) {
        (Space::Given, Some(of_pod)) => Some(of_pod.as_fd()),
        (Space::Given, None) => Some(fds.next().ok_or_else(missing)?),
        (Space::Host | Space::New | Space::Path(_), _) => None,
    };
    Ok(Given {
        root,
        mounts: fds.collect(),
        user,
        pid: order.pid_space.map(AsFd::as_fd),
        net: order.spaces.network.as_ref().map(AsFd::as_fd),
        ipc: order.spaces.ipc.as_ref().map(AsFd::as_fd),
        uts: order.spaces.uts.as_ref().map(AsFd::as_fd),
        cgroup: None,
        base,
    })
}

/// What the pump serves, and a terminal's master for its size.
pub(crate) fn ends(
    pipes: Option<Ends>,
    console: Option<OwnedFd>,
) -> Result<(Ends, Option<OwnedFd>), Failure> {
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

/// The streams as a runtime gives them on; None with a terminal. A stdin that is not open reads as empty, and is no device of
/// the host's.
pub(crate) fn given_streams(stdio: Stdio) -> std::io::Result<Option<[OwnedFd; 3]>> {
    let (stdin, stdout, stderr) = match stdio {
        Stdio::Terminal => return Ok(None),
        Stdio::Fds { stdin, stdout, stderr } => (stdin, stdout, stderr),
    };
    let empty = || -> std::io::Result<OwnedFd> { Ok(std::io::pipe()?.0.into()) };
    let unread = || -> std::io::Result<OwnedFd> { Ok(std::io::pipe()?.1.into()) };
    Ok(Some([
        stdin.map_or_else(empty, Ok)?,
        stdout.map_or_else(unread, Ok)?,
        stderr.map_or_else(unread, Ok)?,
    ]))
}

/// What the container gets, and with pipes what the shim keeps.
pub(crate) fn stdio(create: &Create) -> std::io::Result<(Stdio, Option<Ends>)> {
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
