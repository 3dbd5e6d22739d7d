//! A strict reader of tar streams: ustar, PAX and GNU headers, as bytes.
//!
//! Where two readings of a header are possible, the archive is refused instead of guessed at: that
//! is how archives are made that one tool scans and another unpacks (CVE-2025-62518). So a size
//! in a PAX header must not contradict the header it belongs to, two sources of a long name must
//! not both be there, and what follows the end must be zero. See docs/adr/0026-own-tar-reader.md.

use std::io::{self, BufRead};

pub(crate) use header::Kind;
use header::{BLOCK, Header};

mod header;
mod pax;
mod sparse;

/// The most extended headers before one entry.
const MAX_EXTENDED: u32 = 32;
/// The most bytes of a PAX header or of a GNU long name, and of all of them before one entry.
const MAX_META: u64 = 1 << 20;
/// The most bytes of a path or link target. The kernel takes 4,096 at a time.
const MAX_PATH: usize = 16 << 10;

/// One entry, with the PAX and GNU headers before it applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its path as written.
    pub(crate) path: Vec<u8>,
    /// The target of a link.
    pub(crate) link: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    /// Nanoseconds of that second.
    pub(crate) mtime_ns: u32,
    /// Bytes in the archive that are the file's.
    pub(crate) stored: u64,
    /// Bytes of the file.
    pub(crate) size: u64,
    /// For a sparse file: where the stored bytes go, as (offset, length).
    pub(crate) map: Option<Vec<(u64, u64)>>,
    /// Of a device.
    pub(crate) device: (u32, u32),
    /// Extended attributes.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why a stream is not an archive that Berth unpacks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TarError {
    /// The stream itself failed.
    #[error("reading the layer")]
    Read(#[source] io::Error),
    /// The stream ends inside an entry.
    #[error("the tar archive ends in the middle of {0}")]
    Truncated(&'static str),
    /// A header is malformed.
    #[error("tar header at byte {at}: {reason}")]
    Header {
        /// Where.
        at: u64,
        /// What is wrong.
        reason: String,
    },
}

/// Receives the bytes of the archive that are not the contents of files, in order.
pub(crate) trait Tap {
    /// Bytes of headers and padding.
    fn literal(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// The extended headers before one entry.
#[derive(Debug, Default)]
struct Extended {
    count: u32,
    bytes: u64,
}

impl Extended {
    fn count(&mut self, header: &Header) -> Result<(), String> {
        if !header.kind.is_extended() {
            return Ok(());
        }
        self.count += 1;
        self.bytes = self.bytes.saturating_add(header.size);
        if self.count > MAX_EXTENDED || self.bytes > MAX_META {
            return Err(format!("{} extended headers of {} bytes for one entry", self.count, self.bytes));
        }
        Ok(())
    }
}

/// Reads entries one after the other.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    source: R,
    at: u64,
    /// Bytes of the present entry's contents not yet read, and the padding after them.
    left: u64,
    padding: u64,
    globals: pax::Records,
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, at: 0, left: 0, padding: 0, globals: pax::Records::default() }
    }

    /// Bytes of the archive read so far.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// The next entry; what is left of the present one is skipped. `None` at the archive's end, when the
    /// stream was read to its end too.
    pub(crate) fn next(&mut self, tap: &mut impl Tap) -> Result<Option<Entry>, TarError> {
        self.skip_rest(tap)?;
        let mut local = pax::Records::default();
        let (mut long_name, mut long_link) = (None, None);
        let mut extended = Extended::default();
        loop {
            let at = self.at;
            let refuse = |reason: String| TarError::Header { at, reason };
            let Some(block) = self.block("a header", tap)? else {
                return match (local.is_empty(), &long_name, &long_link) {
                    (true, None, None) => Ok(None),
                    _ => Err(TarError::Truncated("an entry's extended header")),
                };
            };
            if block.iter().all(|b| *b == 0) {
                self.end(tap)?;
                return Ok(None);
            }
            let header = Header::parse(&block).map_err(refuse)?;
            extended.count(&header).map_err(refuse)?;
            match header.kind {
                Kind::PaxLocal => {
                    let body = self.meta(header.size, at, tap)?;
                    local.parse(&body).map_err(refuse)?;
                }
                Kind::PaxGlobal => {
                    let body = self.meta(header.size, at, tap)?;
                    self.globals.parse_global(&body).map_err(refuse)?;
                }
                Kind::GnuLongName => long_name = Some(self.long(header.size, at, tap)?),
                Kind::GnuLongLink => long_link = Some(self.long(header.size, at, tap)?),
                Kind::File
                | Kind::HardLink
                | Kind::Symlink
                | Kind::Char
                | Kind::Block
                | Kind::Directory
                | Kind::Fifo
                | Kind::GnuSparse => {
                    return self.entry(&header, local, (long_name, long_link), at, tap).map(Some);
                }
            }
        }
    }

    /// The entry of `header` with everything before it applied.
    fn entry(
        &mut self,
        header: &Header,
        local: pax::Records,
        (long_name, long_link): (Option<Vec<u8>>, Option<Vec<u8>>),
        at: u64,
        tap: &mut impl Tap,
    ) -> Result<Entry, TarError> {
        let refuse = |reason: String| TarError::Header { at, reason };
        if long_name.is_some() && local.path.is_some() || long_link.is_some() && local.link.is_some() {
            return Err(refuse("two different long names for one entry".into()));
        }
        let size = match local.size {
            Some(size) if header.size != 0 && header.size != size => {
                return Err(refuse(format!("the size is {} in the header and {size} in PAX", header.size)));
            }
            Some(size) => size,
            None => header.size,
        };
        if size != 0 && !header.kind.has_contents() {
            return Err(refuse(format!("a {} with {size} bytes of contents", header.kind.name())));
        }
        self.left = size;
        self.padding = padding(size);
        let globals = &self.globals;
        let (mtime, mtime_ns) = local.mtime.or(globals.mtime).unwrap_or((header.mtime, 0));
        let mut entry = Entry {
            kind: header.kind,
            path: long_name.or(local.path).or_else(|| globals.path.clone()).unwrap_or_else(|| header.path()),
            link: long_link
                .or(local.link)
                .or_else(|| globals.link.clone())
                .unwrap_or_else(|| header.link.clone()),
            mode: header.mode,
            uid: local.uid.or(globals.uid).unwrap_or(header.uid),
            gid: local.gid.or(globals.gid).unwrap_or(header.gid),
            mtime,
            mtime_ns,
            stored: size,
            size,
            map: None,
            device: header.device,
            xattrs: local.xattrs,
        };
        match (&header.sparse, local.sparse) {
            (Some(_), Some(_)) => return Err(refuse("sparse in two ways".into())),
            (Some(old), None) => self.old_sparse(old, &mut entry, at, tap)?,
            (None, Some(sparse)) => self.pax_sparse(sparse, &mut entry, at, tap)?,
            (None, None) => {}
        }
        if entry.path.len() > MAX_PATH || entry.link.len() > MAX_PATH {
            return Err(refuse("a path is too long".into()));
        }
        if entry.path.contains(&0) || entry.link.contains(&0) {
            return Err(refuse("a path holds a NUL".into()));
        }
        // Archives older than ustar mark a directory by a slash only.
        if header.old_file && entry.path.ends_with(b"/") {
            if size != 0 {
                return Err(refuse("a directory with contents".into()));
            }
            entry.kind = Kind::Directory;
        }
        Ok(entry)
    }

    /// Contents that are there without waiting, at most what is left of the entry; empty at its end.
    pub(crate) fn contents(&mut self) -> Result<&[u8], TarError> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let bytes = self.source.fill_buf().map_err(TarError::Read)?;
        if bytes.is_empty() {
            return Err(TarError::Truncated("a file"));
        }
        let length = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        Ok(&bytes[..length])
    }

    /// Marks bytes of [`Reader::contents`] as read.
    pub(crate) fn consume(&mut self, length: usize) {
        self.source.consume(length);
        self.left -= length as u64;
        self.at += length as u64;
    }

    fn skip_rest(&mut self, tap: &mut impl Tap) -> Result<(), TarError> {
        loop {
            let bytes = self.contents()?;
            let length = bytes.len();
            if length == 0 {
                break;
            }
            tap.literal(bytes).map_err(TarError::Read)?;
            self.consume(length);
        }
        let padding = usize::try_from(std::mem::take(&mut self.padding)).expect("under a block");
        let mut block = [0; BLOCK];
        // The last file's padding may be missing, with the end mark: umoci writes layers so, and Go reads them.
        let length = self.read_exact(&mut block[..padding])?;
        tap.literal(&block[..length]).map_err(TarError::Read)
    }

    /// The next block; `None` when the stream ends before it.
    fn block(&mut self, what: &'static str, tap: &mut impl Tap) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        match self.read_exact(&mut block)? {
            0 => Ok(None),
            BLOCK => {
                tap.literal(&block).map_err(TarError::Read)?;
                Ok(Some(block))
            }
            _ => Err(TarError::Truncated(what)),
        }
    }

    /// Fills `target`; returns how many bytes there were before the stream's end.
    fn read_exact(&mut self, target: &mut [u8]) -> Result<usize, TarError> {
        let mut done = 0;
        while done < target.len() {
            let bytes = self.source.fill_buf().map_err(TarError::Read)?;
            if bytes.is_empty() {
                break;
            }
            let length = bytes.len().min(target.len() - done);
            target[done..done + length].copy_from_slice(&bytes[..length]);
            self.source.consume(length);
            self.at += length as u64;
            done += length;
        }
        Ok(done)
    }

    /// The body of an extended header.
    fn meta(&mut self, size: u64, at: u64, tap: &mut impl Tap) -> Result<Vec<u8>, TarError> {
        if size > MAX_META {
            return Err(TarError::Header { at, reason: format!("an extended header of {size} bytes") });
        }
        let whole = usize::try_from(size + padding(size)).expect("under two MiB");
        let mut body = vec![0; whole];
        if self.read_exact(&mut body)? != whole {
            return Err(TarError::Truncated("an extended header"));
        }
        tap.literal(&body).map_err(TarError::Read)?;
        body.truncate(usize::try_from(size).expect("under a MiB"));
        Ok(body)
    }

    /// A GNU long name: NUL-terminated.
    fn long(&mut self, size: u64, at: u64, tap: &mut impl Tap) -> Result<Vec<u8>, TarError> {
        let mut name = self.meta(size, at, tap)?;
        if let Some(end) = name.iter().position(|b| *b == 0) {
            if name[end..].iter().any(|b| *b != 0) {
                return Err(TarError::Header { at, reason: "a long name with bytes after its end".into() });
            }
            name.truncate(end);
        }
        Ok(name)
    }

    /// After the first block of zeros: nothing but zeros may follow.
    fn end(&mut self, tap: &mut impl Tap) -> Result<(), TarError> {
        loop {
            let bytes = self.source.fill_buf().map_err(TarError::Read)?;
            let length = bytes.len();
            if length == 0 {
                return Ok(());
            }
            if bytes.iter().any(|b| *b != 0) {
                return Err(TarError::Header { at: self.at, reason: "data after the archive's end".into() });
            }
            tap.literal(bytes).map_err(TarError::Read)?;
            self.source.consume(length);
            self.at += length as u64;
        }
    }
}

/// Bytes up to the next block.
pub(crate) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

#[cfg(test)]
mod tests;
