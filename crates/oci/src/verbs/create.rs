//! `create`: a container up to just before its program. It waits at a door, so that nothing of this program stays.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use berth_container::plan;
use berth_container::run::{self, Company, Given, Prepared, RunError, Stdio};
use berth_sys::cgroup::{Cgroup, Host};
use berth_types::stamp::Stamper;

use super::{refused, seal, tell, write_pid};
use crate::bundle::{self, Bundle};
use crate::cli::Create;
use crate::console::ConsoleSocket;
use crate::hooks;
use crate::identity::ProcessId;
use crate::log::Log;
use crate::record::{Phase, Record, Status, VERSION};
use crate::store::{Container, Locked, Store};
use crate::{OciError, stdio};

/// How long the processes of a container may take to die.
pub(super) const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A container that was made.
#[derive(Debug)]
pub(super) struct Created {
    pub(super) pidfd: OwnedFd,
    /// The master of its terminal, if nobody else got it.
    pub(super) console: Option<OwnedFd>,
}

/// The command: whoever called this program is the process' parent from its end on.
pub(super) fn create_and_leave(store: &Store, options: &Create, log: &Log) -> Result<(), OciError> {
    seal(log)?;
    create(store, options, true, log).map(drop)
}

/// Makes the container; nothing of it is left when that fails. With `detached` its terminal needs a receiver.
pub(super) fn create(
    store: &Store,
    options: &Create,
    detached: bool,
    log: &Log,
) -> Result<Created, OciError> {
    refuse(options)?;
    let bundle = Bundle::read(&options.bundle)?;
    let console = console(options, bundle.terminal(), detached)?;
    let host = Host::detect()?;
    let path = bundle.cgroup_path(&options.id)?;
    let resources = plan::resources(&bundle.spec)?;
    let locked = store.claim(&options.id)?;
    let mut making = Making { locked: &locked, cgroup: None, record: record(&bundle, &options.id), log };
    making.record.cgroups = host.open(&path).dirs();
    let container = &locked.container;
    std::fs::write(container.config(), &bundle.json).map_err(OciError::io("write", &container.config()))?;
    container.save(&making.record)?;
    let cgroup = making.cgroup.insert(host.create(&path, &resources)?);
    let plan = bundle.plan(&host, cgroup)?;
    let mut prepared = prepare(&bundle, &plan, cgroup, container, &making.record)?;
    tell(prepared.notes(), log);
    bundle::find_command(&plan.process, prepared.pid())?;
    let mut master = prepared.take_console();
    if let Some(console) = &console
        && let Some(master) = master.take()
    {
        console.send(master.as_fd())?;
    }
    let pid = prepared.pid();
    making.record.process = Some(ProcessId::of(pid).map_err(OciError::system("look at the new process"))?);
    making.record.phase = Phase::Created;
    container.save(&making.record)?;
    write_pid(options.pid_file.as_deref(), pid)?;
    std::mem::forget(making);
    Ok(Created { pidfd: prepared.into_running().pidfd, console: master })
}

fn refuse(options: &Create) -> Result<(), OciError> {
    if options.no_pivot {
        return Err(refused("--no-pivot", "a container's root is always its own by pivot_root"));
    }
    if options.no_new_keyring {
        return Err(refused("--no-new-keyring", "a container never has the keys of its maker"));
    }
    if options.preserve_fds > 0 {
        return Err(refused("--preserve-fds", "a container has no descriptors but its streams"));
    }
    Ok(())
}

fn console(options: &Create, terminal: bool, detached: bool) -> Result<Option<ConsoleSocket>, OciError> {
    match (&options.console_socket, terminal) {
        (Some(path), true) => ConsoleSocket::connect(path).map(Some),
        (None, true) if detached => {
            Err(OciError::invalid("process.terminal", "a terminal needs --console-socket here"))
        }
        (Some(_), false) => Err(OciError::invalid("--console-socket", "the process has no terminal")),
        (None, _) => Ok(None),
    }
}

fn record(bundle: &Bundle, id: &str) -> Record {
    let annotations = bundle.spec.annotations().clone().unwrap_or_default();
    let created = Stamper::default().text(berth_sys::clock::now()).to_vec();
    Record {
        version: VERSION,
        id: id.to_owned(),
        oci_version: bundle.spec.version().clone(),
        bundle: bundle.dir.clone(),
        rootfs: bundle.rootfs(),
        created: String::from_utf8_lossy(&created).into_owned(),
        phase: Phase::Creating,
        process: None,
        cgroups: Vec::new(),
        command: bundle.command(),
        annotations: annotations.into_iter().collect(),
        hooks: bundle.hooks.later.clone(),
    }
}

/// Makes the process, and has the hooks look at it on the way.
fn prepare(
    bundle: &Bundle,
    plan: &plan::Plan,
    cgroup: &Cgroup,
    container: &Container,
    record: &Record,
) -> Result<Prepared, OciError> {
    let door = container.make_door()?;
    let stdio = if bundle.terminal() { Stdio::Terminal } else { stdio::own()? };
    let hooks = &bundle.hooks;
    let user = bundle::has_user_namespace(&bundle.spec);
    let mut failed = None;
    let mut visitor = |pid: i32| {
        let state = record.state(Status::Creating, pid);
        let run = hooks::run_here("prestart", &hooks.prestart, &state)
            .and_then(|()| hooks::run_here("createRuntime", &hooks.create_runtime, &state))
            .and_then(|()| {
                hooks::run_beside("createContainer", &hooks.create_container, &state, (pid, user))
            });
        run.map_err(|error| {
            failed = Some(error);
            RunError::Died { before: "its hooks had succeeded" }
        })
    };
    let any = [&hooks.prestart, &hooks.create_runtime, &hooks.create_container];
    let visited = any.into_iter().any(|list| !list.is_empty());
    let company =
        Company { door: Some(door.as_fd()), visitor: if visited { Some(&mut visitor) } else { None } };
    let join = cgroup.join()?;
    let prepared = run::create_in_company(plan, &Given::default(), stdio, &join, company);
    match (prepared, failed) {
        (Ok(prepared), _) => Ok(prepared),
        (Err(_), Some(hook)) => Err(hook),
        (Err(error), None) => Err(error.because_of(cgroup).into()),
    }
}

/// A container that is being made: removed with everything of it unless it is forgotten.
struct Making<'a> {
    locked: &'a Locked,
    cgroup: Option<Cgroup>,
    record: Record,
    log: &'a Log,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        // The error that led here is the one to report; others are told beside it.
        let tell = |done: Result<(), OciError>| {
            if let Err(error) = done {
                self.log.warn(&berth_types::error::chain(&error));
            }
        };
        if let Some(cgroup) = &self.cgroup {
            tell(
                cgroup
                    .kill_all(Instant::now() + KILL_LIMIT)
                    .and_then(|()| cgroup.remove())
                    .map_err(Into::into),
            );
            let state = self.record.state(Status::Stopped, 0);
            tell(hooks::run_here("poststop", &self.record.hooks.poststop, &state));
        }
        tell(self.locked.container.remove());
    }
}
