//! What is on the machine, before and after: whatever came and stayed is a leak.
//!
//! Looked at: mounts, network namespaces (of processes and bind-mounted), network links, nftables
//! tables, cgroup directories, processes, what has Berth in its name where temporary and run-time
//! files are made, and the files under directories that the caller names.
//! Things of other programs may come and go at the same time: [`Leaks::of`] keeps what concerns Berth.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use berth_sys::mount::{Mounted, mounted};

/// A kind of thing that can be left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Thing {
    /// A mount of this mount namespace: where and what.
    Mount,
    /// A network namespace: its inode.
    NetworkNamespace,
    /// A network link of this network namespace.
    Link,
    /// An nftables table.
    NftTable,
    /// A directory in a cgroup hierarchy.
    Cgroup,
    /// A process: pid, start time and name.
    Process,
    /// A file or directory under one of the places looked at.
    File,
}

/// A snapshot of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Snapshot {
    things: BTreeMap<Thing, BTreeSet<String>>,
}

/// What one snapshot has and an earlier one has not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leaks {
    found: Vec<(Thing, String)>,
}

impl Snapshot {
    /// Looks at the machine and at the files under these places.
    pub fn take(places: &[&Path]) -> Self {
        let mut things = BTreeMap::new();
        things.insert(Thing::Mount, mounts());
        things.insert(Thing::NetworkNamespace, network_namespaces());
        things.insert(Thing::Link, names_in(Path::new("/sys/class/net")));
        things.insert(Thing::NftTable, nft_tables());
        things.insert(Thing::Cgroup, cgroups());
        things.insert(Thing::Process, processes());
        let mut files = named_berth();
        for place in places {
            walk(place, true, &mut files);
        }
        things.insert(Thing::File, files);
        Self { things }
    }

    /// What is in `self` and was not in `before`.
    pub fn since(&self, before: &Self) -> Leaks {
        let mut found = Vec::new();
        for (thing, now) in &self.things {
            let then = before.things.get(thing);
            for name in now {
                if then.is_none_or(|then| !then.contains(name)) {
                    found.push((*thing, name.clone()));
                }
            }
        }
        Leaks { found }
    }
}

impl Leaks {
    /// Only those whose name satisfies the test, and all files.
    #[must_use]
    pub fn of(mut self, ours: impl Fn(Thing, &str) -> bool) -> Self {
        self.found.retain(|(thing, name)| *thing == Thing::File || ours(*thing, name));
        self
    }

    /// Without those of some kinds.
    #[must_use]
    pub fn without(mut self, things: &[Thing]) -> Self {
        self.found.retain(|(thing, _)| !things.contains(thing));
        self
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found.
    pub fn found(&self) -> &[(Thing, String)] {
        &self.found
    }
}

impl std::fmt::Display for Leaks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (thing, name) in &self.found {
            writeln!(f, "leaked {}: {name}", thing.word())?;
        }
        Ok(())
    }
}

impl Thing {
    fn word(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::NetworkNamespace => "network namespace",
            Self::Link => "link",
            Self::NftTable => "nftables table",
            Self::Cgroup => "cgroup",
            Self::Process => "process",
            Self::File => "file",
        }
    }
}

/// `where (type, source)`, one for each; a second mount on the same place is told apart.
fn mounts() -> BTreeSet<String> {
    let mut seen = BTreeMap::new();
    let mut out = BTreeSet::new();
    for Mounted { point, kind, source, .. } in mounted().unwrap_or_default() {
        let name = format!("{} ({kind}, {source})", point.display());
        let count = seen.entry(name.clone()).and_modify(|n| *n += 1).or_insert(1);
        out.insert(if *count == 1 { name } else { format!("{name} #{count}") });
    }
    out
}

/// The namespaces of all processes, and those kept by a bind mount.
fn network_namespaces() -> BTreeSet<String> {
    let of_processes = pids().into_iter().filter_map(|pid| {
        let link = std::fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
        Some(link.to_string_lossy().into_owned())
    });
    let roots =
        mounted().unwrap_or_default().into_iter().map(|mount| mount.root.to_string_lossy().into_owned());
    let kept = roots.filter(|root| root.starts_with("net:["));
    of_processes.chain(kept).collect()
}

fn nft_tables() -> BTreeSet<String> {
    let output = std::process::Command::new("nft").args(["list", "tables"]).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Every directory of every hierarchy that is mounted.
fn cgroups() -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for mount in mounted().unwrap_or_default().iter().filter(|mount| mount.kind.starts_with("cgroup")) {
        walk(&mount.point, false, &mut out);
    }
    out
}

/// `pid starttime name`: a pid that is used again is another process. Kernel threads are left out, and dead
/// processes that the machine's init has not reaped: that of a bare container reaps none.
fn processes() -> BTreeSet<String> {
    let own = std::process::id().to_string();
    let mut out = BTreeSet::new();
    for pid in pids() {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some((head, tail)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<_> = tail.split(' ').collect();
        let (Some(parent), Some(start)) = (fields.get(1), fields.get(19)) else { continue };
        if fields[0] == "Z" && *parent == "1" {
            continue;
        }
        let name = head.split_once('(').map_or("", |(_, name)| name);
        if pid != own && pid != "2" && *parent != "2" && *parent != own {
            out.insert(format!("{pid} {start} {name}"));
        }
    }
    out
}

fn pids() -> Vec<String> {
    names_in(Path::new("/proc")).into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit())).collect()
}

fn names_in(dir: &Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return BTreeSet::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// What lies where temporary and run-time files are made and has Berth in its name.
fn named_berth() -> BTreeSet<String> {
    let dirs = [std::env::temp_dir(), "/run".into(), "/dev/shm".into(), "/var/lib".into(), "/etc".into()];
    let mut out = BTreeSet::new();
    for dir in dirs {
        let names = names_in(&dir).into_iter().filter(|name| name.contains("berth"));
        out.extend(names.map(|name| dir.join(name).to_string_lossy().into_owned()));
    }
    out
}

/// Everything below `root`, or only its directories. Symbolic links are not followed.
fn walk(root: &Path, files: bool, out: &mut BTreeSet<String>) {
    let mut todo: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if files || is_dir {
                out.insert(entry.path().to_string_lossy().into_owned());
            }
            if is_dir {
                todo.push(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_stayed_is_found_and_what_was_there_is_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("old"), "").unwrap();
        let before = Snapshot::take(&[dir.path()]);
        std::fs::create_dir(dir.path().join("new")).unwrap();
        std::fs::write(dir.path().join("new/file"), "").unwrap();
        let leaks = Snapshot::take(&[dir.path()]).since(&before).of(|_, _| false);
        let names: Vec<_> = leaks.found().iter().map(|(thing, _)| *thing).collect();
        assert_eq!(names, [Thing::File, Thing::File]);
        assert!(leaks.to_string().contains("leaked file: "));
    }

    #[test]
    fn a_snapshot_sees_this_machine() {
        let snapshot = Snapshot::take(&[]);
        for thing in [Thing::Mount, Thing::NetworkNamespace, Thing::Link] {
            assert!(!snapshot.things[&thing].is_empty(), "{thing:?}");
        }
        assert!(snapshot.since(&snapshot).is_empty());
    }
}
