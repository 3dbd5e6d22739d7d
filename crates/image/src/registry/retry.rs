//! When something is tried again, and after how long.

use std::time::Duration;

use super::{HostError, Timeouts};

/// How often a small request is tried on the last host that is left.
const ATTEMPTS: u32 = 4;

/// Pauses between attempts: doubling from `backoff` to `backoff_max`, or what the server asks for.
#[derive(Debug, Clone)]
pub(crate) struct Pause {
    next: Duration,
    max: Duration,
}

impl Pause {
    pub(crate) fn new(timeouts: &Timeouts) -> Self {
        Self { next: timeouts.backoff, max: timeouts.backoff_max }
    }

    /// The pause before the next attempt; None when the server asks for a longer one than is
    /// waited for.
    pub(crate) fn after(&mut self, error: &HostError) -> Option<Duration> {
        let pause = self.next.min(self.max);
        self.next = (self.next * 2).min(self.max);
        match error {
            HostError::Status { retry_after: Some(asked), .. } if *asked > self.max => None,
            HostError::Status { retry_after: Some(asked), .. } => Some(pause.max(*asked)),
            _ => Some(pause),
        }
    }
}

/// Decides whether a small request is made again.
#[derive(Debug)]
pub(crate) struct Retries {
    pause: Pause,
    left: u32,
}

impl Retries {
    /// Up to four attempts.
    pub(crate) fn new(timeouts: &Timeouts) -> Self {
        Self { pause: Pause::new(timeouts), left: ATTEMPTS - 1 }
    }

    /// One attempt.
    pub(crate) fn none(timeouts: &Timeouts) -> Self {
        Self { pause: Pause::new(timeouts), left: 0 }
    }

    /// Returns after the pause before the next attempt, or gives the error back when there is none.
    pub(crate) async fn again(&mut self, error: HostError) -> Result<(), HostError> {
        if self.left == 0 || !error.is_transient() {
            return Err(error);
        }
        self.left -= 1;
        match self.pause.after(&error) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(error),
        }
        Ok(())
    }
}
