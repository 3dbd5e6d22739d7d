//! What a group uses, with few reads: each file is read once, whole, through one buffer.

mod details;
mod parse;
mod read;

use super::{Cgroup, CgroupError, Controller, Version};
pub(super) use details::hugepage_sizes;
pub use details::{BlockIo, Details, HugeUse, MemoryDetails, Throttling};
use parse::{field, limit, parse_pressure};
pub use read::Reader;

/// What a group and all below it used or use. A number that the host does not give is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time used, in nanoseconds.
    pub cpu_usage_ns: Option<u64>,
    /// Memory.
    pub memory: Option<MemoryStats>,
    /// Time lost waiting for the processor (v2 hierarchies).
    pub cpu_pressure: Option<Pressure>,
    /// Time lost waiting for memory (v2 hierarchies).
    pub memory_pressure: Option<Pressure>,
    /// Time lost waiting for block devices (v2 hierarchies).
    pub io_pressure: Option<Pressure>,
}

/// Memory, in bytes unless it says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Everything that is charged, caches included.
    pub usage: u64,
    /// The limit; `None` is none.
    pub limit: Option<u64>,
    /// What the kubelet calls the working set: usage without inactive file pages.
    pub working_set: u64,
    /// Anonymous memory.
    pub rss: u64,
    /// File pages that were not used lately.
    pub inactive_file: u64,
    /// Page faults so far.
    pub page_faults: u64,
    /// Those that had to read from a device.
    pub major_page_faults: u64,
    /// Swap in use, where the kernel accounts it.
    pub swap: Option<u64>,
    /// The limit of swap alone; `None` is none or unknown.
    pub swap_limit: Option<u64>,
}

/// Processes and threads of a group and all below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pids {
    /// How many there are.
    pub current: Option<u64>,
    /// How many there may be; `None` is no limit, or unknown.
    pub limit: Option<u64>,
}

/// Pressure stall information of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Some task waited.
    pub some: Stall,
    /// All tasks waited at once.
    pub full: Stall,
}

/// One line of a pressure file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stall {
    /// Hundredths of a percent of the last 10 seconds.
    pub avg10: u32,
    /// Hundredths of a percent of the last 60 seconds.
    pub avg60: u32,
    /// Hundredths of a percent of the last 300 seconds.
    pub avg300: u32,
    /// Microseconds in all.
    pub total_us: u64,
}

impl Cgroup {
    /// Reads what lists of statistics show: 3 files on v1, 5 on v2, and 3 for pressure where there is a v2 hierarchy.
    /// None when the group does not exist (any more).
    pub fn stats(&self, reader: &mut Reader) -> Result<Option<Stats>, CgroupError> {
        // The processor's first: what is read right after the time of the sample is what rates are computed from.
        let cpu_usage_ns = self.cpu_usage(reader)?;
        let memory = self.memory(reader)?;
        if cpu_usage_ns.is_none() && memory.is_none() {
            return Ok(None);
        }
        let mut stats = Stats { cpu_usage_ns, memory, ..Stats::default() };
        if let Some(v2) = self.v2() {
            let mut pressure =
                |file| -> Result<_, CgroupError> { Ok(reader.text(&v2.dir, file)?.map(parse_pressure)) };
            stats.cpu_pressure = pressure("cpu.pressure")?;
            stats.memory_pressure = pressure("memory.pressure")?;
            stats.io_pressure = pressure("io.pressure")?;
        }
        Ok(Some(stats))
    }

    /// Processor time used, in nanoseconds.
    pub fn cpu_usage(&self, reader: &mut Reader) -> Result<Option<u64>, CgroupError> {
        let Some(member) = self.member(Controller::Cpuacct) else { return Ok(None) };
        match member.version {
            Version::V1 => reader.number(&member.dir, "cpuacct.usage"),
            Version::V2 => {
                let usage = reader.text(&member.dir, "cpu.stat")?.and_then(|text| field(text, "usage_usec"));
                Ok(usage.map(|us| us.saturating_mul(1000)))
            }
        }
    }

    /// The limit of memory in force; `None` is none.
    pub fn memory_limit(&self) -> Result<Option<u64>, CgroupError> {
        let Some(member) = self.member(Controller::Memory) else { return Ok(None) };
        let file = match member.version {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        };
        Ok(Reader::default().number(&member.dir, file)?.and_then(limit))
    }

    /// How many processes and threads there are and may be.
    pub fn process_count(&self, reader: &mut Reader) -> Result<Pids, CgroupError> {
        let Some(member) = self.member(Controller::Pids) else { return Ok(Pids::default()) };
        let current = reader.number(&member.dir, "pids.current")?;
        Ok(Pids { current, limit: reader.number(&member.dir, "pids.max")? })
    }

    fn memory(&self, reader: &mut Reader) -> Result<Option<MemoryStats>, CgroupError> {
        let Some(member) = self.member(Controller::Memory) else { return Ok(None) };
        let (dir, v1) = (&member.dir, member.version == Version::V1);
        let file = if v1 { "memory.usage_in_bytes" } else { "memory.current" };
        let Some(usage) = reader.number(dir, file)? else { return Ok(None) };
        let Some(stat) = reader.text(dir, "memory.stat")? else { return Ok(None) };
        let get = |name| field(stat, name).unwrap_or(0);
        let mut memory = MemoryStats { usage, ..MemoryStats::default() };
        if v1 {
            memory.limit = field(stat, "hierarchical_memory_limit").and_then(limit);
            memory.rss = get("total_rss");
            memory.inactive_file = get("total_inactive_file");
            memory.page_faults = get("total_pgfault");
            memory.major_page_faults = get("total_pgmajfault");
            memory.swap = field(stat, "total_swap");
            let both = field(stat, "hierarchical_memsw_limit").and_then(limit);
            memory.swap_limit = both.zip(memory.limit).map(|(both, limit)| both.saturating_sub(limit));
        } else {
            memory.rss = get("anon");
            memory.inactive_file = get("inactive_file");
            memory.page_faults = get("pgfault");
            memory.major_page_faults = get("pgmajfault");
            memory.limit = reader.number(dir, "memory.max")?;
            memory.swap = reader.number(dir, "memory.swap.current")?;
            memory.swap_limit = reader.number(dir, "memory.swap.max")?;
        }
        memory.working_set = memory.usage.saturating_sub(memory.inactive_file);
        Ok(Some(memory))
    }
}

#[cfg(test)]
mod tests;
