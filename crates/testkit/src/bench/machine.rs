//! Memory of processes, from /proc.

use std::collections::HashMap;

/// A process and its share of memory.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) name: String,
    /// Proportional set size in KiB.
    pub(super) pss: u64,
}

/// Every process that has memory of its own.
pub(super) fn processes() -> HashMap<u32, Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return HashMap::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned();
        let pss = pss(pid)?;
        Some((pid, Process { name, pss }))
    })
    .collect()
}

/// The proportional set size of a process in KiB.
pub(super) fn pss(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The process that listens on a unix socket.
pub(super) fn owner(endpoint: &str) -> Option<u32> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    let stream = std::os::unix::net::UnixStream::connect(path).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
    u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
}
