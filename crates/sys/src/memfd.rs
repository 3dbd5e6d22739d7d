//! A program or other bytes in memory that cannot be changed: a sealed memfd.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

/// A memfd with these bytes, sealed against every change. It can be executed (see
/// [`crate::spawn`]) and mapped, and is close-on-exec.
///
/// # Errors
/// Those of memfd_create, write and fcntl.
pub fn sealed(name: &str, bytes: &[u8]) -> std::io::Result<OwnedFd> {
    filled(name, |file| file.write_all(bytes))
}

/// The same with the bytes of a file, which the kernel copies.
///
/// # Errors
/// Those of memfd_create, the copy and fcntl.
pub fn sealed_copy(name: &str, mut from: File) -> std::io::Result<OwnedFd> {
    filled(name, |file| std::io::copy(&mut from, file).map(drop))
}

fn filled(name: &str, fill: impl FnOnce(&mut File) -> std::io::Result<()>) -> std::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Since Linux 6.3 a memfd says whether it may be executed; older kernels refuse the flag.
    let fd = match memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create(name, flags)?,
        other => other?,
    };
    let mut file = File::from(fd);
    fill(&mut file)?;
    let fd = OwnedFd::from(file);
    seal(&fd)?;
    Ok(fd)
}

/// Seals it for good. The kernel refuses with EBUSY while it holds one of the pages itself (reclaim and compaction do so
/// for a moment); it waits 150 ms for them, which is too short on a machine whose processors are busy.
fn seal(fd: &OwnedFd) -> Result<(), Errno> {
    const ATTEMPTS: usize = 20;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    for _ in 1..ATTEMPTS {
        match fcntl_add_seals(fd, seals) {
            Err(Errno::BUSY) => {}
            other => return other,
        }
    }
    fcntl_add_seals(fd, seals)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    #[test]
    fn the_bytes_are_there_and_cannot_be_changed() {
        let mut file = std::fs::File::from(super::sealed("test", b"hello").unwrap());
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        assert!(file.write_all(b"x").is_err());
        assert!(file.set_len(0).is_err());
        let copy = super::sealed_copy("test", std::fs::File::open("/proc/self/exe").unwrap()).unwrap();
        let length = |file: std::fs::File| file.metadata().unwrap().len();
        let own = std::fs::metadata("/proc/self/exe").unwrap().len();
        assert_eq!(length(copy.into()), own);
    }
}
