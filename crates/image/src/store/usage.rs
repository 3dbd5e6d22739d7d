//! What writable layers take, measured in the background: a walk of a large one takes seconds, and statistics are asked
//! for of all containers every few seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use berth_types::ContainerId;
use tokio::sync::Semaphore;

use super::{Images, lock};
use crate::snapshot::Usage;

/// Layers that are measured at a time.
const WALKS: usize = 2;
/// A layer is measured again no sooner than so many times the time that it took.
const REST: u32 = 10;

/// A measurement of a writable layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// What it took then.
    pub usage: Usage,
    /// How long ago that was.
    pub age: Duration,
}

/// The last measurement of each layer. A clone is the same.
#[derive(Debug, Clone)]
pub(super) struct Usages {
    known: Arc<Mutex<HashMap<ContainerId, Known>>>,
    walks: Arc<Semaphore>,
}

impl Default for Usages {
    fn default() -> Self {
        Self { known: Arc::default(), walks: Arc::new(Semaphore::new(WALKS)) }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    last: Option<(Usage, Instant)>,
    /// How long it took.
    took: Duration,
    under_way: bool,
}

impl Usages {
    pub(super) fn forget(&self, container: &ContainerId) {
        lock(&self.known).remove(container);
    }
}

impl Images {
    /// What the writable layer of a container took when it was measured last, at once; `None` before the first time. One
    /// that is older than `fresh` is measured again in the background: few at a time, each once, and one that takes long
    /// more seldom.
    pub fn last_usage(&self, container: &ContainerId, fresh: Duration) -> Option<Measured> {
        if let Some(usage) = self.counted(container) {
            return Some(Measured { usage, age: Duration::ZERO });
        }
        let usages = &self.inner.usages;
        let mut known = lock(&usages.known);
        let entry = known.entry(container.clone()).or_default();
        let last = entry.last.map(|(usage, at)| Measured { usage, age: at.elapsed() });
        let due = last.is_none_or(|last| last.age >= fresh.max(entry.took * REST));
        if due
            && !entry.under_way
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            entry.under_way = true;
            let measuring = self.clone().measure(container.clone());
            drop(runtime.spawn(measuring));
        }
        last
    }

    async fn measure(self, container: ContainerId) {
        let usages = self.inner.usages.clone();
        let _permit = usages.walks.acquire().await.expect("the semaphore is never closed");
        let begun = Instant::now();
        let measured = self.snapshot_usage(&container).await;
        let mut known = lock(&usages.known);
        match measured {
            Ok(usage) => {
                if let Some(entry) = known.get_mut(&container) {
                    *entry = Known {
                        last: Some((usage, Instant::now())),
                        took: begun.elapsed(),
                        under_way: false,
                    };
                }
            }
            // It was removed, or will be measured later.
            Err(_) => drop(known.remove(&container)),
        }
    }
}
