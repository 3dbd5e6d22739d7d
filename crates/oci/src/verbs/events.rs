//! `events`: what a container uses, and when it ran out of memory, as lines of JSON.

use std::os::fd::AsFd as _;

use berth_sys::cgroup::{Cgroup, Held, Reader};
use rustix::event::Timespec;
use serde_json::{Value, json};

use super::print;
use crate::OciError;
use crate::identity::has_ended;
use crate::record::Status;
use crate::store::Store;

pub(super) fn events(store: &Store, id: &str, interval: &str, once: bool) -> Result<(), OciError> {
    let interval = berth_types::duration::parse(interval)
        .filter(|interval| !interval.is_zero())
        .ok_or_else(|| OciError::invalid("--interval", "a time above zero is needed, as 500ms, 5s or 1m"))?;
    let container = store.open(id)?;
    let record = container.load()?;
    let process =
        record.open()?.ok_or_else(|| OciError::NotRunning { id: id.to_owned(), status: Status::Stopped })?;
    let group = record.group()?;
    let mut reader = Reader::default();
    if once {
        return print(&line("stats", id, Some(stats(&group, &mut reader)?)));
    }
    let limit =
        Timespec::try_from(interval).map_err(|_| OciError::invalid("--interval", "it is too long"))?;
    let mut kills = group.with(Cgroup::oom_kills)?;
    // The last look is the one after the end, for what the container died of.
    loop {
        let ended = has_ended(process.as_fd(), limit).map_err(OciError::system("wait for the container"))?;
        let now = group.with(Cgroup::oom_kills).unwrap_or(kills);
        if now > kills {
            print(&line("oom", id, None))?;
            kills = now;
        }
        if ended {
            return Ok(());
        }
        print(&line("stats", id, Some(stats(&group, &mut reader)?)))?;
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
fn stats(group: &Held, reader: &mut Reader) -> Result<Value, OciError> {
    let stats = group.with(|group| group.stats(reader))?.unwrap_or_default();
    let pids = group.with(|group| group.process_count(reader))?;
    let memory = stats.memory.as_ref().map(|m| {
        json!({
            "usage": { "usage": m.usage, "limit": m.limit.unwrap_or(u64::MAX) },
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

#[cfg(test)]
mod tests;
