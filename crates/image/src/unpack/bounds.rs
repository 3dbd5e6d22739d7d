//! What one layer may cost: bounds by the size of its blob, and what was used of them.
//!
//! A blob of 100 KB can expand to a gigabyte. What it may cost beyond that is bounded by what tools write: an entry takes a few
//! bytes even where it is compressed best, so a small blob has few entries, directories and notes about them.

use serde::{Deserialize, Serialize};

use super::{EntryError, Limits};

/// Entries that a blob may have however small it is.
const ENTRIES_FROM: u64 = 100_000;
/// Bytes of notes (paths and attributes that are kept until the end of the layer) of a blob however small it is.
const NOTES_FROM: u64 = 8 << 20;
/// Bytes of notes for each byte of the blob, and the most of all.
const NOTES_RATIO: u64 = 64;
const NOTES_MOST: u64 = 512 << 20;
/// What keeping a note costs beside its bytes.
const NOTE: u64 = 160;
/// Directories that are opened on the way to entries, for each entry that is allowed.
const STEPS: u64 = 64;
/// Memory of the process that reads the tar, beside its notes.
const UNPACK_MEMORY: u64 = 256 << 20;
/// Memory of the process that decompresses: the largest window and as much again, and the program.
const INFLATE_MEMORY: u64 = 512 << 20;
/// Devices of a layer.
pub(crate) const MAX_DEVICES: u64 = 4096;

/// What the layer of one blob may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    /// Bytes of the blob.
    pub(crate) blob: u64,
    /// Bytes of its tar.
    pub(crate) tar_bytes: u64,
    /// The size of a file, in bytes.
    pub(crate) file_bytes: u64,
    /// Entries, implied directories and pieces of sparse files.
    pub(crate) entries: u64,
    /// Bytes of notes.
    pub(crate) notes: u64,
}

impl Limits {
    /// The bounds for a blob of this size.
    pub(crate) fn of_blob(&self, blob: u64) -> Bounds {
        Bounds {
            blob,
            tar_bytes: self.bytes.min(blob.saturating_mul(self.ratio.max(1)).max(self.ratio_from)),
            file_bytes: self.bytes,
            entries: self.entries.min(ENTRIES_FROM.saturating_add(blob / 2)),
            notes: blob.saturating_mul(NOTES_RATIO).saturating_add(NOTES_FROM).min(NOTES_MOST),
        }
    }
}

impl Bounds {
    /// What is said of a tar that is over the bound.
    pub(crate) fn tar_reason(&self) -> String {
        format!("more than {} bytes, the most for a blob of {}", self.tar_bytes, self.blob)
    }

    /// The most bytes of the process's answer. Paths share their beginnings there, so they take less than as notes.
    pub(crate) fn answer(&self) -> u64 {
        (1 << 20) + self.notes / 8
    }

    /// The most bytes of memory of the process that reads the tar.
    pub(crate) fn unpack_memory(&self) -> u64 {
        UNPACK_MEMORY + 4 * self.notes
    }

    /// The most bytes of memory of the process that decompresses.
    #[allow(clippy::unused_self, reason = "beside the other one")]
    pub(crate) fn inflate_memory(&self) -> u64 {
        INFLATE_MEMORY
    }
}

/// What of the bounds is left.
#[derive(Debug)]
pub(crate) struct Budget {
    bounds: Bounds,
    entries: u64,
    steps: u64,
    notes: u64,
}

impl Budget {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let steps = bounds.entries.saturating_mul(STEPS);
        Self { bounds, entries: bounds.entries, steps, notes: bounds.notes }
    }

    /// So many more entries, implied directories or pieces of sparse files.
    pub(crate) fn entries(&mut self, more: u64) -> Result<(), EntryError> {
        let bound = self.bounds.entries;
        take(&mut self.entries, more, || format!("more than {bound} entries and directories"))
    }

    /// A directory is opened on the way to an entry.
    pub(crate) fn step(&mut self) -> Result<(), EntryError> {
        take(&mut self.steps, 1, || "too many directories on the way to its entries".into())
    }

    /// Something of so many bytes is kept until the end.
    pub(crate) fn note(&mut self, bytes: usize) -> Result<(), EntryError> {
        let bound = self.bounds.notes;
        let text = || format!("more than {bound} bytes of paths and attributes of directories");
        take(&mut self.notes, NOTE + bytes as u64, text)
    }

    /// A file of this size.
    pub(crate) fn file(&self, size: u64) -> Result<(), EntryError> {
        if size > self.bounds.file_bytes {
            return Err(EntryError::Limit(format!("a file of {size} bytes")));
        }
        Ok(())
    }
}

fn take(left: &mut u64, more: u64, text: impl FnOnce() -> String) -> Result<(), EntryError> {
    *left = left.checked_sub(more).ok_or_else(|| EntryError::Limit(text()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_blob_may_cost_little_and_a_large_one_what_the_limits_say() {
        let limits = Limits::default();
        let small = limits.of_blob(100_000);
        assert_eq!((small.tar_bytes, small.entries), (1 << 30, 150_000));
        assert!(small.notes < 16 << 20 && small.answer() < 4 << 20 && small.unpack_memory() < 512 << 20);
        let large = limits.of_blob(10 << 30);
        assert_eq!((large.tar_bytes, large.entries), (limits.bytes, limits.entries));
        assert_eq!(large.notes, NOTES_MOST);
        assert!(limits.of_blob(u64::MAX).tar_bytes == limits.bytes);
    }

    #[test]
    fn what_is_spent_is_gone() {
        let bounds = Bounds { entries: 3, notes: 2 * NOTE + 10, ..Limits::default().of_blob(0) };
        let mut budget = Budget::new(bounds);
        budget.entries(2).unwrap();
        budget.entries(1).unwrap();
        assert!(matches!(budget.entries(1), Err(EntryError::Limit(_))));
        budget.note(10).unwrap();
        budget.note(0).unwrap();
        assert!(matches!(budget.note(0), Err(EntryError::Limit(_))));
        for _ in 0..3 * STEPS {
            budget.step().unwrap();
        }
        assert!(budget.step().is_err());
        assert!(budget.file(bounds.file_bytes).is_ok() && budget.file(bounds.file_bytes + 1).is_err());
    }
}
