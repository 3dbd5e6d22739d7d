//! Further numbers of a group, for metrics.

use super::super::{Cgroup, CgroupError, Controller, Version};
use super::parse::{blkio, field, io_stat};
use super::{Pids, Reader};

/// What metrics show beside [`Stats`](super::Stats).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Processor time in programs, in nanoseconds.
    pub cpu_user_ns: Option<u64>,
    /// Processor time in the kernel, in nanoseconds.
    pub cpu_system_ns: Option<u64>,
    /// How its processor time was limited.
    pub throttling: Option<Throttling>,
    /// Memory.
    pub memory: Option<MemoryDetails>,
    /// Processes that the kernel killed because memory ran out.
    pub oom_kills: u64,
    /// Block devices that were used.
    pub io: Vec<BlockIo>,
    /// Huge pages by size.
    pub hugepages: Vec<HugeUse>,
    /// Processes and threads.
    pub pids: Pids,
}

/// How the processor time of a group was limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods in which something ran.
    pub periods: u64,
    /// Those in which the quota was used up.
    pub throttled: u64,
    /// The time that was waited for the next period, in nanoseconds.
    pub throttled_ns: u64,
}

/// Memory, in bytes unless it says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryDetails {
    /// Pages of files.
    pub cache: u64,
    /// Those of them that are mapped.
    pub mapped_file: u64,
    /// Memory of the kernel's own.
    pub kernel: u64,
    /// The most that was in use at a time; none where the kernel does not keep it (v2 before 5.19).
    pub max_usage: Option<u64>,
    /// How often the limit was met.
    pub limit_hits: u64,
    /// What is kept for it when memory is short; 0 is nothing.
    pub reservation: u64,
    /// Page faults of the group alone, where the kernel tells them apart (v1).
    pub own_page_faults: u64,
    /// Those of the group alone that had to read from a device.
    pub own_major_page_faults: u64,
}

/// Operations on one block device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockIo {
    /// The device's major number.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// Huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HugeUse {
    /// The size as the kernel names it: `2MB`, `1GB`.
    pub page_size: String,
    /// Bytes in use.
    pub usage: u64,
    /// The most bytes that were in use at a time, where the kernel keeps it (v1).
    pub max_usage: Option<u64>,
}

impl Cgroup {
    /// Reads them: about a dozen files. Of a group that does not exist there are none.
    pub fn details(&self, reader: &mut Reader) -> Result<Details, CgroupError> {
        let mut details = Details {
            throttling: self.throttling(reader)?,
            memory: self.memory_details(reader)?,
            io: self.block_io(reader)?,
            hugepages: self.hugepages(reader)?,
            pids: self.process_count(reader)?,
            oom_kills: self.oom_kills().unwrap_or(0),
            ..Details::default()
        };
        (details.cpu_user_ns, details.cpu_system_ns) = self.cpu_modes(reader)?;
        Ok(details)
    }

    fn cpu_modes(&self, reader: &mut Reader) -> Result<(Option<u64>, Option<u64>), CgroupError> {
        let Some(member) = self.member(Controller::Cpuacct) else { return Ok((None, None)) };
        if member.version == Version::V2 {
            let text = reader.text(&member.dir, "cpu.stat")?.unwrap_or_default();
            let get = |name| field(text, name).map(|us| us.saturating_mul(1000));
            return Ok((get("user_usec"), get("system_usec")));
        }
        let user = reader.number(&member.dir, "cpuacct.usage_user")?;
        Ok((user, reader.number(&member.dir, "cpuacct.usage_sys")?))
    }

    fn throttling(&self, reader: &mut Reader) -> Result<Option<Throttling>, CgroupError> {
        let Some(member) = self.member(Controller::Cpu) else { return Ok(None) };
        let Some(text) = reader.text(&member.dir, "cpu.stat")? else { return Ok(None) };
        let get = |name| field(text, name).unwrap_or(0);
        let throttled_ns = match member.version {
            Version::V1 => get("throttled_time"),
            Version::V2 => get("throttled_usec").saturating_mul(1000),
        };
        Ok(Some(Throttling { periods: get("nr_periods"), throttled: get("nr_throttled"), throttled_ns }))
    }

    fn memory_details(&self, reader: &mut Reader) -> Result<Option<MemoryDetails>, CgroupError> {
        let Some(member) = self.member(Controller::Memory) else { return Ok(None) };
        let (dir, v1) = (&member.dir, member.version == Version::V1);
        let Some(stat) = reader.text(dir, "memory.stat")? else { return Ok(None) };
        let get = |name| field(stat, name).unwrap_or(0);
        let mut memory = MemoryDetails {
            cache: get(if v1 { "total_cache" } else { "file" }),
            mapped_file: get(if v1 { "total_mapped_file" } else { "file_mapped" }),
            kernel: if v1 { 0 } else { get("kernel") },
            own_page_faults: get("pgfault"),
            own_major_page_faults: get("pgmajfault"),
            ..MemoryDetails::default()
        };
        if v1 {
            memory.kernel = reader.number(dir, "memory.kmem.usage_in_bytes")?.unwrap_or(0);
            memory.max_usage = reader.number(dir, "memory.max_usage_in_bytes")?;
            memory.limit_hits = reader.number(dir, "memory.failcnt")?.unwrap_or(0);
            let soft = reader.number(dir, "memory.soft_limit_in_bytes")?;
            memory.reservation = soft.and_then(super::limit).unwrap_or(0);
        } else {
            memory.max_usage = reader.number(dir, "memory.peak")?;
            let events = reader.text(dir, "memory.events")?;
            memory.limit_hits = events.and_then(|text| field(text, "max")).unwrap_or(0);
            memory.reservation = reader.number(dir, "memory.low")?.unwrap_or(0);
        }
        Ok(Some(memory))
    }

    fn block_io(&self, reader: &mut Reader) -> Result<Vec<BlockIo>, CgroupError> {
        let Some(member) = self.member(Controller::Blkio) else { return Ok(Vec::new()) };
        if member.version == Version::V2 {
            return Ok(reader.text(&member.dir, "io.stat")?.map(io_stat).unwrap_or_default());
        }
        let bytes = reader.text(&member.dir, "blkio.throttle.io_service_bytes_recursive")?;
        let bytes = bytes.unwrap_or_default().to_owned();
        let operations = reader.text(&member.dir, "blkio.throttle.io_serviced_recursive")?;
        Ok(blkio(&bytes, operations.unwrap_or_default()))
    }

    fn hugepages(&self, reader: &mut Reader) -> Result<Vec<HugeUse>, CgroupError> {
        let Some(member) = self.member(Controller::Hugetlb) else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for page_size in hugepage_sizes() {
            let (usage, most) = match member.version {
                Version::V1 => ("usage_in_bytes", Some("max_usage_in_bytes")),
                Version::V2 => ("current", None),
            };
            let file = |what: &str| format!("hugetlb.{page_size}.{what}");
            let Some(usage) = reader.number(&member.dir, &file(usage))? else { continue };
            let max_usage = match most {
                Some(most) => reader.number(&member.dir, &file(most))?,
                None => None,
            };
            all.push(HugeUse { page_size, usage, max_usage });
        }
        Ok(all)
    }
}

/// The sizes of huge pages that this host has, as cgroups name them (`2MB`), the smallest first.
pub(in crate::cgroup) fn hugepage_sizes() -> Vec<String> {
    let names = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let mut sizes: Vec<u64> = names.filter_map(|entry| kibibytes(entry.file_name().to_str()?)).collect();
    sizes.sort_unstable();
    sizes.into_iter().map(size_name).collect()
}

/// `hugepages-2048kB` as 2048.
fn kibibytes(name: &str) -> Option<u64> {
    name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()
}

/// 2048 KiB as `2MB`: the kernel's own way of naming the files of a size.
fn size_name(kibibytes: u64) -> String {
    match kibibytes {
        size if size >= 1 << 20 => format!("{}GB", size >> 20),
        size if size >= 1 << 10 => format!("{}MB", size >> 10),
        size => format!("{size}KB"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_named_as_the_files_are() {
        let named = |text| super::kibibytes(text).map(super::size_name);
        assert_eq!(named("hugepages-64kB").as_deref(), Some("64KB"));
        assert_eq!(named("hugepages-2048kB").as_deref(), Some("2MB"));
        assert_eq!(named("hugepages-1048576kB").as_deref(), Some("1GB"));
        assert_eq!(named("other"), None);
    }
}
