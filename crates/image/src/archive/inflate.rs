//! Archives that are compressed as a whole (`docker save | gzip`): decompressed into a nameless file by the
//! unpacking process, so that the daemon's memory meets no decompressor.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use super::{ArchiveError, io};
use crate::Images;
use crate::unpack::decompress::{Compression, MAGIC};
use crate::unpack::process::Unpacker;
use crate::unpack::{Cause, Job, Refusal, Task};

/// Whether a file is not a tar itself but a compressed one.
pub(super) fn is_compressed(archive: &File) -> Result<bool, ArchiveError> {
    let mut start = [0; MAGIC];
    let length = archive.read_at(&mut start, 0).map_err(io("read"))?;
    Ok(Compression::of(&start[..length]) != Compression::None)
}

/// A nameless file beside the layers.
pub(super) fn temporary(images: &Images) -> Result<File, ArchiveError> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let file = rustix::fs::open(images.layout().staging(), flags, mode);
    Ok(file.map_err(|e| io("make a temporary file")(e.into()))?.into())
}

/// The decompressed archive.
pub(super) fn inflate(images: &Images, mut archive: File) -> Result<File, ArchiveError> {
    archive.seek(SeekFrom::Start(0)).map_err(io("seek"))?;
    let out = temporary(images)?;
    let room = Room::make(images).map_err(io("make a directory"))?;
    let dir = File::open(&room.0).map_err(io("open a directory"))?;
    let config = images.config();
    let job = Job { task: Task::Inflate, limits: config.limits };
    let (unpacker, pipe) = Unpacker::start(&config.unpacker, &job, dir.as_fd(), out.as_fd())
        .map_err(io("start the unpacker"))?;
    // A process that gives up closes the pipe, and then says why.
    let _broken = io::copy(&mut archive, &mut File::from(pipe));
    match unpacker.wait() {
        Ok(_) => Ok(out),
        Err(Refusal { cause: Cause::Full, .. }) => {
            Err(io("decompress")(io::Error::from(io::ErrorKind::StorageFull)))
        }
        Err(Refusal { reason, .. }) => Err(ArchiveError::Malformed(reason)),
    }
}

/// The empty directory that the process has for a root.
struct Room(PathBuf);

impl Room {
    fn make(images: &Images) -> io::Result<Self> {
        images.layout().stage().map(Self)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What stays is removed when the store is opened.
        let _stays = std::fs::remove_dir(&self.0);
    }
}
