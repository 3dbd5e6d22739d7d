//! What the kubelet says of its pods, asked for by one thread for all tests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use berth_testkit::Deadline;

use crate::http;
use crate::view::Pods;

/// How often it is asked.
const INTERVAL: Duration = Duration::from_millis(100);

pub(super) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    last: Mutex<Arc<Pods>>,
    looked: Condvar,
    over: AtomicBool,
}

impl Watch {
    pub(super) fn start(address: &'static str) -> Self {
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        let thread = std::thread::spawn(move || {
            while !own.over.load(Ordering::Relaxed) {
                // A kubelet that is being restarted says nothing; files and logs may still be looked at.
                if let Some(pods) = http::get(address, "/pods").ok().and_then(|text| Pods::parse(&text)) {
                    *own.last.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(pods);
                }
                own.looked.notify_all();
                std::thread::park_timeout(INTERVAL);
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// What was said until now no longer counts.
    pub(super) fn forget(&self) {
        *self.shared.last.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    /// Waits until `look` finds something; the last pods when it does not.
    pub(super) fn wait<T>(
        &self,
        limit: Duration,
        mut look: impl FnMut(&Pods) -> Option<T>,
    ) -> Result<T, Arc<Pods>> {
        let deadline = Deadline::after(limit);
        loop {
            let last = self.shared.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(found) = look(&last) {
                return Ok(found);
            }
            if deadline.passed() {
                return Err(last);
            }
            let last = self.shared.last.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.shared.looked.wait_timeout(last, deadline.left()));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().ok();
        }
    }
}
