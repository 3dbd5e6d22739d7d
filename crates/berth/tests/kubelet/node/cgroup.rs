//! The cgroup that all of the kubelet's are below, in every hierarchy of the machine.

use std::io::Result;
use std::path::{Path, PathBuf};

use berth_testkit::guard::{WAIT_LIMIT, wait_until};

const ROOT: &str = "/sys/fs/cgroup";

/// Removed with all below it, and what runs there ended, when it is dropped.
pub struct Cgroup {
    name: String,
    dirs: Vec<PathBuf>,
}

impl Cgroup {
    pub(super) fn make(name: &str) -> Result<Self> {
        let mut made = Self { name: name.to_owned(), dirs: Vec::new() };
        let root = Path::new(ROOT);
        let unified = root.join("cgroup.controllers").exists();
        let hierarchies = match unified {
            true => vec![root.to_owned()],
            false => below(root),
        };
        for hierarchy in hierarchies {
            let dir = hierarchy.join(name);
            std::fs::create_dir(&dir)?;
            made.dirs.push(dir.clone());
            // A cpuset is empty at first, and nothing can run in it.
            for file in ["cpuset.cpus", "cpuset.mems"].into_iter().filter(|_| !unified) {
                if let Ok(value) = std::fs::read(hierarchy.join(file)) {
                    std::fs::write(dir.join(file), value)?;
                }
            }
        }
        Ok(made)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path below it in the hierarchy of a controller.
    pub fn of(&self, controller: &str, path: &str) -> PathBuf {
        let dir = match self.dirs.len() {
            1 => &self.dirs[0],
            _ => {
                let of =
                    |dir: &&PathBuf| dir.parent().is_some_and(|hierarchy| hierarchy.ends_with(controller));
                self.dirs.iter().find(of).unwrap_or_else(|| panic!("no hierarchy of {controller}"))
            }
        };
        dir.join(path)
    }

    /// Every cgroup below it.
    pub fn all(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut todo = self.dirs.clone();
        while let Some(dir) = todo.pop() {
            let more = below(&dir);
            found.extend(more.iter().cloned());
            todo.extend(more);
        }
        found
    }
}

fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let dirs: Vec<_> = self.dirs.iter().cloned().chain(self.all()).collect();
        for dir in dirs.iter().rev() {
            wait_until(WAIT_LIMIT, || {
                let pids = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
                let pids = pids.lines().filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?));
                for pid in pids {
                    rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
                }
                std::fs::remove_dir(dir).is_ok() || !dir.exists()
            });
        }
    }
}
