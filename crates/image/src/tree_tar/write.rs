//! The headers of a tar.

use std::io::{self, Write};

/// The largest number in a field of seven octal digits, and of eleven.
const SMALL: u64 = 0o777_7777;
const LARGE: u64 = 0o777_7777_7777;
/// The longest name in a plain header.
const NAME: usize = 100;

/// An entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header<'a> {
    pub(super) path: &'a [u8],
    pub(super) link: &'a [u8],
    pub(super) kind: u8,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    /// Seconds since 1970.
    pub(super) mtime: i64,
    pub(super) device: (u32, u32),
    pub(super) attributes: &'a [(Vec<u8>, Vec<u8>)],
}

impl Header<'static> {
    /// An entry of a kind, without anything else.
    pub(super) fn of(kind: u8) -> Self {
        Self {
            path: b"",
            link: b"",
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 0,
            device: (0, 0),
            attributes: &[],
        }
    }
}

impl Header<'_> {
    /// Writes it, after a pax header with what does not fit in it.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let records = self.records();
        if !records.is_empty() {
            let of =
                Header { path: b"PaxHeaders/x", mode: 0o644, size: records.len() as u64, ..Header::of(b'x') };
            out.write_all(&of.block())?;
            out.write_all(&records)?;
            pad(out, records.len() as u64)?;
        }
        out.write_all(&self.block())
    }

    fn records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let mut add = |key: &[u8], value: &[u8]| records.extend(record(key, value));
        if self.path.len() > NAME {
            add(b"path", self.path);
        }
        if self.link.len() > NAME {
            add(b"linkpath", self.link);
        }
        for (key, number, most) in [
            (&b"size"[..], self.size, LARGE),
            (b"uid", u64::from(self.uid), SMALL),
            (b"gid", u64::from(self.gid), SMALL),
        ] {
            if number > most {
                add(key, number.to_string().as_bytes());
            }
        }
        if self.time().is_none() {
            add(b"mtime", self.mtime.to_string().as_bytes());
        }
        for (name, value) in self.attributes {
            add(&[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        records
    }

    /// The time, where its field can say it.
    fn time(&self) -> Option<u64> {
        u64::try_from(self.mtime).ok().filter(|time| *time <= LARGE)
    }

    fn block(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.path[..self.path.len().min(NAME)]);
        put(100, format!("{:07o}\0", self.mode & 0o7777).as_bytes());
        let small = |number: u64| if number > SMALL { 0 } else { number };
        put(108, format!("{:07o}\0", small(u64::from(self.uid))).as_bytes());
        put(116, format!("{:07o}\0", small(u64::from(self.gid))).as_bytes());
        let size = if self.size > LARGE { 0 } else { self.size };
        put(124, format!("{size:011o}\0").as_bytes());
        put(136, format!("{:011o}\0", self.time().unwrap_or_default()).as_bytes());
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(NAME)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}\0", small(u64::from(self.device.0))).as_bytes());
        put(337, format!("{:07o}\0", small(u64::from(self.device.1))).as_bytes());
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} ").into_bytes();
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// Zeros up to the next block after contents of this size.
pub(super) fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    let padding = usize::try_from(crate::unpack::tar::padding(size)).expect("under a block");
    out.write_all(&[0; 512][..padding])
}
