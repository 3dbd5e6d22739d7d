//! Memory and processor time of processes, from /proc.

use std::collections::HashMap;
use std::time::Duration;

/// The prefixes of the names of daemons, shims, monitors and pause processes of container runtimes.
const RUNTIMES: [&str; 8] = ["berth", "containerd", "conmon", "crio", "crun", "pause", "catatonit", "runc"];

/// The processes of container runtimes, payloads left out: pid and proportional set size in KiB.
///
/// They are recognised by name, or by running from a memfd as Berth's shims do, since other programs
/// come and go on the machine at the same time.
pub(super) fn runtime_processes() -> HashMap<u32, u64> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return HashMap::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let ours = RUNTIMES.iter().any(|start| name.starts_with(start))
            || program.as_os_str().as_encoded_bytes().starts_with(b"/memfd:");
        if ours { Some((pid, pss(pid)?)) } else { None }
    })
    .collect()
}

/// The proportional set size of a process in KiB.
pub(super) fn pss(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The processor time of a process and of its children that ended.
pub(super) fn processor_time(pid: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may have anything in it but is the last with a bracket.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // utime, stime, cutime and cstime: the 14th to 17th field, the state being the third.
    let ticks: u64 = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    let rate = rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis(ticks * 1000 / rate.max(1)))
}

/// The process that listens on a unix socket.
pub(super) fn owner(endpoint: &str) -> Option<u32> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    let stream = std::os::unix::net::UnixStream::connect(path).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
    u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
}
