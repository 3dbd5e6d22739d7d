//! Logs of local pods are kept small, as the kubelet keeps those of its pods: a log that has grown is moved aside, and
//! the shim opens a new one. The command line and collectors read on in the file that was moved.
//!
//! A container that writes without end has what its logs may have, and what it writes between two looks: a log is looked at each
//! second, one that grows fast ten times a second, and of what was moved aside the oldest go until the rest fits.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::{Duration, Instant};

use berth_engine::Engine;
use berth_engine::model::{ContainerView, Owner};
use berth_types::ContainerId;
use berth_types::error::chain;
use berth_types::lifecycle::container::Listed;

use super::Inner;

/// Bytes from which on a log is moved aside (the kubelet's `containerLogMaxSize`).
const LARGE: u64 = 10 << 20;
/// Files of one log, the one that is written among them (the kubelet's `containerLogMaxFiles`).
const FILES: usize = 5;
/// Bytes of all files of a log: what is beyond was written between two looks.
const ALL: u64 = LARGE * FILES as u64;
/// How often logs are checked.
const LOOK: Duration = Duration::from_secs(1);
/// And while one of them grows by more than [`LARGE`] between two looks.
const FAST: Duration = Duration::from_millis(100);
/// How long a log that could not be rotated is left alone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Rotates the logs for as long as local pods have tasks.
pub(super) async fn run(inner: Weak<Inner>) {
    let mut failed: HashMap<ContainerId, Instant> = HashMap::new();
    let mut pause = LOOK;
    loop {
        tokio::time::sleep(pause).await;
        let Some(inner) = inner.upgrade() else { return };
        failed.retain(|_, at| at.elapsed() < PATIENCE);
        pause = LOOK;
        for view in inner.engine.containers(Some(Owner::Local)) {
            if failed.contains_key(&view.id) {
                continue;
            }
            match look(&inner.engine, &view).await {
                Ok(size) if size >= 2 * LARGE => pause = FAST,
                Ok(_) => {}
                Err(e) => {
                    tracing::warn!(
                        container = view.id.short(),
                        error = e,
                        "failed to rotate a container's log"
                    );
                    failed.insert(view.id.clone(), Instant::now());
                }
            }
        }
    }
}

/// Rotates a log that is large; its size.
async fn look(engine: &Engine, view: &ContainerView) -> Result<u64, String> {
    let Some(path) = view.log_path.clone().filter(|_| view.state.listed() == Some(Listed::Running)) else {
        return Ok(0);
    };
    let size = std::fs::symlink_metadata(&path).map_or(0, |found| found.len());
    if size < LARGE {
        return Ok(size);
    }
    let moved = shift(&path).map_err(|e| format!("move {} aside: {e}", path.display()))?;
    if let Err(e) = engine.reopen_log(&view.id).await {
        // The shim writes on into the old file, which must have its name again.
        let back = std::fs::rename(&moved, &path)
            .map_or_else(|e| format!(", and not moved back: {e}"), |()| String::new());
        return Err(format!("{}{back}", chain(&e)));
    }
    let trimmed = tokio::task::spawn_blocking(move || trim(&path, ALL - LARGE)).await;
    trimmed.map_err(|e| format!("shorten the log: {e}"))?;
    Ok(size)
}

/// Of what was moved aside, the oldest go until the rest has so many bytes. What was just written stays in any case up to that
/// size: of a file that is larger alone the end is kept, from the beginning of an entry on.
fn trim(path: &Path, most: u64) {
    let mut left = most;
    for age in 1..FILES {
        let file = aside(path, age);
        let Ok(size) = std::fs::symlink_metadata(&file).map(|found| found.len()) else { continue };
        if size <= left {
            left -= size;
        } else if age == 1 {
            // Whoever reads it on has it open.
            if let Err(error) = keep_end(&file, most) {
                tracing::warn!(path = %file.display(), %error, "failed to shorten a log");
            }
            left = 0;
        } else {
            std::fs::remove_file(&file).ok();
            left = 0;
        }
    }
}

/// Writes the last bytes of a file, from the beginning of a line on, into one that takes its name.
fn keep_end(path: &Path, bytes: u64) -> io::Result<()> {
    let mut from = File::open(path)?;
    from.seek(SeekFrom::End(-i64::try_from(bytes).map_err(io::Error::other)?))?;
    let mut from = BufReader::new(from);
    from.skip_until(b'\n')?;
    let mut name = path.as_os_str().to_owned();
    name.push(".short");
    let short = PathBuf::from(name);
    let mut to = File::options().write(true).create(true).truncate(true).mode(0o640).open(&short)?;
    let written = io::copy(&mut from.take(bytes), &mut to).and_then(|_| std::fs::rename(&short, path));
    if written.is_err() {
        std::fs::remove_file(&short).ok();
    }
    written
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
    let mut short = aside(path, 1).into_os_string();
    short.push(".short");
    std::fs::remove_file(short).ok();
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

    #[test]
    fn what_was_written_between_two_looks_is_cut_to_what_all_may_have() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let sizes = || -> Vec<u64> {
            (1..FILES)
                .map(|age| std::fs::metadata(aside(&path, age)).map_or(0, |found| found.len()))
                .collect()
        };
        let put = |age, lines: usize| std::fs::write(aside(&path, age), "123456789\n".repeat(lines)).unwrap();
        (1..FILES).for_each(|age| put(age, 10));
        trim(&path, 400);
        assert_eq!(sizes(), [100, 100, 100, 100]);
        // The oldest go first, and what is newer than one that does not fit stays.
        put(1, 25);
        trim(&path, 400);
        assert_eq!(sizes(), [250, 100, 0, 0]);
        // One that is too large alone keeps its end, in whole entries.
        std::fs::write(aside(&path, 1), format!("{}last\n", "123456789\n".repeat(100))).unwrap();
        trim(&path, 400);
        assert_eq!(sizes(), [395, 0, 0, 0]);
        assert!(std::fs::read_to_string(aside(&path, 1)).unwrap().ends_with("123456789\nlast\n"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        // A line without an end has none to begin at.
        std::fs::write(aside(&path, 1), "x".repeat(1000)).unwrap();
        trim(&path, 400);
        assert_eq!(sizes(), [0, 0, 0, 0]);
    }
}
