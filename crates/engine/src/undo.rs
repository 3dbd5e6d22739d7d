//! Undo as a value: each acquisition pushes how it is given back; success releases them all.

use std::pin::Pin;

use crate::error::EngineError;

type Step = Pin<Box<dyn Future<Output = Result<(), EngineError>> + Send>>;

/// What to give back when the work that acquired it does not complete, last first.
#[derive(Default)]
pub(crate) struct Undo {
    steps: Vec<(&'static str, Step)>,
}

impl std::fmt::Debug for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|(name, _)| name)).finish()
    }
}

impl Undo {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds how `what` is given back. Nothing of `step` runs before it is needed.
    pub(crate) fn push<F>(&mut self, what: &'static str, step: F)
    where
        F: Future<Output = Result<(), EngineError>> + Send + 'static,
    {
        self.steps.push((what, Box::pin(step)));
    }

    /// The work is complete: everything stays.
    pub(crate) fn release(mut self) {
        self.steps.clear();
    }

    /// Gives everything back, the last first, going on past failures. Failures are logged here: the
    /// error that led here is the one that the caller answers.
    pub(crate) async fn run(mut self) -> Vec<EngineError> {
        let mut failures = Vec::new();
        while let Some((what, step)) = self.steps.pop() {
            if let Err(error) = step.await {
                tracing::warn!(what, error = berth_types::error::chain(&error), "undo failed");
                failures.push(error);
            }
        }
        failures
    }
}

#[cfg(test)]
#[path = "undo/tests.rs"]
mod tests;
