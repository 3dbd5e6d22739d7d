//! The parent's side of `create`.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use berth_sys::process;
use berth_sys::{kernel, mount, namespace, user};
use rustix::fs::{Mode, OFlags};
use rustix::mount::OpenTreeFlags;

use super::child::{self, Entry, Setup, Work};
use super::idmap::{Maps, ranges};
use super::last::RunsIn;
use super::new_process::{Expects, MadeBy, Moves, NewProcess};
use super::op::{Op, c_string, propagation, step};
use super::process::{Form, Process};
use super::report::Names;
use super::{Company, Given, Join, Note, Prepared, RunError, Stdio, Visitor, gate, procfs};
use crate::plan::{ClockOffsets, Namespaces, Plan, RootSource, Space};

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
    company: Company<'_>,
) -> Result<Prepared, RunError> {
    let mut notes = Vec::new();
    let has_user = plan.namespaces.user != Space::Host;
    // Sharing needs the right over the namespace of both mounts.
    let later = !has_user && kernel::version() >= SHARE_LATER;
    let mut maps = Maps::new(plan, given);
    let op = |step| Op::new(step, &given.mounts, &mut maps, later);
    let mut ops = plan.steps.iter().map(op).collect::<Result<Vec<_>, _>>()?;
    let own_root = root(plan)?;
    let root = own_root.as_ref().map(AsFd::as_fd).or(given.root);
    let root = root.ok_or_else(|| RunError::Plan { what: "no root mount was given".into() })?;
    let spaces = Spaces::of(&plan.namespaces)?;
    let mut entries = spaces.entries(given)?;
    let pid_space = take_pid_space(&mut entries);
    let (entries, entered): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
    let goes_on = if pid_space.is_some() { RunsIn::SiblingReports } else { RunsIn::Here };
    let stdio = stdio.fds();
    let form = form(goes_on, stdio.is_none(), &company);
    let process = Process::new(&plan.process, form, &mut notes)?;
    give_procfs(&mut ops, pid_space, &entries)?;
    let (ours, theirs) = gate::pair().map_err(step("make a socket pair"))?;
    let base = usable_base(given, &ops);
    let new_namespaces = NewNamespaces::of(spaces.new, has_user, pid_space.is_some(), base.is_some());
    let clocks = plan.namespaces.time.map(|offsets| clocks_text(&offsets));
    let mut work = Work {
        gate: theirs.as_fd(),
        close: Vec::new(),
        tasks: join.tasks.iter().map(AsFd::as_fd).collect(),
        pid: pid_space,
        base: base.filter(|_| new_namespaces.from_base),
        door: company.door,
        become_root: has_user,
        limits_from_outside: new_namespaces.new_user && !new_namespaces.unshare_user,
        enter: entries,
        stdio,
        fds: company.fds,
        process: &process,
    };
    let root_at = root_at(plan, company.visitor.is_some())?;
    let setup = Setup {
        root,
        root_at: &root_at,
        visited: company.visitor.is_some(),
        ops: &ops,
        sibling: new_namespaces.moves == Moves::Early,
        unshare: new_namespaces.late,
        cgroup_namespace: plan.namespaces.cgroup == Space::New,
        time: clocks.as_deref(),
        readonly: plan.root.readonly,
        propagation: propagation(plan.root.propagation),
        unshare_user: new_namespaces.unshare_user,
        wait_for_maps: new_namespaces.new_user,
    };
    let sources = ops.iter().flat_map(Op::fds).flatten().chain([root]).map(|fd| fd.as_raw_fd());
    work.close = child::gaps(child::needed(&work).chain(sources));
    give_streams(&ranges(&plan.uid_map), plan.process.identity.uid, work.stdio);
    let group = join.v2_dir.as_ref().map(AsFd::as_fd);
    let child = process::fork(new_namespaces.at_clone, group, || child::create(&work, &setup))
        .map_err(step("clone a process"))?;
    drop(work);
    drop(theirs);
    let new = NewProcess::new(child, ours);
    follow(new, plan, &process, entered, (&new_namespaces, stdio.is_none(), company.visitor), notes)
}

fn form<'a>(goes_on: RunsIn, terminal: bool, company: &Company<'a>) -> Form<'a> {
    Form { goes_on, terminal, door: company.door.is_some(), file: None, fds: company.fds }
}

/// The parent's part from the clone until the container is prepared.
fn follow(
    mut new: NewProcess,
    plan: &Plan,
    process: &Process,
    entered: Vec<String>,
    (namespaces, terminal, visitor): (&NewNamespaces, bool, Option<Visitor<'_>>),
    notes: Vec<Note>,
) -> Result<Prepared, RunError> {
    let names = Names { plan: Some(plan), entered, process: &plan.process };
    if namespaces.new_user {
        let made_by = if namespaces.unshare_user { MadeBy::Process } else { MadeBy::Clone };
        new.map(plan, process, made_by, &names)?;
    }
    new.hear_out(&Expects { terminal, moves: namespaces.moves, ready: true }, &names, visitor)?;
    new.prepared(plan, notes)
}

/// Files of the host that a step names are not found from the base.
fn usable_base<'a>(given: &Given<'a>, ops: &[Op]) -> Option<BorrowedFd<'a>> {
    given.base.filter(|_| !ops.iter().any(Op::names_host_paths))
}

/// When and by which process the new namespaces are made.
#[derive(Debug)]
struct NewNamespaces {
    at_clone: u64,
    /// Those that the child makes itself.
    late: u64,
    new_user: bool,
    /// The child makes the user namespace too: the right to enter a PID namespace of the host ends with one of one's own.
    unshare_user: bool,
    /// The mount namespace is made of the base, where the child first goes: its right to that ends with a user namespace.
    from_base: bool,
    moves: Moves,
}

impl NewNamespaces {
    fn of(new: u64, has_user: bool, given_pid: bool, base: bool) -> Self {
        let new_user = new & namespace::USER != 0;
        let unshare_user = new_user && given_pid;
        // Namespaces belong to the user namespace in which they are made, and what is in them (the root of
        // a mqueue) to its root: the others are made when the process is that.
        let early = if has_user { namespace::USER | namespace::PID } else { u64::MAX };
        let from_base = base && (!new_user || unshare_user);
        let early = if from_base { early & !namespace::MOUNT } else { early };
        let moves = match (has_user && !new_user && new & namespace::PID != 0, given_pid) {
            (true, _) => Moves::Early,
            (false, true) => Moves::Late,
            (false, false) => Moves::Not,
        };
        let by_others = if moves == Moves::Early { namespace::PID } else { 0 }
            | if unshare_user { namespace::USER } else { 0 };
        Self {
            at_clone: new & early & !by_others,
            late: new & !early,
            new_user,
            unshare_user,
            from_base,
            moves,
        }
    }
}

/// Prepares the procfs of a PID namespace that the child, which mounts it, is not in.
fn give_procfs(ops: &mut [Op], pid: Option<BorrowedFd<'_>>, entries: &[Entry<'_>]) -> Result<(), RunError> {
    if let Some(space) = pid {
        for context in ops.iter_mut().filter_map(Op::procfs) {
            *context = Some(procfs::of(space, entries)?);
        }
    }
    Ok(())
}

/// MOVE_MOUNT_SET_GROUP: a mount can join a peer group.
const SHARE_LATER: kernel::Version = (5, 15);

/// In a user namespace no process has rights over streams that were made outside: they are given to the user here.
pub(super) fn give_streams(map: &[user::Range], uid: u32, stdio: Option<[Option<BorrowedFd<'_>>; 3]>) {
    if let Some(uid) = user::outside(map, uid) {
        stdio.into_iter().flatten().flatten().for_each(|fd| super::process::give(fd, uid));
    }
}

/// The PID namespace is one of children: only the last process is in it.
fn take_pid_space<'a>(entries: &mut Vec<(Entry<'a>, String)>) -> Option<BorrowedFd<'a>> {
    let at = entries.iter().position(|(e, _)| e.kinds == namespace::PID)?;
    Some(entries.remove(at).0.fd)
}

/// Where the new root is attached until it is the root: at its own path for a visitor, who looks for it there.
fn root_at(plan: &Plan, visited: bool) -> Result<CString, RunError> {
    match &plan.root.source {
        RootSource::Path(path) if visited => c_string(path, "the root file system"),
        RootSource::Path(_) | RootSource::Given => Ok(c"/".to_owned()),
    }
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
