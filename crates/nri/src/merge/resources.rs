//! Resources, field by field.

use super::By;
use crate::api::{Field, LinuxCpu, LinuxMemory, LinuxRdt, LinuxResources};
use crate::owners::Conflict;

/// Takes over what is set.
fn take<V: Clone>(wanted: &Option<V>, seen: &mut Option<V>, reply: Option<&mut Option<V>>) {
    if wanted.is_some() {
        seen.clone_from(wanted);
        if let Some(reply) = reply {
            reply.clone_from(wanted);
        }
    }
}

fn take_text(wanted: &str, seen: &mut String, reply: Option<&mut String>) {
    if !wanted.is_empty() {
        wanted.clone_into(seen);
        if let Some(reply) = reply {
            wanted.clone_into(reply);
        }
    }
}

/// Takes over these fields of a message that has them all.
macro_rules! fields {
    ($wanted:expr, $seen:expr, $reply:expr, $($field:ident),*) => {
        $(take(&$wanted.$field, &mut $seen.$field, $reply.as_deref_mut().map(|reply| &mut reply.$field));)*
    };
}

/// Swap that was asked for counts memory, too: it cannot be below a limit that a plugin sets without a word of swap.
pub(super) fn swap_follows(wanted: &LinuxResources, now: &mut LinuxResources) {
    let limit = wanted.memory.and_then(|memory| memory.limit).map_or(0, |limit| limit.value);
    let swap = now.memory.as_mut().and_then(|memory| memory.swap.as_mut());
    // Below 0 is no limit, and 0 is none that is set.
    if let Some(swap) = swap
        && swap.value > 0
        && (limit < 0 || swap.value < limit)
    {
        swap.value = limit;
    }
}

impl By<'_> {
    /// Every claim is made before anything is changed.
    pub(super) fn resources(
        &mut self,
        wanted: &LinuxResources,
        seen: &mut LinuxResources,
        mut reply: Option<&mut LinuxResources>,
    ) -> Result<(), Conflict> {
        self.claim_resources(wanted)?;
        if let Some(memory) = &wanted.memory {
            let seen = seen.memory.get_or_insert_default();
            let mut reply = reply.as_deref_mut().map(|reply| reply.memory.get_or_insert_default());
            fields!(memory, seen, reply, limit, reservation, swap, kernel, kernel_tcp, swappiness);
            fields!(memory, seen, reply, disable_oom_killer, use_hierarchy);
        }
        if let Some(cpu) = &wanted.cpu {
            let seen = seen.cpu.get_or_insert_default();
            let mut reply = reply.as_deref_mut().map(|reply| reply.cpu.get_or_insert_default());
            fields!(cpu, seen, reply, shares, quota, period, realtime_runtime, realtime_period);
            take_text(&cpu.cpus, &mut seen.cpus, reply.as_deref_mut().map(|reply| &mut reply.cpus));
            take_text(&cpu.mems, &mut seen.mems, reply.map(|reply| &mut reply.mems));
        }
        fields!(wanted, seen, reply, blockio_class, rdt_class, pids);
        for all in [Some(seen), reply].into_iter().flatten() {
            for limit in &wanted.hugepage_limits {
                all.hugepage_limits.retain(|other| other.page_size != limit.page_size);
                all.hugepage_limits.push(limit.clone());
            }
            all.devices.extend_from_slice(&wanted.devices);
            all.unified.extend(wanted.unified.clone());
        }
        Ok(())
    }

    fn claim_resources(&mut self, wanted: &LinuxResources) -> Result<(), Conflict> {
        if let Some(memory) = &wanted.memory {
            self.claim_memory(memory)?;
        }
        if let Some(cpu) = &wanted.cpu {
            self.claim_cpu(cpu)?;
        }
        for limit in &wanted.hugepage_limits {
            self.claim(Field::HugepageLimits, &limit.page_size)?;
        }
        for file in wanted.unified.keys() {
            self.claim(Field::CgroupsUnified, file)?;
        }
        self.claim_if(wanted.blockio_class.is_some(), Field::BlockioClass)?;
        self.claim_if(wanted.rdt_class.is_some(), Field::RdtClass)?;
        self.claim_if(wanted.pids.is_some(), Field::PidsLimit)
    }

    fn claim_memory(&mut self, memory: &LinuxMemory) -> Result<(), Conflict> {
        self.claim_if(memory.limit.is_some(), Field::MemLimit)?;
        self.claim_if(memory.reservation.is_some(), Field::MemReservation)?;
        self.claim_if(memory.swap.is_some(), Field::MemSwapLimit)?;
        self.claim_if(memory.kernel.is_some(), Field::MemKernelLimit)?;
        self.claim_if(memory.kernel_tcp.is_some(), Field::MemTcpLimit)?;
        self.claim_if(memory.swappiness.is_some(), Field::MemSwappiness)?;
        self.claim_if(memory.disable_oom_killer.is_some(), Field::MemDisableOomKiller)?;
        self.claim_if(memory.use_hierarchy.is_some(), Field::MemUseHierarchy)
    }

    fn claim_cpu(&mut self, cpu: &LinuxCpu) -> Result<(), Conflict> {
        self.claim_if(cpu.shares.is_some(), Field::CpuShares)?;
        self.claim_if(cpu.quota.is_some(), Field::CpuQuota)?;
        self.claim_if(cpu.period.is_some(), Field::CpuPeriod)?;
        self.claim_if(cpu.realtime_runtime.is_some(), Field::CpuRealtimeRuntime)?;
        self.claim_if(cpu.realtime_period.is_some(), Field::CpuRealtimePeriod)?;
        self.claim_if(!cpu.cpus.is_empty(), Field::CpuSetCpUs)?;
        self.claim_if(!cpu.mems.is_empty(), Field::CpuSetMems)
    }

    pub(super) fn rdt(&mut self, wanted: &LinuxRdt, reply: &mut Option<LinuxRdt>) -> Result<(), Conflict> {
        let fields = [Field::RdtClosId, Field::RdtSchemata, Field::RdtEnableMonitoring];
        if wanted.remove {
            for field in fields {
                self.owners.take_away(self.container, field, "", self.plugin);
            }
            *reply = Some(LinuxRdt { remove: true, ..LinuxRdt::default() });
        }
        let set = [wanted.clos_id.is_some(), wanted.schemata.is_some(), wanted.enable_monitoring.is_some()];
        for (field, set) in fields.into_iter().zip(set) {
            self.claim_if(set, field)?;
        }
        let reply = reply.get_or_insert_default();
        let mut none: Option<&mut LinuxRdt> = None;
        fields!(wanted, reply, none, clos_id, schemata, enable_monitoring);
        reply.remove &= !set.contains(&true);
        Ok(())
    }
}
