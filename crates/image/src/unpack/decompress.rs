//! From a blob's bytes to those of its tar.
//!
//! How a blob is compressed is told by its first bytes: media types are wrong often enough, and the
//! archives of docker have none.

use std::io::{self, BufReader, Chain, Cursor, Read, Write};

use super::{Bounds, OverLimit};

/// Bytes written at a time.
const BLOCK: usize = 128 << 10;
/// Bytes read of the blob at a time.
const INPUT: usize = 128 << 10;
/// The largest window of a zstd frame, as a power of two: 128 MiB, what `zstd --long` makes.
const MAX_WINDOW_LOG: u32 = 27;

/// Why a blob was not decompressed whole.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// It cannot be read, or is over a limit.
    Read(io::Error),
    /// What it becomes cannot be written.
    Write(io::Error),
}

/// Decompresses `input` to its end.
pub(crate) fn decompress(input: impl Read, out: &mut impl Write, bounds: &Bounds) -> Result<(), Stopped> {
    let mut source = Source::new(input).map_err(Stopped::Read)?;
    let mut block = vec![0; BLOCK];
    let mut total = 0;
    loop {
        let length = fill(&mut source, &mut block).map_err(Stopped::Read)?;
        if length == 0 {
            return Ok(());
        }
        total += length as u64;
        if total > bounds.tar_bytes {
            return Err(Stopped::Read(io::Error::other(OverLimit(bounds.tar_reason()))));
        }
        out.write_all(&block[..length]).map_err(Stopped::Write)?;
    }
}

/// Fills the block as far as the stream goes.
fn fill(source: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < block.len() {
        match source.read(&mut block[done..]) {
            Ok(0) => break,
            Ok(length) => done += length,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// The first bytes of a blob, and the rest of it.
type Input<R> = Chain<Cursor<Vec<u8>>, BufReader<R>>;

#[allow(clippy::large_enum_variant, reason = "one for each process")]
enum Source<R: Read> {
    Plain(Input<R>),
    Gzip(flate2::bufread::MultiGzDecoder<Input<R>>),
    Zstd(zstd::stream::read::Decoder<'static, Input<R>>),
}

impl<R: Read> Source<R> {
    /// Looks at the first bytes of `input`, and decompresses what they say.
    fn new(input: R) -> io::Result<Self> {
        let mut input = BufReader::with_capacity(INPUT, input);
        let mut start = vec![0; MAGIC];
        let length = fill(&mut input, &mut start)?;
        start.truncate(length);
        let compression = Compression::of(&start);
        let input = Cursor::new(start).chain(input);
        Ok(match compression {
            Compression::None => Self::Plain(input),
            Compression::Gzip => Self::Gzip(flate2::bufread::MultiGzDecoder::new(input)),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(MAX_WINDOW_LOG)?;
                Self::Zstd(decoder)
            }
            Compression::Unknown(name) => {
                let reason = format!("it is compressed by {name}; gzip, zstd and no compression are known");
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
        })
    }
}

/// Bytes that tell how something is compressed.
pub(crate) const MAGIC: usize = 6;

/// How something is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
    Unknown(&'static str),
}

impl Compression {
    pub(crate) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // The latter begins a frame that is skipped: metadata of chunked layers may come first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41] => Self::Unknown("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Self::Unknown("xz"),
            _ => Self::None,
        }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(target),
            Self::Gzip(decoder) => decoder.read(target),
            Self::Zstd(decoder) => decoder.read(target),
        }
    }
}

#[cfg(test)]
mod tests;
