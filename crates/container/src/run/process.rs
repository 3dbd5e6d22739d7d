//! From a prepared environment to what the program is executed with: limits, identity, rights.
//!
//! [`Process::new`] runs in the parent and may fail with a message; the rest runs in the child and
//! neither allocates nor locks. The filter and the execve are in [`super::last`].

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use berth_sys::process::{self, ExecContext};
use berth_sys::{apparmor, caps, rlimit, sched};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::filter::{self, Case};
use super::gate::{Fail, NONE, PROFILE, RLIMIT};
use super::last::{self, Filter, Last, Limits, RunsIn};
use super::op::{c_string, step};
use super::{Note, RunError};
use crate::plan::{Capabilities, Policy, ProcessPlan, Scheduling, WindowSize};

/// Where a command without a slash is looked for when the environment has no `PATH`.
pub const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const UNLIMITED: u64 = u64::MAX;

/// A process, prepared.
#[derive(Debug)]
pub(super) struct Process {
    /// Command, arguments, environment and filter.
    context: ExecContext,
    pub(super) cwd: CString,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    umask: Mode,
    capabilities: Capabilities,
    no_new_privileges: bool,
    filter: Option<Filter>,
    goes_on: RunsIn,
    terminal: bool,
    door: bool,
    /// Where the child keeps its end of the gate: after what its program is given.
    pub(super) gate: i32,
    personality: Option<u32>,
    pub(super) window: Option<WindowSize>,
    /// Numbers and limits.
    pub(super) rlimits: Limits,
    /// What the child writes as its out-of-memory score.
    pub(super) oom_score: Option<Vec<u8>>,
    /// What it writes to have another AppArmor profile after its execve.
    profile: Option<Vec<u8>>,
    scheduling: Option<Box<Scheduling>>,
}

/// How a process comes to be, beside its plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form<'a> {
    pub(super) goes_on: RunsIn,
    pub(super) terminal: bool,
    /// Whether it waits at a door for its start.
    pub(super) door: bool,
    /// What is executed instead of what the first argument names.
    pub(super) file: Option<&'a [u8]>,
    /// What the program is given beside its streams.
    pub(super) fds: &'a [BorrowedFd<'a>],
}

/// Names the step that failed.
pub(super) fn at(what: &'static str) -> impl Fn(Errno) -> Fail {
    move |errno| Fail { what, index: NONE, errno }
}

impl Process {
    /// Prepares a process. What this machine does not allow is left out and noted.
    pub(super) fn new(
        plan: &ProcessPlan,
        Form { goes_on, terminal, door, file, fds }: Form<'_>,
        notes: &mut Vec<Note>,
    ) -> Result<Self, RunError> {
        let strings = |list: &[Vec<u8>], what: &str| {
            list.iter().map(|s| c_string(s, what)).collect::<Result<Vec<_>, _>>()
        };
        let ids = &plan.identity;
        let (args, env) =
            (strings(&plan.args, "an argument")?, strings(&plan.env, "an environment variable")?);
        let instructions = plan.seccomp.as_ref().map_or(&[][..], |s| &s.filter);
        let files = match file {
            Some(file) => vec![c_string(file, "the command")?],
            None => candidates(plan)?,
        };
        let context = ExecContext::new(&files, &args, &env, instructions);
        let no_new_privileges = plan.no_new_privileges;
        let case = Case { sibling: goes_on != RunsIn::Here, terminal, door, no_new_privileges };
        let filter = plan.seccomp.as_ref().map(|seccomp| Filter {
            when: filter::when(&seccomp.filter, case),
            flags: seccomp.flags,
            no_new_privileges,
        });
        let gate = i32::try_from(fds.len()).ok().filter(|_| fds.len() <= super::MAX_FDS);
        let gate = gate.ok_or_else(|| RunError::Plan { what: format!("{} descriptors", fds.len()) })?;
        let too_many = || RunError::Plan { what: format!("{} resource limits", plan.rlimits.len()) };
        Ok(Self {
            context: context.map_err(step("pack arguments and environment"))?,
            cwd: c_string(if plan.cwd.is_empty() { b"/" } else { &plan.cwd }, "the working directory")?,
            uid: Uid::from_raw(ids.uid),
            gid: Gid::from_raw(ids.gid),
            groups: ids.groups.iter().map(|g| Gid::from_raw(*g)).collect(),
            umask: Mode::from_raw_mode(plan.umask.unwrap_or(0o022) & 0o777),
            capabilities: possible(plan, notes)?,
            no_new_privileges: plan.no_new_privileges,
            filter,
            goes_on,
            terminal,
            door,
            gate: last::FIRST + gate,
            personality: plan.personality,
            window: plan.window,
            rlimits: Limits::of(&limits(plan, notes)?).ok_or_else(too_many)?,
            oom_score: plan.oom_score_adj.map(|score| score.to_string().into_bytes()),
            profile: profile(plan)?,
            scheduling: plan.scheduling.clone(),
        })
    }

    /// Child: asks for its AppArmor profile, which the execve gives, of whichever process: those that it makes go on with the
    /// request. Done while `/proc` is the host's, and before no_new_privs and the filter.
    pub(super) fn take_profile(&self) -> Result<(), Fail> {
        self.profile.as_deref().map_or(Ok(()), apparmor::set_on_exec).map_err(at(PROFILE))
    }

    /// Child: is scheduled as the plan says, with all that it makes. Done in its cgroup, which says what may be, and with its maker's
    /// rights.
    pub(super) fn schedule(&self) -> Result<(), Fail> {
        let Some(Scheduling { policy, io_priority, memory }) = self.scheduling.as_deref() else {
            return Ok(());
        };
        if let Some(memory) = memory {
            sched::set_memory_policy(memory.mode, &memory.nodes).map_err(at("set the memory policy"))?;
        }
        if let Some(priority) = io_priority {
            sched::set_io_priority(*priority).map_err(at("set the I/O priority"))?;
        }
        let Some(Policy { number, flags, nice, priority, runtime, deadline, period }) = *policy else {
            return Ok(());
        };
        let policy = sched::Policy { number, flags, nice, priority, runtime, deadline, period };
        sched::set_policy(&policy).map_err(at("set the scheduling policy"))
    }

    /// Raises what has to be raised, which takes rights that the child soon has no more; of the process `pid`, or its
    /// own with 0. What is lowered waits until the last: a low limit would be in the way.
    pub(super) fn raise_limits(&self, pid: i32) -> Result<(), Fail> {
        for (index, (resource, limit)) in (0u32..).zip(self.rlimits.list()) {
            let fail = |errno| Fail { what: RLIMIT, index, errno };
            let own = rlimit::get(pid, *resource).map_err(fail)?;
            if limit.hard > own.hard {
                rlimit::set(pid, *resource, rlimit::Limit { hard: limit.hard, ..own }).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// Child: the limit of processes as it is while the user has one more, the one that makes a sibling.
    fn limit_processes(&self) -> Result<(), Fail> {
        let Some((index, (_, wanted))) =
            (0u32..).zip(self.rlimits.list()).find(|(_, (r, _))| *r == rlimit::NPROC)
        else {
            return Ok(());
        };
        let fail = |errno| Fail { what: RLIMIT, index, errno };
        let hard = rlimit::get(0, rlimit::NPROC).map_err(fail)?.hard;
        let more = u64::from(self.goes_on != RunsIn::Here);
        let soft = wanted.soft.saturating_add(more).min(hard);
        rlimit::set(0, rlimit::NPROC, rlimit::Limit { soft, hard }).map_err(fail)
    }

    /// Child: goes to the working directory. Some file servers let only the user in: then false, and
    /// it is tried again as that user.
    pub(super) fn enter_cwd(&self) -> Result<bool, Fail> {
        match self.change_directory() {
            Ok(()) => Ok(true),
            Err(Errno::ACCESS | Errno::PERM) => Ok(false),
            Err(e) => Err(at("enter the working directory")(e)),
        }
    }

    fn change_directory(&self) -> Result<(), Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // A magic link (/proc/self/fd/N) would lead to what the descriptor refers to, outside or in.
        let dir = rustix::fs::openat2(
            rustix::fs::CWD,
            self.cwd.as_c_str(),
            flags,
            Mode::empty(),
            ResolveFlags::NO_MAGICLINKS,
        )?;
        rustix::process::fchdir(&dir)?;
        if process::cwd_is_inside()? { Ok(()) } else { Err(Errno::XDEV) }
    }

    /// Child: takes on identity and rights.
    pub(super) fn take_on(&self, stdio: [BorrowedFd<'_>; 3], in_cwd: bool) -> Result<(), Fail> {
        if let Some(domain) = self.personality {
            process::set_personality(domain).map_err(at("set the personality"))?;
        }
        let caps = self.capabilities;
        caps::bound(caps.bounding).map_err(at("set the bounding capabilities"))?;
        rustix::thread::set_keep_capabilities(true).map_err(at("keep capabilities"))?;
        self.own(stdio);
        self.limit_processes()?;
        rustix::thread::set_thread_groups(&self.groups).map_err(at("set additional groups"))?;
        let gid = Some(self.gid);
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(at("set the group id"))?;
        let uid = Some(self.uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(at("set the user id"))?;
        if !in_cwd {
            self.change_directory().map_err(at("enter the working directory"))?;
        }
        // Without no_new_privs a filter needs CAP_SYS_ADMIN. It is kept until that is loaded.
        let filter_needs =
            if self.filter.is_some_and(|f| !f.no_new_privileges) { caps::SYS_ADMIN } else { 0 };
        let (effective, permitted) = (caps.effective | filter_needs, caps.permitted | filter_needs);
        caps::set(effective, permitted, caps.inheritable).map_err(at("set capabilities"))?;
        caps::set_ambient(caps.ambient).map_err(at("set ambient capabilities"))?;
        rustix::process::umask(self.umask);
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true).map_err(at("set no_new_privs"))?;
        }
        // Another user made it as dumpable as fs.suid_dumpable says.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .map_err(at("become non-dumpable"))
    }

    /// Child: goes on without its maker's memory to the end; see [`last::last`].
    pub(super) fn go_on(&self) -> ! {
        let last = Last {
            goes_on: self.goes_on,
            terminal: self.terminal,
            door: self.door,
            gate: self.gate,
            filter: self.filter,
            capabilities: self.capabilities,
            limits: self.rlimits,
        };
        self.context.alone(last, last::last)
    }

    /// Gives pipes and the terminal to the user.
    fn own(&self, stdio: [BorrowedFd<'_>; 3]) {
        for fd in stdio {
            give(fd, self.uid.as_raw());
        }
    }
}

/// Makes a user the owner of a stream, who could not open `/dev/stdout` otherwise. Where that cannot be (a
/// read-only file, say) the user has what the descriptor gives.
pub(super) fn give(fd: BorrowedFd<'_>, uid: u32) {
    let Ok(stat) = rustix::fs::fstat(fd) else { return };
    let null = stat.st_rdev == rustix::fs::makedev(1, 3);
    if stat.st_uid != uid && !null {
        let _ = rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), None);
    }
}

/// What asks the kernel for the plan's AppArmor profile. Where AppArmor is not in force there are none, and being unconfined
/// needs nothing.
fn profile(plan: &ProcessPlan) -> Result<Option<Vec<u8>>, RunError> {
    match plan.apparmor.as_deref() {
        None => Ok(None),
        Some(name) if apparmor::in_force() => Ok(Some(apparmor::on_exec(name))),
        Some("unconfined") => Ok(None),
        Some(name) => {
            let what = format!("AppArmor profile {name:?}: AppArmor is not in force on this host");
            Err(RunError::Plan { what })
        }
    }
}

/// Where the command may be.
fn candidates(plan: &ProcessPlan) -> Result<Vec<CString>, RunError> {
    let Some(command) = plan.args.first() else {
        return Err(RunError::Plan { what: "the process has no arguments".into() });
    };
    if command.contains(&b'/') || command.is_empty() {
        return Ok(vec![c_string(command, "the command")?]);
    }
    let path = plan.env.iter().rev().find_map(|e| e.strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    path.split(|b| *b == b':')
        .filter(|dir| !dir.is_empty())
        .map(|dir| c_string(&[dir, b"/", command].concat(), "the command"))
        .collect()
}

/// The sets without what this process does not have itself. In a user namespace all are available.
fn possible(plan: &ProcessPlan, notes: &mut Vec<Note>) -> Result<Capabilities, RunError> {
    let wanted = plan.capabilities;
    let Capabilities { bounding, effective, permitted, inheritable, ambient } = wanted;
    let any = bounding | effective | permitted | inheritable | ambient;
    if plan.user_namespace || any == 0 {
        return Ok(wanted);
    }
    let have = caps::effective().map_err(step("read capabilities"))?;
    if any & !have != 0 {
        notes.push(Note::CapabilitiesMissing { missing: any & !have });
    }
    Ok(Capabilities {
        bounding: bounding & have,
        effective: effective & have,
        permitted: permitted & have,
        inheritable: inheritable & have,
        ambient: ambient & have,
    })
}

/// The limits, no hard one above what this process may set.
fn limits(plan: &ProcessPlan, notes: &mut Vec<Note>) -> Result<Vec<(u32, rlimit::Limit)>, RunError> {
    if plan.rlimits.is_empty() {
        return Ok(Vec::new());
    }
    let may_raise = caps::effective().map_err(step("read capabilities"))? & caps::SYS_RESOURCE != 0;
    let mut limits = Vec::with_capacity(plan.rlimits.len());
    for wanted in &plan.rlimits {
        let (soft, mut hard) = (wanted.soft, wanted.hard);
        if !may_raise {
            let own = rlimit::get(0, wanted.resource).map_err(step("read a resource limit"))?;
            if own.hard != UNLIMITED && hard > own.hard {
                notes.push(Note::RlimitClamped { resource: wanted.resource, wanted: hard, got: own.hard });
                hard = own.hard;
            }
        }
        limits.push((wanted.resource, rlimit::Limit { soft: soft.min(hard), hard }));
    }
    Ok(limits)
}

#[cfg(test)]
mod tests;
