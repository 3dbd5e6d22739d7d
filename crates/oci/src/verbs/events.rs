//! `events`: what a container uses, and when it ran out of memory, as lines of JSON.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use berth_sys::cgroup::{Cgroup, Reader};
use rustix::event::Timespec;
use serde_json::{Value, json};

use super::print;
use crate::OciError;
use crate::identity::has_ended;
use crate::record::Status;
use crate::store::Store;

pub(super) fn events(store: &Store, id: &str, interval: &str, once: bool) -> Result<(), OciError> {
    let interval = duration(interval)
        .filter(|interval| !interval.is_zero())
        .ok_or_else(|| OciError::invalid("--interval", "a time above zero is needed, as 500ms, 5s or 1m"))?;
    let container = store.open(id)?;
    let record = container.load()?;
    let open = record.process.map(|p| p.open()).transpose();
    let process: OwnedFd = open
        .map_err(OciError::system("look for the container's process"))?
        .flatten()
        .ok_or_else(|| OciError::NotRunning { id: id.to_owned(), status: Status::Stopped })?;
    let cgroup = Cgroup::from_dirs(record.cgroups.clone());
    let mut reader = Reader::default();
    if once {
        return print(&line("stats", id, Some(stats(&cgroup, &mut reader)?)));
    }
    let limit =
        Timespec::try_from(interval).map_err(|_| OciError::invalid("--interval", "it is too long"))?;
    let mut kills = cgroup.oom_kills()?;
    // The last look is the one after the end, for what the container died of.
    loop {
        let ended = has_ended(process.as_fd(), limit).map_err(OciError::system("wait for the container"))?;
        let now = cgroup.oom_kills().unwrap_or(kills);
        if now > kills {
            print(&line("oom", id, None))?;
            kills = now;
        }
        if ended {
            return Ok(());
        }
        print(&line("stats", id, Some(stats(&cgroup, &mut reader)?)))?;
    }
}

fn line(kind: &str, id: &str, data: Option<Value>) -> String {
    let mut event = json!({ "type": kind, "id": id });
    if let Some(data) = data {
        event["data"] = data;
    }
    event.to_string() + "\n"
}

/// In the form that runc gives them.
fn stats(cgroup: &Cgroup, reader: &mut Reader) -> Result<Value, OciError> {
    let stats = cgroup.stats(reader)?.unwrap_or_default();
    let pids = cgroup.process_count(reader)?;
    let memory = stats.memory.as_ref().map(|m| {
        json!({
            "usage": { "usage": m.usage, "limit": m.limit.unwrap_or(u64::MAX) },
            "cache": m.inactive_file,
            "raw": {
                "rss": m.rss, "inactive_file": m.inactive_file, "pgfault": m.page_faults,
                "pgmajfault": m.major_page_faults, "working_set": m.working_set
            }
        })
    });
    Ok(json!({
        "cpu": { "usage": { "total": stats.cpu_usage_ns.unwrap_or(0) } },
        "memory": memory.unwrap_or_else(|| json!({})),
        "pids": { "current": pids.current.unwrap_or(0), "limit": pids.limit.unwrap_or(0) }
    }))
}

/// A whole number with its unit, as Go writes durations.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
