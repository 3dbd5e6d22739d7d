//! A child that keeps nothing of its maker's memory.
//!
//! A child of clone3 is a copy of its maker: a process that may read its memory (`/proc/PID/mem`, a tracer) finds
//! what the maker knows. So before it can be seen it goes on alone: on a stack of its own, in one mapping with what it
//! needs to become a program ([`ExecContext`]), and with everything else unmapped but the program that runs and
//! its libraries.
//!
//! ```text
//! context   | stack (grows down) | start, pointers | strings | filter |
//! ```

#![allow(unsafe_code, reason = "mmap and munmap of the own memory, and a jump to another stack")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ops::Range;
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::{check, exit_now};

/// Bytes of the stack.
const STACK: usize = 64 << 10;
/// The most mappings that stay: those of the program, its libraries and the kernel's page of code.
const MAX_KEPT: usize = 96;
/// What is kept around the thread pointer: errno and what the C library keeps of a thread, all zero.
const THREAD: usize = 16 << 10;

type Pages = Range<usize>;

/// What a process needs to become a program, in one mapping that it can keep when it drops all others.
#[derive(Debug)]
pub struct ExecContext {
    map: *mut c_void,
    size: usize,
    held: *const Held,
}

// SAFETY: the mapping is the value's own, and nothing writes to it after `new`.
unsafe impl Send for ExecContext {}
// SAFETY: as above.
unsafe impl Sync for ExecContext {}

/// The head of the context; what its pointers go to lies in the same mapping.
#[derive(Debug)]
struct Held {
    /// Where the command may be; ends with a null pointer, as the next two do.
    candidates: *const *const c_char,
    args: *const *const c_char,
    env: *const *const c_char,
    filter: *const u64,
    filter_len: usize,
    own: Pages,
    page: usize,
    kept: [(usize, usize); MAX_KEPT],
    kept_len: usize,
}

/// The context as the child has it.
#[derive(Debug, Clone, Copy)]
pub struct Program(*const Held);

/// Fills a mapping from one end to the other.
struct Filler {
    next: usize,
    end: usize,
}

impl Filler {
    /// Space for `count` values, which the caller writes.
    fn reserve<T>(&mut self, count: usize) -> Result<*mut T, Errno> {
        let start = self.next.next_multiple_of(align_of::<T>());
        self.next = start + count * size_of::<T>();
        if self.next <= self.end { Ok(start as *mut T) } else { Err(Errno::NOMEM) }
    }

    fn string(&mut self, text: &CStr) -> Result<*const c_char, Errno> {
        let bytes = text.to_bytes_with_nul();
        let to = self.reserve::<u8>(bytes.len())?;
        // SAFETY: `reserve` gave as many bytes of the mapping to this call alone.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Ok(to.cast())
    }

    fn strings(&mut self, list: &[CString]) -> Result<*const *const c_char, Errno> {
        let array = self.reserve::<*const c_char>(list.len() + 1)?;
        for (index, text) in list.iter().enumerate() {
            let pointer = self.string(text)?;
            // SAFETY: within the space; the mapping was zero, so the last pointer is null.
            unsafe { array.add(index).write(pointer) };
        }
        Ok(array)
    }
}

impl ExecContext {
    /// Packs: the paths that are tried for the command, its arguments and environment, and a seccomp filter (each
    /// instruction as the `u64` of its bytes), empty for none.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn new(
        candidates: &[CString],
        args: &[CString],
        env: &[CString],
        filter: &[u64],
    ) -> Result<Self, Errno> {
        let list = |list: &[CString]| {
            list.iter().map(|s| s.as_bytes_with_nul().len()).sum::<usize>() + (list.len() + 2) * 8
        };
        let data =
            list(candidates) + list(args) + list(env) + (filter.len() + 1) * 8 + size_of::<Held>() + 64;
        let page = rustix::param::page_size();
        let size = (STACK + data).next_multiple_of(page);
        let staying = staying();
        if staying.len() > MAX_KEPT {
            return Err(Errno::TOOBIG);
        }
        // SAFETY: a new mapping at an address of the kernel's choice.
        let map = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let mut context = Self { map, size, held: std::ptr::null() };
        let start = map as usize;
        let mut filler = Filler { next: start + STACK, end: start + size };
        let held = filler.reserve::<Held>(1)?;
        let (candidates, args, env) =
            (filler.strings(candidates)?, filler.strings(args)?, filler.strings(env)?);
        let to = filler.reserve::<u64>(filter.len())?;
        let mut kept = [(0, 0); MAX_KEPT];
        for (place, pages) in kept.iter_mut().zip(staying) {
            *place = (pages.start, pages.end);
        }
        // SAFETY: both are within the mapping and this function's own.
        unsafe {
            std::ptr::copy_nonoverlapping(filter.as_ptr(), to, filter.len());
            held.write(Held {
                candidates,
                args,
                env,
                filter: to,
                filter_len: filter.len(),
                own: start..start + size,
                page,
                kept,
                kept_len: staying.len(),
            });
        }
        context.held = held;
        Ok(context)
    }

    /// For a child of [`fork`](super::fork): drops all memory but the context and the running program, and ends with what `last`
    /// returns. `last` gets `value`, which must be plain: nothing that it refers to is there any more. As before, it
    /// neither allocates nor locks.
    pub fn alone<T: Copy + 'static>(&self, value: T, last: fn(Program, T) -> i32) -> ! {
        let start = Start { program: Program(self.held), value, last };
        let top = (self.map as usize + STACK - size_of::<Start<T>>() - align_of::<Start<T>>()) & !63;
        // SAFETY: the top of the context's stack, which is not used before the jump. The child does not come back, so
        // what its frames own is neither dropped nor used again.
        unsafe {
            (top as *mut Start<T>).write(start);
            jump(top, begin::<T>, top as *mut c_void)
        }
    }
}

impl Drop for ExecContext {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`; nothing refers to it but this value.
        let _ = unsafe { rustix::mm::munmap(self.map, self.size) };
    }
}

impl Program {
    /// Executes the candidate with this index; returns the reason why not, or None when there are no more.
    pub fn execve(self, index: usize) -> Option<Errno> {
        // SAFETY: the context is mapped for as long as the child lives; its arrays end with a null pointer, at which
        // the caller's counting stops.
        unsafe {
            let held = &*self.0;
            let path = *held.candidates.add(index);
            if path.is_null() {
                return None;
            }
            libc::syscall(libc::SYS_execve, path, held.args, held.env);
        }
        Some(super::last_errno())
    }

    /// Loads the seccomp filter, if there is one.
    ///
    /// # Errors
    /// Those of seccomp(2).
    pub fn load_filter(self, flags: u32) -> Result<(), Errno> {
        // SAFETY: as above; the instructions were copied to the context.
        let filter = unsafe {
            let held = &*self.0;
            std::slice::from_raw_parts(held.filter, held.filter_len)
        };
        if filter.is_empty() { Ok(()) } else { super::load_seccomp(filter, flags) }
    }
}

struct Start<T> {
    program: Program,
    value: T,
    last: fn(Program, T) -> i32,
}

/// The first frame on the new stack.
extern "C" fn begin<T: Copy>(start: *mut c_void) -> ! {
    // SAFETY: `alone` has written it above this stack.
    let Start { program, value, last } = unsafe { start.cast::<Start<T>>().read() };
    // SAFETY: the context is never unmapped, and nothing after this looks at what is.
    if unsafe { drop_all(&*program.0) }.is_err() {
        exit_now(255);
    }
    exit_now(last(program, value))
}

/// Unmaps everything but what `held` keeps.
///
/// # Safety
/// The caller, on the context's stack, uses nothing else any more.
unsafe fn drop_all(held: &Held) -> Result<(), Errno> {
    let mut kept = [(0usize, 0usize); MAX_KEPT + 2];
    let mut count = held.kept_len;
    kept[..count].copy_from_slice(&held.kept[..count]);
    kept[count] = (held.own.start, held.own.end);
    count += 1;
    kept[..count].sort_unstable();
    let thread = thread_pages(&kept[..count], held.page);
    // SAFETY: pages that hold nothing which is kept.
    unsafe { forget_thread(&thread)? };
    kept[count] = (thread.start, thread.end);
    count += 1;
    kept[..count].sort_unstable();
    let mut next = 0;
    for (start, end) in &kept[..count] {
        if *start > next {
            // SAFETY: integers; see above.
            check(unsafe { libc::syscall(libc::SYS_munmap, next, *start - next) })?;
        }
        next = next.max(*end);
    }
    // To the end of what a process may have, which differs: 47 bits are usual, 39 to 56 are possible.
    for bits in (36..=56).rev() {
        let end = (1usize << bits) - held.page;
        if end <= next {
            break;
        }
        // SAFETY: as above.
        match check(unsafe { libc::syscall(libc::SYS_munmap, next, end - next) }) {
            Err(Errno::INVAL) => {}
            done => return done.map(drop),
        }
    }
    Err(Errno::INVAL)
}

/// The pages around the thread pointer that nothing kept lies in.
fn thread_pages(kept: &[(usize, usize)], page_size: usize) -> Pages {
    let page = thread_pointer() & !(page_size - 1);
    let around = THREAD.next_multiple_of(page_size);
    let (mut start, mut end) = (page.saturating_sub(around), page + around);
    for (from, to) in kept {
        if *to <= page {
            start = start.max(*to);
        }
        if *from > page {
            end = end.min(*from);
        }
    }
    start..end
}

/// Puts zeroes where the C library keeps the thread: errno lies there, and the kernel writes to it at each switch (rseq).
///
/// # Safety
/// Nothing that the caller uses later lies in these pages.
unsafe fn forget_thread(pages: &Pages) -> Result<(), Errno> {
    #[cfg(target_arch = "x86_64")]
    let pointer = thread_pointer() as *mut usize;
    // SAFETY: replaces the pages at once; see above.
    unsafe {
        rustix::mm::mmap_anonymous(
            pages.start as *mut c_void,
            pages.len(),
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::FIXED,
        )?;
    }
    #[cfg(target_arch = "x86_64")]
    // SAFETY: in the pages just made. On x86-64 the first word, and the third, say where they are.
    unsafe {
        pointer.write(pointer as usize);
        pointer.add(2).write(pointer as usize);
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: the x86-64 ABI has the thread pointer at its own address.
    unsafe { std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, readonly, preserves_flags)) };
    pointer
}

#[cfg(target_arch = "aarch64")]
fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe {
        std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, nomem, preserves_flags))
    };
    pointer
}

/// Goes on at `entry(arg)` on the stack that ends at `top`.
///
/// # Safety
/// The stack is the caller's to use, and what its own frames own is leaked.
#[cfg(target_arch = "x86_64")]
unsafe fn jump(top: usize, entry: extern "C" fn(*mut c_void) -> !, arg: *mut c_void) -> ! {
    // SAFETY: see above; `top` is aligned to 64 bytes, as a call wants 16.
    unsafe {
        std::arch::asm!(
            "mov rsp, {top}",
            "xor ebp, ebp",
            "call {entry}",
            "ud2",
            top = in(reg) top,
            entry = in(reg) entry,
            in("rdi") arg,
            options(noreturn),
        )
    }
}

/// See above.
///
/// # Safety
/// See above.
#[cfg(target_arch = "aarch64")]
unsafe fn jump(top: usize, entry: extern "C" fn(*mut c_void) -> !, arg: *mut c_void) -> ! {
    // SAFETY: see above.
    unsafe {
        std::arch::asm!(
            "mov sp, {top}",
            "mov x29, xzr",
            "blr {entry}",
            "brk #0",
            top = in(reg) top,
            entry = in(reg) entry,
            in("x0") arg,
            options(noreturn),
        )
    }
}

/// What stays mapped: the program and its libraries, as the loader knows them, and the kernel's own pages, which may be sealed.
/// They are the same for as long as the process lives, but for libraries that are loaded later, which the
/// child does not call.
fn staying() -> &'static [Pages] {
    static STAYING: OnceLock<Vec<Pages>> = OnceLock::new();
    STAYING.get_or_init(|| {
        let mut all: Vec<Pages> =
            kernels_own(&std::fs::read_to_string("/proc/self/maps").unwrap_or_default());
        // SAFETY: the callback has the signature that the loader wants, and `data` is the vector above.
        unsafe { libc::dl_iterate_phdr(Some(object), (&raw mut all).cast()) };
        merged(all)
    })
}

/// The pages of the kernel in a table of mappings (proc_pid_maps(5)).
fn kernels_own(maps: &str) -> Vec<Pages> {
    let names = ["[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]"];
    maps.lines()
        .filter(|line| names.iter().any(|name| line.ends_with(name)))
        .filter_map(|line| {
            let (start, end) = line.split(' ').next()?.split_once('-')?;
            let number = |text| usize::from_str_radix(text, 16).ok();
            Some(number(start)?..number(end)?)
        })
        // The last one lies beyond what a process may unmap.
        .filter(|pages| pages.end < 1 << 56)
        .collect()
}

/// Sorted, and those that touch as one.
fn merged(mut all: Vec<Pages>) -> Vec<Pages> {
    all.sort_by_key(|pages| pages.start);
    let mut merged: Vec<Pages> = Vec::with_capacity(all.len());
    for pages in all {
        match merged.last_mut() {
            Some(last) if pages.start <= last.end => last.end = last.end.max(pages.end),
            _ => merged.push(pages),
        }
    }
    merged
}

unsafe extern "C" fn object(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
    // SAFETY: the loader's own table, valid for the call, and the vector that was given to it.
    unsafe {
        let page = rustix::param::page_size();
        let info = &*info;
        let all = &mut *data.cast::<Vec<Pages>>();
        for index in 0..usize::from(info.dlpi_phnum) {
            let header = &*info.dlpi_phdr.add(index);
            if header.p_type == libc::PT_LOAD {
                // The numbers are addresses of this process.
                let start = info.dlpi_addr.wrapping_add(header.p_vaddr);
                let end = start.wrapping_add(header.p_memsz);
                let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) else { continue };
                all.push(start & !(page - 1)..end.next_multiple_of(page));
            }
        }
    }
    0
}

#[cfg(test)]
mod tests;
