//! Deleting in the background, by few threads: those that start containers must not wait behind it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::{delete, lock};

/// Threads that delete at a time.
const DELETERS: usize = 2;

/// What is to be deleted. A clone is the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Trash(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    paths: Vec<PathBuf>,
    deleters: usize,
}

impl Trash {
    /// Deletes these soon; at once where there is no runtime.
    pub(super) fn delete_later(&self, paths: Vec<PathBuf>) {
        if paths.is_empty() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return delete(paths) };
        {
            let mut waiting = lock(&self.0);
            waiting.paths.extend(paths);
            if waiting.deleters == DELETERS {
                return;
            }
            waiting.deleters += 1;
        }
        let this = self.clone();
        drop(runtime.spawn_blocking(move || this.run()));
    }

    fn run(&self) {
        while let Some(path) = self.next() {
            delete(vec![path]);
        }
    }

    /// What is to be deleted next; without anything the thread is done.
    fn next(&self) -> Option<PathBuf> {
        let mut waiting = lock(&self.0);
        let next = waiting.paths.pop();
        if next.is_none() {
            waiting.deleters -= 1;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_threads_delete_everything() {
        let dir = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_current_thread().max_blocking_threads(DELETERS).build().unwrap();
        let trash = Trash::default();
        runtime.block_on(async {
            for n in 0..50 {
                let path = dir.path().join(n.to_string());
                std::fs::create_dir_all(path.join("below")).unwrap();
                trash.delete_later(vec![path]);
                assert!(lock(&trash.0).deleters <= DELETERS);
            }
        });
        // The runtime's own end would leave out a thread that has not begun.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while lock(&trash.0).deleters > 0 {
            assert!(std::time::Instant::now() < deadline, "they do not end");
            std::thread::yield_now();
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_a_runtime_it_is_done_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::create_dir(&path).unwrap();
        Trash::default().delete_later(vec![path.clone()]);
        assert!(!path.exists());
    }
}
