//! One layer: entries in the order given, packed as a tar whose bytes depend on nothing else.
//!
//! Names are bytes and are written as they are: absolute names, `..` and names that are no UTF-8
//! can be made, since tests of hostile layers need them. Long names and extended attributes go
//! into PAX headers.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use berth_types::Digest;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

/// How a layer is compressed on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// A plain tar.
    Plain,
    /// gzip, level 6.
    Gzip,
    /// zstd, level 3.
    Zstd,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Dir,
    /// A regular file with this content.
    File(Bytes),
    /// A regular file whose content is read from this machine when the layer is packed.
    Disk(PathBuf),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A hard link to an earlier entry.
    Hardlink(Vec<u8>),
    /// A character device: major, minor.
    Char(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

#[derive(Debug, Clone)]
struct Entry {
    path: Vec<u8>,
    node: Node,
    mode: u32,
    uid: u64,
    gid: u64,
    mtime: u64,
    xattrs: Vec<(String, Vec<u8>)>,
}

/// A layer in the making. Calls add entries; [`owner`](Layer::owner), [`xattr`](Layer::xattr) and
/// [`mtime`](Layer::mtime) change the entry added last.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    entries: Vec<Entry>,
}

impl Layer {
    /// An empty layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry of any kind.
    #[must_use]
    pub fn node(mut self, path: impl AsRef<[u8]>, mode: u32, node: Node) -> Self {
        let path = path.as_ref().to_vec();
        self.entries.push(Entry { path, node, mode, uid: 0, gid: 0, mtime: 0, xattrs: Vec::new() });
        self
    }

    /// Adds a directory.
    #[must_use]
    pub fn dir(self, path: impl AsRef<[u8]>, mode: u32) -> Self {
        let mut path = path.as_ref().to_vec();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        self.node(path, mode, Node::Dir)
    }

    /// Adds directories with mode 0755.
    #[must_use]
    pub fn dirs<'a>(self, paths: impl IntoIterator<Item = &'a str>) -> Self {
        paths.into_iter().fold(self, |layer, path| layer.dir(path, 0o755))
    }

    /// Adds a regular file.
    #[must_use]
    pub fn file(self, path: impl AsRef<[u8]>, mode: u32, content: impl Into<Bytes>) -> Self {
        self.node(path, mode, Node::File(content.into()))
    }

    /// Adds a regular file with the content of one of this machine's.
    #[must_use]
    pub fn copy(self, path: impl AsRef<[u8]>, mode: u32, source: impl Into<PathBuf>) -> Self {
        self.node(path, mode, Node::Disk(source.into()))
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.node(path, 0o777, Node::Symlink(target.as_ref().to_vec()))
    }

    /// Adds a hard link to `target`.
    #[must_use]
    pub fn hardlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.node(path, 0o755, Node::Hardlink(target.as_ref().to_vec()))
    }

    /// Adds a whiteout: `path` of a lower layer is deleted.
    #[must_use]
    pub fn whiteout(self, path: &str) -> Self {
        let marker = match path.rsplit_once('/') {
            Some((dir, name)) => format!("{dir}/.wh.{name}"),
            None => format!(".wh.{path}"),
        };
        self.file(marker, 0o644, "")
    }

    /// Adds the marker that hides what lower layers have in directory `path`.
    #[must_use]
    pub fn opaque(self, path: &str) -> Self {
        self.file(format!("{path}/.wh..wh..opq"), 0o644, "")
    }

    /// Sets the owner of the entry added last.
    #[must_use]
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        let last = self.last();
        (last.uid, last.gid) = (uid, gid);
        self
    }

    /// Sets the time of change of the entry added last, in seconds since 1970.
    #[must_use]
    pub fn mtime(mut self, seconds: u64) -> Self {
        self.last().mtime = seconds;
        self
    }

    /// Gives the entry added last an extended attribute.
    #[must_use]
    pub fn xattr(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.last().xattrs.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    fn last(&mut self) -> &mut Entry {
        self.entries.last_mut().expect("an entry was added before it is changed")
    }

    /// Adds a tree of this machine as `prefix`: directories, files and symbolic links, sorted by
    /// name, owned by root, hard links as copies. Whatever else is there is left out.
    pub fn tree(mut self, prefix: &str, root: &Path) -> Result<Self> {
        let about = || format!("read {}", root.display());
        let meta = std::fs::symlink_metadata(root).map_err(Error::io(about()))?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o7777;
        if meta.is_dir() {
            self = self.dir(prefix, mode);
            let listing = std::fs::read_dir(root).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
            let mut names: Vec<_> =
                listing.map_err(Error::io(about()))?.into_iter().map(|entry| entry.file_name()).collect();
            names.sort();
            for name in names {
                self = self.tree(&format!("{prefix}/{}", name.to_string_lossy()), &root.join(&name))?;
            }
        } else if meta.is_symlink() {
            let target = std::fs::read_link(root).map_err(Error::io(about()))?;
            self = self.symlink(prefix, target.as_os_str().as_encoded_bytes());
        } else if meta.is_file() {
            self = self.copy(prefix, mode, root);
        }
        Ok(self)
    }

    /// The tar of the layer.
    pub fn tar(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.write_tar(&mut out)?;
        Ok(out)
    }

    /// Packs the layer in memory.
    pub fn build(&self, compression: Compression) -> Result<Blob> {
        let (bytes, sums) = pack(Vec::new(), compression, |out| self.write_tar(out))?;
        Ok(sums.into_blob(compression, Content::Memory(bytes.into())))
    }

    /// Packs the layer into a file, for layers that do not fit in memory.
    pub fn build_into(&self, compression: Compression, path: &Path) -> Result<Blob> {
        let about = format!("write {}", path.display());
        let file = std::fs::File::create(path).map_err(Error::io(about.clone()))?;
        let (writer, sums) = pack(std::io::BufWriter::new(file), compression, |out| self.write_tar(out))?;
        writer.into_inner().map_err(|e| Error::io(about)(e.into_error()))?;
        Ok(sums.into_blob(compression, Content::File(path.to_owned())))
    }

    fn write_tar(&self, out: &mut dyn Write) -> Result<()> {
        let mut tar = tar::Builder::new(out);
        for entry in &self.entries {
            let name = String::from_utf8_lossy(&entry.path).into_owned();
            entry.write(&mut tar).map_err(Error::io(format!("pack {name}")))?;
        }
        tar.finish().map_err(Error::io("finish a layer"))
    }
}

impl Entry {
    fn write(&self, tar: &mut tar::Builder<&mut dyn Write>) -> std::io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_mode(self.mode);
        header.set_uid(self.uid);
        header.set_gid(self.gid);
        header.set_mtime(self.mtime);
        header.set_size(0);
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        for (name, value) in &self.xattrs {
            records.push((format!("SCHILY.xattr.{name}"), value.clone()));
        }
        if !place(&mut header.as_old_mut().name, &self.path) {
            records.push(("path".into(), self.path.clone()));
        }
        header.set_entry_type(match &self.node {
            Node::Dir => tar::EntryType::Directory,
            Node::File(_) | Node::Disk(_) => tar::EntryType::Regular,
            Node::Symlink(_) => tar::EntryType::Symlink,
            Node::Hardlink(_) => tar::EntryType::Link,
            Node::Char(..) => tar::EntryType::Char,
            Node::Block(..) => tar::EntryType::Block,
            Node::Fifo => tar::EntryType::Fifo,
        });
        let mut content: (Box<dyn Read>, u64) = (Box::new(std::io::empty()), 0);
        match &self.node {
            Node::File(bytes) => {
                content = (Box::new(std::io::Cursor::new(bytes.clone())), bytes.len() as u64)
            }
            Node::Disk(path) => {
                let file = std::fs::File::open(path)?;
                let size = file.metadata()?.len();
                content = (Box::new(file.take(size)), size);
            }
            Node::Symlink(target) | Node::Hardlink(target) => {
                if !place(&mut header.as_old_mut().linkname, target) {
                    records.push(("linkpath".into(), target.clone()));
                }
            }
            Node::Char(major, minor) | Node::Block(major, minor) => {
                header.set_device_major(*major)?;
                header.set_device_minor(*minor)?;
            }
            Node::Dir | Node::Fifo => {}
        }
        if !records.is_empty() {
            tar.append_pax_extensions(records.iter().map(|(k, v)| (k.as_str(), v.as_slice())))?;
        }
        header.set_size(content.1);
        header.set_cksum();
        tar.append(&header, content.0)
    }
}

/// Writes as much of `name` as fits; false when it was cut.
fn place(field: &mut [u8; 100], name: &[u8]) -> bool {
    let fits = name.len().min(field.len());
    field[..fits].copy_from_slice(&name[..fits]);
    fits == name.len()
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory.
    Memory(Bytes),
    /// In a file.
    File(PathBuf),
}

/// A layer as it is served.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The compressed bytes.
    pub content: Content,
    /// Their number.
    pub size: u64,
    /// Their digest.
    pub digest: Digest,
    /// The digest of the plain tar.
    pub diff_id: Digest,
    /// How they are compressed.
    pub compression: Compression,
}

impl Blob {
    /// A blob from any bytes that are meant to be a tar: what a test of damaged or hostile layers
    /// makes by hand.
    pub fn from_tar(tar: &[u8], compression: Compression) -> Result<Self> {
        let (bytes, sums) =
            pack(Vec::new(), compression, |out| out.write_all(tar).map_err(Error::io("pack a layer")))?;
        Ok(sums.into_blob(compression, Content::Memory(bytes.into())))
    }

    /// The bytes; a file is read.
    pub fn bytes(&self) -> Result<Bytes> {
        match &self.content {
            Content::Memory(bytes) => Ok(bytes.clone()),
            Content::File(path) => {
                std::fs::read(path).map(Bytes::from).map_err(Error::io(format!("read {}", path.display())))
            }
        }
    }
}

struct Sums {
    size: u64,
    digest: Digest,
    diff_id: Digest,
}

impl Sums {
    fn into_blob(self, compression: Compression, content: Content) -> Blob {
        Blob { content, size: self.size, digest: self.digest, diff_id: self.diff_id, compression }
    }
}

/// A writer that counts and sums what passes.
struct Summing<W> {
    inner: W,
    sha: Sha256,
    size: u64,
}

impl<W: Write> Summing<W> {
    fn new(inner: W) -> Self {
        Self { inner, sha: Sha256::new(), size: 0 }
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sha.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Runs `fill` into the compressor and gives back the sink with the sums on both sides of it.
fn pack<W: Write>(
    sink: W,
    compression: Compression,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<(W, Sums)> {
    let about = || Error::io("compress a layer");
    let sink = Summing::new(sink);
    let (sink, plain) = match compression {
        Compression::Plain => {
            let mut outer = Summing::new(sink);
            fill(&mut outer)?;
            (outer.inner, outer.sha)
        }
        Compression::Gzip => {
            let encoder = flate2::write::GzEncoder::new(sink, flate2::Compression::new(6));
            let mut outer = Summing::new(encoder);
            fill(&mut outer)?;
            (outer.inner.finish().map_err(about())?, outer.sha)
        }
        Compression::Zstd => {
            let encoder = zstd::stream::write::Encoder::new(sink, 3).map_err(about())?;
            let mut outer = Summing::new(encoder);
            fill(&mut outer)?;
            (outer.inner.finish().map_err(about())?, outer.sha)
        }
    };
    let sums = Sums {
        size: sink.size,
        digest: Digest::from_sha256(sink.sha.finalize().into()),
        diff_id: Digest::from_sha256(plain.finalize().into()),
    };
    Ok((sink.inner, sums))
}

#[cfg(test)]
mod tests;
