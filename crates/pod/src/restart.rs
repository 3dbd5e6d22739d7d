//! What happens when a container of a local pod ends. Pure: policy and back-off as the kubelet has
//! them.

use std::time::Duration;

use crate::manifest::RestartPolicy;

/// The wait before the second restart in a row; the first is at once.
pub const FIRST: Duration = Duration::from_secs(10);
/// The longest wait.
pub const LONGEST: Duration = Duration::from_secs(300);
/// A container that ran so long is healthy again: its next restart is at once.
pub const HEALTHY: Duration = Duration::from_secs(600);

/// What to do with a container that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It stays ended.
    Stay,
    /// Another attempt after this wait.
    Again(Duration),
}

/// Restarts in a row of one container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    in_a_row: u32,
}

impl Backoff {
    /// Of a container whose first `restarts` were under an earlier daemon: each counts as one after a failure.
    pub fn after(restarts: u32) -> Self {
        Self { in_a_row: restarts }
    }

    /// The container ended with `code` after having run for `ran`.
    pub fn ended(&mut self, policy: RestartPolicy, code: i32, ran: Duration) -> Next {
        let again = match policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => code != 0,
            RestartPolicy::Never => false,
        };
        if !again {
            return Next::Stay;
        }
        if ran >= HEALTHY {
            self.in_a_row = 0;
        }
        let wait = match self.in_a_row.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST.saturating_mul(1 << doublings.min(16)).min(LONGEST),
        };
        self.in_a_row = self.in_a_row.saturating_add(1);
        Next::Again(wait)
    }
}

/// The policy of an init container: it must end well, so only Never lets it stay failed.
pub fn init_policy(pod: RestartPolicy) -> RestartPolicy {
    match pod {
        RestartPolicy::Always | RestartPolicy::OnFailure => RestartPolicy::OnFailure,
        RestartPolicy::Never => RestartPolicy::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn policies_decide_by_the_exit_status() {
        use RestartPolicy::*;
        for (policy, code, again) in [
            (Always, 0, true),
            (Always, 1, true),
            (OnFailure, 0, false),
            (OnFailure, 1, true),
            (Never, 1, false),
        ] {
            let next = Backoff::default().ended(policy, code, SHORT);
            assert_eq!(next != Next::Stay, again, "{policy:?} {code}");
        }
    }

    #[test]
    fn waits_double_up_to_five_minutes_and_begin_again_after_a_healthy_run() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8)
            .map(|_| match backoff.ended(RestartPolicy::Always, 1, SHORT) {
                Next::Again(wait) => wait.as_secs(),
                Next::Stay => panic!("Always restarts"),
            })
            .collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.ended(RestartPolicy::Always, 1, HEALTHY), Next::Again(Duration::ZERO));
        assert_eq!(Backoff::after(2).ended(RestartPolicy::Always, 1, SHORT), Next::Again(2 * FIRST));
    }
}
