//! Signatures that a pull has used, kept beside the store: what is decided again when a container is created, without a registry.
//! They are as good as when they came, so that nothing is lost with them but a pull.

use std::path::{Path, PathBuf};

use berth_sys::fs::{Durability, read_regular, write_atomic};
use berth_trust::Signature;
use berth_types::Digest;

/// The most files; then the oldest goes.
const MAX_FILES: usize = 4096;
/// The largest file.
const MAX_FILE: u64 = 64 << 20;

/// The directory, beside that of images.
fn dir(images: &Path) -> PathBuf {
    images.with_file_name("signatures")
}

fn file(images: &Path, manifest: &Digest) -> PathBuf {
    dir(images).join(format!("{}.v1", manifest.hex()))
}

/// Keeps them. What fails costs a pull later.
pub(crate) fn keep(images: &Path, manifest: &Digest, signatures: &[Signature]) {
    let kept = postcard::to_allocvec(signatures).map_err(std::io::Error::other).and_then(|bytes| {
        std::fs::create_dir_all(dir(images))?;
        make_room(&dir(images))?;
        write_atomic(&file(images, manifest), &bytes, Durability::Process)
    });
    if let Err(error) = kept {
        tracing::warn!(%manifest, %error, "signatures were not kept");
    }
}

/// Those that were kept; none where there are none, or what is there cannot be read.
pub(crate) fn read(images: &Path, manifest: &Digest) -> Vec<Signature> {
    let bytes = read_regular(&file(images, manifest), MAX_FILE).unwrap_or_default();
    postcard::from_bytes(&bytes).unwrap_or_default()
}

fn make_room(dir: &Path) -> std::io::Result<()> {
    let files = std::fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    if files.len() < MAX_FILES {
        return Ok(());
    }
    let oldest =
        files.iter().filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file.path()))).min();
    oldest.map_or(Ok(()), |(_, path)| std::fs::remove_file(path))
}
