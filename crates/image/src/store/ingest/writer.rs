//! Writing one layer: from the blob's bytes to a tree that is checked.

use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use berth_sys::fs::remove_tree;
use berth_types::{Digest, Kind};
use sha2::Digest as _;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;

use super::file::FileLayer;
use super::{LayerSource, Turn};
use crate::error::StoreError;
use crate::image::LayerId;
use crate::store::{Images, blocking, complete};
use crate::unpack::pipeline::{Pipeline, Unpacked};
use crate::unpack::{Cause, Refusal};

/// A layer unpacked in the staging directory. Dropping it removes it, in the background.
#[derive(Debug)]
pub(in crate::store) struct Staged {
    images: Images,
    path: Option<PathBuf>,
    pub(in crate::store) unpacked: Unpacked,
}

impl Staged {
    /// The tree.
    pub(in crate::store) fn fs(&self) -> PathBuf {
        self.path.as_deref().expect("it is taken only by keep").join("fs")
    }

    /// Owner and mode of the recipe are what they were, whatever the process did to its descriptor.
    fn close_recipe(&self) -> Result<(), StoreError> {
        let path = self.path.as_deref().expect("it is taken only by keep").join("recipe");
        std::os::unix::fs::chown(&path, Some(0), Some(0)).map_err(StoreError::io("chown", &path))?;
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, mode).map_err(StoreError::io("set the mode of", &path))
    }

    /// Moves it to where it belongs.
    pub(in crate::store) fn keep(mut self, target: &Path) -> Result<(), StoreError> {
        let path = self.path.as_deref().expect("it is taken here only");
        std::fs::rename(path, target).map_err(StoreError::io("rename layer to", target))?;
        self.path = None;
        Ok(())
    }

    /// Removes it at once.
    fn remove(mut self) {
        if let Some(path) = self.path.take() {
            // What stays is removed when the store is opened.
            let _stays = remove_tree(&path);
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        // As above.
        if let Ok(trash) = self.images.layout().discard(&path) {
            self.images.delete_later(trash.into_iter().collect());
        }
    }
}

/// Takes the bytes of one layer's blob, hashes them, and hands them to the unpacking process.
///
/// When it fails, what was unpacked is gone when the error is returned. Dropping it removes that in the background.
#[derive(Debug)]
pub struct LayerWriter {
    target: Target,
    hasher: sha2::Sha256,
    written: u64,
    source: LayerSource,
    unpacker: Option<Pipeline>,
    work: Option<Work>,
}

/// Where the bytes go.
#[derive(Debug)]
enum Target {
    /// To the process that unpacks them.
    Unpacker(Sender),
    /// To a file, as they are.
    File(FileLayer),
    /// Nowhere any more.
    Closed,
}

/// What is dropped together: the tree, and then the turn to make it.
#[derive(Debug)]
struct Work {
    staged: Staged,
    turn: Turn,
}

/// Drops a layer. It waits for the process to end, since that would go on to make files, and for the deletion.
fn give_up(unpacker: Option<Pipeline>, work: Option<Work>) {
    drop(unpacker);
    if let Some(Work { staged, turn }) = work {
        staged.remove();
        drop(turn);
    }
}

impl Drop for LayerWriter {
    fn drop(&mut self) {
        let (unpacker, work) = (self.unpacker.take(), self.work.take());
        if unpacker.is_none() && work.is_none() {
            return;
        }
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || give_up(unpacker, work))),
            Err(_) => give_up(unpacker, work),
        }
    }
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
        let staged =
            Staged { images: images.clone(), path: Some(path.clone()), unpacked: Unpacked::default() };
        let fs = path.join("fs");
        std::fs::DirBuilder::new().mode(0o755).create(&fs).map_err(StoreError::io("make directory", &fs))?;
        if let Some(file) = turn.shared.file(turn.index) {
            let target = Target::File(FileLayer::create(&fs, file)?);
            return Ok(Self::new(target, None, staged, turn));
        }
        let dir = std::fs::File::open(&fs).map_err(StoreError::io("open", &fs))?;
        let recipe_path = path.join("recipe");
        let recipe = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&recipe_path)
            .map_err(StoreError::io("create", &recipe_path))?;
        let config = images.config();
        let source = turn.shared.source(turn.index);
        let empty_path = images.layout().empty();
        let empty = std::fs::File::open(&empty_path).map_err(StoreError::io("open", &empty_path))?;
        let bounds = config.limits.of_blob(source.size);
        let started = Pipeline::start(&config.unpacker, bounds, empty.as_fd(), dir.as_fd(), recipe.as_fd());
        let (unpacker, pipe) = started.map_err(StoreError::io("start unpacker", &config.unpacker))?;
        let pipe =
            Sender::from_owned_fd(pipe).map_err(StoreError::io("use the pipe of", &config.unpacker))?;
        images.step("layer begun");
        Ok(Self::new(Target::Unpacker(pipe), Some(unpacker), staged, turn))
    }

    fn new(target: Target, unpacker: Option<Pipeline>, staged: Staged, turn: Turn) -> Self {
        let source = turn.shared.source(turn.index).clone();
        let work = Some(Work { staged, turn });
        Self { target, hasher: sha2::Sha256::new(), written: 0, source, unpacker, work }
    }

    /// Takes the next bytes. Waits while the unpacking process is behind. Fails when there are more bytes than
    /// the blob has, or as soon as the unpacking process refused the layer.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.take(bytes).await;
        if written.is_err() {
            self.discard().await;
        }
        written
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let size = self.source.size;
        if self.written + bytes.len() as u64 > size {
            return Err(self.bad_blob(format!("it goes on after its {size} bytes")));
        }
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        match &mut self.target {
            Target::File(file) => return file.write(bytes).await,
            Target::Unpacker(pipe) => {
                if pipe.write_all(bytes).await.is_ok() {
                    return Ok(());
                }
            }
            Target::Closed => return Err(self.refused(&before())),
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

    /// Removes what was unpacked, off the runtime's threads.
    async fn discard(&mut self) {
        let (unpacker, work) = (self.unpacker.take(), self.work.take());
        // It fails only when the daemon ends.
        let _ended = tokio::task::spawn_blocking(move || give_up(unpacker, work)).await;
    }

    /// Bytes taken so far: where a broken transfer is resumed.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Ends the layer: size and digest of the blob and the diff id of its tar are checked, and the
    /// layer is kept for the ingest. When it fails, [`super::Ingest::layer`] may be asked again.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        match self.check().await {
            Ok(work) => blocking(move || work.keep()).await,
            Err(error) => {
                self.discard().await;
                Err(error)
            }
        }
    }

    /// The finished tree, when size and digests are right.
    async fn check(&mut self) -> Result<Work, StoreError> {
        if self.written != self.source.size {
            let reason = format!("it ends after {} of {} bytes", self.written, self.source.size);
            return Err(self.bad_blob(reason));
        }
        let sum = Digest::from_sha256(std::mem::take(&mut self.hasher).finalize().into());
        if sum != self.source.digest {
            return Err(self.bad_blob(format!("its content has the digest {sum}")));
        }
        let unpacked = match self.close() {
            Some(file) => file.finish().await?,
            None => self.answer().await.map_err(|refusal| self.refused(&refusal))?,
        };
        let Some(mut work) = self.work.take() else { return Err(self.refused(&before())) };
        work.staged.unpacked = unpacked;
        Ok(work)
    }

    /// Closes the pipe; gives the file, where it is one.
    fn close(&mut self) -> Option<FileLayer> {
        match std::mem::replace(&mut self.target, Target::Closed) {
            Target::File(file) => Some(file),
            Target::Unpacker(_) | Target::Closed => None,
        }
    }

    /// Closes the pipe and waits for the process. When it is cancelled, the tree stays until the process has ended: what
    /// is being written must not be deleted.
    async fn answer(&mut self) -> Result<Unpacked, Refusal> {
        drop(self.close());
        let (Some(unpacker), Some(work)) = (self.unpacker.take(), self.work.take()) else {
            return Err(before());
        };
        let diff_id = work.turn.shared.diff_id(work.turn.index).clone();
        let gone = |e: tokio::task::JoinError| Refusal { reason: e.to_string(), cause: Cause::System };
        let ended = tokio::task::spawn_blocking(move || (unpacker.wait(&diff_id), work)).await;
        let (answer, work) = ended.map_err(gone)?;
        self.work = Some(work);
        answer
    }

    #[cfg(test)]
    pub(in crate::store) fn kill_unpacker(&mut self) {
        self.unpacker.as_mut().unwrap().kill_unpacker();
    }

    fn bad_blob(&self, reason: String) -> StoreError {
        StoreError::Blob { digest: self.source.digest.clone(), reason }
    }

    fn refused(&self, refusal: &Refusal) -> StoreError {
        let kind = match refusal.cause {
            Cause::Malformed => Kind::Corrupt,
            Cause::Limit | Cause::Full => Kind::Exhausted,
            Cause::System | Cause::Closed => Kind::Internal,
        };
        let blob = self.source.digest.clone();
        StoreError::Layer { blob, reason: refusal.reason.clone(), kind }
    }
}

/// What is said of a layer after it was refused.
fn before() -> Refusal {
    Refusal { reason: "it was refused".into(), cause: Cause::Malformed }
}

impl Work {
    fn keep(self) -> Result<(), StoreError> {
        let Self { staged, turn } = self;
        let shared = turn.shared.clone();
        shared.images.step("layer unpacked");
        if turn.shared.file(turn.index).is_none() {
            staged.close_recipe()?;
        }
        complete::devices::make(&staged)
            .and_then(|()| complete::opaque(&staged))
            .map_err(|error| shared.layer_error(turn.index, &error))?;
        let diff_id = shared.diff_id(turn.index).clone();
        if staged.unpacked.report.implied.is_empty() && staged.unpacked.report.links.is_empty() {
            shared.images.keep_layer(shared.lease, LayerId::Diff(diff_id.clone()), staged, diff_id)?;
        } else {
            shared.hold(diff_id, staged);
        }
        shared.images.step("layer kept");
        Ok(())
    }
}
