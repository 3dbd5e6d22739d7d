//! What a directory of a snapshot is: a container's, or one that was never finished.
//!
//! A snapshot is made in this order: the directory, its record, `upper`, `work`. Then its overlay is mounted, and that
//! puts something into `work` before a container can write a byte. So a snapshot with nothing in either was never mounted.
//! Everything else may be a running container's, whatever its record says or does not say, and is kept: only the engine,
//! which knows the containers, removes it. One that goes on with the layer of another gets `upper` last, and the other has a
//! mark then. See docs/adr/0073-changes-of-the-store.md.

use std::io;
use std::path::Path;

use crate::error::{StoreError, is_short_of_resources};
use crate::store::record::SnapshotRecord;

/// A directory that a snapshot has or lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Absent,
    Empty,
    /// Or it cannot be determined.
    Filled,
}

/// The result of reading the record.
#[derive(Debug)]
pub(super) enum Reading {
    Good(SnapshotRecord),
    Absent,
    Failed(StoreError),
}

/// What to do with a snapshot.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is a container's.
    Known(SnapshotRecord),
    /// It may be a container's, but what it says of itself cannot be used.
    Unreadable(StoreError),
    /// No container ever had it.
    Unfinished,
}

/// Decides. `dir` is for errors alone.
pub(super) fn verdict(dir: &Path, reading: Reading, upper: Content, work: Content, lent: bool) -> Verdict {
    let damaged = |reason: &str| {
        Verdict::Unreadable(StoreError::Damaged { path: dir.to_owned(), reason: reason.to_owned() })
    };
    let untouched = upper != Content::Filled && work != Content::Filled;
    match reading {
        Reading::Failed(error) => Verdict::Unreadable(error),
        // Another container goes on with its layer.
        Reading::Good(record) if lent && upper == Content::Absent => Verdict::Known(record),
        Reading::Good(record) => match (upper, work) {
            (Content::Absent, _) | (_, Content::Absent) if untouched => Verdict::Unfinished,
            (Content::Absent, _) | (_, Content::Absent) => damaged("its directories are not all there"),
            (Content::Empty | Content::Filled, Content::Empty | Content::Filled) => Verdict::Known(record),
        },
        Reading::Absent if untouched => Verdict::Unfinished,
        Reading::Absent => damaged("its record is missing"),
    }
}

/// Looks into a directory.
pub(super) fn content(dir: &Path) -> Result<Content, StoreError> {
    match std::fs::read_dir(dir).and_then(|mut entries| entries.next().transpose()) {
        Ok(None) => Ok(Content::Empty),
        Ok(Some(_)) => Ok(Content::Filled),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Content::Absent),
        Err(e) if is_short_of_resources(&e) => Err(StoreError::io("read directory", dir)(e)),
        Err(_) => Ok(Content::Filled),
    }
}

/// Removes an unfinished snapshot by calls that remove nothing with content: that it is unfinished is checked once more
/// by each of them.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    let gone = |done: io::Result<()>| match done {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    gone(std::fs::remove_dir(dir.join("upper")))?;
    gone(std::fs::remove_dir(dir.join("work")))?;
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        // The record, and what a killed process left of writing it.
        if name.as_encoded_bytes().starts_with(b"record") {
            std::fs::remove_file(dir.join(name))?;
        }
    }
    std::fs::remove_dir(dir)
}

#[cfg(test)]
mod tests;
