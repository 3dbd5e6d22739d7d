//! User namespaces and their maps.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use crate::{namespace, process};

/// A range of ids: first inside, first outside, how many.
pub type Range = (u32, u32, u32);

/// The text of a map file, as user_namespaces(7) has it.
fn text(map: &[Range]) -> String {
    map.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect()
}

/// Writes the maps of the user namespace in which the child `pid` was made. The child must not have
/// been reaped.
///
/// # Errors
/// Those of the kernel for maps that overlap, or that the caller may not set.
pub fn write_maps(pid: i32, uids: &[Range], gids: &[Range]) -> std::io::Result<()> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    for (file, map) in [("uid_map", uids), ("gid_map", gids)] {
        // The kernel takes a map in a single write only.
        File::options().write(true).open(proc.join(file))?.write_all(text(map).as_bytes())?;
    }
    Ok(())
}

/// A user namespace with these maps and no process in it, for idmapped mounts.
///
/// # Errors
/// Those of clone3(2) and [`write_maps`].
pub fn namespace(uids: &[Range], gids: &[Range]) -> std::io::Result<OwnedFd> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // The child lives until the parent's end of the pipe is closed.
    let child = process::fork(namespace::USER, None, || {
        let mut byte = [0];
        let _ = process::close_range(theirs_number(&theirs), theirs_number(&theirs));
        let _ = rustix::io::read(&ours, &mut byte);
        0
    })?;
    drop(ours);
    let made = write_maps(child.pid, uids, gids)
        .and_then(|()| Ok(File::open(format!("/proc/{}/ns/user", child.pid))?.into()));
    drop(theirs);
    let _ = process::reap(child.pidfd.as_fd());
    made
}

fn theirs_number(fd: &OwnedFd) -> u32 {
    use std::os::fd::AsRawFd as _;
    fd.as_raw_fd().cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_written_as_the_kernel_reads_it() {
        assert_eq!(text(&[(0, 100_000, 65_536), (70_000, 1, 2)]), "0 100000 65536\n70000 1 2\n");
    }

    #[test]
    fn a_namespace_outlives_its_maker() {
        if !rustix::process::getuid().is_root() {
            eprintln!("skipped: a_namespace_outlives_its_maker: needs root");
            return;
        }
        let range = [(0, 100_000, 1000)];
        let fd = namespace(&range, &range).expect("namespace");
        assert!(rustix::fs::fstat(&fd).is_ok());
    }
}
