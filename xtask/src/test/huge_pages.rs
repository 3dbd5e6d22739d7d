//! crun on a host with both versions of control groups: it makes no container while cgroup2 has a controller there ("cgroups in
//! hybrid mode not supported"). Where nothing has given huge pages a hierarchy of their own, they have one while the tests run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{is_root, must};

const CONTROLLERS: &str = "/sys/fs/cgroup/unified/cgroup.controllers";
const HIERARCHY: &str = "/sys/fs/cgroup/hugetlb";

/// The hierarchy, if it was made here.
#[must_use]
#[derive(Debug)]
pub(super) struct HugePages {
    made: bool,
}

impl HugePages {
    /// Takes huge pages out of cgroup2, if they are the last that crun minds.
    pub(super) fn apart() -> Result<Self> {
        let controllers = std::fs::read_to_string(CONTROLLERS).unwrap_or_default();
        let made = is_root() && controllers.trim() == "hugetlb";
        if made {
            std::fs::create_dir_all(HIERARCHY).with_context(|| format!("make {HIERARCHY}"))?;
            must(Command::new("mount").args(["-t", "cgroup", "-o", "hugetlb", "cgroup", HIERARCHY]))?;
        }
        Ok(Self { made })
    }

    /// Gives them back.
    pub(super) fn back(self) -> Result<()> {
        if !self.made {
            return Ok(());
        }
        must(Command::new("umount").arg(HIERARCHY))?;
        std::fs::remove_dir(Path::new(HIERARCHY)).with_context(|| format!("remove {HIERARCHY}"))
    }
}
