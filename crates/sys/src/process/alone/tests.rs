use super::*;
use crate::process::{close_range, fd_at, fork, fork_sibling, place_fd, reap};
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};

fn strings(list: &[&str]) -> Vec<CString> {
    list.iter().map(|s| CString::new(*s).unwrap()).collect()
}

/// Runs `last` alone, with a pipe as descriptor 1: its exit status and what it wrote.
fn run<T: Copy + 'static>(context: &ExecContext, value: T, last: fn(Program, T) -> i32) -> (i32, String) {
    let (ours, theirs): (OwnedFd, OwnedFd) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let child = fork(0, None, || {
        if place_fd(theirs.as_fd(), 1, true).is_err() || close_range(3, u32::MAX).is_err() {
            return 99;
        }
        context.alone(value, last)
    })
    .unwrap();
    drop(theirs);
    let mut text = String::new();
    std::fs::File::from(ours).read_to_string(&mut text).unwrap();
    (reap(child.pidfd.as_fd()).unwrap().shell_code(), text)
}

#[test]
fn the_program_runs_with_its_context() {
    let context = ExecContext::new(
        &strings(&["/no/such", "/bin/sh"]),
        &strings(&["sh", "-c", "echo $A; exit $1", "x", "7"]),
        &strings(&["A=b c"]),
        &[],
    )
    .unwrap();
    let ran = run(&context, 0, |program, first| {
        // A failing call writes errno, which is in the memory of the thread.
        match (program.execve(first), program.execve(first + 1), program.execve(first + 2)) {
            (Some(Errno::NOENT), _, _) => 97,
            _ => 98,
        }
    });
    assert_eq!(ran, (7, "b c\n".to_owned()));
    let missing = ExecContext::new(&strings(&["/no/such"]), &[], &[], &[]).unwrap();
    let ran = run(&missing, (), |program, ()| match (program.execve(0), program.execve(1)) {
        (Some(Errno::NOENT), None) => 42,
        _ => 98,
    });
    assert_eq!(ran, (42, String::new()));
}

/// The table of the child's mappings, by itself.
fn show_maps(_: Program, (): ()) -> i32 {
    let mut buffer = [0u8; 4096];
    let flags = rustix::fs::OFlags::RDONLY;
    let Ok(maps) = rustix::fs::open(c"/proc/self/maps", flags, rustix::fs::Mode::empty()) else { return 96 };
    while let Ok(read @ 1..) = rustix::io::read(&maps, &mut buffer) {
        if rustix::io::write(fd_at(1), &buffer[..read]).is_err() {
            return 97;
        }
    }
    0
}

#[test]
fn nothing_of_the_makers_memory_is_mapped() {
    let secret = vec![7u8; 1 << 20];
    let context = ExecContext::new(&strings(&["/x"]), &[], &[], &[]).unwrap();
    let (code, maps) = run(&context, (), show_maps);
    assert_eq!(code, 0, "{maps}");
    assert!(!maps.contains("[heap]") && !maps.contains("[stack]"), "{maps}");
    let ranges: Vec<(usize, usize)> = maps
        .lines()
        .map(|l| {
            let (start, end) = l.split(' ').next().unwrap().split_once('-').unwrap();
            (usize::from_str_radix(start, 16).unwrap(), usize::from_str_radix(end, 16).unwrap())
        })
        .collect();
    let mapped = |address: usize| ranges.iter().any(|(start, end)| (*start..*end).contains(&address));
    assert!(!mapped(secret.as_ptr() as usize), "{maps}");
    assert!(mapped(context.map as usize), "{maps}");
    // What is neither context nor of a file or the kernel: what follows a library's data, and the thread's pages.
    let anonymous: usize = maps
        .lines()
        .zip(&ranges)
        .filter(|(line, range)| line.split_whitespace().count() == 5 && range.0 != context.map as usize)
        .map(|(_, range)| range.1 - range.0)
        .sum();
    assert!(anonymous < 256 << 10, "{maps}");
}

/// Many switches between processors while the thread's memory is new: the kernel writes to it (rseq).
#[test]
fn an_isolated_child_is_scheduled_as_any_other() {
    let context = ExecContext::new(&strings(&["/x"]), &[], &[], &[]).unwrap();
    let ran = run(&context, 2000u32, |_, rounds| {
        let cpus = rustix::thread::sched_getaffinity(None).unwrap_or_default();
        for round in 0..rounds {
            let mut one = rustix::thread::CpuSet::new();
            let count = cpus.count().max(1);
            let nth = (0..1024).filter(|cpu| cpus.is_set(*cpu)).nth(round as usize % count as usize);
            one.set(nth.unwrap_or(0));
            let _ = rustix::thread::sched_setaffinity(None, &one);
            rustix::thread::sched_yield();
        }
        5
    });
    assert_eq!(ran, (5, String::new()));
}

#[test]
fn an_isolated_child_can_make_its_sibling() {
    let context =
        ExecContext::new(&strings(&["/bin/sh"]), &strings(&["sh", "-c", "echo $$ $PPID"]), &[], &[]).unwrap();
    let (code, said) = run(&context, (), |program, ()| {
        let sibling = fork_sibling(0, || program.execve(0).map_or(1, |_| 2));
        let Ok(sibling) = sibling else { return 95 };
        // It is not this process' to reap.
        i32::from(reap(sibling.pidfd.as_fd()).is_some())
    });
    let (sibling, parent) = said.trim().split_once(' ').expect("two numbers");
    assert_eq!((code, parent), (0, std::process::id().to_string().as_str()));
    // The sibling is this process' child: it is reaped here.
    let sibling = rustix::process::Pid::from_raw(sibling.parse().expect("a number"));
    rustix::process::waitpid(sibling, rustix::process::WaitOptions::empty()).expect("it is a child");
}

#[test]
fn the_kernels_pages_are_found() {
    let maps = "00400000-00401000 r-xp 00000000 08:01 1 /bin/x\n\
        7ffd2000-7ffd6000 r--p 00000000 00:00 0                          [vvar]\n\
        7ffd6000-7ffd8000 r-xp 00000000 00:00 0                          [vdso]\n\
        ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";
    assert_eq!(merged(kernels_own(maps)), vec![0x7ffd_2000..0x7ffd_8000]);
}
