//! `ps`: the processes of a container.

use std::process::Command;

use berth_sys::cgroup::Cgroup;

use super::print;
use crate::OciError;
use crate::cli::Format;
use crate::store::Store;

pub(super) fn ps(store: &Store, id: &str, format: Format, options: &[String]) -> Result<(), OciError> {
    let record = store.open(id)?.load()?;
    let pids = record.group()?.with(Cgroup::pids)?;
    let pids: Vec<i32> = pids.into_iter().map(rustix::process::Pid::as_raw_nonzero).map(i32::from).collect();
    match format {
        Format::Json => {
            let text = serde_json::to_string(&pids).map_err(|e| OciError::invalid("the processes", e))?;
            print(&(text + "\n"))
        }
        Format::Table => {
            let usual = ["-ef".to_owned()];
            let options = if options.is_empty() { &usual } else { options };
            let output = Command::new("ps").args(options).output().map_err(OciError::system("execute ps"))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(OciError::Ps { problem: format!("{}: {}", output.status, said.trim()) });
            }
            print(&chosen(&String::from_utf8_lossy(&output.stdout), &pids)?)
        }
    }
}

/// The head of ps' table and the lines of these processes.
fn chosen(table: &str, pids: &[i32]) -> Result<String, OciError> {
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_ascii_whitespace().position(|name| name == "PID");
    let column =
        column.ok_or_else(|| OciError::Ps { problem: "with these options it has no column PID".into() })?;
    let is_ours = |line: &&str| {
        let pid = line.split_ascii_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(head).chain(lines.filter(is_ours)).map(|line| format!("{line}\n")).collect())
}
