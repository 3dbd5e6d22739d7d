//! The parent's side of `create`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use berth_sys::process::{self, Child};
use berth_sys::{mount, namespace, rlimit, user};
use rustix::fs::{Mode, OFlags};
use rustix::mount::OpenTreeFlags;

use super::child::{self, Entry, Setup, Work};
use super::gate::{self, Heard};
use super::op::{Op, c_string, propagation, step};
use super::process::Process;
use super::report::{self, Names};
use super::{Given, Join, Note, Prepared, RunError, Running, Stdio};
use crate::plan::{ClockOffsets, IdMap, Namespaces, Plan, ProcessPlan, RootSource, Space};

/// The namespaces of the new process.
#[derive(Debug, Default)]
struct Spaces {
    /// `CLONE_NEW*` for clone3.
    new: u64,
    /// Those opened by path, and the path.
    opened: Vec<(OwnedFd, u64, String)>,
    /// Which are given, by kind.
    given: Vec<u64>,
}

impl Spaces {
    fn of(namespaces: &Namespaces) -> Result<Self, RunError> {
        let mut spaces = Spaces { new: namespace::MOUNT, ..Spaces::default() };
        for (space, kind) in Self::kinds(namespaces) {
            match space {
                Space::Host => {}
                // Made by the child after it has joined its cgroup.
                Space::New if kind == namespace::CGROUP => {}
                Space::New => spaces.new |= kind,
                Space::Given => spaces.given.push(kind),
                Space::Path(path) => {
                    let shown = String::from_utf8_lossy(path);
                    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                    let c_path = c_string(path, &shown)?;
                    let fd = rustix::fs::open(c_path.as_c_str(), flags, Mode::empty())
                        .map_err(step(format!("open the {} namespace {shown}", kind_name(kind))))?;
                    spaces.opened.push((fd, kind, shown.into_owned()));
                }
            }
        }
        Ok(spaces)
    }

    /// In the order in which they are entered: the user namespace gives the right to the others.
    fn kinds(n: &Namespaces) -> [(&Space, u64); 6] {
        [
            (&n.user, namespace::USER),
            (&n.pid, namespace::PID),
            (&n.net, namespace::NET),
            (&n.ipc, namespace::IPC),
            (&n.uts, namespace::UTS),
            (&n.cgroup, namespace::CGROUP),
        ]
    }

    /// What is entered, with the descriptors that were given, and what each is called.
    fn entries<'a>(&'a self, given: &Given<'a>) -> Result<Vec<(Entry<'a>, String)>, RunError> {
        let mut entries = Vec::with_capacity(6);
        for (fd, kind, path) in &self.opened {
            let name = format!("the {} namespace {path}", kind_name(*kind));
            entries.push((Entry { fd: fd.as_fd(), kinds: *kind }, name));
        }
        for kind in &self.given {
            let name = kind_name(*kind);
            let fd = given_space(given, *kind);
            let fd = fd.ok_or_else(|| RunError::Plan { what: format!("no {name} namespace was given") })?;
            entries.push((Entry { fd, kinds: *kind }, format!("the given {name} namespace")));
        }
        entries.sort_by_key(|(e, _)| e.kinds != namespace::USER);
        Ok(entries)
    }
}

fn kind_name(kind: u64) -> &'static str {
    match kind {
        namespace::USER => "user",
        namespace::PID => "PID",
        namespace::NET => "network",
        namespace::IPC => "IPC",
        namespace::UTS => "UTS",
        _ => "cgroup",
    }
}

fn given_space<'a>(given: &Given<'a>, kind: u64) -> Option<BorrowedFd<'a>> {
    match kind {
        namespace::USER => given.user,
        namespace::PID => given.pid,
        namespace::NET => given.net,
        namespace::IPC => given.ipc,
        namespace::UTS => given.uts,
        _ => given.cgroup,
    }
}

/// See [`super::create`].
pub(super) fn create(
    plan: &Plan,
    given: &Given<'_>,
    stdio: &Stdio,
    join: &Join,
) -> Result<Prepared, RunError> {
    let mut notes = Vec::new();
    let process = Process::new(&plan.process, &mut notes)?;
    let has_user = plan.namespaces.user != Space::Host;
    // The right to share is one over the namespace of both mounts.
    let later = !has_user && can_share_later();
    let op = |step| Op::new(step, &given.mounts, later);
    let ops = plan.steps.iter().map(op).collect::<Result<Vec<_>, _>>()?;
    let own_root = root(plan)?;
    let root = match &own_root {
        Some(root) => root.as_fd(),
        None => given.root.ok_or_else(|| RunError::Plan { what: "no root mount was given".into() })?,
    };
    let spaces = Spaces::of(&plan.namespaces)?;
    let mut entries = spaces.entries(given)?;
    let pid_space = take_pid_space(&mut entries);
    let (entries, entered): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
    let (ours, theirs) = gate::pair().map_err(step("make a socket pair"))?;
    let new_user = spaces.new & namespace::USER != 0;
    // Namespaces belong to the user namespace in which they are made, and what is in them (the root of
    // a mqueue) to its root: the others are made when the process is that.
    let early = if has_user { namespace::USER | namespace::PID } else { u64::MAX };
    let sibling = has_user && !new_user && spaces.new & namespace::PID != 0;
    let (mut at_clone, late) = (spaces.new & early, spaces.new & !early);
    if sibling {
        at_clone &= !namespace::PID;
    }
    let clocks = plan.namespaces.time.map(|offsets| clocks_text(&offsets));
    let mut work = Work {
        gate: theirs.as_fd(),
        close: Vec::new(),
        tasks: join.tasks.iter().map(AsFd::as_fd).collect(),
        become_root: has_user,
        enter: entries,
        stdio: stdio.fds(),
        process: &process,
    };
    let setup = Setup {
        root,
        ops: &ops,
        sibling,
        unshare: late,
        cgroup_namespace: plan.namespaces.cgroup == Space::New,
        time: clocks.as_deref(),
        readonly: plan.root.readonly,
        propagation: propagation(plan.root.propagation),
        wait_for_maps: new_user,
    };
    let sources = ops.iter().flat_map(Op::fds).flatten().chain([root]).map(|fd| fd.as_raw_fd());
    work.close = child::gaps(child::needed(&work).chain(sources));
    if new_user {
        give_streams(plan, work.stdio);
    }
    let group = join.v2_dir.as_ref().map(AsFd::as_fd);
    let child = clone_child(at_clone, pid_space, group, || child::create(&work, &setup))?;
    drop(work);
    drop(theirs);
    let names = Names { plan: Some(plan), entered, process: &plan.process };
    let mut new = Newborn { child: Some(child), gate: ours };
    new.finish(plan, &process, &names, notes, new_user)
}

/// In a new user namespace nobody has rights over streams that were made outside.
fn give_streams(plan: &Plan, stdio: Option<[Option<BorrowedFd<'_>>; 3]>) {
    let uid = plan.process.identity.uid;
    let outside = plan.uid_map.iter().find_map(|map| {
        let offset = uid.checked_sub(map.inside).filter(|offset| *offset < map.count)?;
        map.outside.checked_add(offset)
    });
    if let Some(uid) = outside {
        stdio.into_iter().flatten().flatten().for_each(|fd| super::process::give(fd, uid));
    }
}

/// Whether a mount can join a peer group (Linux 5.15, MOVE_MOUNT_SET_GROUP).
fn can_share_later() -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(15))
}

/// The PID namespace is one of children: the parent enters it around the clone.
fn take_pid_space<'a>(entries: &mut Vec<(Entry<'a>, String)>) -> Option<BorrowedFd<'a>> {
    let at = entries.iter().position(|(e, _)| e.kinds == namespace::PID)?;
    Some(entries.remove(at).0.fd)
}

/// Clones in the PID namespace `pid_space`, or the caller's, into the cgroup v2 directory `cgroup`.
pub(super) fn clone_child(
    new: u64,
    pid_space: Option<BorrowedFd<'_>>,
    cgroup: Option<BorrowedFd<'_>>,
    run: impl FnOnce() -> i32,
) -> Result<Child, RunError> {
    let Some(space) = pid_space else {
        return process::fork(new, cgroup, run).map_err(step("clone a process"));
    };
    let own = rustix::fs::open(c"/proc/thread-self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(step("open the own PID namespace"))?;
    namespace::enter(space, namespace::PID).map_err(step("enter the PID namespace"))?;
    let child = process::fork(new, cgroup, run).map_err(step("clone a process"));
    namespace::enter(own.as_fd(), namespace::PID).map_err(step("leave the PID namespace"))?;
    child
}

/// The root as a mount of its own, if the plan has it as a path.
fn root(plan: &Plan) -> Result<Option<OwnedFd>, RunError> {
    let RootSource::Path(path) = &plan.root.source else {
        return Ok(None);
    };
    let shown = String::from_utf8_lossy(path).into_owned();
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let c_path = c_string(path, &shown)?;
    let root = rustix::mount::open_tree(rustix::fs::CWD, c_path.as_c_str(), flags)
        .map_err(step(format!("open the root file system {shown}")))?;
    let change = mount::Change { propagation: mount::PRIVATE, recursive: true, ..Default::default() };
    mount::change(root.as_fd(), c"", change).map_err(step(format!("make {shown} private")))?;
    Ok(Some(root))
}

/// What the kernel reads in `timens_offsets`.
fn clocks_text(offsets: &ClockOffsets) -> Vec<u8> {
    let mut text = String::new();
    for (clock, (seconds, nanoseconds)) in [("monotonic", offsets.monotonic), ("boottime", offsets.boottime)]
    {
        if (seconds, nanoseconds) != (0, 0) {
            text.push_str(&format!("{clock} {seconds} {nanoseconds}\n"));
        }
    }
    text.into_bytes()
}

/// A child that is killed and reaped unless it is taken over.
#[derive(Debug)]
pub(super) struct Newborn {
    pub(super) child: Option<Child>,
    pub(super) gate: OwnedFd,
}

impl Drop for Newborn {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            process::end(child.pidfd.as_fd(), super::END_LIMIT);
        }
    }
}

impl Newborn {
    fn finish(
        &mut self,
        plan: &Plan,
        process: &Process,
        names: &Names<'_>,
        mut notes: Vec<Note>,
        new_user: bool,
    ) -> Result<Prepared, RunError> {
        let mut pid = self.child.as_ref().map_or(0, |c| c.pid);
        if new_user {
            user::write_maps(pid, &ranges(&plan.uid_map), &ranges(&plan.gid_map))
                .map_err(step("write the maps of the user namespace"))?;
            gate::release(self.gate.as_fd()).map_err(step("release the new process"))?;
        }
        let hear = || gate::hear(self.gate.as_fd()).map_err(step("hear from the new process"));
        let mut heard = hear()?;
        if let Heard::Moved { pid: other, pidfd } = heard {
            heard = hear()?;
            pid = other;
            if let Some(first) = self.child.replace(Child { pid, pidfd }) {
                process::reap(first.pidfd.as_fd());
            }
        }
        let console = match heard {
            Heard::Ready(console) => console,
            Heard::Moved { .. } => return Err(RunError::Died { before: "it was prepared" }),
            Heard::Failed { what, index, errno } => return Err(report::failure(names, &what, index, errno)),
            Heard::Closed => return Err(RunError::Died { before: "it was prepared" }),
            Heard::Silent => return Err(RunError::Slow { seconds: gate::DEADLINE.as_secs() }),
        };
        for (index, (resource, limit)) in (0u32..).zip(&process.rlimits) {
            rlimit::set(pid, *resource, *limit)
                .map_err(|errno| report::failure(names, gate::RLIMIT, index, errno))?;
        }
        if let Some(score) = plan.process.oom_score_adj {
            notes.extend(set_oom_score(pid, score)?);
        }
        let child = self.child.take().ok_or(RunError::Died { before: "it was prepared" })?;
        let gate = rustix::io::fcntl_dupfd_cloexec(&self.gate, 0);
        let running = Running { pid: child.pid, pidfd: child.pidfd, console, notes };
        match gate {
            Ok(gate) => Ok(Prepared { running: Some(running), gate, process: named(&plan.process) }),
            Err(e) => {
                self.child = Some(Child { pid: running.pid, pidfd: running.pidfd });
                Err(step("copy the gate")(e))
            }
        }
    }
}

/// What an error of the start may name: the process without its bulk.
fn named(plan: &ProcessPlan) -> ProcessPlan {
    ProcessPlan {
        args: plan.args.first().cloned().into_iter().collect(),
        env: Vec::new(),
        cwd: plan.cwd.clone(),
        identity: plan.identity.clone(),
        rlimits: plan.rlimits.clone(),
        seccomp: None,
        ..*plan
    }
}

fn ranges(map: &[IdMap]) -> Vec<(u32, u32, u32)> {
    map.iter().map(|m| (m.inside, m.outside, m.count)).collect()
}

/// Sets the score of a child; where it may not be lowered it stays, with a note.
fn set_oom_score(pid: i32, score: i32) -> Result<Option<Note>, RunError> {
    let path = format!("/proc/{pid}/oom_score_adj");
    match std::fs::write(&path, score.to_string()) {
        Ok(()) => Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            let now = std::fs::read_to_string(&path).ok().and_then(|t| t.trim().parse().ok());
            Ok(Some(Note::OomScoreClamped { wanted: score, got: now.unwrap_or(0) }))
        }
        Err(source) => Err(RunError::Step { step: format!("set oom_score_adj to {score}"), source }),
    }
}
