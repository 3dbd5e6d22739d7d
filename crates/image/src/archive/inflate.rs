//! Archives that are compressed as a whole (`docker save | gzip`): decompressed into a nameless file by the
//! unpacking process, so that no decompressor runs in the daemon.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Mode, OFlags};

use super::{ArchiveError, io};
use crate::Images;
use crate::unpack::decompress::{Compression, MAGIC};
use crate::unpack::process::{Process, pipe};
use crate::unpack::{Cause, Job, Refusal, Task};

/// Whether a file is not a tar itself but a compressed one.
pub(super) fn is_compressed(archive: &File) -> Result<bool, ArchiveError> {
    let mut start = [0; MAGIC];
    let length = archive.read_at(&mut start, 0).map_err(io("read"))?;
    Ok(Compression::of(&start[..length]) != Compression::None)
}

/// A nameless file beside the layers.
pub(crate) fn temporary(images: &Images) -> Result<File, ArchiveError> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let file = rustix::fs::open(images.layout().staging(), flags, mode);
    Ok(file.map_err(|e| io("make a temporary file")(e.into()))?.into())
}

/// The decompressed archive.
pub(super) fn inflate(images: &Images, mut archive: File) -> Result<File, ArchiveError> {
    archive.seek(SeekFrom::Start(0)).map_err(io("seek"))?;
    let out = temporary(images)?;
    let empty = File::open(images.layout().empty()).map_err(io("open a directory"))?;
    let config = images.config();
    let size = archive.metadata().map_err(io("stat"))?.len();
    let job = Job { task: Task::Inflate, bounds: config.limits.of_blob(size) };
    let (input, blob) = pipe().map_err(io("make a pipe"))?;
    let process = Process::start(&config.unpacker, &job, input, empty.as_fd(), out.as_fd())
        .map_err(io("start the unpacker"))?;
    // A failing process closes the pipe, and then says why.
    let _broken = io::copy(&mut archive, &mut File::from(blob));
    match process.wait() {
        Ok(_) => Ok(out),
        Err(Refusal { cause: Cause::Full, .. }) => {
            Err(io("decompress")(io::Error::from(io::ErrorKind::StorageFull)))
        }
        Err(Refusal { reason, .. }) => Err(ArchiveError::Malformed(reason)),
    }
}
