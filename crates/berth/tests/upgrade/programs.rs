//! Where other versions of Berth are, as set by `cargo xtask`.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Landed versions; empty when none was built.
pub fn landed() -> Vec<PathBuf> {
    std::env::var_os("BERTH_UPGRADE_FROM").iter().flat_map(std::env::split_paths).collect()
}

/// Today's program, which says that it is of the next version.
pub fn raised() -> Option<PathBuf> {
    std::env::var_os("BERTH_UPGRADE_RAISED").map(PathBuf::from)
}

/// How many crash rounds.
pub fn rounds() -> u32 {
    std::env::var("BERTH_CRASH_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap())
}

/// One of these tests at a time: each has tens of pods.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
