//! Carrying out a plan of writes.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode as FileMode, OFlags};
use rustix::io::Errno;

use super::plan::{self, Current, Plan, Tolerate, Write};
use super::stats::{Reader, hugepage_sizes};
use super::{Cgroup, CgroupError, Controller, Resources, Version, devices};

/// Plans the writes for a group that does not exist yet.
pub(super) fn prepare(cgroup: &Cgroup, resources: &Resources) -> Result<Plan, CgroupError> {
    plan::plan(cgroup.shape(), resources, Current::default())
}

/// Carries them out in their order.
pub(super) fn run(cgroup: &Cgroup, plan: &Plan) -> Result<(), CgroupError> {
    // Successive writes to one file share a descriptor: device rules are a dozen of them.
    let mut last: Option<(PathBuf, std::os::fd::OwnedFd)> = None;
    for step in &plan.writes {
        let Some(path) = target(cgroup, step) else { continue };
        if last.as_ref().is_none_or(|(open, _)| *open != path) {
            match rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, FileMode::empty()) {
                Ok(fd) => last = Some((path.clone(), fd)),
                Err(errno) => {
                    tolerate(step, errno, path)?;
                    continue;
                }
            }
        }
        let Some((_, fd)) = &last else { continue };
        if let Err(errno) = rustix::io::write(fd, step.value.as_bytes()) {
            tolerate(step, errno, path)?;
        }
    }
    if let (Some(policy), Some(v2)) = (&plan.device_program, cgroup.v2()) {
        devices::attach(&v2.dir, policy)?;
    }
    Ok(())
}

fn target(cgroup: &Cgroup, step: &Write) -> Option<PathBuf> {
    let member = match step.controller {
        Some(controller) => cgroup.member(controller),
        None => cgroup.v2(),
    };
    member.map(|m| m.dir.join(step.file.as_ref()))
}

fn tolerate(step: &Write, errno: Errno, path: PathBuf) -> Result<(), CgroupError> {
    match step.tolerate {
        Tolerate::Nothing => {}
        Tolerate::Absent if errno == Errno::NOENT => return Ok(()),
        Tolerate::Absent => {}
    }
    if errno == Errno::NOENT {
        let why = match step.controller {
            Some(Controller::Hugetlb) => no_such_pages(),
            _ => format!("this kernel has no {}", path.display()),
        };
        return Err(CgroupError::Unsupported { setting: step.setting.clone().into_owned(), why });
    }
    // v1 gives back what it can before it refuses a limit of memory.
    if errno == Errno::BUSY && step.controller == Some(Controller::Memory) {
        let (setting, value) = (step.setting.clone().into_owned(), CgroupError::short(&step.value));
        return Err(CgroupError::Invalid { setting, value, why: plan::TOO_SMALL });
    }
    Err(CgroupError::Write { path, value: CgroupError::short(&step.value), source: errno.into() })
}

fn no_such_pages() -> String {
    match hugepage_sizes() {
        sizes if sizes.is_empty() => "this host has no huge pages".to_owned(),
        sizes => format!("this host has huge pages of {} only", sizes.join(", ")),
    }
}

/// Has the kernel give back what a group has above `limit`, as far as it can: v2 kills processes for a limit below what is in
/// use, and much of that may be pages of files. Before Linux 5.19 nothing is given back. What is in use afterwards.
fn give_back(dir: &Path, usage: u64, limit: u64) -> Result<u64, CgroupError> {
    let Some(excess) = usage.checked_sub(limit).filter(|excess| *excess > 0) else { return Ok(usage) };
    // That less could be given back than was asked for shows in what is in use.
    drop(super::group::write(&dir.join("memory.reclaim"), &excess.to_string()));
    Ok(Reader::default().number(dir, "memory.current")?.unwrap_or(usage))
}

impl Cgroup {
    /// Sets new limits on a group with processes in it. What `resources` leaves out stays.
    pub fn update(&self, resources: &Resources) -> Result<(), CgroupError> {
        let plan = plan::plan(self.shape(), resources, self.current(resources)?)?;
        run(self, &plan)
    }

    /// The values on which the order or legality of an update depends.
    fn current(&self, resources: &Resources) -> Result<Current, CgroupError> {
        let mut current = Current { new: false, ..Current::default() };
        let memory = &resources.memory;
        if memory.limit.is_none() && memory.swap.is_none() {
            return Ok(current);
        }
        let Some(member) = self.member(Controller::Memory) else { return Ok(current) };
        current.memory_limit = self.memory_limit()?;
        let asked = memory.limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0);
        if let (Version::V2, true, Some(limit)) = (member.version, memory.check_before_update, asked) {
            let usage = Reader::default().number(&member.dir, "memory.current")?;
            current.memory_usage = usage.map(|usage| give_back(&member.dir, usage, limit)).transpose()?;
        }
        Ok(current)
    }
}
