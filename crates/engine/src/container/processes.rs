//! The processes of a container, as the machine sees them.

use std::fs;
use std::sync::Arc;

use berth_sys::cgroup::CgroupPath;

use crate::error::EngineError;
use crate::model::ContainerView;
use crate::shared::Shared;

/// The most processes of a list.
const MAX: usize = 10_000;
/// The longest command line of one.
const MAX_COMMAND: usize = 4096;

/// A process of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// Its number on the machine.
    pub pid: i32,
    /// That of its parent.
    pub parent: i32,
    /// The user that it runs as, by the machine's numbers.
    pub uid: u32,
    /// Processor time in hundredths of a second.
    pub ticks: u64,
    /// Bytes of memory that are its own or shared with others.
    pub resident: u64,
    /// The command line, or the program's name where it has none.
    pub command: String,
}

/// Those that run now, by their numbers. What ends meanwhile is left out.
pub(crate) async fn list(
    shared: &Arc<Shared>,
    view: Arc<ContainerView>,
) -> Result<Vec<Process>, EngineError> {
    let shared = Arc::clone(shared);
    Shared::blocking(move || {
        let failed = |e| EngineError::failed("list the container's processes", e);
        let group = shared.cgroups.open(&CgroupPath::new(&view.cgroup).map_err(failed)?);
        let mut pids: Vec<i32> =
            group.pids().map_err(failed)?.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
        pids.sort_unstable();
        pids.truncate(MAX);
        Ok(pids.into_iter().filter_map(read).collect())
    })
    .await
}

fn read(pid: i32) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(parse(pid, &status, &String::from_utf8_lossy(&stat), &command))
}

fn parse(pid: i32, status: &str, stat: &str, command: &[u8]) -> Process {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or_default()
    };
    let first = |name: &str| field(name).split_whitespace().next().unwrap_or_default();
    // The name in parentheses may have anything in it.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks =
        |index: usize| after.split_whitespace().nth(index).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let words: Vec<_> = command.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
    let line = String::from_utf8_lossy(&words.join(&b' ')).chars().take(MAX_COMMAND).collect::<String>();
    Process {
        pid,
        parent: first("PPid").parse().unwrap_or(0),
        uid: first("Uid").parse().unwrap_or(0),
        ticks: ticks(11) + ticks(12),
        resident: first("VmRSS").parse::<u64>().unwrap_or(0) << 10,
        command: if line.is_empty() { format!("[{}]", field("Name")) } else { line },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_from_its_files() {
        let status = "Name:\tsh\nPPid:\t7\nUid:\t5\t6\t6\t6\nVmRSS:\t     12 kB\n";
        let stat = "9 (a) b) S 7 9 9 0 -1 4 1 0 0 0 3 4 0 0 20 0 1 0 55";
        let process = parse(9, status, stat, b"sh\0-c\0a b\0");
        let expected =
            Process { pid: 9, parent: 7, uid: 5, ticks: 7, resident: 12 << 10, command: "sh -c a b".into() };
        assert_eq!(process, expected);
        assert_eq!(parse(9, status, "", b"").command, "[sh]");
    }
}
