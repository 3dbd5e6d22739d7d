//! A bundle: a directory with `config.json` and a root file system, and what becomes of it.
//!
//! ```text
//! config.json --parse--> Spec --plan--> Plan
//!                          +--resources--> cgroup
//!                          +--seccomp--> filter
//! ```

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use berth_container::hook;
use berth_container::plan::{self, Inputs, MAX_SPEC, Plan, ProcessPlan, Seccomp};
use berth_container::run::DEFAULT_PATH;
use berth_container::seccomp;
use berth_sys::cgroup::{Cgroup, CgroupPath, Host};
use berth_sys::fs::read_bounded;
use berth_types::hook::Hooks;
use oci_spec::runtime::{Hook, LinuxNamespace, LinuxNamespaceType, Process, Spec};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::OciError;
use crate::accounts::home;
use crate::copy_up::{self, CopyUp};
use crate::record::LaterHooks;

/// A specification, and its hooks apart: they are the runtime's, not the plan's.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) dir: PathBuf,
    pub(crate) spec: Spec,
    /// `config.json` as it was read.
    pub(crate) json: Vec<u8>,
    pub(crate) hooks: Hooks,
    /// Those that are run by later commands, as the record has them.
    pub(crate) later: LaterHooks,
    copies: Vec<CopyUp>,
}

impl Bundle {
    /// Reads and checks the bundle in `dir`.
    pub(crate) fn read(dir: &Path) -> Result<Self, OciError> {
        let dir = dir.canonicalize().map_err(OciError::io("open the bundle", dir))?;
        let path = dir.join("config.json");
        let (mut spec, json) = read_config(&path)?;
        let given = spec.hooks().clone().unwrap_or_default();
        let list = |list: &Option<Vec<Hook>>| list.clone().unwrap_or_default();
        let later = LaterHooks {
            start_container: list(given.start_container()),
            poststart: list(given.poststart()),
            poststop: list(given.poststop()),
        };
        let hooks = hook::take(&mut spec)?;
        let copies = copy_up::take(&mut spec)?;
        Ok(Self { dir, spec, json, hooks, later, copies })
    }

    /// Whether its process has a terminal.
    pub(crate) fn terminal(&self) -> bool {
        self.spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal).unwrap_or(false)
    }

    /// The directory of its root file system.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.spec.root().as_ref().map(|root| self.dir.join(root.path())).unwrap_or_default()
    }

    /// The name of its command.
    pub(crate) fn command(&self) -> String {
        let args = self.spec.process().as_ref().and_then(|p| p.args().as_ref());
        args.and_then(|args| args.first()).cloned().unwrap_or_default()
    }

    /// Where its cgroup is: as it says, or by the container's name below the root.
    pub(crate) fn cgroup_path(&self, id: &str) -> Result<CgroupPath, OciError> {
        let path = self.spec.linux().as_ref().and_then(|l| l.cgroups_path().as_ref());
        Ok(match path.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => CgroupPath::new(&path.to_string_lossy())?,
            None => CgroupPath::new(id)?,
        })
    }

    /// The mounts that its plan refers to.
    pub(crate) fn mounts(&self) -> Result<Vec<OwnedFd>, OciError> {
        self.copies.iter().map(|copy| copy.mount(&self.rootfs())).collect()
    }

    /// What its container is made by.
    pub(crate) fn plan(&self, host: &Host, cgroup: &Cgroup) -> Result<Plan, OciError> {
        let inputs = Inputs {
            bundle: Some(&self.dir),
            seccomp: filter(&self.spec)?,
            cgroups: plan::cgroup_mounts(host.mode(), host.hierarchies(), cgroup),
            given_mounts: self.copies.iter().map(|copy| copy.source.clone()).collect(),
            ..Inputs::default()
        };
        let mut plan = plan::plan(&self.spec, &inputs)?;
        set_home(&mut plan.process, |uid| home(File::open(self.rootfs()).ok()?.as_fd(), uid).ok());
        Ok(plan)
    }
}

/// The compiled seccomp profile of a specification, if it has one.
pub(crate) fn filter(spec: &Spec) -> Result<Option<Seccomp>, OciError> {
    let Some(profile) = spec.linux().as_ref().and_then(|l| l.seccomp().as_ref()) else {
        return Ok(None);
    };
    let native = seccomp::Arch::native().ok_or(OciError::Machine)?;
    let profile = seccomp::Profile::try_from(profile)?;
    Ok(Some(seccomp::compile(&profile, native)?.encode()))
}

/// Whether a container of this specification is in a user namespace of its own.
pub(crate) fn has_user_namespace(spec: &Spec) -> bool {
    namespaces(spec).any(|n| n.typ() == LinuxNamespaceType::User)
}

/// Whether it is alone in a PID namespace, so that its end ends everything in there.
pub(crate) fn has_own_pids(spec: &Spec) -> bool {
    let is_new = |n: &LinuxNamespace| n.path().as_ref().is_none_or(|path| path.as_os_str().is_empty());
    namespaces(spec).any(|n| n.typ() == LinuxNamespaceType::Pid && is_new(n))
}

fn namespaces(spec: &Spec) -> impl Iterator<Item = &LinuxNamespace> {
    let namespaces = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    namespaces.into_iter().flatten()
}

/// A specification that was read before, and its text.
pub(crate) fn read_config(path: &Path) -> Result<(Spec, Vec<u8>), OciError> {
    let json = read_bounded(path, MAX_SPEC as u64).map_err(OciError::io("read", path))?;
    Ok((plan::parse(&json)?, json))
}

/// The plan of a further process in a container of this specification.
pub(crate) fn further_process(spec: &Spec, process: &Process) -> Result<ProcessPlan, OciError> {
    let inputs = Inputs { seccomp: filter(spec)?, ..Inputs::default() };
    Ok(plan::process(process, &inputs, has_user_namespace(spec))?.of_container(spec)?)
}

/// Gives the process a HOME, as runc does: programs rely on it. `find` is asked for that of a user if there is none.
pub(crate) fn set_home(process: &mut ProcessPlan, find: impl FnOnce(u32) -> Option<Vec<u8>>) {
    if process.env.iter().any(|e| e.starts_with(b"HOME=") && e.len() > 5) {
        return;
    }
    let home = find(process.identity.uid);
    process.env.retain(|e| e != b"HOME=");
    process.env.push([b"HOME=".as_slice(), &home.unwrap_or_else(|| b"/".to_vec())].concat());
}

/// Whether the command of a process is somewhere in its container, whose first process is `pid`, and may be a program; so that
/// `create` can say that it is not, as runc does: callers clean up after that only. What else the execve needs is for that to say.
pub(crate) fn find_command(process: &ProcessPlan, pid: i32) -> Result<(), OciError> {
    let Some(command) = process.args.first() else { return Ok(()) };
    let Ok(root) = File::open(format!("/proc/{pid}/root")) else { return Ok(()) };
    let look = |path: Vec<u8>| {
        let Ok(path) = CString::new(path) else { return Found::Nothing };
        match berth_sys::mount::open_in_root(root.as_fd(), &path, OFlags::PATH, false) {
            Ok(file) => found(file.as_fd()),
            Err(Errno::NOENT | Errno::NOTDIR) => Found::Nothing,
            // What cannot be looked at may be one.
            Err(_) => Found::Program,
        }
    };
    let best = if command.contains(&b'/') {
        look(if command.starts_with(b"/") {
            command.clone()
        } else {
            [process.cwd.as_slice(), b"/", command].concat()
        })
    } else {
        let path = process.env.iter().rev().find_map(|e| e.strip_prefix(b"PATH="));
        let dirs = path.unwrap_or(DEFAULT_PATH).split(|b| *b == b':').filter(|dir| !dir.is_empty());
        dirs.map(|dir| look([dir, b"/", command].concat())).max().unwrap_or(Found::Nothing)
    };
    let command = String::from_utf8_lossy(command).into_owned();
    match best {
        Found::Program => Ok(()),
        Found::Other => Err(OciError::NoProgram { command }),
        Found::Nothing => Err(OciError::NoCommand { command }),
    }
}

/// What is at a path, the better the later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Nothing,
    /// A directory, or a file that nobody may execute.
    Other,
    Program,
}

fn found(file: BorrowedFd<'_>) -> Found {
    let Ok(stat) = rustix::fs::fstat(file) else { return Found::Program };
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if is_file && stat.st_mode & 0o111 != 0 { Found::Program } else { Found::Other }
}
