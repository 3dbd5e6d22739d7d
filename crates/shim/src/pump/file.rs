//! The log file: appended to, reopened after a rotation, and a failure never ends the writer.
//!
//! What cannot be written (a full disk, a quota, an I/O error) is dropped and counted; as soon as
//! writing works again an entry in the log says how much is missing and why. The file only ever
//! holds whole entries: one that was written in part is cut off again. Reopening opens first and replaces then: on
//! failure the old file stays in use and no new one is made.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

/// What the writer needs of a file.
pub(crate) trait Target {
    /// Appends some of `bytes`.
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<usize>;
    /// Takes the last `bytes` off again.
    fn take_back(&mut self, bytes: u64) -> std::io::Result<()>;
}

impl Target for File {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        loop {
            match self.write(bytes) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn take_back(&mut self, bytes: u64) -> std::io::Result<()> {
        // After an append the position is the end of what was appended.
        let end = self.stream_position()?;
        self.set_len(end.saturating_sub(bytes))
    }
}

/// Where a log file is: its directory, as it was when the container was made, and its name there.
#[derive(Debug)]
pub(crate) struct Place {
    dir: OwnedFd,
    name: OsString,
}

impl Place {
    /// The place that a path names now. Its directories may be links (`/var/log/pods` is one on some hosts).
    ///
    /// A container may be able to write to one of them (a volume below /var/log) and put a link in its place later: the
    /// directory is held, so that a rotation opens its file where the first one was.
    pub(crate) fn of(path: &Path) -> std::io::Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not the path of a file"));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(parent, flags, Mode::empty())?;
        Ok(Self { dir, name: name.to_owned() })
    }

    /// Opens the file, creating it if it is missing. A symbolic link, a device or a pipe in its place is refused.
    pub(crate) fn open(&self) -> std::io::Result<File> {
        let flags = OFlags::WRONLY
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        let file = openat2(&self.dir, &self.name, flags, Mode::from_raw_mode(0o640), resolve)?;
        let file = File::from(file);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file"))
        }
    }
}

/// What was not written, and why.
#[derive(Debug)]
pub(crate) struct Missing {
    /// Bytes of entries.
    pub(crate) bytes: u64,
    /// Entries.
    pub(crate) entries: u64,
    error: std::io::Error,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Missing { bytes, entries, error } = self;
        write!(f, "berth: {entries} log entries ({bytes} bytes) are missing here: {error}")
    }
}

/// A log that is written to, or nothing.
#[derive(Debug)]
pub(crate) struct Log<T> {
    target: Option<T>,
    missing: Option<Missing>,
    /// The file ends within an entry that could not be taken back.
    torn: bool,
}

impl<T: Target> Log<T> {
    /// A log in `target`; without one everything is dropped silently.
    pub(crate) fn new(target: Option<T>) -> Self {
        Self { target, missing: None, torn: false }
    }

    /// Goes on in another file.
    pub(crate) fn replace(&mut self, target: T) {
        self.target = Some(target);
        self.torn = false;
    }

    /// What is missing, to be written before the next entries.
    pub(crate) fn missing(&self) -> Option<&Missing> {
        self.missing.as_ref()
    }

    /// Appends whole entries, after a notice of what is missing (empty when nothing is). True when
    /// everything was written.
    pub(crate) fn write(&mut self, notice: &[u8], entries: &[u8]) -> bool {
        if notice.is_empty() {
            return self.append(0, entries);
        }
        self.append(notice.len(), &[notice, entries].concat())
    }

    /// `notice`: so many bytes of `text` are a notice.
    fn append(&mut self, notice: usize, text: &[u8]) -> bool {
        let Some(target) = &mut self.target else { return true };
        let (done, error) = match append_all(target, &mut self.torn, text) {
            (_, None) => {
                if notice > 0 {
                    self.missing = None;
                }
                return true;
            }
            (done, Some(error)) => (done, error),
        };
        let whole = text[..done].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        self.torn |= whole < done && target.take_back((done - whole) as u64).is_err();
        let said = notice > 0 && whole >= notice;
        let before = if said { None } else { self.missing.take() };
        let mut missing = before.unwrap_or(Missing { bytes: 0, entries: 0, error });
        let dropped = &text[whole.max(notice)..];
        missing.bytes += dropped.len() as u64;
        missing.entries += dropped.iter().filter(|b| **b == b'\n').count() as u64;
        // After a notice that was written with nothing lost since, nothing is missing.
        self.missing = (missing.bytes > 0).then_some(missing);
        false
    }
}

/// Appends as much as can be: so many bytes, and what stopped it.
fn append_all(target: &mut impl Target, torn: &mut bool, text: &[u8]) -> (usize, Option<std::io::Error>) {
    if *torn {
        match target.append(b"\n") {
            Ok(n) => *torn = n == 0,
            Err(e) => return (0, Some(e)),
        }
    }
    let mut done = 0;
    while done < text.len() {
        match target.append(&text[done..]) {
            Ok(0) => return (done, Some(std::io::ErrorKind::WriteZero.into())),
            Ok(more) => done += more,
            Err(e) => return (done, Some(e)),
        }
    }
    (done, None)
}

#[cfg(test)]
mod tests;
