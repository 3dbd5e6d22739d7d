//! One header block.

/// The unit of a tar archive, in bytes.
pub(crate) const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    Char,
    Block,
    Directory,
    Fifo,
    GnuSparse,
    GnuLongName,
    GnuLongLink,
    PaxLocal,
    PaxGlobal,
}

impl Kind {
    pub(crate) fn has_contents(self) -> bool {
        match self {
            Self::File
            | Self::GnuSparse
            | Self::GnuLongName
            | Self::GnuLongLink
            | Self::PaxLocal
            | Self::PaxGlobal => true,
            Self::HardLink | Self::Symlink | Self::Char | Self::Block | Self::Directory | Self::Fifo => false,
        }
    }

    /// Whether it says something of the entry that follows.
    pub(crate) fn is_extended(self) -> bool {
        match self {
            Self::GnuLongName | Self::GnuLongLink | Self::PaxLocal | Self::PaxGlobal => true,
            Self::File
            | Self::HardLink
            | Self::Symlink
            | Self::Char
            | Self::Block
            | Self::Directory
            | Self::Fifo
            | Self::GnuSparse => false,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::File | Self::GnuSparse => "file",
            Self::HardLink => "hard link",
            Self::Symlink => "symbolic link",
            Self::Char | Self::Block => "device",
            Self::Directory => "directory",
            Self::Fifo => "fifo",
            Self::GnuLongName | Self::GnuLongLink | Self::PaxLocal | Self::PaxGlobal => "extended header",
        }
    }
}

/// The fields of a block.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// Of a regular file: whether the header is older than ustar.
    pub(crate) old_file: bool,
    name: Vec<u8>,
    prefix: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) device: (u32, u32),
    /// Of an old GNU sparse file: the pairs here, whether more follow, and the file's size.
    pub(crate) sparse: Option<OldSparse>,
}

/// The sparse part of an old GNU header.
#[derive(Debug, Clone)]
pub(crate) struct OldSparse {
    pub(crate) pairs: Vec<(u64, u64)>,
    pub(crate) more: bool,
    pub(crate) size: u64,
}

impl Header {
    pub(crate) fn parse(block: &[u8; BLOCK]) -> Result<Self, String> {
        check_sum(block)?;
        let kind = match block[156] {
            b'0' | 0 | b'7' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Char,
            b'4' => Kind::Block,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'S' => Kind::GnuSparse,
            b'L' => Kind::GnuLongName,
            b'K' => Kind::GnuLongLink,
            b'x' => Kind::PaxLocal,
            b'g' => Kind::PaxGlobal,
            other => return Err(format!("an entry of the unknown type {:?}", char::from(other))),
        };
        let ustar = &block[257..265] == b"ustar\x0000";
        let gnu = &block[257..265] == b"ustar  \0";
        let device = match kind {
            Kind::Char | Kind::Block => {
                (small(&block[329..337], "device")?, small(&block[337..345], "device")?)
            }
            _ => (0, 0),
        };
        if kind == Kind::GnuSparse && !gnu {
            return Err("a GNU sparse file without GNU's magic".into());
        }
        Ok(Self {
            kind,
            old_file: block[156] == 0,
            name: text(&block[..100]),
            prefix: if ustar { text(&block[345..500]) } else { Vec::new() },
            link: text(&block[157..257]),
            mode: small(&block[100..108], "mode")? & 0o7777,
            uid: small(&block[108..116], "uid")?,
            gid: small(&block[116..124], "gid")?,
            size: u64::try_from(number(&block[124..136], "size")?).map_err(|_| "a negative size")?,
            mtime: number(&block[136..148], "mtime")?,
            device,
            sparse: if kind == Kind::GnuSparse { Some(old_sparse(block)?) } else { None },
        })
    }

    pub(crate) fn path(&self) -> Vec<u8> {
        if self.prefix.is_empty() {
            return self.name.clone();
        }
        [&self.prefix[..], b"/", &self.name].concat()
    }
}

fn old_sparse(block: &[u8; BLOCK]) -> Result<OldSparse, String> {
    Ok(OldSparse {
        pairs: pairs(&block[386..482])?,
        more: block[482] != 0,
        size: u64::try_from(number(&block[483..495], "real size")?).map_err(|_| "a negative size")?,
    })
}

/// The (offset, length) pairs of a GNU sparse table, up to the first empty one.
pub(crate) fn pairs(table: &[u8]) -> Result<Vec<(u64, u64)>, String> {
    let mut pairs = Vec::new();
    for pair in table.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        let offset = u64::try_from(number(&pair[..12], "sparse offset")?);
        let length = u64::try_from(number(&pair[12..], "sparse length")?);
        pairs.push((offset.map_err(|_| "a negative offset")?, length.map_err(|_| "a negative length")?));
    }
    Ok(pairs)
}

/// The sum of all bytes, its own field counted as spaces; some old writers summed signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<(), String> {
    let written = number(&block[148..156], "checksum")?;
    let (mut unsigned, mut signed) = (0_i64, 0_i64);
    for (n, &byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&n) { b' ' } else { byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    if written == unsigned || written == signed { Ok(()) } else { Err("the checksum is wrong".into()) }
}

/// Bytes up to the first NUL.
fn text(field: &[u8]) -> Vec<u8> {
    field.split(|b| *b == 0).next().unwrap_or_default().to_vec()
}

fn small(field: &[u8], what: &str) -> Result<u32, String> {
    u32::try_from(number(field, what)?).map_err(|_| format!("the {what} is out of range"))
}

/// A number: octal digits between spaces and NULs, or GNU's base 256 (first bit set).
fn number(field: &[u8], what: &str) -> Result<i64, String> {
    let bad = || format!("the {what} is not a number");
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (n, &byte) in field.iter().enumerate() {
            let byte = match (n, negative) {
                (0, true) => byte,
                (0, false) => byte & 0x7f,
                _ => byte,
            };
            value = value << 8 | i128::from(byte);
        }
        return i64::try_from(value).map_err(|_| format!("the {what} is out of range"));
    }
    let digits = field.trim_ascii_start();
    let digits = digits.split(|b| matches!(b, 0 | b' ')).next().unwrap_or_default();
    let rest = &field[field.len() - field.trim_ascii_start().len() + digits.len()..];
    if rest.iter().any(|b| !matches!(b, 0 | b' ')) {
        return Err(bad());
    }
    digits.iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => Ok(value << 3 | i64::from(digit - b'0')),
        _ => Err(bad()),
    })
}
