//! What a process has open, for statistics.

use std::io;

use rustix::fs::{Dir, Mode, OFlags};

/// Open files of processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenFiles {
    /// Descriptors.
    pub files: u64,
    /// Those of them that are sockets.
    pub sockets: u64,
}

/// Counts the descriptors of a process, `most` at most; None when it has more. The number is not checked to be
/// still that of the process meant: for statistics only.
///
/// # Errors
/// It has ended, or may not be looked at.
pub fn open_files(pid: i32, most: u64) -> io::Result<Option<OpenFiles>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(format!("/proc/{pid}/fd"), flags, Mode::empty())?;
    let mut open = OpenFiles::default();
    let mut target = Vec::with_capacity(64);
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        if entry.file_name().to_bytes().starts_with(b".") {
            continue;
        }
        if open.files >= most {
            return Ok(None);
        }
        open.files += 1;
        match rustix::fs::readlinkat(&dir, entry.file_name(), target) {
            Ok(read) => {
                open.sockets += u64::from(read.to_bytes().starts_with(b"socket:"));
                target = read.into_bytes();
            }
            // Closed in between.
            Err(_) => target = Vec::with_capacity(64),
        }
    }
    Ok(Some(open))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_told_from_other_files_and_too_many_are_not_counted() {
        let own = std::process::id().cast_signed();
        let before = open_files(own, 1 << 20).unwrap().unwrap();
        let _pair = std::os::unix::net::UnixStream::pair().unwrap();
        let _file = std::fs::File::open("/dev/null").unwrap();
        let after = open_files(own, 1 << 20).unwrap().unwrap();
        // Other tests of this process open and close files at the same time.
        assert!(after.files >= 3 && after.sockets >= 2, "{before:?} {after:?}");
        assert_eq!(open_files(own, 2).unwrap(), None);
    }
}
