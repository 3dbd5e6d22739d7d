//! The pod's shim: begun with the first container, lost when it does not answer, and ended with the pod.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use berth_shimv2::answer::Started;
use berth_shimv2::events::Events;
use berth_shimv2::launch::{self, Bundle, Input, Launched, Program};
use berth_shimv2::log::Log;
use berth_shimv2::message::task::{self, RuncOptions};
use berth_shimv2::message::{Any, type_url};
use berth_shimv2::shim::Shim as Client;
use berth_sys::cgroup::Cgroup;
use berth_sys::fs::{Durability, write_atomic};
use berth_types::error::chain;
use berth_types::shim::bundle::Task;
use berth_types::shim::{Failure, Reason};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use serde_json::json;

use super::ask::{Patience, ask, wait};
use crate::driver::Cancel;
use crate::outcome::{failure, system};
use crate::runtime::path_of;

/// What keeps the state of this apart from that of others.
const NAMESPACE: &str = "berth";
/// Where it makes its socket, if it is new enough. In the bundle such a shim has a link of its own, `s`.
const SOCKETS: &str = "sockets";
/// The time for an action of its program, of which there are three at most before its first container is made.
const LIMIT: Duration = Duration::from_secs(15);
/// How long it may take to end when it is asked to.
const END_LIMIT: Duration = Duration::from_secs(3);
/// How long one that is killed may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(2);
/// containerd's own, which takes the options of runc.
const OF_RUNC: &str = "containerd-shim-runc-v2";

/// A pod's shim.
#[derive(Debug)]
pub(crate) struct Shim {
    pod: String,
    program: Mutex<Program>,
    /// Its bundle: where it works, with its log and its socket.
    dir: PathBuf,
    /// What the OCI runtime behind it keeps.
    runtime: PathBuf,
    cgroup: Cgroup,
    stage: Mutex<Stage>,
    /// Its events are taken and not needed: ends come from Wait.
    _events: Events,
    /// The directory: its path is too long for the address of a socket.
    _open: OwnedFd,
}

/// How far it is.
#[derive(Debug)]
enum Stage {
    None,
    /// It is being started for a container; others wait for what this tells.
    Begins(Cancel),
    Runs(Live),
}

/// One that runs.
#[derive(Debug)]
struct Live {
    client: Client,
    started: Started,
    /// Its process, which is a child of this one.
    process: OwnedFd,
    /// Since when it is to end.
    ending: Option<Instant>,
    _log: Log,
}

impl Shim {
    /// For a pod with this id and state directory, by the program of this plan.
    pub(crate) fn new(task: &Task, pod: String, state_dir: &Path) -> std::io::Result<Self> {
        let runtime = state_dir.join("runtime");
        let dir = runtime.join(&pod);
        std::fs::create_dir_all(dir.join(SOCKETS))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::open(&dir, flags, Mode::empty())?;
        let short = PathBuf::from(path_of(&open));
        let events = short.join("events");
        let service = Events::listen(&events, |_| ())?;
        let program = Program {
            path: PathBuf::from(&task.container.runtime),
            namespace: NAMESPACE.to_owned(),
            events,
            sockets: short.join(SOCKETS),
            // Of those that have no other way of telling events, nothing is heard.
            publisher: "/bin/false".into(),
            debug: false,
            core_scheduling: false,
            input: Input::Unknown,
            limit: LIMIT,
        };
        let cgroup = Cgroup::from_dirs(task.cgroup_dirs.iter().map(Into::into).collect());
        let (program, stage) = (Mutex::new(program), Mutex::new(Stage::None));
        Ok(Self { pod, program, dir, runtime, cgroup, stage, _events: service, _open: open })
    }

    /// Where it runs.
    pub(crate) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    pub(super) fn program(&self) -> Program {
        self.program.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a runtime behind it is told: that its state is the pod's.
    pub(super) fn options(&self) -> Option<Any> {
        let of_runc = self.program().path.file_name().is_some_and(|name| name == OF_RUNC);
        let root = self.runtime.join("runc").to_string_lossy().into_owned();
        let options = RuncOptions { root, ..RuncOptions::default() };
        of_runc.then(|| Any::of(type_url::RUNC_OPTIONS, &options))
    }

    /// A connection to it; it is started, if it does not run, or the end of another's start is waited for.
    pub(super) fn connected(&self, patience: Patience<'_>) -> Result<Client, Failure> {
        let begins = Cancel::new().map_err(|e| system("wait for the shim", &e))?;
        while let Some(other) = self.turn(&begins)? {
            match other {
                Turn::Connected(client) => return Ok(client),
                Turn::After(other) if wait(other.0.as_fd(), patience.cancels, patience.until) => {}
                Turn::After(_) => {
                    return Err(failure(
                        Reason::State,
                        "the pod's shim is still being started for another container",
                    ));
                }
            }
        }
        let started = self.start(patience);
        let mut stage = self.stage();
        let client = started.map(|live| {
            let client = live.client.clone();
            *stage = Stage::Runs(live);
            client
        });
        if client.is_err() {
            *stage = Stage::None;
        }
        drop(stage);
        begins.set();
        client
    }

    /// What is to be done for a connection: nothing, a wait for another who starts it, or to start it, which others wait for by `begins`
    /// from now on.
    fn turn(&self, begins: &Cancel) -> Result<Option<Turn>, Failure> {
        let mut stage = self.stage();
        match &*stage {
            Stage::Begins(other) => return Ok(Some(Turn::After(other.clone()))),
            Stage::Runs(Live { ending: Some(_), .. }) => {
                return Err(failure(Reason::State, "the pod's shim is being ended"));
            }
            Stage::Runs(Live { client, .. }) if client.lost().is_none() => {
                return Ok(Some(Turn::Connected(client.clone())));
            }
            Stage::Runs(_) | Stage::None => {}
        }
        if let Stage::Runs(lost) = std::mem::replace(&mut *stage, Stage::Begins(begins.clone())) {
            lost.clear();
        }
        Ok(None)
    }

    fn start(&self, patience: Patience<'_>) -> Result<Live, Failure> {
        let config = json!({
            "ociVersion": "1.0.2",
            "annotations": {
                "io.kubernetes.cri.container-type": "sandbox",
                "io.kubernetes.cri.sandbox-id": self.pod,
            },
        });
        let file = self.dir.join("config.json");
        write_atomic(&file, config.to_string().as_bytes(), Durability::Process)
            .map_err(|e| system(&format!("write {}", file.display()), &e))?;
        // Of one before.
        drop(std::fs::remove_file(self.dir.join("address")));
        let log = Log::open(&self.dir, |_| ()).map_err(|e| system("read the shim's log", &e))?;
        let bundle = Bundle { dir: &self.dir, id: &self.pod };
        // It may be run twice.
        let program = Program { limit: LIMIT.min(patience.left() / 2), ..self.program() };
        let launched = program.start(bundle, self.options().as_ref(), &log, patience.cancels);
        let launched: Launched = launched.map_err(|e| failure(Reason::Refused, chain(&e)))?;
        self.program.lock().unwrap_or_else(PoisonError::into_inner).input = launched.input;
        // One that cannot be used may be in no group that ends with the pod.
        let process = self.process(&launched.shim, patience).inspect_err(|_| launched.end())?;
        let Launched { started, shim, .. } = launched;
        Ok(Live { client: shim, started, process, ending: None, _log: log })
    }

    /// The shim's process, which must have become a child of this one. From here on it is in its cgroup, with which it ends.
    fn process(&self, shim: &Client, patience: Patience<'_>) -> Result<OwnedFd, Failure> {
        let wrong =
            |what: String| failure(Reason::Refused, format!("{}: {what}", self.program().path.display()));
        let connect = task::Connect { id: self.pod.clone() };
        let until = patience.until.min(Instant::now() + LIMIT);
        let asked = ask(shim, &connect, Patience { until, grace: Duration::ZERO, ..patience });
        let answer = asked.map_err(|e| wrong(chain(&e.error())))?;
        let number = answer.shim_pid;
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| wrong(format!("{number} is no number of a process")))?;
        let process =
            pidfd_open(pid, PidfdFlags::empty()).map_err(|e| wrong(format!("its process {number}: {e}")))?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::PidFd(process.as_fd()), options).is_err() {
            return Err(wrong(format!("its process {number} is not one that it started")));
        }
        self.cgroup
            .take(pid.as_raw_nonzero().get())
            .map_err(|e| system("move the shim to its cgroup", &e))?;
        Ok(process)
    }

    fn shutdown(&self) -> task::Shutdown {
        task::Shutdown { id: self.pod.clone(), now: true }
    }

    /// The process of the shim of this connection.
    pub(super) fn process_of(&self, client: &Client) -> Option<OwnedFd> {
        self.stage().of(client)?.process.try_clone().ok()
    }

    /// Gives the shim of this connection up: it is killed, and every call of it fails.
    pub(super) fn lose(&self, client: &Client) {
        let stage = self.stage();
        if let Some(live) = stage.of(client) {
            live.kill();
            // Behind it what it was the parent of is ours, and tells its own end; what works for it would make a container that nobody
            // knows.
            ended_within(live.process.as_fd(), KILL_LIMIT);
            drop(self.cgroup.kill_all(Instant::now() + KILL_LIMIT));
        }
        client.end();
    }

    /// Ends it, a step each time it is called, and never waits.
    pub(crate) fn end(&self, now: Instant) -> Result<(), String> {
        let mut stage = match self.stage.try_lock() {
            Ok(stage) => stage,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err("the foreign shim is being given up".to_owned()),
        };
        let shim = match &mut *stage {
            Stage::None => return Ok(()),
            Stage::Begins(_) => return Err("the foreign shim is being started".to_owned()),
            Stage::Runs(shim) => shim,
        };
        if shim.has_ended() {
            if let Stage::Runs(ended) = std::mem::replace(&mut *stage, Stage::None) {
                ended.clear();
            }
            return Ok(());
        }
        let since = *shim.ending.get_or_insert_with(|| {
            drop(shim.client.begin(&self.shutdown(), Some(END_LIMIT), |_| ()));
            now
        });
        if now >= since + END_LIMIT {
            shim.kill();
        }
        Err("the foreign shim has not ended".to_owned())
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be done for a connection.
enum Turn {
    Connected(Client),
    /// To wait until this is readable, and look again.
    After(Cancel),
}

impl Stage {
    /// The shim of this connection.
    fn of(&self, client: &Client) -> Option<&Live> {
        match self {
            Self::Runs(live) if live.client.is_same(client) => Some(live),
            _ => None,
        }
    }
}

impl Live {
    fn kill(&self) {
        // One that has ended cannot be signalled.
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }

    fn has_ended(&self) -> bool {
        ended_within(self.process.as_fd(), Duration::ZERO)
    }

    /// Takes away what it has left.
    fn clear(self) {
        self.client.end();
        self.kill();
        launch::clear(&self.started);
    }
}

/// Whether a process ends within this time.
pub(super) fn ended_within(process: BorrowedFd<'_>, limit: Duration) -> bool {
    let limit = Timespec::try_from(limit).ok();
    let mut polled = [PollFd::from_borrowed_fd(process, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut polled, limit.as_ref())).is_ok_and(|ready| ready > 0)
}
