//! From a blob's bytes to blocks of its tar: a thread reads and decompresses, another hashes, and the
//! caller reads the same blocks.
//!
//! How a blob is compressed is told by its first bytes: media types are wrong often enough, and the
//! archives of docker have none.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

use super::{Limits, OverLimit};

/// Bytes of a block handed from thread to thread.
const BLOCK: usize = 256 << 10;
/// Blocks waiting between two threads.
const AHEAD: usize = 8;
/// Bytes read of the blob at a time.
const INPUT: usize = 256 << 10;
/// The largest window of a zstd frame, as a power of two: 128 MiB, what `zstd --long` makes.
const MAX_WINDOW_LOG: u32 = 27;

/// Bytes of the tar, with the room they are in: always [`BLOCK`] bytes, so that it can be used again.
#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    length: usize,
}

impl Block {
    fn filled(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Sends the room back to the decoder, when this was the last use of it.
    fn recycle(this: Arc<Self>, to_decoder: &Sender<Vec<u8>>) {
        if let Some(block) = Arc::into_inner(this) {
            // The decoder may be done already.
            let _done = to_decoder.send(block.bytes);
        }
    }
}

/// The tar's bytes. Read it to its end, then [`Stream::finish`].
#[derive(Debug)]
pub(crate) struct Stream {
    blocks: Option<Receiver<io::Result<Arc<Block>>>>,
    block: Arc<Block>,
    to_decoder: Sender<Vec<u8>>,
    used: usize,
    hasher: Option<JoinHandle<[u8; 32]>>,
    decoder: Option<JoinHandle<()>>,
}

impl Stream {
    /// Begins to decompress `input`.
    pub(crate) fn start(input: impl Read + Send + 'static, limits: Limits) -> io::Result<Self> {
        let (to_caller, blocks) = sync_channel(AHEAD);
        let (to_hasher, to_hash) = sync_channel::<Arc<Block>>(AHEAD);
        let (to_decoder, used) = channel();
        let hashed = to_decoder.clone();
        let hasher = std::thread::Builder::new().name("hash".into()).spawn(move || {
            let mut sum = Sha256::new();
            for block in to_hash {
                sum.update(block.filled());
                Block::recycle(block, &hashed);
            }
            sum.finalize().into()
        })?;
        let decoder = std::thread::Builder::new().name("decompress".into()).spawn(move || {
            if let Err(error) = decode(input, limits, (&to_caller, &to_hasher), &used) {
                // The caller that went away knows why it did.
                let _gone = to_caller.send(Err(error));
            }
        })?;
        Ok(Self {
            blocks: Some(blocks),
            block: Arc::default(),
            to_decoder,
            used: 0,
            hasher: Some(hasher),
            decoder: Some(decoder),
        })
    }

    /// The sha256 sum of everything, once it was read to its end.
    pub(crate) fn finish(mut self) -> io::Result<[u8; 32]> {
        drop(self.blocks.take());
        let gone = |_| io::Error::other("a thread of the unpacker panicked");
        self.decoder.take().expect("taken here only").join().map_err(gone)?;
        self.hasher.take().expect("taken here only").join().map_err(gone)
    }
}

impl Read for Stream {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(target.len());
        target[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.block.length
            && let Some(blocks) = &self.blocks
        {
            match blocks.recv() {
                Ok(block) => {
                    let old = std::mem::replace(&mut self.block, block?);
                    Block::recycle(old, &self.to_decoder);
                    self.used = 0;
                }
                Err(_) => self.blocks = None,
            }
        }
        Ok(&self.block.filled()[self.used..])
    }

    fn consume(&mut self, length: usize) {
        self.used += length;
    }
}

fn decode(
    input: impl Read,
    limits: Limits,
    (to_caller, to_hasher): (&SyncSender<io::Result<Arc<Block>>>, &SyncSender<Arc<Block>>),
    used: &Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut source = Source::new(input)?;
    let mut total = 0;
    loop {
        let mut bytes =
            used.try_recv().ok().filter(|bytes| bytes.len() == BLOCK).unwrap_or_else(|| vec![0; BLOCK]);
        let length = fill(&mut source, &mut bytes)?;
        if length == 0 {
            return Ok(());
        }
        total += length as u64;
        check(total, source.compressed(), &limits)?;
        let block = Arc::new(Block { bytes, length });
        if to_hasher.send(block.clone()).is_err() || to_caller.send(Ok(block)).is_err() {
            return Ok(());
        }
    }
}

fn check(total: u64, compressed: u64, limits: &Limits) -> io::Result<()> {
    if total > limits.bytes {
        return Err(io::Error::other(OverLimit(format!("more than {} bytes", limits.bytes))));
    }
    if total > limits.ratio_from && total / limits.ratio.max(1) > compressed {
        let text = format!("more than {} bytes for each compressed one", limits.ratio);
        return Err(io::Error::other(OverLimit(text)));
    }
    Ok(())
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

/// Counts the bytes read.
struct Counted<R> {
    input: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(target)?;
        self.count += length as u64;
        Ok(length)
    }
}

/// The first bytes of a blob, and the rest of it.
type Input<R> = Chain<Cursor<Vec<u8>>, BufReader<Counted<R>>>;

#[allow(clippy::large_enum_variant, reason = "one for each process")]
enum Source<R: Read> {
    Plain(Input<R>),
    Gzip(flate2::bufread::MultiGzDecoder<Input<R>>),
    Zstd(zstd::stream::read::Decoder<'static, Input<R>>),
}

impl<R: Read> Source<R> {
    /// Looks at the first bytes of `input`, and decompresses what they say.
    fn new(input: R) -> io::Result<Self> {
        let mut input = BufReader::with_capacity(INPUT, Counted { input, count: 0 });
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

    fn compressed(&self) -> u64 {
        let input = match self {
            Self::Plain(input) => input,
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zstd(decoder) => decoder.get_ref(),
        };
        input.get_ref().1.get_ref().count
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
