//! What an artifact is made of: its manifest as it came, and its files.

use std::fs::File;
use std::path::PathBuf;

use berth_types::Digest;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::Images;
use crate::artifact;
use crate::error::StoreError;
use crate::registry::{Document, Manifest, parse};

/// An artifact, as its manifest tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its type.
    pub kind: String,
    /// The manifest, byte for byte.
    pub manifest: Vec<u8>,
    /// Its files, in the manifest's order.
    pub files: Vec<ArtifactFile>,
}

/// A file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactFile {
    /// Where it lies in the volume: within, without links.
    pub path: PathBuf,
    /// Whether the manifest names it; else it is called by its digest.
    pub titled: bool,
    /// The digest of its content.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What the manifest says that it is.
    pub media_type: String,
}

impl Images {
    /// What an artifact is made of; nothing for an image.
    ///
    /// # Errors
    /// It is not there, or its manifest is damaged.
    pub fn contents(&self, id: &Digest) -> Result<Option<Contents>, StoreError> {
        let record = self.record(id)?;
        let bytes = super::read_blob(self, &record.manifest)?;
        let Ok(Document::Manifest(manifest)) = parse(None, &bytes) else { return Ok(None) };
        let Some(about) = &manifest.artifact else { return Ok(None) };
        let files = files(&manifest).map_err(StoreError::Invalid)?;
        Ok(Some(Contents { kind: about.kind.clone(), manifest: bytes, files }))
    }

    /// The content of a file of an artifact, by its number. Once it is open, a removal does not harm it.
    ///
    /// # Errors
    /// The artifact is not there or has no such file, or that cannot be opened.
    pub fn open_file(&self, id: &Digest, index: usize) -> Result<File, StoreError> {
        let record = self.record(id)?;
        let missing = || StoreError::Invalid(format!("the artifact has no file {}", index + 1));
        let contents = self.contents(id)?.ok_or_else(missing)?;
        let file = contents.files.get(index).ok_or_else(missing)?;
        let layer = record.layers.get(index).ok_or_else(missing)?;
        let root = self.layout().layer_fs(&layer.id);
        let failed = |errno: rustix::io::Errno| StoreError::io("open", root.join(&file.path))(errno.into());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root_fd = rustix::fs::open(&root, flags, Mode::empty()).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let opened = rustix::fs::openat2(root_fd, &file.path, flags, Mode::empty(), resolve);
        Ok(File::from(opened.map_err(failed)?))
    }
}

fn files(manifest: &Manifest) -> Result<Vec<ArtifactFile>, String> {
    let titles = manifest.artifact.iter().flat_map(|about| &about.titles);
    let one = |(blob, title): (&crate::registry::Descriptor, &Option<String>)| {
        Ok(ArtifactFile {
            path: artifact::file(blob, title.as_deref())?,
            titled: title.is_some(),
            digest: blob.digest.clone(),
            size: blob.size,
            media_type: blob.media_type.clone(),
        })
    };
    manifest.layers.iter().zip(titles).map(one).collect()
}
