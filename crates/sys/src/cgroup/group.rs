//! One group: a directory in each hierarchy.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode as FileMode, OFlags};
use rustix::io::Errno;

use super::host::Shape;
use super::{CgroupError, Controller, Controllers, Mode, Version};

/// A group's directory in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) dir: PathBuf,
    pub(super) version: Version,
    /// For v2 those of the whole hierarchy when made by the host, else those enabled in the group.
    pub(super) controllers: Controllers,
}

/// One group in all hierarchies. Holds no descriptors; dropping it removes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    pub(super) members: Vec<Member>,
}

/// Open descriptors by which a new process becomes a member.
///
/// `v2_dir` is for `CLONE_INTO_CGROUP`. The child writes `0` to each of `tasks` while it has a
/// single thread: for that form the kernel does not take its global lock of thread groups.
#[derive(Debug, Default)]
pub struct Join {
    /// The directory in the v2 hierarchy.
    pub v2_dir: Option<OwnedFd>,
    /// The `tasks` file in each v1 hierarchy, open for writing.
    pub tasks: Vec<OwnedFd>,
}

impl Cgroup {
    /// The group in these directories, one for each hierarchy, as [`Cgroup::dirs`] gave them. What
    /// each one is shows in its files; a removed directory stays in the list and counts as empty.
    pub fn from_dirs(dirs: Vec<PathBuf>) -> Cgroup {
        Cgroup { members: dirs.into_iter().map(|dir| Member::probe(dir.clone(), &dir)).collect() }
    }

    /// The directories in all hierarchies, absolute.
    pub fn dirs(&self) -> Vec<PathBuf> {
        self.members.iter().map(|m| m.dir.clone()).collect()
    }

    /// Opens what a new process needs to join.
    pub fn join(&self) -> Result<Join, CgroupError> {
        let mut join = Join { v2_dir: None, tasks: Vec::with_capacity(self.members.len()) };
        for member in &self.members {
            match member.version {
                Version::V1 => join.tasks.push(open(&member.dir.join("tasks"), OFlags::WRONLY)?),
                Version::V2 => join.v2_dir = Some(open(&member.dir, OFlags::PATH | OFlags::DIRECTORY)?),
            }
        }
        Ok(join)
    }

    /// Moves a process with all its threads into the group.
    pub fn take(&self, pid: i32) -> Result<(), CgroupError> {
        self.members.iter().try_for_each(|member| write(&member.dir.join("cgroup.procs"), &pid.to_string()))
    }

    pub(super) fn member(&self, controller: Controller) -> Option<&Member> {
        let version = self.shape().version(controller)?;
        self.members
            .iter()
            .find(|m| m.version == version && (version == Version::V2 || m.controllers.has(controller)))
    }

    pub(super) fn v2(&self) -> Option<&Member> {
        self.members.iter().find(|m| m.version == Version::V2)
    }

    pub(super) fn shape(&self) -> Shape {
        let of = |version| {
            let sets = self.members.iter().filter(move |m| m.version == version).map(|m| m.controllers);
            sets.flat_map(|set| set.iter().collect::<Vec<_>>()).collect::<Controllers>()
        };
        let (v1, v2) = (of(Version::V1), of(Version::V2));
        let mode = match (self.v2().is_some(), v1.is_empty()) {
            (true, true) => Mode::V2,
            (true, false) => Mode::Hybrid,
            (false, _) => Mode::V1,
        };
        Shape { mode, v1, v2 }
    }
}

impl Member {
    /// Finds out what a directory, `name` in full, is by its files.
    pub(super) fn probe(dir: PathBuf, name: &Path) -> Member {
        if let Ok(text) = std::fs::read_to_string(dir.join("cgroup.controllers")) {
            let controllers = Controllers::parse(text.split_whitespace());
            return Member { dir, version: Version::V2, controllers };
        }
        // The name of the mount point almost always says it: those are looked at first.
        let named: Controllers = name
            .components()
            .flat_map(|c| c.as_os_str().to_str().unwrap_or("").split(','))
            .filter_map(Controller::parse)
            .collect();
        let has = |c: &Controller| marker(*c).is_some_and(|file| dir.join(file).exists());
        let mut controllers: Controllers = named.iter().filter(has).collect();
        if controllers.is_empty() {
            controllers = Controller::EVERY.into_iter().filter(has).collect();
        }
        Member { dir, version: Version::V1, controllers }
    }
}

/// A file that every group of a v1 controller has.
fn marker(controller: Controller) -> Option<&'static str> {
    match controller {
        Controller::Cpu => Some("cpu.shares"),
        Controller::Cpuacct => Some("cpuacct.usage"),
        Controller::Cpuset => Some("cpuset.cpus"),
        Controller::Memory => Some("memory.limit_in_bytes"),
        Controller::Pids => Some("pids.max"),
        Controller::Blkio => Some("blkio.reset_stats"),
        Controller::Devices => Some("devices.list"),
        Controller::Freezer => Some("freezer.state"),
        Controller::NetCls => Some("net_cls.classid"),
        Controller::NetPrio => Some("net_prio.prioidx"),
        Controller::Rdma => Some("rdma.max"),
        Controller::Hugetlb => Some("hugetlb.2MB.limit_in_bytes"),
        Controller::Misc | Controller::PerfEvent => None,
    }
}

pub(super) fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, CgroupError> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, FileMode::empty()).map_err(CgroupError::io("open", path))
}

/// Writes a value in one call, as the kernel wants it.
pub(super) fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    let refused = |errno: Errno| CgroupError::Write {
        path: path.to_owned(),
        value: CgroupError::short(value),
        source: errno.into(),
    };
    let file =
        rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, FileMode::empty()).map_err(refused)?;
    File::from(file).write_all(value.as_bytes()).map_err(|source| CgroupError::Write {
        path: path.to_owned(),
        value: CgroupError::short(value),
        source,
    })
}

/// Reads a whole file.
pub(super) fn read(path: &Path) -> Result<String, CgroupError> {
    std::fs::read_to_string(path).map_err(|source| CgroupError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })
}
