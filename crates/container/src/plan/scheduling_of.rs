//! `process.scheduler`, `process.ioPriority` and `linux.memoryPolicy` of the specification.

use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType,
    MemoryPolicyModeType, Process, Scheduler, Spec,
};

use super::scheduling::{MemoryPolicy, Policy, Scheduling};
use super::{PlanError, ProcessPlan};

/// Kernels are built for 1,024 nodes at most (`NODES_SHIFT`).
const MAX_NODES: usize = 1024;

/// How a process is scheduled, where not as its maker is.
pub(super) fn scheduling(spec: &Process) -> Result<Option<Box<Scheduling>>, PlanError> {
    let said = Scheduling {
        policy: spec.scheduler().as_ref().map(policy).transpose()?,
        io_priority: spec.io_priority().as_ref().map(io_priority).transpose()?,
        memory: None,
    };
    Ok(if said == Scheduling::default() { None } else { Some(Box::new(said)) })
}

impl ProcessPlan {
    /// Has what the specification says of every process of the container: its personality, and which nodes its memory comes from.
    ///
    /// # Errors
    /// One of them is not supported, or means nothing.
    pub fn of_container(mut self, spec: &Spec) -> Result<Self, PlanError> {
        self.personality = super::process_of::personality(spec)?;
        if let Some(memory) = memory(spec)? {
            self.scheduling.get_or_insert_default().memory = Some(memory);
        }
        Ok(self)
    }
}

fn policy(wanted: &Scheduler) -> Result<Policy, PlanError> {
    let invalid = |field: &str, why: &str| PlanError::invalid(format!("process.scheduler.{field}"), why);
    let number = match wanted.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => {
            return Err(PlanError::unsupported(
                "process.scheduler.policy",
                "SCHED_ISO, which Linux does not have,",
            ));
        }
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let nice = wanted.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(invalid("nice", "not between -20 and 19"));
    }
    let of_time = matches!(number, 1 | 2);
    let priority = wanted.priority().unwrap_or(0);
    if of_time != (1..=99).contains(&priority) {
        let why = if of_time { "not between 1 and 99" } else { "only SCHED_FIFO and SCHED_RR have one" };
        return Err(invalid("priority", why));
    }
    Ok(Policy {
        number,
        flags: wanted
            .flags()
            .iter()
            .flatten()
            .map(|flag| scheduler_flag(*flag))
            .fold(0, |all, one| all | one),
        nice,
        priority: priority.unsigned_abs(),
        runtime: wanted.runtime().unwrap_or(0),
        deadline: wanted.deadline().unwrap_or(0),
        period: wanted.period().unwrap_or(0),
    })
}

/// From linux/sched.h.
fn scheduler_flag(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

/// Class and level as ioprio_set(2) has them.
fn io_priority(wanted: &LinuxIOPriority) -> Result<u16, PlanError> {
    let class: u16 = match wanted.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level = u16::try_from(wanted.priority()).ok().filter(|level| *level <= 7);
    let level =
        level.ok_or_else(|| PlanError::invalid("process.ioPriority.priority", "not between 0 and 7"))?;
    Ok(class << 13 | level)
}

/// `linux.memoryPolicy`.
fn memory(spec: &Spec) -> Result<Option<MemoryPolicy>, PlanError> {
    let Some(wanted) = spec.linux().as_ref().and_then(|linux| linux.memory_policy().as_ref()) else {
        return Ok(None);
    };
    // From linux/mempolicy.h.
    let mode = match wanted.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flag = |flag: &MemoryPolicyFlagType| match flag {
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
    };
    let flags = wanted.flags().iter().flatten().map(flag).fold(0, |all, one: u32| all | one);
    let nodes = nodes(wanted.nodes().as_deref().unwrap_or("")).ok_or_else(|| {
        PlanError::invalid("linux.memoryPolicy.nodes", "not a list like 0-1,3 of nodes below 1024")
    })?;
    Ok(Some(MemoryPolicy { mode: mode | flags, nodes }))
}

/// The bits of a list like `0-1,3`.
fn nodes(list: &str) -> Option<Vec<u64>> {
    let mut bits = Vec::new();
    for range in list.split(',').map(str::trim).filter(|_| !list.trim().is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MAX_NODES {
            return None;
        }
        for node in first..=last {
            if bits.len() <= node / 64 {
                bits.resize(node / 64 + 1, 0);
            }
            bits[node / 64] |= 1u64 << (node % 64);
        }
    }
    Some(bits)
}

#[cfg(test)]
mod tests;
