//! Sparse files: GNU's old header, and its PAX formats 0.0, 0.1 and 1.0.

use std::io::BufRead;

use super::header::{BLOCK, OldSparse, pairs};
use super::pax::decimal;
use super::{Entry, Kind, Reader, Tap, TarError};

/// The most pieces of a sparse file.
const MAX_PIECES: usize = 1 << 20;

/// What the PAX records of a sparse file say.
#[derive(Debug, Clone, Default)]
pub(crate) struct PaxSparse {
    major: Option<u64>,
    minor: Option<u64>,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    /// Offsets and lengths, in turn, as formats 0.0 and 0.1 have them.
    numbers: Vec<u64>,
}

impl PaxSparse {
    /// Takes the record `GNU.sparse.<name>`.
    pub(crate) fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), String> {
        match name {
            b"major" => self.major = Some(decimal(value, "sparse version")?),
            b"minor" => self.minor = Some(decimal(value, "sparse version")?),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(decimal(value, "sparse size")?),
            b"offset" | b"numbytes" => {
                if self.numbers.len().is_multiple_of(2) != (name == b"offset") {
                    return Err("sparse offsets and lengths out of order".into());
                }
                self.push(value)?;
            }
            b"map" => {
                self.numbers.clear();
                for number in value.split(|b| *b == b',') {
                    self.push(number)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn push(&mut self, number: &[u8]) -> Result<(), String> {
        if self.numbers.len() >= 2 * MAX_PIECES {
            return Err("a sparse file of too many pieces".into());
        }
        self.numbers.push(decimal(number, "sparse map")?);
        Ok(())
    }
}

impl<R: BufRead> Reader<R> {
    pub(super) fn old_sparse(
        &mut self,
        old: &OldSparse,
        entry: &mut Entry,
        at: u64,
        tap: &mut impl Tap,
    ) -> Result<(), TarError> {
        let mut map = old.pairs.clone();
        let mut more = old.more;
        // The further tables lie before the contents and do not count as the file's bytes.
        while more {
            let block = self.block("a sparse map", tap)?.ok_or(TarError::Truncated("a sparse map"))?;
            let next = pairs(&block[..504]).map_err(|reason| TarError::Header { at, reason })?;
            more = block[504] != 0;
            map.extend(next);
            if map.len() > MAX_PIECES {
                return Err(TarError::Header { at, reason: "a sparse file of too many pieces".into() });
            }
        }
        apply(entry, map, old.size).map_err(|reason| TarError::Header { at, reason })
    }

    pub(super) fn pax_sparse(
        &mut self,
        sparse: PaxSparse,
        entry: &mut Entry,
        at: u64,
        tap: &mut impl Tap,
    ) -> Result<(), TarError> {
        let refuse = |reason: &str| TarError::Header { at, reason: reason.to_owned() };
        if entry.kind != Kind::File {
            return Err(refuse("a sparse map for what is not a file"));
        }
        let size = sparse.size.ok_or_else(|| refuse("a sparse file without a size"))?;
        let map = match (sparse.major, sparse.minor) {
            (Some(1), Some(0)) => self.map_in_contents(entry, at, tap)?,
            (None | Some(0), _) if sparse.numbers.len().is_multiple_of(2) => {
                sparse.numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
            }
            _ => return Err(refuse("a sparse format that is not known")),
        };
        if let Some(name) = sparse.name {
            entry.path = name;
        }
        apply(entry, map, size).map_err(|reason| TarError::Header { at, reason })
    }

    /// Format 1.0: decimal lines at the beginning of the contents, padded to a block.
    fn map_in_contents(
        &mut self,
        entry: &mut Entry,
        at: u64,
        tap: &mut impl Tap,
    ) -> Result<Vec<(u64, u64)>, TarError> {
        let refuse = |reason: &str| TarError::Header { at, reason: reason.to_owned() };
        let mut numbers: Vec<u64> = Vec::new();
        let mut line: Vec<u8> = Vec::new();
        let mut wanted = None;
        while wanted.is_none_or(|wanted| numbers.len() < wanted) {
            if self.left < BLOCK as u64 {
                return Err(refuse("a sparse map longer than the contents"));
            }
            let block = self.block("a sparse map", tap)?.ok_or(TarError::Truncated("a sparse map"))?;
            self.left -= BLOCK as u64;
            entry.stored -= BLOCK as u64;
            for &byte in &block {
                if wanted.is_some_and(|wanted| numbers.len() >= wanted) {
                    break;
                }
                if byte != b'\n' {
                    line.push(byte);
                    if line.len() > 20 {
                        return Err(refuse("a sparse map that is not numbers"));
                    }
                    continue;
                }
                let number =
                    decimal(&line, "sparse map").map_err(|reason| TarError::Header { at, reason })?;
                line.clear();
                match wanted {
                    Some(_) => numbers.push(number),
                    None if number > MAX_PIECES as u64 => {
                        return Err(refuse("a sparse file of too many pieces"));
                    }
                    None => wanted = Some(usize::try_from(number).expect("under MAX_PIECES") * 2),
                }
            }
        }
        Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }
}

/// Checks the map against the sizes and gives it to the entry.
fn apply(entry: &mut Entry, map: Vec<(u64, u64)>, size: u64) -> Result<(), String> {
    let (mut end, mut stored) = (0_u64, 0_u64);
    for &(offset, length) in &map {
        if offset < end {
            return Err("sparse pieces out of order".into());
        }
        end = offset.checked_add(length).ok_or("a sparse piece out of range")?;
        stored += length;
    }
    if end > size || stored != entry.stored {
        return Err("a sparse map that does not fit the file".into());
    }
    entry.size = size;
    entry.map = Some(map);
    entry.kind = Kind::File;
    Ok(())
}
