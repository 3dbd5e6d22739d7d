//! Writing one layer: from the blob's bytes to a tree that is checked.

use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use berth_sys::fs::remove_tree;
use berth_types::{Digest, Kind};
use sha2::Digest as _;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;

use super::Turn;
use crate::error::StoreError;
use crate::image::LayerId;
use crate::store::{blocking, complete};
use crate::unpack::process::Unpacker;
use crate::unpack::{Cause, Job, Refusal, Report, Task};

/// A layer unpacked in the staging directory. Dropping it removes it.
#[derive(Debug)]
pub(in crate::store) struct Staged {
    path: Option<PathBuf>,
    pub(in crate::store) report: Report,
}

impl Staged {
    /// The tree.
    pub(in crate::store) fn fs(&self) -> PathBuf {
        self.path.as_deref().expect("it is taken only by keep").join("fs")
    }

    /// Moves it to where it belongs.
    pub(in crate::store) fn keep(mut self, target: &Path) -> Result<(), StoreError> {
        let path = self.path.as_deref().expect("it is taken here only");
        std::fs::rename(path, target).map_err(StoreError::io("rename layer to", target))?;
        self.path = None;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What stays is removed when the store is opened.
            let _stays = remove_tree(path);
        }
    }
}

/// Takes the bytes of one layer's blob, hashes them, and hands them to the unpacking process.
/// Dropping it removes what was unpacked.
#[derive(Debug)]
pub struct LayerWriter {
    // Dropped in this order: the process is killed before its tree is removed and the turn is passed on.
    unpacker: Option<Unpacker>,
    pipe: Option<Sender>,
    staged: Staged,
    hasher: sha2::Sha256,
    written: u64,
    turn: Turn,
}

impl LayerWriter {
    pub(super) async fn start(turn: Turn) -> Result<Self, StoreError> {
        // A future dropped here leaves a task that drops the writer: nothing is left behind.
        let writer = blocking(move || Self::spawn(turn)).await?;
        Ok(writer)
    }

    fn spawn(turn: Turn) -> Result<Self, StoreError> {
        let images = &turn.shared.images;
        let path = images
            .layout()
            .stage()
            .map_err(StoreError::io("make a directory in", &images.layout().staging()))?;
        let staged = Staged { path: Some(path.clone()), report: Report::default() };
        let fs = path.join("fs");
        std::fs::DirBuilder::new().mode(0o755).create(&fs).map_err(StoreError::io("make directory", &fs))?;
        let dir = std::fs::File::open(&fs).map_err(StoreError::io("open", &fs))?;
        let recipe_path = path.join("recipe");
        let recipe = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&recipe_path)
            .map_err(StoreError::io("create", &recipe_path))?;
        let config = images.config();
        let job = Job { task: Task::Unpack, limits: config.limits };
        let started = Unpacker::start(&config.unpacker, &job, dir.as_fd(), recipe.as_fd());
        let (unpacker, pipe) = started.map_err(StoreError::io("start unpacker", &config.unpacker))?;
        let pipe =
            Sender::from_owned_fd(pipe).map_err(StoreError::io("use the pipe of", &config.unpacker))?;
        images.step("layer begun");
        Ok(Self {
            unpacker: Some(unpacker),
            pipe: Some(pipe),
            staged,
            hasher: sha2::Sha256::new(),
            written: 0,
            turn,
        })
    }

    /// Takes the next bytes. Waits while the unpacking process is behind. Fails when there are more bytes than
    /// the blob has, or as soon as the unpacking process refused the layer.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let size = self.turn.shared.source(self.turn.index).size;
        if self.written + bytes.len() as u64 > size {
            return Err(self.bad_blob(format!("it goes on after its {size} bytes")));
        }
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        let Some(pipe) = &mut self.pipe else {
            return Err(self.refused(&Refusal { reason: "it was refused".into(), cause: Cause::Malformed }));
        };
        if pipe.write_all(bytes).await.is_ok() {
            return Ok(());
        }
        match self.answer().await {
            // It had read to the end of the archive: what follows was not expected there.
            Ok(_) => Err(self.refused(&Refusal {
                reason: "data after the archive's end".into(),
                cause: Cause::Malformed,
            })),
            Err(refusal) => Err(self.refused(&refusal)),
        }
    }

    /// Bytes taken so far: where a broken transfer is resumed.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Ends the layer: size and digest of the blob and the diff id of its tar are checked, and the
    /// layer is kept for the ingest. When it fails, [`super::Ingest::layer`] may be asked again.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        let source = self.turn.shared.source(self.turn.index).clone();
        if self.written != source.size {
            return Err(self.bad_blob(format!("it ends after {} of {} bytes", self.written, source.size)));
        }
        let sum = Digest::from_sha256(std::mem::take(&mut self.hasher).finalize().into());
        if sum != source.digest {
            return Err(self.bad_blob(format!("its content has the digest {sum}")));
        }
        let report = self.answer().await.map_err(|refusal| self.refused(&refusal))?;
        let diff_id = self.turn.shared.diff_id(self.turn.index);
        let found = Digest::from_sha256(report.diff_id);
        if found != *diff_id {
            return Err(self.refused(&Refusal {
                reason: format!("its tar has the digest {found}, the image's configuration says {diff_id}"),
                cause: Cause::Malformed,
            }));
        }
        self.staged.report = report;
        blocking(move || self.keep()).await
    }

    fn keep(self) -> Result<(), StoreError> {
        let Self { staged, turn, .. } = self;
        let shared = turn.shared.clone();
        shared.images.step("layer unpacked");
        complete::opaque(&staged).map_err(|error| shared.layer_error(turn.index, &error))?;
        let diff_id = shared.diff_id(turn.index).clone();
        if staged.report.implied.is_empty() && staged.report.links.is_empty() {
            shared.images.keep_layer(shared.lease, LayerId::Diff(diff_id.clone()), staged, diff_id)?;
        } else {
            shared.hold(diff_id, staged);
        }
        shared.images.step("layer kept");
        Ok(())
    }

    /// Closes the pipe and waits for the process.
    async fn answer(&mut self) -> Result<Report, Refusal> {
        self.pipe = None;
        let Some(unpacker) = self.unpacker.take() else {
            return Err(Refusal { reason: "it was refused".into(), cause: Cause::Malformed });
        };
        let gone = |e: tokio::task::JoinError| Refusal { reason: e.to_string(), cause: Cause::System };
        tokio::task::spawn_blocking(move || unpacker.wait()).await.map_err(gone)?
    }

    #[cfg(test)]
    pub(in crate::store) fn kill_unpacker(&mut self) {
        self.unpacker.as_mut().unwrap().kill();
    }

    fn bad_blob(&self, reason: String) -> StoreError {
        StoreError::Blob { digest: self.turn.shared.source(self.turn.index).digest.clone(), reason }
    }

    fn refused(&self, refusal: &Refusal) -> StoreError {
        let kind = match refusal.cause {
            Cause::Malformed => Kind::Corrupt,
            Cause::Limit | Cause::Full => Kind::Exhausted,
            Cause::System => Kind::Internal,
        };
        let blob = self.turn.shared.source(self.turn.index).digest.clone();
        StoreError::Layer { blob, reason: refusal.reason.clone(), kind }
    }
}
