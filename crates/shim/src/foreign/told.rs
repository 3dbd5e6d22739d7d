//! What a shim tells of the ends of a container's processes: the answers to Wait, kept until the loop asks for them.
//!
//! A shim that hangs tells nothing. So each process is watched as well: when it has been gone for a while and nothing was
//! told, the shim is given up, and with the connection every call of it fails.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_shimv2::error::CallError;
use berth_shimv2::message::task;
use berth_shimv2::shim::Shim as Client;
use berth_types::error::chain;
use berth_types::{ContainerId, ExecId};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::Shim;
use super::shim::ended_within;
use crate::driver::End;
use crate::pump::{Note, Notes};

/// How long after the end of a process the shim may take to tell it. The daemon waits longer.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a shim whose connection is gone may take to be gone itself.
const ORPHANED: Duration = Duration::from_secs(2);
/// Stack of the thread that watches a process.
const STACK: usize = 64 << 10;

/// What was told.
#[derive(Debug)]
pub(super) struct Told {
    container: ContainerId,
    notes: Notes,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    main: Option<End>,
    sessions: BTreeMap<ExecId, Session>,
}

#[derive(Debug, Default)]
struct Session {
    tty: bool,
    end: Option<End>,
}

impl Told {
    pub(super) fn new(container: ContainerId, notes: Notes) -> Self {
        Self { container, notes, state: Mutex::default(), changed: Condvar::new() }
    }

    /// How the main process ended.
    pub(super) fn main(&self) -> Option<End> {
        self.state().main.clone()
    }

    /// How a session ended, once.
    pub(super) fn take(&self, exec: &ExecId) -> Option<End> {
        let mut state = self.state();
        let end = state.sessions.get_mut(exec)?.end.take()?;
        state.sessions.remove(exec);
        Some(end)
    }

    /// That nobody will ask how a session ended.
    pub(super) fn forget(&self, exec: &ExecId) {
        self.state().sessions.remove(exec);
    }

    pub(super) fn has_terminal(&self, exec: &ExecId) -> bool {
        self.state().sessions.get(exec).is_some_and(|session| session.tty)
    }

    /// Begins to wait for the main process.
    pub(super) fn wait_for(
        self: &Arc<Self>,
        client: &Client,
        pidfd: &OwnedFd,
        shim: &Arc<Shim>,
    ) -> std::io::Result<()> {
        let watched = pidfd.try_clone()?;
        let request = task::Wait { id: self.container.to_string(), exec_id: String::new() };
        let (told, parent) = (Arc::clone(self), shim.process_of(client));
        // What is returned is dropped: the call goes on.
        drop(client.begin(&request, None, move |outcome| match (&outcome, parent) {
            (Err(CallError::Lost { .. }), Some(parent)) => {
                let tell = Arc::clone(&told);
                let orphaned = move || {
                    // Behind its end the container's process is our own child, which tells more.
                    ended_within(parent.as_fd(), ORPHANED);
                    tell.tell_main(end(outcome));
                };
                let thread = std::thread::Builder::new().name("shim lost".to_owned()).stack_size(STACK);
                if thread.spawn(orphaned).is_err() {
                    told.tell_main(End::Unknown("how it ended is not known".to_owned()));
                }
            }
            _ => told.tell_main(end(outcome)),
        }));
        let (told, client, shim) = (Arc::clone(self), client.clone(), Arc::clone(shim));
        let thread = std::thread::Builder::new().name("shim watch".to_owned()).stack_size(STACK);
        thread.spawn(move || {
            gone(watched.as_fd());
            if !told.is_told(|state| state.main.is_some()) {
                shim.lose(&client);
            }
        })?;
        Ok(())
    }

    /// Begins to wait for a session's process; `then` is called when its end was told.
    pub(super) fn wait_for_session(
        self: &Arc<Self>,
        client: &Client,
        exec: &ExecId,
        tty: bool,
        then: impl FnOnce() + Send + 'static,
    ) {
        self.state().sessions.insert(exec.clone(), Session { tty, end: None });
        let request = task::Wait { id: self.container.to_string(), exec_id: exec.to_string() };
        let (told, exec) = (Arc::clone(self), exec.clone());
        drop(client.begin(&request, None, move |outcome| {
            if let Some(session) = told.state().sessions.get_mut(&exec) {
                session.end = Some(end(outcome));
            }
            told.tell();
            then();
        }));
    }

    fn tell_main(&self, end: End) {
        self.state().main = Some(end);
        self.tell();
    }

    fn tell(&self) {
        self.changed.notify_all();
        self.notes.send(&self.container, Note::Ended);
    }

    /// Whether that is so, now or within the limit.
    fn is_told(&self, is: impl Fn(&State) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), LIMIT, |state| !is(state));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        is(&state)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What it guards is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(outcome: Result<task::WaitAnswer, CallError>) -> End {
    match outcome {
        Ok(answer) => End::Code(i32::try_from(answer.exit_status).unwrap_or(255)),
        Err(error) => End::Unknown(format!("how it ended is not known: {}", chain(&error))),
    }
}

/// Waits until a process has ended.
fn gone(pidfd: BorrowedFd<'_>) {
    let mut polled = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    while matches!(poll(&mut polled, None), Err(Errno::INTR)) {}
}
