//! What is in layers: the steps that made an image, and what a container changed.

use std::path::{Path, PathBuf};

use berth_engine::image::Change;
use tonic::Status;

use super::{Service, refuse, target};
use crate::api;

/// What is mounted in every container, beside its own mounts.
pub(super) const MOUNTED: [&str; 6] =
    ["/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// The steps that made an image, the last first.
pub(super) fn history(service: &Service, name: &str) -> Result<api::HistoryResponse, Status> {
    let images = service.engine.images();
    let image = images.find(name).map_err(refuse)?;
    let image = image
        .ok_or_else(|| Status::not_found(format!("no image {name:?} (hint: berth images lists them)")))?;
    let step = |of: berth_engine::image::Step| api::Step {
        created: of.created,
        created_by: of.created_by,
        comment: of.comment,
        size: of.size,
    };
    let steps = images.history(&image.id).map_err(refuse)?.into_iter().map(step).collect();
    Ok(api::HistoryResponse { steps, image_id: image.id.to_string() })
}

/// What a container changed in its root, without what only something is mounted on.
pub(super) async fn diff(service: &Service, name: &str) -> Result<api::DiffResponse, Status> {
    let container = target::container(&service.engine, name)?;
    let changes = service.engine.images().changes(&container.id).await.map_err(refuse)?;
    let mounts = container.config.mounts.iter().map(|mount| mount.container_path.clone());
    let places: Vec<PathBuf> = mounts.chain(MOUNTED.map(PathBuf::from)).collect();
    let changes = without_places(changes, &places).into_iter().map(|(path, change)| api::Change {
        kind: match change {
            Change::Added => "A",
            Change::Changed => "C",
            Change::Deleted => "D",
        }
        .to_owned(),
        path: path.to_string_lossy().into_owned(),
    });
    Ok(api::DiffResponse { changes: changes.collect() })
}

/// Leaves out the places, and directories in which nothing else was changed. Changes are sorted by path.
fn without_places(changes: Vec<(PathBuf, Change)>, places: &[PathBuf]) -> Vec<(PathBuf, Change)> {
    let is_place = |path: &Path| places.iter().any(|place| path.starts_with(place));
    // A directory on the way to one is made for it, or looks changed by it.
    let leads = |path: &Path| places.iter().any(|place| place.starts_with(path));
    let mut kept: Vec<(PathBuf, Change)> = Vec::new();
    for (path, change) in changes.into_iter().rev() {
        let has_more = kept.last().is_some_and(|(below, _)| below.starts_with(&path));
        if is_place(&path) || (leads(&path) && !has_more) {
            continue;
        }
        kept.push((path, change));
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_something_is_mounted_on_is_no_change() {
        let all = |list: &[&str]| {
            list.iter().map(|path| (PathBuf::from(path), Change::Changed)).collect::<Vec<_>>()
        };
        let places = ["/etc/hosts", "/a/b/c", "/dev"].map(PathBuf::from);
        let changes = all(&["/a", "/a/b", "/a/b/c", "/a/x", "/dev", "/dev/y", "/etc", "/etc/hosts", "/z"]);
        assert_eq!(without_places(changes, &places), all(&["/a", "/a/x", "/z"]));
    }
}
