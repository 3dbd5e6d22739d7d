//! From a prepared environment to the program: identity, rights, filter, execve.
//!
//! [`Process::new`] runs in the parent and may fail with words; the rest runs in the child and
//! neither allocates nor locks.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use berth_sys::process::{self, StringArray};
use berth_sys::{caps, rlimit};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::gate::{EXECVE, Fail, NONE, RLIMIT};
use super::op::{c_string, step};
use super::{Note, RunError};
use crate::plan::{Capabilities, ProcessPlan, WindowSize};

/// Where a command without a slash is looked for when the environment has no `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const UNLIMITED: u64 = u64::MAX;

/// A process, prepared.
#[derive(Debug)]
pub(super) struct Process {
    /// Where the command may be, in the order in which it is tried.
    candidates: Vec<CString>,
    args: StringArray,
    env: StringArray,
    pub(super) cwd: CString,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    umask: Mode,
    capabilities: Capabilities,
    no_new_privileges: bool,
    seccomp: Option<(Vec<u64>, u32)>,
    personality: Option<u32>,
    pub(super) window: Option<WindowSize>,
    /// Numbers and limits.
    pub(super) rlimits: Vec<(u32, rlimit::Limit)>,
    /// What the child writes as its out-of-memory score.
    pub(super) oom_score: Option<Vec<u8>>,
}

/// Names the step that failed.
pub(super) fn at(what: &'static str) -> impl Fn(Errno) -> Fail {
    move |errno| Fail { what, index: NONE, errno }
}

impl Process {
    /// Prepares a process. What this machine cannot give is taken out and noted.
    pub(super) fn new(plan: &ProcessPlan, notes: &mut Vec<Note>) -> Result<Self, RunError> {
        let strings = |list: &[Vec<u8>], what: &str| {
            list.iter().map(|s| c_string(s, what)).collect::<Result<Vec<_>, _>>()
        };
        let ids = &plan.identity;
        Ok(Self {
            candidates: candidates(plan)?,
            args: StringArray::new(strings(&plan.args, "an argument")?),
            env: StringArray::new(strings(&plan.env, "an environment variable")?),
            cwd: c_string(if plan.cwd.is_empty() { b"/" } else { &plan.cwd }, "the working directory")?,
            uid: Uid::from_raw(ids.uid),
            gid: Gid::from_raw(ids.gid),
            groups: ids.groups.iter().map(|g| Gid::from_raw(*g)).collect(),
            umask: Mode::from_raw_mode(plan.umask.unwrap_or(0o022) & 0o777),
            capabilities: possible(plan, notes)?,
            no_new_privileges: plan.no_new_privileges,
            seccomp: plan.seccomp.as_ref().map(|s| (s.filter.clone(), s.flags)),
            personality: plan.personality,
            window: plan.window,
            rlimits: limits(plan, notes)?,
            oom_score: plan.oom_score_adj.map(|score| score.to_string().into_bytes()),
        })
    }

    /// Child: sets the limits.
    pub(super) fn limit(&self) -> Result<(), Fail> {
        for (index, (resource, limit)) in (0u32..).zip(&self.rlimits) {
            rlimit::set(0, *resource, *limit).map_err(|errno| Fail { what: RLIMIT, index, errno })?;
        }
        Ok(())
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

    /// Child: takes on identity and rights and becomes the program. Returns only with a failure.
    pub(super) fn become_program(&self, stdio: [BorrowedFd<'_>; 3], in_cwd: bool) -> Fail {
        match self.take_on(stdio, in_cwd) {
            Ok(()) => self.execute(),
            Err(fail) => fail,
        }
    }

    fn take_on(&self, stdio: [BorrowedFd<'_>; 3], in_cwd: bool) -> Result<(), Fail> {
        if let Some(domain) = self.personality {
            process::set_personality(domain).map_err(at("set the personality"))?;
        }
        let caps = self.capabilities;
        caps::bound(caps.bounding).map_err(at("set the bounding capabilities"))?;
        rustix::thread::set_keep_capabilities(true).map_err(at("keep capabilities"))?;
        self.own(stdio);
        rustix::thread::set_thread_groups(&self.groups).map_err(at("set additional groups"))?;
        let gid = Some(self.gid);
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(at("set the group id"))?;
        let uid = Some(self.uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(at("set the user id"))?;
        if !in_cwd {
            self.change_directory().map_err(at("enter the working directory"))?;
        }
        // Without no_new_privs a filter needs CAP_SYS_ADMIN. It is kept for those last two calls only:
        // execve computes the new sets from the bounding, inheritable and ambient ones, which lack it.
        let filter_needs =
            if self.seccomp.is_some() && !self.no_new_privileges { caps::SYS_ADMIN } else { 0 };
        let (effective, permitted) = (caps.effective | filter_needs, caps.permitted | filter_needs);
        caps::set(effective, permitted, caps.inheritable).map_err(at("set capabilities"))?;
        caps::set_ambient(caps.ambient).map_err(at("set ambient capabilities"))?;
        rustix::process::umask(self.umask);
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true).map_err(at("set no_new_privs"))?;
        }
        if let Some((filter, flags)) = &self.seccomp {
            process::load_seccomp(filter, *flags).map_err(at("load the seccomp filter"))?;
        }
        Ok(())
    }

    /// Gives pipes and the terminal to the user.
    fn own(&self, stdio: [BorrowedFd<'_>; 3]) {
        for fd in stdio {
            give(fd, self.uid.as_raw());
        }
    }

    /// Tries the candidates as execvp does.
    fn execute(&self) -> Fail {
        let mut worst = Errno::NOENT;
        for candidate in &self.candidates {
            match process::execve(candidate, &self.args, &self.env) {
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::ACCESS => worst = Errno::ACCESS,
                errno => return at(EXECVE)(errno),
            }
        }
        at(EXECVE)(worst)
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

/// The sets without what this process has not itself. In a user namespace all can be had.
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
