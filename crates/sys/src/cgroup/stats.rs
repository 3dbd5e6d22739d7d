//! What a group uses, with few reads.

use std::path::Path;

use super::group::read;
use super::kill::gone;
use super::{Cgroup, CgroupError, Controller, Version};

/// What a group and all below it used or use. A number that the host does not give is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time used, in nanoseconds.
    pub cpu_usage_ns: Option<u64>,
    /// Memory.
    pub memory: Option<MemoryStats>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// The limit of processes and threads, if there is one.
    pub pids_limit: Option<u64>,
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
    /// The limit of swap (v2) or of memory and swap together (v1); `None` is none or unknown.
    pub swap_limit: Option<u64>,
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
    /// Reads everything: 6 files on v1, 5 on v2, and 3 for pressure where there is a v2 hierarchy.
    pub fn stats(&self) -> Result<Stats, CgroupError> {
        let mut stats = Stats { cpu_usage_ns: self.cpu_usage()?, memory: self.memory()?, ..Stats::default() };
        if let Some(pids) = self.member(Controller::Pids) {
            stats.pids = number(&pids.dir.join("pids.current"))?;
            stats.pids_limit = number(&pids.dir.join("pids.max"))?;
        }
        if let Some(v2) = self.v2() {
            let pressure =
                |file| Ok::<_, CgroupError>(optional(&v2.dir.join(file))?.as_deref().map(parse_pressure));
            stats.cpu_pressure = pressure("cpu.pressure")?;
            stats.memory_pressure = pressure("memory.pressure")?;
            stats.io_pressure = pressure("io.pressure")?;
        }
        Ok(stats)
    }

    /// Processor time used, in nanoseconds.
    pub fn cpu_usage(&self) -> Result<Option<u64>, CgroupError> {
        let Some(member) = self.member(Controller::Cpuacct) else { return Ok(None) };
        match member.version {
            Version::V1 => number(&member.dir.join("cpuacct.usage")),
            Version::V2 => {
                let usage =
                    optional(&member.dir.join("cpu.stat"))?.and_then(|text| field(&text, "usage_usec"));
                Ok(usage.map(|us| us.saturating_mul(1000)))
            }
        }
    }

    fn memory(&self) -> Result<Option<MemoryStats>, CgroupError> {
        let Some(member) = self.member(Controller::Memory) else { return Ok(None) };
        let dir = &member.dir;
        let stat = read(&dir.join("memory.stat"))?;
        let get = |name| field(&stat, name).unwrap_or(0);
        let mut memory = match member.version {
            Version::V1 => MemoryStats {
                usage: number(&dir.join("memory.usage_in_bytes"))?.unwrap_or(0),
                limit: field(&stat, "hierarchical_memory_limit").and_then(limit),
                rss: get("total_rss"),
                inactive_file: get("total_inactive_file"),
                page_faults: get("total_pgfault"),
                major_page_faults: get("total_pgmajfault"),
                swap: field(&stat, "total_swap"),
                swap_limit: field(&stat, "hierarchical_memsw_limit").and_then(limit),
                working_set: 0,
            },
            Version::V2 => MemoryStats {
                usage: number(&dir.join("memory.current"))?.unwrap_or(0),
                limit: number(&dir.join("memory.max"))?,
                rss: get("anon"),
                inactive_file: get("inactive_file"),
                page_faults: get("pgfault"),
                major_page_faults: get("pgmajfault"),
                swap: number(&dir.join("memory.swap.current"))?,
                swap_limit: number(&dir.join("memory.swap.max"))?,
                working_set: 0,
            },
        };
        memory.working_set = memory.usage.saturating_sub(memory.inactive_file);
        Ok(Some(memory))
    }
}

/// The text of a file that not every kernel has.
fn optional(path: &Path) -> Result<Option<String>, CgroupError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        // PSI that is switched off answers EOPNOTSUPP.
        Err(e) if gone(&e) || e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
        Err(source) => Err(CgroupError::Io { action: "read", path: path.to_owned(), source }),
    }
}

/// A file with a single number; `max` and a missing file are none.
fn number(path: &Path) -> Result<Option<u64>, CgroupError> {
    let Some(text) = optional(path)? else { return Ok(None) };
    match text.trim() {
        "max" => Ok(None),
        number => number
            .parse()
            .map(Some)
            .map_err(|_| CgroupError::Content { path: path.to_owned(), text: CgroupError::short(&text) }),
    }
}

/// v1 writes no limit as the greatest number of whole pages.
fn limit(value: u64) -> Option<u64> {
    (value < (1 << 62)).then_some(value)
}

/// The value behind a name in a flat keyed file.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The text of a `*.pressure` file.
fn parse_pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut stall = Stall::default();
        let mut words = line.split(' ');
        let kind = words.next();
        for (name, value) in words.filter_map(|w| w.split_once('=')) {
            match name {
                "avg10" => stall.avg10 = hundredths(value),
                "avg60" => stall.avg60 = hundredths(value),
                "avg300" => stall.avg300 = hundredths(value),
                "total" => stall.total_us = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        match kind {
            Some("some") => pressure.some = stall,
            Some("full") => pressure.full = stall,
            _ => {}
        }
    }
    pressure
}

/// `12.34` as 1234.
fn hundredths(text: &str) -> u32 {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let whole: u32 = whole.parse().unwrap_or(0);
    whole.saturating_mul(100).saturating_add(part.parse().unwrap_or(0))
}
