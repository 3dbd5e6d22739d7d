//! Runs an OCI bundle: a directory with `config.json` and a root file system.
//!
//! ```text
//! config.json --parse--> Spec --plan--> Plan
//!                          +--resources--> cgroup      create, start, forward signals, wait,
//!                          +--seccomp--> filter        kill what is left, remove the cgroup
//! ```
//!
//! This is the whole of a low-level runtime in one call, without daemon and shim: what `runc run` does.
//! The caller should be a sealed program ([`seal_program`]), so that nothing in the container can
//! reach a file of the host through `/proc/PID/exe`.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use berth_sys::cgroup::{Cgroup, CgroupPath, Host};
use berth_sys::fs::read_bounded;
use oci_spec::runtime::Spec;

use crate::accounts::home;
use crate::plan::{self, Inputs, MAX_SPEC, Plan, RootSource, WindowSize};
use crate::run::{self, Given, Note, RunError, Stdio};
use crate::seccomp;

mod error;
mod foreground;
mod seal;

pub use error::BundleError;
pub use seal::seal_program;

/// How long the processes that a container leaves behind may take to die.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How a bundle is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names the container's cgroup where the specification has no `linux.cgroupsPath`.
    pub id: String,
    /// The cgroup in which that one is made; empty for the root. It stays, if it had to be made.
    pub cgroup_parent: String,
}

/// A container that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The exit status as a shell gives it.
    pub code: i32,
    /// What was done in another way than the specification says.
    pub notes: Vec<Note>,
}

/// Runs the bundle in `dir` with the caller's standard streams, or its terminal, and waits for its end.
/// Signals that would end the caller go to the container. Call it before other threads exist.
///
/// # Errors
/// What is not supported, or failed; nothing is left behind then.
pub fn run(dir: &Path, options: &Options) -> Result<Finished, BundleError> {
    let dir = dir.canonicalize().map_err(BundleError::io("open the bundle", dir))?;
    let spec = read_spec(&dir.join("config.json"))?;
    let group = Group::make(&spec, options)?;
    let plan = make_plan(&spec, &dir, &group)?;
    let terminal = spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal).unwrap_or(false);
    let foreground = foreground::Foreground::new(terminal).map_err(BundleError::system("set up signals"))?;
    let stdio = if terminal { Stdio::Terminal } else { own_streams()? };
    let join = group.cgroup.join()?;
    let prepared = run::create(&plan, &Given::default(), stdio, &join);
    let prepared = prepared.map_err(|error| error.because_of(&group.cgroup))?;
    let mut running = prepared.start()?;
    let console = running.console.take();
    let code = foreground
        .until_exit(running.pidfd.as_fd(), console, || group.kill())
        .map_err(BundleError::system("wait for the container"))?;
    group.remove()?;
    Ok(Finished { code, notes: running.notes })
}

/// Reads and checks `config.json`.
///
/// # Errors
/// When it cannot be read or is not a specification that this program supports in full.
pub fn read_spec(path: &Path) -> Result<Spec, BundleError> {
    let json = read_bounded(path, MAX_SPEC as u64).map_err(BundleError::io("read", path))?;
    Ok(plan::parse(&json)?)
}

fn make_plan(spec: &Spec, dir: &Path, group: &Group) -> Result<Plan, BundleError> {
    let filter = match spec.linux().as_ref().and_then(|l| l.seccomp().as_ref()) {
        Some(profile) => {
            let native = seccomp::Arch::native().ok_or(BundleError::Machine)?;
            let profile = seccomp::Profile::try_from(profile)?;
            Some(seccomp::compile(&profile, native)?.encode())
        }
        None => None,
    };
    let inputs = Inputs {
        bundle: Some(dir),
        seccomp: filter,
        cgroups: plan::cgroup_mounts(group.host.mode(), group.host.hierarchies(), &group.cgroup),
        ..Inputs::default()
    };
    let mut plan = plan::plan(spec, &inputs)?;
    set_home(&mut plan);
    Ok(plan)
}

/// Gives the process a HOME, as runc does: programs rely on it.
fn set_home(plan: &mut Plan) {
    if plan.process.env.iter().any(|e| e.starts_with(b"HOME=") && e.len() > 5) {
        return;
    }
    let RootSource::Path(path) = &plan.root.source else { return };
    let path: PathBuf = PathBuf::from(String::from_utf8_lossy(path).into_owned());
    let home = File::open(path)
        .ok()
        .and_then(|root| home(root.as_fd(), plan.process.identity.uid).ok())
        .unwrap_or_else(|| b"/".to_vec());
    plan.process.env.retain(|e| e != b"HOME=");
    plan.process.env.push([b"HOME=".as_slice(), &home].concat());
}

fn own_streams() -> Result<Stdio, BundleError> {
    let copy =
        |fd: std::io::Result<OwnedFd>| fd.map(Some).map_err(BundleError::system("copy a standard stream"));
    Ok(Stdio::Fds {
        stdin: copy(std::io::stdin().as_fd().try_clone_to_owned())?,
        stdout: copy(std::io::stdout().as_fd().try_clone_to_owned())?,
        stderr: copy(std::io::stderr().as_fd().try_clone_to_owned())?,
    })
}

/// The container's cgroup; removed with everything in it, whatever happens.
#[derive(Debug)]
struct Group {
    host: Host,
    cgroup: Cgroup,
    removed: bool,
}

impl Group {
    fn make(spec: &Spec, options: &Options) -> Result<Self, BundleError> {
        let resources = plan::resources(spec)?;
        let path = match spec.linux().as_ref().and_then(|l| l.cgroups_path().as_ref()) {
            Some(path) if !path.as_os_str().is_empty() => CgroupPath::new(&path.to_string_lossy())?,
            _ => CgroupPath::new(&format!("{}/{}", options.cgroup_parent, options.id))?,
        };
        let host = Host::detect()?;
        let cgroup = host.create(&path, &resources)?;
        Ok(Self { host, cgroup, removed: false })
    }

    /// Kills what is in it; what cannot be killed is reported by [`Self::remove`].
    fn kill(&self) {
        drop(self.cgroup.kill_all(Instant::now() + KILL_DEADLINE));
    }

    fn remove(mut self) -> Result<(), BundleError> {
        self.removed = true;
        self.cgroup.kill_all(Instant::now() + KILL_DEADLINE)?;
        Ok(self.cgroup.remove()?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.removed {
            // After an error, which is the one to report.
            self.kill();
            drop(self.cgroup.remove());
        }
    }
}

/// The size of the caller's terminal.
fn window_of(fd: std::os::fd::BorrowedFd<'_>) -> Option<WindowSize> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    Some(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

impl From<RunError> for BundleError {
    fn from(e: RunError) -> Self {
        BundleError::Run(e)
    }
}
