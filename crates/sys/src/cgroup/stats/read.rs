//! Reading small files of the kernel one after the other.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::super::CgroupError;

/// The first size of the buffer: more than any file of a group with a few block devices.
const USUAL: usize = 8 << 10;
/// The longest file that is read; a machine with very many block devices has one of a few hundred KiB.
const LONGEST: usize = 1 << 20;

/// The buffers through which files are read: open, one read, close.
#[derive(Debug, Default)]
pub struct Reader {
    path: PathBuf,
    bytes: Vec<u8>,
    length: usize,
}

impl Reader {
    /// The text of a file; `None` where it does not exist or is switched off, as PSI may be.
    ///
    /// # Errors
    /// It cannot be opened or read, or is not text.
    pub fn text(&mut self, dir: &Path, file: &str) -> Result<Option<&str>, CgroupError> {
        match self.read(dir, file) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => return Ok(None),
            Err(errno) => return Err(CgroupError::io("read", dir.join(file))(errno)),
        }
        let text = std::str::from_utf8(&self.bytes[..self.length]);
        text.map(Some).map_err(|_| CgroupError::Content {
            path: dir.join(file),
            text: CgroupError::short(&String::from_utf8_lossy(&self.bytes[..self.length])),
        })
    }

    /// A file with a single number; `max` and a missing file are none.
    ///
    /// # Errors
    /// As [`Reader::text`]; or it holds something else.
    pub fn number(&mut self, dir: &Path, file: &str) -> Result<Option<u64>, CgroupError> {
        let Some(text) = self.text(dir, file)? else { return Ok(None) };
        match text.trim() {
            "max" => Ok(None),
            number => number
                .parse()
                .map(Some)
                .map_err(|_| CgroupError::Content { path: dir.join(file), text: CgroupError::short(text) }),
        }
    }

    /// The kernel gives a file of a group whole, if it fits.
    fn read(&mut self, dir: &Path, file: &str) -> Result<(), Errno> {
        self.path.clear();
        self.path.push(dir);
        self.path.push(file);
        if self.bytes.is_empty() {
            self.bytes.resize(USUAL, 0);
        }
        let fd = rustix::fs::open(&self.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        self.length = rustix::io::read(&fd, &mut self.bytes)?;
        while self.length == self.bytes.len() {
            if self.length >= LONGEST {
                return Err(Errno::FBIG);
            }
            self.bytes.resize(self.length * 2, 0);
            self.length += rustix::io::read(&fd, &mut self.bytes[self.length..])?;
        }
        Ok(())
    }
}
