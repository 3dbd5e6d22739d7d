//! The turns of a pod: calls about one pod come one after the other.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};

use berth_types::SandboxId;

use super::lock;

/// The pods that a call is about.
#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: Mutex<HashSet<SandboxId>>,
    freed: Condvar,
}

/// A pod's turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    sandbox: SandboxId,
}

impl Turns {
    /// Waits for a pod's turn: as long as its calls in flight take, which is bounded.
    pub(super) fn take(&self, sandbox: &SandboxId) -> Turn<'_> {
        let mut taken = lock(&self.taken);
        while !taken.insert(sandbox.clone()) {
            taken = self.freed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        Turn { turns: self, sandbox: sandbox.clone() }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.turns.taken).remove(&self.sandbox);
        self.turns.freed.notify_all();
    }
}
