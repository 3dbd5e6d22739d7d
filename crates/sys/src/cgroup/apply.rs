//! Carrying out a plan of writes.

use std::path::PathBuf;

use rustix::fs::{Mode as FileMode, OFlags};
use rustix::io::Errno;

use super::group::read;
use super::plan::{self, Current, Plan, Tolerate, Write};
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
        let why = format!("this kernel has no {}", path.display());
        return Err(CgroupError::Unsupported { setting: step.setting.clone().into_owned(), why });
    }
    Err(CgroupError::Write { path, value: CgroupError::short(&step.value), source: errno.into() })
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
        let (limit, usage) = match member.version {
            Version::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            Version::V2 => ("memory.max", "memory.current"),
        };
        current.memory_limit = read(&member.dir.join(limit))?.trim().parse().ok();
        if memory.check_before_update {
            current.memory_usage = read(&member.dir.join(usage))?.trim().parse().ok();
        }
        Ok(current)
    }
}
