//! A layer that is one file, kept as it comes: of an OCI artifact.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tokio::io::AsyncWriteExt;

use crate::error::StoreError;
use crate::store::blocking;
use crate::unpack::Report;
use crate::unpack::pipeline::Unpacked;

/// The file on its way.
#[derive(Debug)]
pub(super) struct FileLayer {
    file: tokio::fs::File,
    /// The tree, and the file's path in it.
    root: PathBuf,
    path: PathBuf,
    written: u64,
}

impl FileLayer {
    /// Makes an empty file at `path`, which leads nowhere but down, and the directories above it, in the new and empty
    /// directory `root`.
    pub(super) fn create(root: &Path, path: &Path) -> Result<Self, StoreError> {
        let mut dir = root.to_owned();
        for part in path.parent().into_iter().flat_map(Path::components) {
            dir.push(part);
            DirBuilder::new().mode(0o755).create(&dir).map_err(StoreError::io("make directory", &dir))?;
        }
        let place = root.join(path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place);
        let file = tokio::fs::File::from_std(file.map_err(StoreError::io("create", &place))?);
        Ok(Self { file, root: root.to_owned(), path: path.to_owned(), written: 0 })
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.written += bytes.len() as u64;
        let written = self.file.write_all(bytes).await;
        written.map_err(StoreError::io("write", self.root.join(&self.path)))
    }

    /// Everything is written: owner, modes and times are the same on every machine.
    pub(super) async fn finish(mut self) -> Result<Unpacked, StoreError> {
        let place = self.root.join(&self.path);
        self.file.flush().await.map_err(StoreError::io("write", &place))?;
        drop(self.file.into_std().await);
        let (root, path, file_bytes) = (self.root, self.path, self.written);
        blocking(move || {
            settle(&root.join(&path), 0o644)?;
            let mut inodes = 1;
            for dir in path.ancestors().skip(1) {
                settle(&root.join(dir), 0o755)?;
                inodes += 1;
            }
            let report = Report { file_bytes, inodes, describes_root: true, ..Report::default() };
            Ok(Unpacked { report, tar_bytes: 0 })
        })
        .await
    }
}

fn settle(path: &Path, mode: u32) -> Result<(), StoreError> {
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    file.set_permissions(Permissions::from_mode(mode)).map_err(StoreError::io("set the mode of", path))?;
    file.set_modified(SystemTime::UNIX_EPOCH).map_err(StoreError::io("set the time of", path))
}
