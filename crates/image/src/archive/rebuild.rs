//! The tar of a layer, made again from its tree and its recipe.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use berth_types::Digest;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use sha2::Digest as _;

use super::ArchiveError;
use crate::unpack::recipe::{Part, Parts};

/// Writes the tar of the layer in `dir`, which must come out with this diff id and size.
pub(crate) fn rebuild(
    dir: &Path,
    diff_id: &Digest,
    size: u64,
    out: &mut impl Write,
) -> Result<(), ArchiveError> {
    let damaged = |reason: String| ArchiveError::Layer { layer: dir.to_owned(), reason };
    let mut out = Hashed { out, hasher: sha2::Sha256::new(), written: 0 };
    write_parts(dir, &mut out).map_err(|failed| match failed {
        Failed::Write(source) => ArchiveError::Io { operation: "write", source },
        Failed::Layer(reason) => damaged(reason),
    })?;
    let found = Digest::from_sha256(out.hasher.finalize().into());
    if out.written != size || found != *diff_id {
        return Err(damaged(format!("it makes a tar with the digest {found}, not {diff_id}")));
    }
    Ok(())
}

enum Failed {
    Write(io::Error),
    Layer(String),
}

fn write_parts(dir: &Path, out: &mut impl Write) -> Result<(), Failed> {
    let layer = |e: io::Error| Failed::Layer(e.to_string());
    let recipe = File::open(dir.join("recipe")).map_err(|e| Failed::Layer(format!("its recipe: {e}")))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(dir.join("fs"), flags, Mode::empty()).map_err(|e| layer(e.into()))?;
    let mut buffer = vec![0; 256 << 10];
    for part in Parts::new(recipe).map_err(layer)? {
        match part.map_err(layer)? {
            Part::Literal(bytes) => out.write_all(&bytes).map_err(Failed::Write)?,
            Part::Contents { path, offset, length } => {
                let name = String::from_utf8_lossy(&path).into_owned();
                let mut file = open(&root, &path, offset)
                    .map_err(|e| Failed::Layer(format!("{name:?}: {e}")))?
                    .take(length);
                loop {
                    match file.read(&mut buffer).map_err(|e| Failed::Layer(format!("{name:?}: {e}")))? {
                        0 => break,
                        read => out.write_all(&buffer[..read]).map_err(Failed::Write)?,
                    }
                }
                if file.limit() != 0 {
                    return Err(Failed::Layer(format!("{name:?} is too short")));
                }
            }
        }
    }
    Ok(())
}

fn open(root: &OwnedFd, path: &[u8], offset: u64) -> io::Result<File> {
    use std::io::Seek;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut file = File::from(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if offset != 0 {
        file.seek(io::SeekFrom::Start(offset))?;
    }
    Ok(file)
}

struct Hashed<'a, W> {
    out: &'a mut W,
    hasher: sha2::Sha256,
    written: u64,
}

impl<W: Write> Write for Hashed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.out.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        self.written += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
