//! From [`Resources`] to the writes that set them: pure.
//!
//! A host may bind some controllers to v1 and others to v2, so each setting asks for the version
//! of its own controller. A setting that neither version supports is refused by name.

use std::borrow::Cow;
use std::fmt;

use super::devices::Policy;
use super::host::Shape;
use super::{CgroupError, Controller, Mode, Resources, Version};

mod block;
mod cpu;
mod memory;

/// What to write, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) writes: Vec<Write>,
    /// The program that guards devices on v2.
    pub(super) device_program: Option<Policy>,
}

/// One write to a file of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    /// In which hierarchy: the controller's, or v2's for `None`.
    pub(super) controller: Option<Controller>,
    pub(super) file: Cow<'static, str>,
    pub(super) value: String,
    /// The setting behind it, for errors.
    pub(super) setting: Cow<'static, str>,
    pub(super) tolerate: Tolerate,
}

/// What does not fail a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tolerate {
    /// Nothing.
    Nothing,
    /// The file does not exist, and without it the host behaves as requested anyway.
    Absent,
}

/// What has to be known about the current state of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Current {
    /// Whether it is new: no limit set, nothing in it.
    pub(super) new: bool,
    /// The limit of memory in bytes; `None` is none.
    pub(super) memory_limit: Option<u64>,
    /// The bytes in use, when the update is to be checked against them (v2: v1 checks by itself).
    pub(super) memory_usage: Option<u64>,
}

impl Default for Current {
    fn default() -> Self {
        Current { new: true, memory_limit: None, memory_usage: None }
    }
}

/// Plans the writes that set `resources` on a host of this shape.
pub(super) fn plan(shape: Shape, resources: &Resources, current: Current) -> Result<Plan, CgroupError> {
    let mut out = Planner { shape, plan: Plan::default() };
    cpu::plan(&mut out, &resources.cpu)?;
    memory::plan(&mut out, &resources.memory, current)?;
    if let Some(limit) = resources.pids {
        let value = if limit > 0 { limit.to_string() } else { "max".to_owned() };
        out.need(Controller::Pids, PIDS)?;
        out.write(Controller::Pids, "pids.max", value, PIDS);
    }
    hugepages(&mut out, resources)?;
    block::plan(&mut out, &resources.blkio)?;
    devices(&mut out, resources)?;
    unified(&mut out, resources)?;
    Ok(out.plan)
}

/// Why a limit of memory is refused that would end processes.
pub(super) const TOO_SMALL: &str =
    "is less than the group uses now, and not enough of that can be given back";

const PIDS: &str = "linux.resources.pids.limit";

/// A plan in the making.
struct Planner {
    shape: Shape,
    plan: Plan,
}

impl Planner {
    /// The version of the controller; without one the setting is refused.
    fn need(&self, controller: Controller, setting: &'static str) -> Result<Version, CgroupError> {
        self.shape.version(controller).ok_or_else(|| CgroupError::Unsupported {
            setting: setting.to_owned(),
            why: format!("this host has no cgroup controller {:?}", controller.name()),
        })
    }

    fn write(
        &mut self,
        controller: Controller,
        file: impl Into<Cow<'static, str>>,
        value: impl fmt::Display,
        setting: impl Into<Cow<'static, str>>,
    ) {
        self.push(Write {
            controller: Some(controller),
            file: file.into(),
            value: value.to_string(),
            setting: setting.into(),
            tolerate: Tolerate::Nothing,
        });
    }

    fn push(&mut self, write: Write) {
        self.plan.writes.push(write);
    }

    /// Refuses a setting that only v1 has.
    fn v1_only(&self, controller: Controller, setting: &'static str) -> Result<(), CgroupError> {
        match self.need(controller, setting)? {
            Version::V1 => Ok(()),
            Version::V2 => Err(unsupported(setting, "cgroup v2 has no equivalent")),
        }
    }
}

fn unsupported(setting: impl Into<String>, why: &str) -> CgroupError {
    CgroupError::Unsupported { setting: setting.into(), why: why.to_owned() }
}

fn invalid(setting: &str, value: impl fmt::Display, why: &'static str) -> CgroupError {
    CgroupError::Invalid { setting: setting.to_owned(), value: CgroupError::short(&value.to_string()), why }
}

fn hugepages(out: &mut Planner, resources: &Resources) -> Result<(), CgroupError> {
    const SETTING: &str = "linux.resources.hugepageLimits";
    for page in &resources.hugepages {
        let size = page.page_size.as_str();
        let digits = size.trim_end_matches("B").trim_end_matches(['K', 'M', 'G']);
        let wellformed =
            size.ends_with('B') && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !wellformed || size.len() > 16 {
            return Err(invalid(SETTING, size, "is not a page size such as 2MB"));
        }
        let suffix = match out.need(Controller::Hugetlb, SETTING)? {
            Version::V1 => "limit_in_bytes",
            Version::V2 => "max",
        };
        let setting = format!("{SETTING} of {size}");
        out.write(Controller::Hugetlb, format!("hugetlb.{size}.{suffix}"), page.limit, setting.clone());
        // Reservations count too where the kernel has them (5.7): else a mapping that was refused
        // would end in SIGBUS instead.
        out.push(Write {
            controller: Some(Controller::Hugetlb),
            file: format!("hugetlb.{size}.rsvd.{suffix}").into(),
            value: page.limit.to_string(),
            setting: setting.into(),
            tolerate: Tolerate::Absent,
        });
    }
    Ok(())
}

fn devices(out: &mut Planner, resources: &Resources) -> Result<(), CgroupError> {
    const SETTING: &str = "linux.resources.devices";
    if resources.devices.is_empty() {
        return Ok(());
    }
    let policy = Policy::from_rules(&resources.devices)?;
    match out.need(Controller::Devices, SETTING)? {
        Version::V1 => {
            for (file, value) in policy.v1_writes() {
                out.write(Controller::Devices, file, value, SETTING);
            }
        }
        Version::V2 => out.plan.device_program = Some(policy),
    }
    Ok(())
}

fn unified(out: &mut Planner, resources: &Resources) -> Result<(), CgroupError> {
    for (file, value) in &resources.unified {
        let setting = format!("linux.resources.unified[{:?}]", CgroupError::short(file));
        if out.shape.mode != Mode::V2 {
            return Err(unsupported(setting, "this host does not use cgroup v2 only"));
        }
        let plain =
            file.len() <= 64 && file.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_'));
        // The files of the core would let a setting kill, freeze or move processes.
        if !plain || !file.contains('.') || file.starts_with('.') || file.starts_with("cgroup.") {
            return Err(invalid("linux.resources.unified", file, "is not a file of a controller"));
        }
        out.push(Write {
            controller: None,
            file: file.clone().into(),
            value: value.clone(),
            setting: setting.into(),
            tolerate: Tolerate::Nothing,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
