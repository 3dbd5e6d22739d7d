//! crun on a host with both versions of control groups: it makes no container while cgroup2 has a controller there ("cgroups in
//! hybrid mode not supported"). Where nothing has given huge pages a hierarchy of their own, they have one while the tests, the conformance suite or the benchmark runs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{is_root, must};

const CONTROLLERS: &str = "/sys/fs/cgroup/unified/cgroup.controllers";
const HIERARCHY: &str = "/sys/fs/cgroup/hugetlb";

/// The hierarchy, if it was made here.
#[must_use]
#[derive(Debug)]
pub(crate) struct HugePages {
    made: bool,
}

impl HugePages {
    /// Takes huge pages out of cgroup2, if nothing else there is what crun minds.
    pub(crate) fn apart() -> Result<Self> {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let made =
            is_root() && is_last(&read(CONTROLLERS), &read("/proc/cgroups"), &read("/proc/self/mounts"));
        if made {
            // Also where cgroup2 lists none: a hierarchy that was unmounted may be on its way out.
            std::fs::create_dir_all(HIERARCHY).with_context(|| format!("make {HIERARCHY}"))?;
            must(Command::new("mount").args(["-t", "cgroup", "-o", "hugetlb", "cgroup", HIERARCHY]))?;
        }
        Ok(Self { made })
    }

    /// Gives them back.
    pub(crate) fn back(self) -> Result<()> {
        if !self.made {
            return Ok(());
        }
        must(Command::new("umount").arg(HIERARCHY))?;
        std::fs::remove_dir(Path::new(HIERARCHY)).with_context(|| format!("remove {HIERARCHY}"))
    }
}

/// Whether the host has both versions, and cgroup2 has or will have huge pages and nothing else.
fn is_last(controllers: &str, known: &str, mounts: &str) -> bool {
    let is_known = known.lines().any(|line| line.starts_with("hugetlb\t") && line.ends_with("\t1"));
    let is_v1 = |line: &str| {
        let fields: Vec<_> = line.split(' ').collect();
        matches!(fields[..], [_, _, "cgroup", options, ..] if options.split(',').any(|word| word == "hugetlb"))
    };
    let is_hybrid = mounts.lines().any(|line| line.split(' ').nth(1) == Some("/sys/fs/cgroup/unified"));
    is_hybrid && is_known && !mounts.lines().any(is_v1) && matches!(controllers.trim(), "" | "hugetlb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_moved_from_hosts_of_both_versions_alone() {
        let known = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nhugetlb\t0\t1\t1\n";
        let v2 = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let v1 = "cgroup /sys/fs/cgroup/hugetlb cgroup rw,relatime,hugetlb 0 0\n";
        assert!(is_last("hugetlb\n", known, v2) && is_last("\n", known, v2));
        assert!(!is_last("\n", known, &[v2, v1].concat()), "they are apart");
        assert!(!is_last("memory hugetlb\n", known, v2), "they are not the last");
        assert!(!is_last("hugetlb\n", known, "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"));
        assert!(!is_last("", &known.replace("\t1\n", "\t0\n"), v2), "the kernel has none");
    }
}
