//! Logs of local pods are kept small, as the kubelet keeps those of its pods: a log that has grown is moved aside, and
//! the shim opens a new one. The command line and collectors read on in the file that was moved.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

use berth_engine::Engine;
use berth_engine::model::{ContainerView, Owner};
use berth_types::error::chain;
use berth_types::lifecycle::container::Listed;

use super::Inner;

/// Bytes from which on a log is moved aside (the kubelet's `containerLogMaxSize`).
const LARGE: u64 = 10 << 20;
/// Files of one log, the one that is written among them (the kubelet's `containerLogMaxFiles`).
const FILES: usize = 5;
/// How often logs are checked.
const LOOK: Duration = Duration::from_secs(10);

/// Rotates the logs for as long as local pods have tasks.
pub(super) async fn run(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(inner) = inner.upgrade() else { return };
        for view in inner.engine.containers(Some(Owner::Local)) {
            if let Err(e) = look(&inner.engine, &view, LARGE).await {
                tracing::warn!(container = view.id.short(), error = e, "failed to rotate a container's log");
            }
        }
    }
}

async fn look(engine: &Engine, view: &ContainerView, large: u64) -> Result<(), String> {
    let Some(path) = view.log_path.clone().filter(|_| view.state.listed() == Some(Listed::Running)) else {
        return Ok(());
    };
    let size = std::fs::symlink_metadata(&path).map_or(0, |found| found.len());
    if size < large {
        return Ok(());
    }
    let moved = shift(&path).map_err(|e| format!("move {} aside: {e}", path.display()))?;
    if let Err(e) = engine.reopen_log(&view.id).await {
        // The shim writes on into the old file, which must have its name again.
        let back = std::fs::rename(&moved, &path)
            .map_or_else(|e| format!(", and not moved back: {e}"), |()| String::new());
        return Err(format!("{}{back}", chain(&e)));
    }
    Ok(())
}

/// Moves a log to `PATH.1`, what is there to `PATH.2` and so on; the oldest goes.
fn shift(path: &Path) -> io::Result<PathBuf> {
    for age in (1..FILES - 1).rev() {
        match std::fs::rename(aside(path, age), aside(path, age + 1)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
    }
    let first = aside(path, 1);
    std::fs::rename(path, &first)?;
    Ok(first)
}

fn aside(path: &Path, age: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    name.into()
}

/// Removes a log and what was moved aside of it. What cannot be removed goes with the pod.
pub(super) fn remove(path: &Path) {
    std::fs::remove_file(path).ok();
    for age in 1..FILES {
        std::fs::remove_file(aside(path, age)).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_the_others_move_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        for n in 0..FILES + 2 {
            std::fs::write(&path, n.to_string()).unwrap();
            assert_eq!(shift(&path).unwrap(), aside(&path, 1));
        }
        let texts: Vec<_> =
            (1..FILES).map(|age| std::fs::read_to_string(aside(&path, age)).unwrap()).collect();
        assert_eq!(texts, ["6", "5", "4", "3"]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), FILES - 1);
        std::fs::write(&path, "").unwrap();
        remove(&path);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
