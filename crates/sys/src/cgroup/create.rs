//! Making a group in every hierarchy, and undoing it.

use std::path::{Path, PathBuf};

use rustix::fs::Mode as FileMode;
use rustix::io::Errno;

use super::group::{Member, read, write};
use super::plan::Plan;
use super::{
    Cgroup, CgroupError, CgroupPath, Controller, Controllers, Hierarchy, Host, Mode, Resources, Version,
    apply,
};

/// What to do with a group that exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    /// Take it as it is.
    Keep,
    /// Replace it when it is empty, else fail.
    Replace,
}

impl Host {
    /// Makes a new group and sets its limits. Parents that are missing are made without limits.
    ///
    /// An empty group left over under that name is replaced; one with processes or children is an
    /// error. On failure everything made here is removed again.
    pub fn create(&self, path: &CgroupPath, resources: &Resources) -> Result<Cgroup, CgroupError> {
        self.make(path, resources, Existing::Replace)
    }

    /// Makes a group unless it exists, and sets its limits: for parents that others share. Whatever
    /// it was before, what is made here is removed again on failure.
    pub fn ensure(&self, path: &CgroupPath, resources: &Resources) -> Result<Cgroup, CgroupError> {
        self.make(path, resources, Existing::Keep)
    }

    /// Makes the directories of a group where they are missing, and nothing else: no controller is enabled and no limit
    /// set. For groups that another manager is told about.
    pub fn bare(&self, path: &CgroupPath) -> Result<Cgroup, CgroupError> {
        let cgroup = self.open(path);
        for member in &cgroup.members {
            std::fs::create_dir_all(&member.dir).map_err(|source| CgroupError::Io {
                action: "make",
                path: member.dir.clone(),
                source,
            })?;
        }
        Ok(cgroup)
    }

    /// The group of that path, whether it exists or not.
    pub fn open(&self, path: &CgroupPath) -> Cgroup {
        let member = |h: &Hierarchy| Member {
            dir: h.mount.join(path.as_str()),
            version: h.version,
            controllers: h.controllers,
        };
        Cgroup { members: self.hierarchies.iter().map(member).collect() }
    }

    fn make(
        &self,
        path: &CgroupPath,
        resources: &Resources,
        existing: Existing,
    ) -> Result<Cgroup, CgroupError> {
        let cgroup = self.open(path);
        // Refused settings are found before anything is made.
        let plan = apply::prepare(&cgroup, resources)?;
        let mut made = Made::default();
        for hierarchy in &self.hierarchies {
            made.group(hierarchy, path, existing, self.needed(hierarchy, &plan))?;
        }
        apply::run(&cgroup, &plan)?;
        made.keep();
        Ok(cgroup)
    }

    /// The v2 controllers that the group needs enabled above it. Where v2 is alone those that
    /// account or may get a limit later, beside v1 only those that this plan writes to.
    fn needed(&self, hierarchy: &Hierarchy, plan: &Plan) -> Controllers {
        match (hierarchy.version, self.mode) {
            (Version::V1, _) => Controllers::NONE,
            (Version::V2, Mode::V2) => hierarchy
                .controllers
                .without(Controllers::NONE.with(Controller::Rdma).with(Controller::PerfEvent)),
            (Version::V2, _) => plan
                .writes
                .iter()
                .filter_map(|w| w.controller)
                .collect::<Controllers>()
                .and(hierarchy.controllers),
        }
    }
}

/// The directories made so far: removed again, the last first, unless kept.
#[derive(Debug, Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn group(
        &mut self,
        hierarchy: &Hierarchy,
        path: &CgroupPath,
        existing: Existing,
        wanted: Controllers,
    ) -> Result<(), CgroupError> {
        let mut dir = hierarchy.mount.clone();
        let leaf = hierarchy.mount.join(path.as_str());
        // Nearly always only the last level is missing.
        if wanted.is_empty() && !hierarchy.controllers.has(Controller::Cpuset) {
            match self.level(&leaf, existing) {
                Err(CgroupError::Io { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {}
                done => return done.map(drop),
            }
        }
        for name in path.as_str().split('/') {
            enable_below(&dir, wanted)?;
            dir.push(name);
            let existing = if dir == leaf { existing } else { Existing::Keep };
            let new = self.level(&dir, existing)?;
            if new && hierarchy.version == Version::V1 && hierarchy.controllers.has(Controller::Cpuset) {
                inherit_cpuset(&dir)?;
            }
        }
        Ok(())
    }

    /// Makes one directory; says whether it is new.
    fn level(&mut self, dir: &Path, existing: Existing) -> Result<bool, CgroupError> {
        let make = || rustix::fs::mkdir(dir, FileMode::from_raw_mode(0o755));
        match make() {
            Ok(()) => {}
            Err(Errno::EXIST) if existing == Existing::Keep => return Ok(false),
            Err(Errno::EXIST) => {
                rustix::fs::rmdir(dir).map_err(CgroupError::io("replace", dir))?;
                make().map_err(CgroupError::io("make", dir))?;
            }
            Err(errno) => return Err(CgroupError::io("make", dir)(errno)),
        }
        self.0.push(dir.to_owned());
        Ok(true)
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for dir in self.0.iter().rev() {
            // The error that led here is the one to report; nothing can be in a group this new.
            let _ = rustix::fs::rmdir(dir);
        }
    }
}

/// Enables what is missing for the children of a v2 group. Where everything is there already, as in
/// the groups of a kubelet or a systemd unit above the delegated one, nothing is written.
fn enable_below(dir: &Path, wanted: Controllers) -> Result<(), CgroupError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let file = dir.join("cgroup.subtree_control");
    let missing = wanted.without(Controllers::parse(read(&file)?.split_whitespace()));
    if missing.is_empty() {
        return Ok(());
    }
    let line = missing.iter().map(|c| format!("+{}", c.v2_name())).collect::<Vec<_>>().join(" ");
    write(&file, &line)
}

/// A new v1 cpuset group has no processors and takes no process: it gets its parent's, and so will
/// what is made in it (the kernel copies them when `cgroup.clone_children` is set).
fn inherit_cpuset(dir: &Path) -> Result<(), CgroupError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if read(&dir.join(file))?.trim().is_empty() {
            let parent = dir.parent().unwrap_or(dir).join(file);
            write(&dir.join(file), read(&parent)?.trim())?;
        }
    }
    let clone = dir.join("cgroup.clone_children");
    if read(&clone)?.trim() == "0" { write(&clone, "1") } else { Ok(()) }
}
