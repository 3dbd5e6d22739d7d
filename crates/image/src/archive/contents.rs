//! What is where in an archive: one pass over its headers, then files are read in any order.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::{ArchiveError, io};
use crate::unpack::tar::{Entry, Kind, Reader, Tap};

/// The most entries of an archive.
const MAX_ENTRIES: usize = 100_000;
/// The most links from one file to the next.
const MAX_LINKS: usize = 8;

/// A file in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) size: u64,
}

enum Node {
    File(Span),
    /// Where it may lead, the likelier place first.
    Link(Vec<String>),
}

/// The files of an archive by their paths.
pub(super) struct Contents {
    file: File,
    nodes: HashMap<String, Node>,
}

struct NoTap;

impl Tap for NoTap {
    fn literal(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

impl Contents {
    /// Reads the headers of an archive, whose file can be read at any place.
    pub(super) fn read(mut file: File) -> Result<Self, ArchiveError> {
        let end = file.seek(SeekFrom::End(0)).map_err(io("seek"))?;
        file.seek(SeekFrom::Start(0)).map_err(io("seek"))?;
        let mut reader = Reader::new(BufReader::with_capacity(1 << 20, file.try_clone().map_err(io("dup"))?));
        let malformed = |e: &dyn std::error::Error| ArchiveError::Malformed(berth_types::error::chain(e));
        let mut nodes = HashMap::new();
        while let Some(entry) = reader.next(&mut NoTap).map_err(|e| malformed(&e))? {
            if nodes.len() >= MAX_ENTRIES {
                return Err(ArchiveError::Malformed(format!("more than {MAX_ENTRIES} entries")));
            }
            let offset = reader.position();
            if end - offset < entry.stored {
                return Err(ArchiveError::Malformed("it is truncated".into()));
            }
            if let Some((path, node)) = node(&entry, offset)? {
                nodes.insert(path, node);
            }
        }
        if nodes.is_empty() {
            return Err(ArchiveError::Malformed("it is empty".into()));
        }
        Ok(Self { file, nodes })
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    /// Where the file at `path` is, links followed.
    pub(super) fn find(&self, path: &str) -> Result<Span, ArchiveError> {
        let missing = || ArchiveError::Document { path: path.to_owned(), reason: "it is missing".into() };
        let mut at = clean("", path).ok_or_else(missing)?;
        for _ in 0..MAX_LINKS {
            match self.nodes.get(&at).ok_or_else(missing)? {
                Node::File(span) => return Ok(*span),
                Node::Link(targets) => {
                    let there = targets.iter().find(|target| self.has(target));
                    at.clone_from(there.ok_or_else(missing)?);
                }
            }
        }
        Err(missing())
    }

    /// Reads a small file whole.
    pub(super) fn document(&self, path: &str, limit: u64) -> Result<Vec<u8>, ArchiveError> {
        let span = self.find(path)?;
        if span.size > limit {
            let reason = format!("{} bytes, {limit} are allowed", span.size);
            return Err(ArchiveError::Document { path: path.to_owned(), reason });
        }
        let mut bytes = vec![0; usize::try_from(span.size).expect("under the limit")];
        self.file.read_exact_at(&mut bytes, span.offset).map_err(io("read"))?;
        Ok(bytes)
    }

    /// Reads a piece of a file: at most `target` bytes from `done` on.
    pub(super) fn piece(&self, span: Span, done: u64, target: &mut [u8]) -> Result<usize, ArchiveError> {
        let left = usize::try_from(span.size - done).unwrap_or(usize::MAX);
        let length = left.min(target.len());
        self.file.read_exact_at(&mut target[..length], span.offset + done).map_err(io("read"))?;
        Ok(length)
    }
}

fn node(entry: &Entry, offset: u64) -> Result<Option<(String, Node)>, ArchiveError> {
    let name = String::from_utf8_lossy(&entry.path).into_owned();
    let refuse = |reason: &str| ArchiveError::Document { path: name.clone(), reason: reason.to_owned() };
    let path = clean("", &name).ok_or_else(|| refuse("a path that leads upwards"))?;
    let link = String::from_utf8_lossy(&entry.link).into_owned();
    let node = match entry.kind {
        Kind::File if entry.map.is_some() => return Err(refuse("a sparse file in an image archive")),
        Kind::File => Node::File(Span { offset, size: entry.stored }),
        Kind::Symlink => {
            let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
            let inside = clean(dir, &link).ok_or_else(|| refuse("a link that leads outside"))?;
            // Some tools write the target as seen from the archive's root.
            Node::Link([Some(inside), clean("", &link)].into_iter().flatten().collect())
        }
        Kind::HardLink => {
            Node::Link(vec![clean("", &link).ok_or_else(|| refuse("a link that leads outside"))?])
        }
        Kind::Directory => return Ok(None),
        _ => return Err(refuse("neither a file nor a directory")),
    };
    Ok(Some((path, node)))
}

/// The path seen from the archive's root; `None` when it leads out of it.
fn clean(dir: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = dir.split('/').filter(|p| !p.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
