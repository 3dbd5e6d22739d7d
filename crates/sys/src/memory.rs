//! Tuning of the allocator. glibc's defaults are for programs that have to be fast and may be large; Berth's
//! processes are to be small while they wait.

#![allow(unsafe_code, reason = "mallopt, malloc_trim and dl_iterate_phdr have no safe wrapper")]

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
    pub const LITTLE: Self = Self { arenas: 1, mapped_from: 1 << 20, trimmed_from: 256 << 10 };
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

/// Gives free memory back to the kernel, also from the middle of the heap, and lets go of the program's own pages: its
/// code and constants stay in the page cache, and come back from there when they are used. Costs about a millisecond.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes the allocator's own locks and touches free memory only; the callback fits.
    unsafe {
        libc::malloc_trim(0);
        libc::dl_iterate_phdr(Some(let_go), std::ptr::null_mut());
    }
}

/// Unmaps what was never written of the first object, which is the program itself.
#[cfg(target_env = "gnu")]
#[allow(clippy::cast_possible_truncation, reason = "addresses of this process")]
unsafe extern "C" fn let_go(
    info: *mut libc::dl_phdr_info,
    _: libc::size_t,
    _: *mut libc::c_void,
) -> libc::c_int {
    let page = rustix::param::page_size();
    // SAFETY: the dynamic linker gives its own description of an object, with so many headers.
    let (base, headers) = unsafe {
        let info = &*info;
        (info.dlpi_addr as usize, std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()))
    };
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
        // What may be written holds relocations and data, which are nowhere else.
        if header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let at = base + header.p_vaddr as usize;
        let (begin, end) = (at.next_multiple_of(page), (at + header.p_memsz as usize) / page * page);
        if let Some(length) = end.checked_sub(begin).filter(|length| *length > 0) {
            // SAFETY: whole pages of a mapping of the program's file that was never writable: they are read again from
            // there when they are touched. Failing changes nothing.
            unsafe { libc::madvise(begin as *mut libc::c_void, length, libc::MADV_DONTNEED) };
        }
    }
    // The other objects are libraries, whose pages are shared with other programs.
    1
}

#[cfg(test)]
mod tests {
    /// Constants and code are the same afterwards, and less of the program is resident.
    #[test]
    fn the_program_goes_on_without_its_pages() {
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("Private_Clean:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        static TABLE: [u8; 1 << 16] = [7; 1 << 16];
        let sum = || TABLE.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        assert_eq!(sum(), 7 << 16);
        let before = resident();
        super::give_back();
        // Other tests of this process run code at the same time.
        assert!(resident() <= before, "{} of {before}", resident());
        assert_eq!(sum(), 7 << 16);
    }
}
