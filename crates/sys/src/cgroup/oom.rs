//! How many processes the kernel killed in a group because memory ran out, and which limit was met.
//!
//! v2 says for each group how often its own limit had the kernel look for a process to kill (`oom` in
//! `memory.events.local`). v1 says only how much was in use at most, which is the limit where it was met, also when
//! pages could be given back; its `memory.failcnt` stays 0 on newer kernels. Kills are counted where the killed
//! process was (`oom_kill`).

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::group::open;
use super::stats::Reader;
use super::{Cgroup, CgroupError, Controller, Version};

/// The most levels above a group that are looked at.
const MOST_LEVELS: usize = super::MAX_DEPTH;
/// How far below its limit a group of v1 may stay when the kernel finds no more for it: pages are taken in batches.
const BATCH: u64 = 64 << 10;

/// The counter of kills, open from the group's creation on, with what the limits above the group had met by then. A
/// group that is removed takes its counter with it, so it is read before.
#[derive(Debug)]
pub struct OomWatch {
    file: OwnedFd,
    version: Version,
    /// The group and those above it, with how often their limits had been met when the group was made.
    levels: Vec<(PathBuf, u64)>,
}

/// What ran out when the kernel killed a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OomLevel {
    /// The group's own limit, in bytes where it can still be read.
    Own(Option<u64>),
    /// The limit of the group that it is in, a pod's.
    Parent(Option<u64>),
    /// The limit of a group above that one.
    Above(PathBuf, Option<u64>),
    /// The machine's memory.
    Machine,
}

impl OomWatch {
    /// Kills so far in the group; on v2 also in those below it. 0 when the kernel does not count them (v1 before 4.13).
    pub fn kills(&self) -> Result<u64, CgroupError> {
        let mut text = [0u8; 512];
        let path = || self.levels.first().map(|(dir, _)| dir.clone()).unwrap_or_default();
        let length = rustix::io::pread(&self.file, &mut text, 0)
            .map_err(|errno| CgroupError::io("read the out-of-memory counter of", path())(errno))?;
        parse(&path(), &String::from_utf8_lossy(&text[..length]))
    }

    /// Which limit was met since the group was made: the nearest one.
    pub fn level(&self) -> OomLevel {
        let mut reader = Reader::default();
        let met = self.levels.iter().position(|(dir, before)| met(dir, self.version, *before, &mut reader));
        let mut limit = |dir: &Path| reader.number(dir, limit_file(self.version)).ok().flatten();
        match met.map(|at| (at, &self.levels[at].0)) {
            None => OomLevel::Machine,
            Some((0, dir)) => OomLevel::Own(limit(dir)),
            Some((1, dir)) => OomLevel::Parent(limit(dir)),
            Some((_, dir)) => OomLevel::Above(dir.clone(), limit(dir)),
        }
    }
}

impl fmt::Display for OomLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = |limit: &Option<u64>| limit.map(|bytes| format!(" of {bytes} bytes")).unwrap_or_default();
        match self {
            OomLevel::Own(limit) => write!(f, "the container's limit{} was met", bytes(limit)),
            OomLevel::Parent(limit) => write!(f, "the limit{} of the pod's cgroup was met", bytes(limit)),
            OomLevel::Above(dir, limit) => {
                write!(f, "the limit{} of cgroup {} was met", bytes(limit), dir.display())
            }
            OomLevel::Machine => f.write_str("the machine has no more"),
        }
    }
}

impl Cgroup {
    /// Opens the counter of a new group; none when the host has no memory controller.
    pub fn oom_watch(&self) -> Result<Option<OomWatch>, CgroupError> {
        let Some(member) = self.member(Controller::Memory) else { return Ok(None) };
        let version = member.version;
        let path = member.dir.join(match version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        });
        let file = open(&path, OFlags::RDONLY)?;
        let mut reader = Reader::default();
        // The root of a hierarchy has no limit, and what is above it is none of its groups.
        let below_root = |dir: &&Path| dir.join("cgroup.procs").exists();
        let levels = member.dir.ancestors().take(MOST_LEVELS).take_while(below_root);
        let levels = levels.map(|dir| (dir.to_owned(), hits(dir, version, &mut reader))).collect();
        Ok(Some(OomWatch { file, version, levels }))
    }

    /// Kills so far in this group; on v2 also in those below it.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        let Some(member) = self.member(Controller::Memory) else { return Ok(0) };
        let file = match member.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let mut reader = Reader::default();
        reader.text(&member.dir, file)?.map_or(Ok(0), |text| parse(&member.dir.join(file), text))
    }
}

/// How often the kernel found no more for one group than its limit (v2).
fn hits(dir: &Path, version: Version, reader: &mut Reader) -> u64 {
    match version {
        Version::V1 => 0,
        Version::V2 => {
            let text = reader.text(dir, "memory.events.local").ok().flatten().unwrap_or_default();
            value(text, "oom ").and_then(|value| value.parse().ok()).unwrap_or(0)
        }
    }
}

/// Whether the limit of one group was met since there were so many hits.
fn met(dir: &Path, version: Version, before: u64, reader: &mut Reader) -> bool {
    let mut reached = |most, limit| {
        let most = reader.number(dir, most).ok().flatten();
        let limit = reader.number(dir, limit).ok().flatten();
        most.zip(limit).is_some_and(|(most, limit)| most.saturating_add(BATCH) >= limit)
    };
    match version {
        Version::V1 => {
            reached("memory.max_usage_in_bytes", "memory.limit_in_bytes")
                || reached("memory.memsw.max_usage_in_bytes", "memory.memsw.limit_in_bytes")
        }
        Version::V2 => hits(dir, version, reader) > before,
    }
}

fn limit_file(version: Version) -> &'static str {
    match version {
        Version::V1 => "memory.limit_in_bytes",
        Version::V2 => "memory.max",
    }
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// `oom_kill` in the text of `memory.events` (v2) or `memory.oom_control` (v1).
fn parse(path: &Path, text: &str) -> Result<u64, CgroupError> {
    let Some(value) = value(text, "oom_kill ") else { return Ok(0) };
    let content = || CgroupError::Content { path: path.to_owned(), text: CgroupError::short(text) };
    value.parse().map_err(|_| content())
}
