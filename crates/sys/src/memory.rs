//! Tuning of the allocator. glibc's defaults are for programs that have to be fast and may be large; Berth's
//! processes are to be small while they wait.

#![allow(unsafe_code, reason = "mallopt and malloc_trim have no safe wrapper")]

/// How glibc's allocator keeps memory. With another C library nothing is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Arenas for all threads together, instead of one for each of up to eight per core.
    pub arenas: i32,
    /// Blocks from so many bytes on are mapped by themselves, and given back when they are freed.
    pub mapped_from: i32,
    /// Free bytes at the end of the heap from which on it shrinks.
    pub trimmed_from: i32,
}

impl Keep {
    /// For a process that has many instances: a shim.
    pub const LEAST: Self = Self { arenas: 1, mapped_from: 64 << 10, trimmed_from: 64 << 10 };
    /// For a process with occasional heavy load: the daemon.
    pub const LITTLE: Self = Self { arenas: 2, mapped_from: 1 << 20, trimmed_from: 256 << 10 };
}

/// Sets how the allocator keeps memory. Call it before other threads exist.
pub fn keep(keep: Keep) {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets numbers; called before other threads exist.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, keep.arenas);
        libc::mallopt(libc::M_TRIM_THRESHOLD, keep.trimmed_from);
        libc::mallopt(libc::M_TOP_PAD, 16 << 10);
        libc::mallopt(libc::M_MMAP_THRESHOLD, keep.mapped_from);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = keep;
}

/// Gives free memory back to the kernel, also from the middle of the heap. Costs about a millisecond.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes the allocator's own locks and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}
