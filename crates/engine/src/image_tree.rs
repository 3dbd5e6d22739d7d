//! What is done with images beside running them: a copy of a directory, as volumes begin with; a push.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use berth_image::credentials::RequestAuth;
use berth_image::pull::Progress;
use berth_image::push::{PushError, PushRequest, Pushed};
use berth_image::registry::RegistryError;
use berth_image::{Images, Volume, VolumeError};
use berth_types::ContainerId;
use rustix::fs::FileType;

use crate::container::detached;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::host::random;
use crate::shared::Shared;

/// The files of an image, for as long as they are needed.
#[derive(Debug)]
pub struct ImageTree {
    images: Images,
    lowers: Vec<PathBuf>,
}

impl Engine {
    /// Asks a registry whether it takes these credentials.
    ///
    /// # Errors
    /// It does not, or does not answer.
    pub async fn login(&self, registry: &str, auth: RequestAuth) -> Result<(), RegistryError> {
        self.puller.registry().login(registry, auth).await
    }

    /// Pushes an image. What was sent when the caller does not wait is found by the next attempt.
    ///
    /// # Errors
    /// Those of the registry and of the store.
    pub async fn push(&self, request: PushRequest, progress: Progress) -> Result<Pushed, PushError> {
        let pushed = self.puller.registry().push(self.images(), request, progress).await;
        tokio::task::spawn_blocking(berth_sys::memory::give_back);
        pushed
    }

    /// Does something with the files of an image that is there. The work goes on when the caller does not wait.
    ///
    /// # Errors
    /// The image is not there, or its files cannot be kept meanwhile.
    pub async fn with_image<T: Send + 'static>(
        &self,
        image: &str,
        work: impl FnOnce(&ImageTree) -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let images = self.images().clone();
        let failed = |e| EngineError::failed(format!("read the files of image {image}"), e);
        let not_there = || EngineError::NotFound { thing: "image", key: image.to_owned() };
        let id = images.find(image).map_err(failed)?.ok_or_else(not_there)?.id.clone();
        let image = image.to_owned();
        let done = tokio::spawn(async move {
            let failed = |e| EngineError::failed(format!("read the files of image {image}"), e);
            // As those of a container that never is: its layers stay until then.
            let holder = ContainerId::from_random(random::bytes());
            let lowers = images.snapshot(&holder, &id, &[]).await.map_err(failed)?.lowers;
            let tree = ImageTree { images: images.clone(), lowers };
            let done = Shared::blocking(move || Ok(work(&tree))).await;
            images.remove_snapshot(&holder).await.map_err(failed)?;
            done
        });
        done.await.unwrap_or(Err(EngineError::Closed))
    }
}

impl ImageTree {
    /// Copies what is in a directory of the image into the empty directory `into`, which gets its owner and mode, too. False
    /// when the image has no directory there.
    ///
    /// # Errors
    /// A file cannot be read or copied.
    pub fn copy(&self, path: &Path, into: &Path) -> Result<bool, EngineError> {
        let what = || format!("copy {} of the image to {}", path.display(), into.display());
        if self.lowers.is_empty() {
            return Ok(false);
        }
        let found = match self.images.volume(&self.lowers, path.strip_prefix("/").unwrap_or(path)) {
            Err(VolumeError::NoSuchPath(_) | VolumeError::Special(_)) => return Ok(false),
            found => found.map_err(|e| EngineError::failed(what(), e))?,
        };
        if let Volume::Single(one) = &found {
            let stat = rustix::fs::fstat(one).map_err(|e| EngineError::system(what(), e))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Ok(false);
            }
        }
        let mounted =
            detached(&found, self.images.dir(), None).map_err(|e| EngineError::failed(what(), e))?;
        berth_sys::fs::copy_tree(mounted.as_fd(), into).map_err(|e| EngineError::system(what(), e))?;
        Ok(true)
    }
}
