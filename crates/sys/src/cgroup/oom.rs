//! How many processes the kernel killed in a group because it was out of memory.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::group::open;
use super::{Cgroup, CgroupError, Controller, Version};

/// The counter, open from the group's creation on: reading it late needs no path. A group that is
/// removed takes the counter with it, so it is read before.
#[derive(Debug)]
pub struct OomCounter {
    file: OwnedFd,
    path: PathBuf,
}

impl OomCounter {
    /// Kills so far. 0 when the kernel does not count them (v1 before 4.13).
    pub fn kills(&self) -> Result<u64, CgroupError> {
        let mut text = [0u8; 512];
        let length =
            rustix::io::pread(&self.file, &mut text, 0).map_err(CgroupError::io("read", &self.path))?;
        parse(&self.path, &String::from_utf8_lossy(&text[..length]))
    }
}

impl Cgroup {
    /// Opens the counter; none when the host has no memory controller.
    pub fn oom_counter(&self) -> Result<Option<OomCounter>, CgroupError> {
        let Some(member) = self.member(Controller::Memory) else { return Ok(None) };
        let path = member.dir.join(match member.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        });
        Ok(Some(OomCounter { file: open(&path, OFlags::RDONLY)?, path }))
    }

    /// Kills so far in this group; on v2 also in those below it.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        self.oom_counter()?.map_or(Ok(0), |counter| counter.kills())
    }
}

/// `oom_kill` in the text of `memory.events` (v2) or `memory.oom_control` (v1).
fn parse(path: &Path, text: &str) -> Result<u64, CgroupError> {
    let Some(value) = text.lines().find_map(|line| line.strip_prefix("oom_kill ")) else { return Ok(0) };
    value
        .trim()
        .parse()
        .map_err(|_| CgroupError::Content { path: path.to_owned(), text: CgroupError::short(text) })
}
