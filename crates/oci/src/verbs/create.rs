//! `create`: a container up to just before its program. It waits at a door, so that nothing of this program stays.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use berth_container::hook::{Place, pid_inside};
use berth_container::plan;
use berth_container::run::{self, Company, Given, Prepared, RunError, Stdio};
use berth_sys::cgroup::{Cgroup, Held, Host};
use berth_sys::signal::SignalFd;
use berth_types::hook::At;
use berth_types::stamp::Stamper;

use super::{delete, refused, seal, tell, write_pid};
use crate::bundle::{self, Bundle};
use crate::cli::Create;
use crate::console::{ConsoleSocket, Wanted};
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
    pub(super) group: Held,
    /// The master of its terminal, if nobody else got it.
    pub(super) console: Option<OwnedFd>,
}

/// The command: whoever called this program is the process' parent from its end on.
pub(super) fn create_and_leave(store: &Store, options: &Create, log: &Log) -> Result<(), OciError> {
    seal(log)?;
    let given = stdio::preserved(options.preserve_fds)?;
    create(store, options, &given, None, log).map(drop)
}

/// Makes the container, whose process gets the descriptors `given`; nothing of it is left when that fails. Without `signals`, which interrupt a hook, nobody stays and its
/// terminal needs a receiver.
pub(super) fn create(
    store: &Store,
    options: &Create,
    given: &[OwnedFd],
    signals: Option<&SignalFd>,
    log: &Log,
) -> Result<Created, OciError> {
    refuse(options)?;
    let bundle = Bundle::read(&options.bundle)?;
    let wanted = Wanted { terminal: bundle.terminal(), alone: signals.is_none() };
    let console = ConsoleSocket::wanted(options.console_socket.as_deref(), wanted, "process.terminal")?;
    let host = Host::detect()?;
    let path = bundle.cgroup_path(&options.id)?;
    let resources = plan::resources(&bundle.spec)?;
    let locked = store.claim(&options.id)?;
    let mut making = Making { locked: &locked, group: None, record: record(&bundle, &options.id), log };
    making.record.cgroups = host.open(&path).dirs();
    let container = &locked.container;
    std::fs::write(container.config(), &bundle.json).map_err(OciError::io("write", &container.config()))?;
    container.save(&making.record)?;
    let cgroup = host.create(&path, &resources)?;
    let held = cgroup.hold().inspect_err(|_| drop(cgroup.remove()));
    let group = making.group.insert(held?);
    making.record.cgroup_numbers = group.numbers();
    container.save(&making.record)?;
    let plan = bundle.plan(&host, &cgroup)?;
    let mut prepared = prepare((&bundle, &plan), group, container, &making.record, (given, signals))?;
    tell(prepared.notes(), log);
    if bundle.hooks.start_container.is_empty() {
        // Those may make it.
        bundle::find_command(&plan.process, prepared.pid())?;
    }
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
    let group = making.group.take().ok_or(OciError::Machine)?;
    std::mem::forget(making);
    Ok(Created { pidfd: prepared.into_running().pidfd, group, console: master })
}

fn refuse(options: &Create) -> Result<(), OciError> {
    if options.no_pivot {
        return Err(refused("--no-pivot", "a container's root is always its own by pivot_root"));
    }
    if options.no_new_keyring {
        return Err(refused("--no-new-keyring", "a container never has the keys of its maker"));
    }
    Ok(())
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
        cgroup_numbers: Vec::new(),
        own_pids: bundle::has_own_pids(&bundle.spec),
        command: bundle.command(),
        annotations: annotations.into_iter().collect(),
        hooks: bundle.later.clone(),
        poststop_ran: false,
    }
}

/// Makes the process, and has the hooks look at it on the way.
fn prepare(
    (bundle, plan): (&Bundle, &plan::Plan),
    group: &Held,
    container: &Container,
    record: &Record,
    (given, signals): (&[OwnedFd], Option<&SignalFd>),
) -> Result<Prepared, OciError> {
    let door = container.make_door()?;
    let stdio = if bundle.terminal() { Stdio::Terminal } else { stdio::own()? };
    let hooks = &bundle.hooks;
    let user = bundle::has_user_namespace(&bundle.spec);
    let mut failed = None;
    let mut visitor = |pid: i32| {
        let state = record.state(Status::Creating, pid);
        let inside = record.state(Status::Creating, pid_inside(pid));
        let beside = Place::Beside { pid, user };
        let steps = [
            (At::Prestart, Place::Here, &state),
            (At::CreateRuntime, Place::Here, &state),
            (At::CreateContainer, beside, &inside),
        ];
        let run = steps
            .into_iter()
            .try_for_each(|(at, place, state)| hooks::run(at, hooks.at(at), place, state, signals));
        run.map_err(|error| {
            failed = Some(error);
            RunError::Died { before: "its hooks had succeeded" }
        })
    };
    let any = [At::Prestart, At::CreateRuntime, At::CreateContainer];
    let visited = any.into_iter().any(|at| !hooks.at(at).is_empty());
    let fds: Vec<_> = given.iter().map(OwnedFd::as_fd).collect();
    let visitor: Option<run::Visitor<'_>> = if visited { Some(&mut visitor) } else { None };
    let company = Company { door: Some(door.as_fd()), visitor, fds: &fds };
    let join = group.with(Cgroup::join)?;
    let mounts = bundle.mounts()?;
    let given = Given { mounts: mounts.iter().map(OwnedFd::as_fd).collect(), ..Given::default() };
    let prepared = run::create_in_company(plan, &given, stdio, &join, company);
    match (prepared, failed) {
        (Ok(prepared), _) => Ok(prepared),
        (Err(_), Some(hook)) => Err(hook),
        (Err(error), None) => Err(group.with(|group| Ok(error.because_of(group)))?.into()),
    }
}

/// A container that is being made: removed with everything of it unless it is forgotten.
struct Making<'a> {
    locked: &'a Locked,
    group: Option<Held>,
    record: Record,
    log: &'a Log,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let done = match &self.group {
            Some(_) => delete::destroy(&self.locked.container, &mut self.record, self.log),
            // Nothing was made, so that no hook is to take anything back.
            None => self.locked.container.remove(),
        };
        if let Err(error) = done {
            // The error that led here is the one to report, this one is told beside it. What is left is known by the record,
            // and can be deleted.
            self.log.warn(&berth_types::error::chain(&error));
        }
    }
}
