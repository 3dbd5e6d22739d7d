//! The trial of a shim of others, for the daemon's check of handlers: one container by the same calls as those of pods. What it
//! writes to its output is printed here, and why it failed to standard error.
//!
//! This is the first process of a PID namespace then, with which all that it starts ends; nothing is taken away here.

use std::ffi::CStr;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_sys::cgroup::Cgroup;
use berth_sys::fs::read_bounded;
use berth_types::ContainerId;
use berth_types::error::chain;
use berth_types::shim::bundle::{self, Task};
use berth_types::shim::{Create, Failure, PidSpace, Reason};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Foreign, Shim};
use crate::driver::{Driver as _, End};
use crate::outcome::{failure, system};
use crate::pump::{Ends, Noted, Notes, reset};

/// The argument that makes this binary one; behind it the file of the plan, the container's id, the pod's, the pod's directory, and
/// the container's cgroup in all hierarchies.
pub(crate) const NAME: &CStr = c"berth-trial";
/// The longest plan.
const MAX_PLAN: u64 = 64 << 10;
/// The most that is read of the container's output.
const MAX_OUTPUT: usize = 4 << 10;
/// For the whole of it: more than who starts it has.
const LIMIT: Duration = Duration::from_secs(60);

/// What is tried.
struct Trial {
    foreign: Arc<Foreign>,
    create: Create,
    noted: Noted,
    deadline: Instant,
}

/// Runs as one.
pub(crate) fn run() -> io::Result<()> {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match Trial::new(&words).and_then(|trial| trial.run()) {
        Ok(output) => io::stdout().write_all(&output),
        Err(why) => {
            writeln!(io::stderr(), "{}", why.message)?;
            Err(io::ErrorKind::Other.into())
        }
    }
}

impl Trial {
    fn new(words: &[String]) -> Result<Self, Failure> {
        let wrong = || failure(Reason::Protocol, "a trial needs a plan, two ids, a directory and cgroups");
        let [plan, container, pod, dir, cgroup_dirs @ ..] = words else { return Err(wrong()) };
        let task = task(plan)?;
        let container: ContainerId = container.parse().map_err(|_| wrong())?;
        let dir = PathBuf::from(dir);
        let shim = Shim::new(&task, pod.clone(), &dir).map_err(|e| system("prepare the shim", &e))?;
        let (notes, noted) = Notes::new().map_err(|e| system("make a queue", &e))?;
        let cgroup = Cgroup::from_dirs(cgroup_dirs.iter().map(PathBuf::from).collect());
        let of = (container.clone(), cgroup);
        let foreign = Foreign::new(task, Arc::new(shim), of, dir.join("container"), notes);
        let foreign = foreign.map_err(|e| system("prepare the container", &e))?;
        let create = Create {
            container,
            plan: Vec::new(),
            log: None,
            stdin: false,
            stdin_once: false,
            tty: false,
            cgroup_dirs: cgroup_dirs.to_vec(),
            pid_space: PidSpace::Plan,
        };
        Ok(Self { foreign: Arc::new(foreign), create, noted, deadline: Instant::now() + LIMIT })
    }

    fn run(&self) -> Result<Vec<u8>, Failure> {
        let made = self.foreign.make(&self.create)?;
        self.foreign.start()?;
        let Ends::Fifos(fifos) = made.ends else {
            return Err(failure(Reason::State, "the container has no streams"));
        };
        let output = self.read(&fifos.stdout)?;
        match self.end()? {
            End::Code(0) => {}
            End::Code(code) => {
                return Err(self.foreign.wrong(&format!("the container ended with {code}, and not with 0")));
            }
            End::Unknown(why) => return Err(self.foreign.wrong(&why)),
        }
        made.unclaimed.claim();
        self.foreign.delete().map_err(|why| self.foreign.wrong(&why))?;
        Ok(output)
    }

    /// The container's output, to its end.
    fn read(&self, stdout: &OwnedFd) -> Result<Vec<u8>, Failure> {
        let mut output = Vec::new();
        let mut buffer = [0; 512];
        while output.len() < MAX_OUTPUT {
            self.wait(stdout)?;
            match rustix::io::read(stdout, &mut buffer) {
                Ok(0) => break,
                Ok(count) => output.extend(buffer.iter().take(count)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(e) => return Err(system("read the container's output", &e)),
            }
        }
        Ok(output)
    }

    /// How the container ended.
    fn end(&self) -> Result<End, Failure> {
        loop {
            if let Some(end) = self.foreign.ended() {
                return Ok(end);
            }
            self.wait(&self.noted.wake)?;
            reset(&self.noted.wake);
        }
    }

    fn wait(&self, fd: &OwnedFd) -> Result<(), Failure> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], left.as_ref()) {
            Ok(0) => Err(self.foreign.wrong("the end of the container is not told")),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(system("wait for the container", &e)),
        }
    }
}

fn task(plan: &str) -> Result<Task, Failure> {
    let read = read_bounded(Path::new(plan), MAX_PLAN);
    let bytes = read.map_err(|e| system("read the plan", &e))?;
    bundle::decode(&bytes).map_err(|e| failure(Reason::Protocol, chain(&e)))
}
