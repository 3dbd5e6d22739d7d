//! The recipe of a layer's tar: everything of it that is not the contents of a file, and where the
//! contents belong. With it and the unpacked tree the same tar is made again, byte by byte, to
//! save an image or to check a layer, without a second copy of every file on disk.
//!
//! Format, inside one zstd frame: a sequence of
//! `0, u32 length, bytes` (literal) and `1, u64 offset, u64 length, u32 path length, path`
//! (contents of a file), little-endian.

use std::fs::File;
use std::io::{self, Read, Write};

use super::tar::Tap;

const LITERAL: u8 = 0;
const CONTENTS: u8 = 1;
/// Literals are gathered to this many bytes.
const GATHER: usize = 64 << 10;
/// The most bytes of one part.
const MAX_PART: u32 = 1 << 20;

/// Writes a recipe.
pub(crate) struct Recipe {
    out: zstd::stream::write::Encoder<'static, File>,
    gathered: Vec<u8>,
}

impl std::fmt::Debug for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recipe").field("gathered", &self.gathered.len()).finish_non_exhaustive()
    }
}

impl Recipe {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        Ok(Self { out: zstd::stream::write::Encoder::new(file, 1)?, gathered: Vec::with_capacity(GATHER) })
    }

    /// The next bytes of the tar are contents of the file at `path`.
    pub(crate) fn contents(&mut self, path: &[u8], offset: u64, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        self.flush()?;
        let mut part = Vec::with_capacity(21 + path.len());
        part.push(CONTENTS);
        part.extend_from_slice(&offset.to_le_bytes());
        part.extend_from_slice(&length.to_le_bytes());
        part.extend_from_slice(&u32::try_from(path.len()).map_err(io::Error::other)?.to_le_bytes());
        part.extend_from_slice(path);
        self.out.write_all(&part)
    }

    fn flush(&mut self) -> io::Result<()> {
        for bytes in self.gathered.chunks(MAX_PART as usize) {
            let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
            self.out.write_all(&[LITERAL])?;
            self.out.write_all(&length.to_le_bytes())?;
            self.out.write_all(bytes)?;
        }
        self.gathered.clear();
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.out.finish().map(drop)
    }
}

impl Tap for Recipe {
    fn literal(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= GATHER { self.flush() } else { Ok(()) }
    }
}

/// A part of a tar.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// These bytes.
    Literal(Vec<u8>),
    /// Bytes of a file.
    Contents {
        /// Which, from the layer's root.
        path: Vec<u8>,
        /// From where.
        offset: u64,
        /// How many.
        length: u64,
    },
}

/// Reads a recipe.
pub(crate) struct Parts {
    input: zstd::stream::read::Decoder<'static, io::BufReader<File>>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

impl Parts {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        Ok(Self { input: zstd::stream::read::Decoder::new(file)? })
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn part(&mut self) -> io::Result<Option<Part>> {
        let mut tag = [0];
        if self.input.read(&mut tag)? == 0 {
            return Ok(None);
        }
        let (offset, contents_length) = match tag[0] {
            LITERAL => (0, 0),
            CONTENTS => (u64::from_le_bytes(self.bytes()?), u64::from_le_bytes(self.bytes()?)),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "a recipe with an unknown part")),
        };
        let length = u32::from_le_bytes(self.bytes()?);
        if length > MAX_PART {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a recipe with a part too long"));
        }
        let mut bytes = vec![0; length as usize];
        self.input.read_exact(&mut bytes)?;
        Ok(Some(match tag[0] {
            LITERAL => Part::Literal(bytes),
            _ => Part::Contents { path: bytes, offset, length: contents_length },
        }))
    }
}

impl Iterator for Parts {
    type Item = io::Result<Part>;
    fn next(&mut self) -> Option<Self::Item> {
        self.part().transpose()
    }
}
