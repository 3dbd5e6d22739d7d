//! Exec sessions: what belongs to one, and its end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_container::run::Running;
use berth_sys::cgroup::Cgroup;
use berth_types::shim::Failure;
use berth_types::{ContainerId, ExecId};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::container::Asker;
use crate::driver::Cancel;
use crate::runtime::Runtime;

/// Stack of a thread in which a runtime kills a process.
const STACK: usize = 256 << 10;

/// An exec session whose process a thread is preparing.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// In which container.
    pub(crate) container: ContainerId,
    /// Who asked for it.
    pub(crate) asker: Asker,
    /// The time that it has, from when it runs.
    pub(crate) timeout: Option<Duration>,
    /// It is to be killed as soon as it can be.
    pub(crate) killed: bool,
    /// How its runtime is ended, if one makes it.
    pub(crate) by_runtime: Option<ByRuntime>,
}

/// A session that an OCI runtime begins, which may hang.
#[derive(Debug)]
pub(crate) struct ByRuntime {
    /// Ends it.
    pub(crate) cancel: Cancel,
    /// When the session's time runs out, in which the runtime's own counts.
    pub(crate) deadline: Option<Instant>,
    /// Whether it has.
    pub(crate) timed_out: bool,
}

/// What that thread hands over.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Which session.
    pub(crate) exec: ExecId,
    /// Its process, or why there is none.
    pub(crate) outcome: Result<Running, Failure>,
    /// Its number in the sandbox, with what can kill it there.
    pub(crate) inner: Option<Inner>,
}

/// A process in a sandbox, of which the host has only what waits for it.
#[derive(Debug, Clone)]
pub(crate) struct Inner {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) pid: i32,
}

/// A process that was run in a container, which leads a session of its own.
#[derive(Debug)]
pub(crate) struct Session {
    /// In which container.
    pub(crate) container: ContainerId,
    /// Its process id, which is its session's.
    pub(crate) pid: i32,
    /// The process.
    pub(crate) pidfd: OwnedFd,
    /// The connection that requested it and is told of its end.
    pub(crate) connection: u64,
    /// When its time runs out.
    pub(crate) deadline: Option<Instant>,
    /// Whether it has.
    pub(crate) timed_out: bool,
    /// The slave of its terminal, for its size: the master is the daemon's, so that a daemon which goes
    /// away hangs up.
    pub(crate) terminal: Option<OwnedFd>,
    /// The process itself, where this one only waits for it.
    pub(crate) inner: Option<Inner>,
}

impl Session {
    /// Kills the process and everything of the container that is still in its session. What left the
    /// session did so on purpose, to outlive it.
    pub(crate) fn kill(&self, cgroup: &Cgroup) {
        if let Some(Inner { runtime, pid }) = self.inner.clone() {
            let pidfd = self.pidfd.try_clone();
            let kill = move || {
                runtime.kill_inside(pid);
                if let Ok(pidfd) = pidfd {
                    // It fails for a process that has ended.
                    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                }
            };
            let thread = std::thread::Builder::new().name("runtime".to_owned()).stack_size(STACK);
            // Without a thread the process ends with its container.
            drop(thread.spawn(kill));
            return;
        }
        kill_session(self.pid, &self.pidfd, cgroup);
    }
}

/// The same for the process with this number, which leads a session.
pub(crate) fn kill_session(leader: i32, pidfd: &OwnedFd, cgroup: &Cgroup) {
    let members: Vec<(Pid, OwnedFd)> = cgroup
        .pids()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok().map(|fd| (pid, fd)))
        // The handle was taken before: if the process is in the session now, the handle is that process.
        .filter(|(pid, _)| session_of(*pid) == Some(leader))
        .collect();
    for pidfd in members.iter().map(|(_, fd)| fd).chain([pidfd]) {
        // It fails for a process that has ended.
        let _ = pidfd_send_signal(pidfd, Signal::KILL);
    }
}

fn session_of(pid: Pid) -> Option<i32> {
    parse_session(&std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?)
}

/// The session in a line of /proc/PID/stat (proc_pid_stat(5), field 6). The name in parentheses may hold
/// anything.
fn parse_session(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_session_is_found_behind_any_name() {
        assert_eq!(parse_session("12 (sh) S 1 12 7 0 -1"), Some(7));
        assert_eq!(parse_session("12 (a) b) 1 2 3) S 1 12 7 0 -1"), Some(7));
        assert_eq!(parse_session("12 (sh) S 1"), None);
        assert_eq!(parse_session(""), None);
    }

    #[test]
    fn a_processs_session_is_read() {
        // A session of its own: the leader of the test runner's may be outside of its PID namespace.
        let mut leader = Command::new("setsid")
            .args(["sh", "-c", "echo $$; read -r end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(leader.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid: i32 = line.trim().parse().unwrap();
        assert_eq!(session_of(Pid::from_raw(pid).unwrap()), Some(pid));
        drop(leader.stdin.take());
        leader.wait().unwrap();
    }
}
