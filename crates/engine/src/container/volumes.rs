//! Image volumes: an image in a container, which cannot be written to.
//!
//! ```text
//! mounts that name an image -> images() -> the container's snapshot keeps their layers -> mount() -> Preparing::volumes
//! ```
//!
//! Parts of other volumes ([`sub_paths`]) go the same way. Each container has detached mounts of its own, made from the layers: nothing appears in the host's mount table, and nothing is left
//! when a daemon dies on the way. Pages of the files are shared all the same.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_image::{Images, Volume, VolumeImage};
use berth_sys::mount::{self, Change};
use berth_sys::overlay;
use berth_types::{Classify, Digest, Kind};

use super::sub_paths;
use crate::error::EngineError;
use crate::handler::Detached;
use crate::model::{ContainerConfig, ImageVolume, Mount, Propagation, UserNamespace};

/// The most image volumes and parts of volumes of a container: their mounts go to the shim in one message.
const MAX_VOLUMES: usize = 128;

/// The ids of the images that a container mounts, in the order of its mounts.
///
/// # Errors
/// One is not there, or cannot be mounted as it is asked for.
pub(super) fn images(
    images: &Images,
    config: &ContainerConfig,
    user: Option<UserNamespace>,
) -> Result<Vec<Digest>, EngineError> {
    let volumes: Vec<_> = of(config).collect();
    let count = volumes.len() + sub_paths::of(config).count();
    if count > MAX_VOLUMES {
        let message = format!("{count} are image volumes or parts of volumes, {MAX_VOLUMES} are allowed");
        return Err(EngineError::invalid("mounts", message));
    }
    let find = |(mount, volume): &(&Mount, &ImageVolume)| {
        if let Some(problem) = problem(mount, user) {
            return Err(failed(mount, volume, Problem(problem)));
        }
        let name = &volume.image.image;
        let image = images.find(name).map_err(|e| failed(mount, volume, e))?;
        image.map(|image| image.id.clone()).ok_or_else(|| failed(mount, volume, NotThere))
    };
    volumes.iter().map(find).collect()
}

fn of(config: &ContainerConfig) -> impl Iterator<Item = (&Mount, &ImageVolume)> {
    config.mounts.iter().filter_map(|mount| Some((mount, mount.image.as_ref()?)))
}

/// What an image cannot be mounted with.
fn problem(mount: &Mount, user: Option<UserNamespace>) -> Option<&'static str> {
    if !mount.host_path.as_os_str().is_empty() {
        return Some("it has a host_path beside the image");
    }
    if !mount.readonly {
        return Some("an image is mounted read-only");
    }
    let pods = user.is_some_and(|pod| mount.uids == [pod.uids] && mount.gids == [pod.gids]);
    if is_mapped(mount) && !pods {
        return Some("its id mappings are not those of the pod's user namespace");
    }
    if mount.propagation != Propagation::Private {
        return Some("nothing can be mounted in an image, so propagation must be private");
    }
    None
}

/// Whether it shows other owners than those on the disk.
fn is_mapped(mount: &Mount) -> bool {
    !mount.uids.is_empty() || !mount.gids.is_empty()
}

/// The configuration with a path for each image volume and part of a volume, as a specification needs one: where its mount would be, below the
/// container's directory. Its mount comes with its mappings.
pub(super) fn with_sources(config: &Arc<ContainerConfig>, dir: &Path) -> Arc<ContainerConfig> {
    if of(config).next().is_none() && sub_paths::of(config).next().is_none() {
        return Arc::clone(config);
    }
    let mut config = ContainerConfig::clone(config);
    sub_paths::set_sources(&mut config, dir);
    let volumes = config.mounts.iter_mut().filter(|mount| mount.image.is_some());
    for (number, mount) in volumes.enumerate() {
        mount.host_path = source(dir, number);
        (mount.uids, mount.gids) = (Vec::new(), Vec::new());
    }
    Arc::new(config)
}

fn source(dir: &Path, number: usize) -> PathBuf {
    dir.join("volumes").join(number.to_string())
}

/// Makes the mounts, of layers that the container's snapshot keeps; `user` is the pod's user namespace.
///
/// # Errors
/// An image has nothing at the path asked for, or a mount cannot be made.
pub(super) fn mount(
    images: &Images,
    config: &ContainerConfig,
    layers: &[VolumeImage],
    dir: &Path,
    user: Option<BorrowedFd<'_>>,
) -> Result<Vec<Detached>, EngineError> {
    let make = |(number, ((mount, volume), image)): (usize, ((&Mount, &ImageVolume), &VolumeImage))| {
        let found = images.volume(&image.lowers, &volume.sub_path).map_err(|e| failed(mount, volume, e))?;
        let user = user.filter(|_| is_mapped(mount));
        let made = detached(&found, images.dir(), user).map_err(|e| failed(mount, volume, e))?;
        Ok(Detached { source: source(dir, number), mount: made })
    };
    let mut made: Vec<Detached> =
        of(config).zip(layers).enumerate().map(make).collect::<Result<_, EngineError>>()?;
    made.extend(sub_paths::mount(config, dir, user)?);
    Ok(made)
}

/// A mount of what was found in layers, which appears nowhere.
///
/// # Errors
/// It cannot be made.
pub(crate) fn detached(
    volume: &Volume,
    place: &Path,
    user: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, Unmounted> {
    match (volume, user) {
        (Volume::Stack(dirs), None) => Ok(overlay::mount_read_only(dirs, place)?),
        (Volume::Stack(dirs), Some(user)) => Ok(overlay::mount_read_only_idmapped(dirs, place, user)?),
        (Volume::Single(found), user) => {
            let made = mount::clone_tree(found.as_fd(), false).map_err(Unmounted::Clone)?;
            if user.is_some() {
                let mapped = Change { idmap: user, ..Change::default() };
                mount::change(made.as_fd(), c"", mapped).map_err(Unmounted::Map)?;
            }
            Ok(made)
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Problem(&'static str);

impl Classify for Problem {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it is not in the store: pull it first")]
struct NotThere;

impl Classify for NotThere {
    fn kind(&self) -> Kind {
        Kind::NotFound
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Unmounted {
    #[error(transparent)]
    Overlay(#[from] overlay::OverlayError),
    #[error("open_tree")]
    Clone(#[source] rustix::io::Errno),
    #[error("its file system cannot be idmapped")]
    Map(#[source] rustix::io::Errno),
}

impl Classify for Unmounted {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
}

fn failed<E: Classify + Send + Sync + 'static>(mount: &Mount, volume: &ImageVolume, error: E) -> EngineError {
    EngineError::ImageVolume {
        image: volume.image.image.clone(),
        place: mount.container_path.display().to_string(),
        kind: error.kind(),
        source: Arc::new(error),
    }
}
