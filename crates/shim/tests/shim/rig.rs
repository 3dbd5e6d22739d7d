//! A pod of a test's own: state directory, cgroup, busybox root, a shim, and connections to it.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use berth_container::plan::{Capabilities, Space};
use berth_sys::cgroup::{Cgroup, CgroupPath, Host, Resources};
use berth_sys::mount;
use berth_sys::socket::{Frame, Reader, receive, send};
use berth_sys::spawn::{Child, Executable, Spawn};
use berth_types::shim::{
    Answer, Create, Event, Exec, Exit, Failure, FromShim, PidSpace, Pod, Request, ToShim, decode, encode,
};
use berth_types::{ContainerId, ExecId, SandboxId};

#[path = "rig/freeze.rs"]
pub(crate) mod freeze;
#[path = "rig/plan.rs"]
mod plan;

pub(crate) use plan::process;
use plan::{plan, rootfs};

/// Far longer than anything here takes.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// Whether this machine can run the test; prints a line when not.
pub(crate) fn possible(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: {test}: needs root");
        return false;
    }
    if !Path::new("/bin/busybox").exists() {
        eprintln!("skipped: {test}: needs /bin/busybox (package busybox-static)");
        return false;
    }
    true
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_LIMIT;
    while !so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// One pod.
pub(crate) struct Rig {
    dir: tempfile::TempDir,
    pub(crate) group: Cgroup,
    path: CgroupPath,
    host: Host,
    pub(crate) shim: Child,
    pub(crate) client: Client,
    ids: u32,
    /// How long the last Create took, from its request to its answer.
    pub(crate) creating: Duration,
}

/// What a container is to be.
pub(crate) struct Want<'a> {
    pub(crate) script: &'a str,
    pub(crate) args: Option<&'a [&'a str]>,
    pub(crate) log: Option<PathBuf>,
    pub(crate) stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) tty: bool,
    pub(crate) pid_space: PidSpace,
    pub(crate) resources: Resources,
    pub(crate) own_pid_namespace: bool,
    pub(crate) capabilities: u64,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) plan_version: Option<u8>,
    /// Its plan, in the place of one of the rest.
    pub(crate) plan: Option<Vec<u8>>,
    /// Its cgroup is frozen before it is created.
    pub(crate) frozen: bool,
}

/// A shell script with a log in the state directory.
pub(crate) fn sh(script: &str) -> Want<'_> {
    Want {
        script,
        args: None,
        log: None,
        stdin: false,
        stdin_once: false,
        tty: false,
        pid_space: PidSpace::Plan,
        resources: Resources::default(),
        own_pid_namespace: true,
        capabilities: 0,
        oom_score_adj: None,
        plan_version: None,
        plan: None,
        frozen: false,
    }
}

impl Rig {
    /// A shim whose pod is configured.
    pub(crate) fn new(shared_pid: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("berth-shim-test").tempdir().unwrap();
        rootfs(&dir.path().join("root"));
        std::fs::create_dir(dir.path().join("containers")).unwrap();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = CgroupPath::new(&format!("berth-shim-test-{unique}")).unwrap();
        let host = Host::detect().unwrap();
        let group = host.create(&path, &Resources::default()).unwrap();
        let listener = UnixListener::bind(dir.path().join("shim.sock")).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let base = mount::base_namespace().unwrap();
        let shim = Spawn {
            program: Executable::File(program()),
            argv: &[c"berth-shim", c"test"],
            fds: &[listener.as_fd(), theirs.as_fd(), base.as_fd()],
            env: &[],
            stdio: [None; 3],
            cgroup: None,
            tasks: &[],
            new_pid_namespace: false,
        };
        let shim = shim.spawn().unwrap();
        let mut client = Client::new(ours);
        client.hello();
        let pod = Pod {
            sandbox: SandboxId::from_random([1; 32]),
            state_dir: dir.path().to_str().unwrap().to_owned(),
            namespaces: [false; 3],
            shared_pid,
            cgroup_dirs: dirs(&group),
        };
        client.ask(Request::Pod(pod), vec![]).unwrap();
        Self { dir, group, path, host, shim, client, ids: 0, creating: Duration::ZERO }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn connect(&self) -> Client {
        Client::new(UnixStream::connect(self.file("shim.sock")).unwrap())
    }

    fn unique(&mut self) -> [u8; 32] {
        self.ids += 1;
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&self.ids.to_be_bytes());
        bytes
    }

    /// Creates a container and answers its id, or why not.
    pub(crate) fn create(&mut self, want: Want<'_>) -> Result<ContainerId, Failure> {
        let (id, number) = self.post_create(want);
        let begin = Instant::now();
        let answer = self.client.answer_to(number);
        self.creating = begin.elapsed();
        match answer {
            Ok((Answer::Created { pid }, _)) => assert!(pid > 1),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => {
                self.group_of(&id).remove().unwrap();
                return Err(failure);
            }
        }
        Ok(id)
    }

    /// The cgroup of a container.
    pub(crate) fn group_of(&self, id: &ContainerId) -> Cgroup {
        Cgroup::from_dirs(self.group.dirs().iter().map(|dir| dir.join(id.as_str())).collect())
    }

    /// Puts a process of a container into a frozen group below it in the freezer of cgroup v1, if there is one: the group.
    pub(crate) fn freeze_below(&self, id: &ContainerId, pid: i32) -> Option<PathBuf> {
        let group = self.group_of(id);
        let freezer = group.dirs().into_iter().find(|dir| dir.join("freezer.state").exists())?;
        let below = freezer.join("below");
        std::fs::create_dir(&below).unwrap();
        std::fs::write(below.join("cgroup.procs"), pid.to_string()).unwrap();
        std::fs::write(below.join("freezer.state"), "FROZEN").unwrap();
        until("it is frozen", || {
            std::fs::read_to_string(below.join("freezer.state")).unwrap().trim() == "FROZEN"
        });
        Some(below)
    }

    /// Asks for a container and does not wait: its id and the request's number.
    pub(crate) fn post_create(&mut self, want: Want<'_>) -> (ContainerId, u64) {
        let id = ContainerId::from_random(self.unique());
        let child = self.path.child(id.as_str()).unwrap();
        let group = self.host.create(&child, &want.resources).unwrap();
        if want.frozen {
            freeze::freeze(&group, true);
        }
        let script = ["/bin/sh", "-c", want.script];
        let mut plan = plan(want.args.unwrap_or(&script));
        plan.process.oom_score_adj = want.oom_score_adj;
        let caps = want.capabilities;
        plan.process.capabilities = Capabilities {
            bounding: caps,
            effective: caps,
            permitted: caps,
            inheritable: caps,
            ambient: caps,
        };
        if !want.own_pid_namespace {
            plan.namespaces.pid = Space::Host;
        }
        let mut plan = want.plan.unwrap_or_else(|| plan.encode().unwrap());
        plan[0] = want.plan_version.unwrap_or(plan[0]);
        let create = Create {
            container: id.clone(),
            plan,
            log: Some(want.log.unwrap_or_else(|| self.log_path(&id)).to_str().unwrap().to_owned()),
            stdin: want.stdin,
            stdin_once: want.stdin_once,
            tty: want.tty,
            cgroup_dirs: dirs(&group),
            pid_space: want.pid_space,
        };
        let flags =
            rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE | rustix::mount::OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let root = rustix::mount::open_tree(rustix::fs::CWD, self.file("root"), flags).unwrap();
        // As any copy of a mount is on a host under systemd.
        let shared = mount::Change { propagation: mount::SHARED, ..mount::Change::default() };
        mount::change(root.as_fd(), c"", shared).unwrap();
        (id, self.client.post(Request::Create(create), vec![root]))
    }

    /// Creates and starts.
    pub(crate) fn run(&mut self, want: Want<'_>) -> ContainerId {
        let id = self.create(want).unwrap();
        self.start(&id).unwrap();
        id
    }

    pub(crate) fn start(&mut self, id: &ContainerId) -> Result<(), Failure> {
        self.client.ask(Request::Start { container: id.clone() }, vec![]).map(drop)
    }

    pub(crate) fn signal(&mut self, id: &ContainerId, signal: i32) {
        let request = Request::Signal { container: id.clone(), signal, all: false };
        self.client.ask(request, vec![]).unwrap();
    }

    /// Runs a script to its end.
    pub(crate) fn exit_of(&mut self, id: &ContainerId) -> Exit {
        self.client.exit_of(id)
    }

    pub(crate) fn log_path(&self, id: &ContainerId) -> PathBuf {
        self.file(&format!("{}.log", id.short()))
    }

    /// The log's entries without their times.
    pub(crate) fn log(&self, id: &ContainerId) -> Vec<String> {
        entries(&self.log_path(id))
    }

    /// Starts a further process and answers its id, or why not; with `out` it gets that as output.
    pub(crate) fn exec(
        &mut self,
        container: &ContainerId,
        script: &[&str],
        timeout_ms: u64,
        out: Option<OwnedFd>,
    ) -> Result<(ExecId, Vec<OwnedFd>), Failure> {
        let (id, number) = self.post_any_exec(container, script, timeout_ms, out);
        let (answer, fds) = self.client.answer_to(number)?;
        assert!(matches!(answer, Answer::ExecStarted { pid } if pid > 1));
        Ok((id, fds))
    }

    /// Asks for a further process and does not wait: its id and the request's number.
    pub(crate) fn post_exec(
        &mut self,
        container: &ContainerId,
        script: &[&str],
        out: OwnedFd,
    ) -> (ExecId, u64) {
        self.post_any_exec(container, script, 0, Some(out))
    }

    fn post_any_exec(
        &mut self,
        container: &ContainerId,
        script: &[&str],
        timeout_ms: u64,
        out: Option<OwnedFd>,
    ) -> (ExecId, u64) {
        let id = ExecId::from_random(self.unique());
        let tty = out.is_none();
        let fds = match out {
            Some(out) => {
                let (empty, _) = std::io::pipe().unwrap();
                vec![empty.into(), out.try_clone().unwrap(), out]
            }
            None => vec![],
        };
        let exec = Exec {
            exec: id.clone(),
            container: container.clone(),
            plan: process(script).encode().unwrap(),
            tty,
            timeout_ms,
        };
        (id, self.client.post(Request::Exec(exec), fds))
    }

    /// Processes of the pod.
    pub(crate) fn processes(&self) -> usize {
        self.group.pids().unwrap().len()
    }

    /// Shuts down and looks for anything left.
    pub(crate) fn finish(mut self) {
        self.client.ask(Request::Shutdown, vec![]).unwrap();
        self.wait_for_shim();
        assert_eq!(self.processes(), 0);
        let left = children_of(&self.group);
        assert!(left.is_empty(), "cgroups left: {left:?}");
    }

    pub(crate) fn wait_for_shim(&self) {
        let id = rustix::process::WaitId::PidFd(self.shim.pidfd.as_fd());
        until("the shim ends", || {
            let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG;
            !matches!(rustix::process::waitid(id.clone(), options), Ok(None))
        });
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = rustix::process::pidfd_send_signal(&self.shim.pidfd, rustix::process::Signal::KILL);
        let id = rustix::process::WaitId::PidFd(self.shim.pidfd.as_fd());
        let _ = rustix::process::waitid(id, rustix::process::WaitIdOptions::EXITED);
        drop(self.group.kill_all(Instant::now() + Duration::from_secs(10)));
        drop(self.group.remove());
    }
}

/// One sealed copy for all shims, as a daemon has it.
fn program() -> BorrowedFd<'static> {
    static PROGRAM: OnceLock<OwnedFd> = OnceLock::new();
    // A run against another build (the static one, say) names it here.
    let named = std::env::var_os("BERTH_TEST_SHIM");
    let path = named.map_or_else(|| env!("CARGO_BIN_EXE_berth-shim").into(), PathBuf::from);
    let sealed = || berth_sys::memfd::sealed("berth-shim", &std::fs::read(path).unwrap()).unwrap();
    PROGRAM.get_or_init(sealed).as_fd()
}

fn dirs(group: &Cgroup) -> Vec<String> {
    group.dirs().iter().map(|d| d.to_str().unwrap().to_owned()).collect()
}

fn children_of(group: &Cgroup) -> Vec<PathBuf> {
    let list = |dir: &PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten().collect::<Vec<_>>();
    let dirs = group.dirs();
    let all = dirs.iter().flat_map(list);
    all.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

pub(crate) fn entries(path: &Path) -> Vec<String> {
    let text = String::from_utf8(std::fs::read(path).unwrap()).unwrap();
    // A reader may see a write before it is whole.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

/// A daemon's side of a connection.
pub(crate) struct Client {
    socket: UnixStream,
    reader: Reader,
    number: u64,
    events: VecDeque<Event>,
    answers: HashMap<u64, (Result<Answer, Failure>, Vec<OwnedFd>)>,
    /// The starts that were told: beside the other events, since most tests look at those alone.
    pub(crate) started: Vec<(ContainerId, i64)>,
}

impl Client {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            reader: Reader::new(),
            number: 0,
            events: VecDeque::new(),
            answers: HashMap::new(),
            started: Vec::new(),
        }
    }

    pub(crate) fn hello(&mut self) -> Answer {
        let version = berth_types::shim::VERSION;
        self.ask(Request::Hello { version }, vec![]).unwrap().0
    }

    /// Sends a request; events that come in the meantime are kept.
    pub(crate) fn ask(
        &mut self,
        request: Request,
        fds: Vec<OwnedFd>,
    ) -> Result<(Answer, Vec<OwnedFd>), Failure> {
        let number = self.post(request, fds);
        self.answer_to(number)
    }

    /// The same with a body of the test's own.
    pub(crate) fn ask_raw(
        &mut self,
        number: u64,
        body: Vec<u8>,
        fds: Vec<OwnedFd>,
    ) -> Result<(Answer, Vec<OwnedFd>), Failure> {
        send(&self.socket, Frame { body, fds }, Instant::now() + WAIT_LIMIT).unwrap();
        self.answer_to(number)
    }

    /// The answer to that request; events and other answers that come in the meantime are kept.
    pub(crate) fn answer_to(&mut self, number: u64) -> Result<(Answer, Vec<OwnedFd>), Failure> {
        loop {
            if let Some((outcome, fds)) = self.answers.remove(&number) {
                return outcome.map(|answer| (answer, fds));
            }
            match self.next() {
                (FromShim::Event(event), _) => self.events.push_back(event),
                (FromShim::Answer { number, outcome }, fds) => {
                    drop(self.answers.insert(number, (outcome, fds)))
                }
            }
        }
    }

    /// Sends a request and does not wait.
    pub(crate) fn post(&mut self, request: Request, fds: Vec<OwnedFd>) -> u64 {
        self.number += 1;
        let body = encode(&ToShim { number: self.number, request }).unwrap();
        send(&self.socket, Frame { body, fds }, Instant::now() + WAIT_LIMIT).unwrap();
        self.number
    }

    fn next(&mut self) -> (FromShim, Vec<OwnedFd>) {
        loop {
            let frame =
                receive(&self.socket, &mut self.reader, Instant::now() + WAIT_LIMIT).unwrap().unwrap();
            match decode(&frame.body).unwrap() {
                FromShim::Event(Event::Started { container, at }) => self.started.push((container, at)),
                message @ (FromShim::Answer { .. } | FromShim::Event(_)) => return (message, frame.fds),
            }
        }
    }

    pub(crate) fn event(&mut self) -> Event {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        loop {
            match self.next() {
                (FromShim::Event(event), _) => return event,
                (FromShim::Answer { number, outcome }, fds) => {
                    drop(self.answers.insert(number, (outcome, fds)))
                }
            }
        }
    }

    /// The events up to and with the end of this container; answers that end.
    pub(crate) fn exit_of(&mut self, id: &ContainerId) -> Exit {
        let mut others = VecDeque::new();
        loop {
            match self.event() {
                Event::Exited { container, exit } if container == *id => {
                    self.events.extend(others);
                    return exit;
                }
                other => others.push_back(other),
            }
        }
    }

    /// Whether the shim has closed the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(receive(&self.socket, &mut self.reader, Instant::now() + WAIT_LIMIT), Ok(None) | Err(_))
    }

    pub(crate) fn raw(&self) -> &UnixStream {
        &self.socket
    }
}
