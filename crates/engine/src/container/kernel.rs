//! What a pod's own kernel has in place of its containers' part of the host's. Its limits are those of the containers, added up,
//! since it has all that they use.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_sys::cgroup;
use berth_types::ability::{Ability, Lacking, Maker};

use crate::error::EngineError;
use crate::model::Resources;
use crate::oci::{HostFacts, resources};

/// The period that a quota is counted in where none is given, in microseconds.
const PERIOD: u64 = 100_000;
/// The last of the signals that are not real-time ones.
const STANDARD_SIGNALS: i32 = 31;

/// The order in which a pod's containers are made. Creations overtake each other, and the limits that the latest knows of are those
/// of all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Creations(Arc<Mutex<Count>>);

/// The number of the latest creation, and of the latest whose limits were written.
#[derive(Debug, Default)]
struct Count {
    begun: u64,
    written: u64,
}

/// The place of one creation.
#[derive(Debug, Clone)]
pub(crate) struct Creation {
    number: u64,
    creations: Creations,
}

impl Creations {
    /// The next one.
    pub(crate) fn next(&self) -> Creation {
        let mut count = self.lock();
        count.begun += 1;
        Creation { number: count.begun, creations: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Creation {
    /// Writes what this one knows, unless a later one has.
    pub(crate) fn write<E>(&self, write: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut count = self.creations.lock();
        if count.written < self.number {
            write()?;
            count.written = self.number;
        }
        Ok(())
    }
}

/// The signal that ends a container politely: a kernel of its own may know fewer than the host's.
///
/// # Errors
/// It is not known there.
pub(crate) fn stop_signal(signal: i32) -> Result<i32, EngineError> {
    if signal <= STANDARD_SIGNALS {
        return Ok(signal);
    }
    let message = |why: Lacking| format!("{signal} is a real-time signal: {why}");
    let needed = Ability::RealtimeSignals.need(Maker::Gvisor);
    needed.map(|()| signal).map_err(|why| EngineError::unsupported("stop_signal", message(why)))
}

/// The limits of the kernel's group for containers with these. What one of them has no limit of has none.
///
/// # Errors
/// A setting that has no sum, by its name.
pub(crate) fn limits(of: &[&Resources], host: &HostFacts) -> Result<cgroup::Resources, EngineError> {
    if let Some(file) = of.iter().find_map(|limits| limits.unified.keys().next()) {
        let message = |why: Lacking| {
            format!("{file} is of one container's cgroup, and the pod's containers share one: {why}")
        };
        let needed = Ability::Unified.need(Maker::Gvisor);
        needed.map_err(|why| EngineError::unsupported("unified", message(why)))?;
    }
    if of.iter().any(|limits| limits.pids_limit.is_some_and(|limit| limit > 0)) {
        let message =
            |why: Lacking| format!("the processes of a container are those of its pod's own kernel: {why}");
        let needed = Ability::PidsLimit.need(Maker::Gvisor);
        needed.map_err(|why| EngineError::unsupported("pids_limit", message(why)))?;
    }
    let sum = |get: &dyn Fn(&Resources) -> Option<i64>| {
        of.iter().map(|limits| get(limits).filter(|limit| *limit > 0)).sum::<Option<i64>>().unwrap_or(-1)
    };
    let quota = |limits: &Resources| {
        let quota = limits.cpu_quota.filter(|quota| *quota > 0)?;
        let period = limits.cpu_period.filter(|period| *period > 0).unwrap_or(PERIOD);
        i64::try_from(i128::from(quota) * i128::from(PERIOD) / i128::from(period)).ok()
    };
    let same = |get: &dyn Fn(&Resources) -> String| {
        let all: BTreeSet<String> = of.iter().map(|limits| get(limits)).collect();
        if all.len() == 1 { all.into_iter().next().unwrap_or_default() } else { String::new() }
    };
    let memory = sum(&|limits| limits.memory_limit);
    let swap = sum(&|limits| limits.memory_swap_limit.or(limits.memory_limit));
    let shares = of.iter().map(|limits| limits.cpu_shares.unwrap_or(0)).sum::<u64>();
    let all = Resources {
        cpu_shares: Some(shares.min(262_144)).filter(|shares| *shares > 0),
        cpu_quota: Some(sum(&quota)),
        cpu_period: Some(PERIOD),
        cpuset_cpus: same(&|limits| limits.cpuset_cpus.clone()),
        cpuset_mems: same(&|limits| limits.cpuset_mems.clone()),
        memory_limit: Some(memory),
        memory_swap_limit: Some(if memory > 0 { swap } else { -1 }),
        ..Resources::default()
    };
    let mut limits = resources::cgroup(&all, Vec::new(), host);
    // Memory that is in use does not keep a container from being added.
    limits.memory.check_before_update = false;
    Ok(limits)
}

#[cfg(test)]
mod tests;
