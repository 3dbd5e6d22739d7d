//! A process between its clone and what it is to be: its messages are received, and it is ended unless it is taken over.

use std::os::fd::{AsFd, OwnedFd};

use berth_sys::process::{self, Child};
use berth_sys::user;

use super::gate::{self, Heard};
use super::idmap::ranges;
use super::op::step;
use super::process::Process;
use super::report::{self, Names};
use super::{END_LIMIT, Note, Prepared, RunError, Running, Visitor};
use crate::plan::{Plan, ProcessPlan};

/// A child that is killed and reaped unless it is taken over.
#[derive(Debug)]
pub(super) struct NewProcess {
    child: Option<Child>,
    /// The one that was made first, where another goes on in its place: it ends by itself.
    first: Option<Child>,
    gate: OwnedFd,
    console: Option<OwnedFd>,
}

/// When a process hands over to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moves {
    Not,
    /// To one that is in a PID namespace of its own.
    Early,
    /// To one that others can see, at the end.
    Late,
}

/// What a process is to say before it is prepared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expects {
    pub(super) terminal: bool,
    pub(super) moves: Moves,
    pub(super) ready: bool,
}

/// When the user namespace of a process is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MadeBy {
    /// By its clone.
    Clone,
    /// By the process, which says so.
    Process,
}

impl Drop for NewProcess {
    fn drop(&mut self) {
        for child in self.first.iter().chain(&self.child) {
            process::end(child.pidfd.as_fd(), END_LIMIT);
        }
    }
}

impl NewProcess {
    pub(super) fn new(child: Child, gate: OwnedFd) -> Self {
        Self { child: Some(child), first: None, gate, console: None }
    }

    fn hear(&self) -> Result<(Heard, Option<i32>), RunError> {
        gate::hear(self.gate.as_fd()).map_err(step("hear from the new process"))
    }

    fn pid(&self) -> i32 {
        self.child.as_ref().map_or(0, |child| child.pid)
    }

    /// Writes the maps of the new user namespace, and raises the limits that only its maker can.
    pub(super) fn map(
        &mut self,
        plan: &Plan,
        process: &Process,
        made_by: MadeBy,
        names: &Names<'_>,
    ) -> Result<(), RunError> {
        if made_by == MadeBy::Process {
            match self.hear()?.0 {
                Heard::Ready => {}
                Heard::Failed { what, index, errno } => {
                    return Err(report::failure(names, &what, index, errno));
                }
                Heard::Silent => return Err(slow()),
                Heard::Closed | Heard::Arranged | Heard::Terminal(_) | Heard::Moved { .. } => {
                    return Err(died());
                }
            }
        }
        let pid = self.pid();
        user::write_maps(pid, &ranges(&plan.uid_map), &ranges(&plan.gid_map))
            .map_err(step("write the maps of the user namespace"))?;
        let raised = process.raise_limits(pid);
        raised.map_err(|fail| report::failure(names, fail.what, fail.index, fail.errno))?;
        gate::release(self.gate.as_fd()).map_err(step("release the new process"))
    }

    /// Listens until everything that is expected was said. A process that can be seen in the container may be controlled by
    /// another: only "ready" and "failed" are believed.
    pub(super) fn hear_out(
        &mut self,
        expects: &Expects,
        names: &Names<'_>,
        mut visitor: Option<Visitor<'_>>,
    ) -> Result<(), RunError> {
        let mut arranged = false;
        let mut ready = !expects.ready;
        let mut failed = None;
        loop {
            let moved = self.first.is_some() || expects.moves == Moves::Not;
            // The one that moves reports it, also when the one that goes on has failed: that one is to be reaped.
            if moved && (failed.is_some() || ready && self.console.is_some() == expects.terminal) {
                break;
            }
            // One that moves early is visited as what it became.
            if arranged && (moved || expects.moves == Moves::Late) {
                self.visit(visitor.take())?;
                arranged = false;
            }
            let (heard, sender) = self.hear()?;
            let unseen =
                sender == Some(self.pid()) && !(self.first.is_some() && expects.moves == Moves::Late);
            match heard {
                Heard::Terminal(master) if unseen && expects.terminal && self.console.is_none() => {
                    self.console = Some(master);
                }
                Heard::Moved { pid, pidfd } if unseen && !moved && is_child(&pidfd) => {
                    self.first = self.child.replace(Child { pid, pidfd });
                }
                Heard::Ready => ready = true,
                Heard::Arranged if visitor.is_some() => arranged = true,
                Heard::Failed { what, index, errno } => {
                    failed.get_or_insert_with(|| report::failure(names, &what, index, errno));
                }
                // The first process failed and made no other.
                Heard::Closed if failed.is_some() => break,
                Heard::Silent => return Err(failed.unwrap_or_else(slow)),
                Heard::Closed | Heard::Arranged | Heard::Terminal(_) | Heard::Moved { .. } => {
                    return Err(failed.unwrap_or_else(died));
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Has the visitor look at the process, which waits meanwhile.
    fn visit(&self, visitor: Option<Visitor<'_>>) -> Result<(), RunError> {
        if let Some(visitor) = visitor {
            visitor(self.pid())?;
        }
        gate::release(self.gate.as_fd()).map_err(step("release the new process"))
    }

    /// Waits for a context from a process that can be seen: one that controls it may send another context, so it is
    /// not trusted before it was checked.
    pub(super) fn hear_context(&mut self) -> Result<OwnedFd, RunError> {
        let mut context = None;
        loop {
            let moved = self.first.is_some();
            match (self.hear()?, context.take()) {
                ((Heard::Moved { pid, pidfd }, sender), given) if sender == Some(self.pid()) && !moved => {
                    self.first = self.child.replace(Child { pid, pidfd });
                    context = given;
                }
                ((Heard::Terminal(given), _), None) => context = Some(given),
                ((Heard::Failed { what, errno, .. }, _), _) => {
                    return Err(RunError::Step { step: what, source: errno.into() });
                }
                ((Heard::Silent, _), _) => return Err(slow()),
                (
                    (
                        Heard::Closed
                        | Heard::Ready
                        | Heard::Arranged
                        | Heard::Terminal(_)
                        | Heard::Moved { .. },
                        _,
                    ),
                    _,
                ) => {
                    return Err(died());
                }
            }
            if self.first.is_some()
                && let Some(context) = context.take()
            {
                return Ok(context);
            }
        }
    }

    /// Listens until the program runs.
    pub(super) fn until_execve(&self, names: &Names<'_>) -> Result<(), RunError> {
        match self.hear()?.0 {
            // By execve, or because the process was killed: then its exit says so.
            Heard::Closed => Ok(()),
            Heard::Failed { what, index, errno } => Err(report::failure(names, &what, index, errno)),
            Heard::Silent => Err(slow()),
            Heard::Ready | Heard::Arranged | Heard::Terminal(_) | Heard::Moved { .. } => Err(died()),
        }
    }

    /// The process, which is the caller's from now on.
    pub(super) fn running(&mut self, notes: Vec<Note>) -> Result<Running, RunError> {
        if let Some(first) = self.first.take() {
            process::reap(first.pidfd.as_fd());
        }
        let child = self.child.take().ok_or_else(died)?;
        Ok(Running { pid: child.pid, pidfd: child.pidfd, console: self.console.take(), notes })
    }

    /// The prepared container.
    pub(super) fn prepared(&mut self, plan: &Plan, mut notes: Vec<Note>) -> Result<Prepared, RunError> {
        if let Some(score) = plan.process.oom_score_adj {
            notes.extend(set_oom_score(self.pid(), score)?);
        }
        let gate = rustix::io::fcntl_dupfd_cloexec(&self.gate, 0).map_err(step("copy the gate"))?;
        let running = self.running(notes)?;
        Ok(Prepared { running: Some(running), gate, process: named(&plan.process) })
    }
}

fn died() -> RunError {
    RunError::Died { before: "it was prepared" }
}

fn slow() -> RunError {
    RunError::Slow { seconds: gate::DEADLINE.as_secs() }
}

/// Whether this process is for the caller to reap.
fn is_child(pidfd: &OwnedFd) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::PidFd(pidfd.as_fd()), look).is_ok()
}

/// What an error of the start may name: the process without its bulk.
fn named(plan: &ProcessPlan) -> ProcessPlan {
    ProcessPlan {
        args: plan.args.first().cloned().into_iter().collect(),
        env: Vec::new(),
        cwd: plan.cwd.clone(),
        identity: plan.identity.clone(),
        rlimits: plan.rlimits.clone(),
        seccomp: None,
        apparmor: plan.apparmor.clone(),
        scheduling: None,
        ..*plan
    }
}

/// Sets the score of a child; where it may not be lowered it stays, with a note.
fn set_oom_score(pid: i32, score: i32) -> Result<Option<Note>, RunError> {
    let path = format!("/proc/{pid}/oom_score_adj");
    match std::fs::write(&path, score.to_string()) {
        Ok(()) => Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            let now = std::fs::read_to_string(&path).ok().and_then(|t| t.trim().parse().ok());
            Ok(Some(Note::OomScoreClamped { wanted: score, got: now.unwrap_or(0) }))
        }
        Err(source) => Err(RunError::Step { step: format!("set oom_score_adj to {score}"), source }),
    }
}
