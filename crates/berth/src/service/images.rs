//! Images: pull with progress, list, remove.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_engine::image::credentials::{Keyring, RequestAuth, Secret};
use berth_engine::image::pull::{LayerState, Progress, PullProgress, PullRequest};
use berth_engine::image::{Image, Names, Removed};
use berth_engine::model::ContainerView;
use berth_types::reference::{ImageRef, ParseRefError, Parsed};
use tokio::sync::mpsc;
use tonic::Status;

use super::{Service, refuse};
use crate::api;

/// A step of a pull.
pub(super) fn progress(image: &str, progress: &PullProgress, id: Option<String>) -> api::PullEvent {
    let layers = progress
        .layers
        .iter()
        .map(|layer| api::Layer {
            digest: layer.digest.to_string(),
            state: word(layer.state).to_owned(),
            done: layer.done,
            total: layer.total,
        })
        .collect();
    api::PullEvent { image: image.to_owned(), layers, image_id: id.unwrap_or_default(), note: String::new() }
}

fn word(state: LayerState) -> &'static str {
    match state {
        LayerState::Waiting => "waiting",
        LayerState::Downloading => "downloading",
        LayerState::Unpacking => "unpacking",
        LayerState::Done => "done",
        LayerState::Exists => "exists",
    }
}

/// Pulls an image and reports the progress.
pub(super) async fn pull(
    service: Service,
    request: api::PullRequest,
    sender: mpsc::Sender<Result<api::PullEvent, Status>>,
) {
    let image = request.image.clone();
    let (sink, mut steps) = Progress::channel();
    let request = match pull_request(request) {
        Ok(request) => request,
        Err(status) => {
            drop(sender.send(Err(status)).await);
            return;
        }
    };
    let mut work = std::pin::pin!(service.engine.pull(request, sink));
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            Ok(()) = steps.changed() => {
                let step = progress(&image, &steps.borrow_and_update(), None);
                // A slow client misses steps; one that is gone misses all of them, and the pull goes on.
                drop(sender.try_send(Ok(step)));
            }
        }
    };
    let last = match result {
        Ok(done) => Ok(progress(&image, &steps.borrow(), Some(done.id.to_string()))),
        Err(e) => Err(refuse(e)),
    };
    drop(sender.send(last).await);
}

fn pull_request(request: api::PullRequest) -> Result<PullRequest, Status> {
    let platform = match request.platform.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|e| Status::invalid_argument(format!("platform {text:?}: {e}")))?),
    };
    let keyring = Keyring { request: request.auth.map(auth), files: None };
    Ok(PullRequest { reference: request.image, keyring, platform, artifact: request.artifact })
}

/// Credentials that the client read where its user is.
pub(super) fn auth(given: api::ImageAuth) -> RequestAuth {
    RequestAuth {
        username: given.username,
        password: Secret::new(given.password),
        auth: Secret::default(),
        server_address: given.server,
        identity_token: Secret::new(given.identity_token),
        registry_token: Secret::new(given.registry_token),
    }
}

/// The images, sorted by name.
pub(super) fn list(service: &Service) -> api::ImagesResponse {
    let used = service.engine.images_in_use(None);
    let mut images: Vec<_> =
        service.engine.images().list().iter().map(|image| message(image, &used)).collect();
    images.sort_by(|a, b| a.tags.cmp(&b.tags).then_with(|| a.id.cmp(&b.id)));
    api::ImagesResponse { images }
}

pub(super) fn message(image: &Image, used: &BTreeSet<String>) -> api::Image {
    api::Image {
        id: image.id.to_string(),
        tags: image.tags.clone(),
        repo_digests: image.repo_digests.clone(),
        size: image.size,
        created_at: image.created_at,
        pinned: image.pinned,
        in_use: used.contains(image.id.as_str()),
        artifact: image.config.artifact.clone(),
        manifest: image.manifest.to_string(),
    }
}

/// Removes names, and images with their last name; goes on past failures.
pub(super) async fn remove(service: &Service, request: api::RemoveImageRequest) -> api::RemoveImageResponse {
    let mut outcomes = Vec::new();
    for name in request.images {
        let error = remove_one(service, &name, request.force).await.err();
        outcomes.push(api::Outcome {
            target: name,
            error: error.map_or_else(String::new, |status| status.message().to_owned()),
            missing: false,
        });
    }
    api::RemoveImageResponse { outcomes }
}

async fn remove_one(service: &Service, name: &str, force: bool) -> Result<(), Status> {
    let images = service.engine.images();
    let image = images.find(name).map_err(refuse)?;
    let missing = || Status::not_found(format!("no image {name:?} (hint: berth images lists them)"));
    if let Some(image) = &image {
        let uses =
            |c: &Arc<ContainerView>| service.engine.images_of(c).iter().any(|id| id == image.id.as_str());
        let user = service.engine.containers(None).into_iter().find(uses);
        if let (Some(user), false) = (user, force) {
            let text =
                format!("container {} uses it (hint: remove that first, or use --force)", user.id.short());
            return Err(Status::failed_precondition(text));
        }
    }
    match images.untag(name).await.map_err(refuse)? {
        Removed::Nothing => Err(missing()),
        Removed::Untagged(_) | Removed::Image { .. } => Ok(()),
    }
}

/// Gives an image another name.
pub(super) async fn tag(service: &Service, request: api::TagRequest) -> Result<api::TagResponse, Status> {
    let images = service.engine.images();
    let missing =
        || Status::not_found(format!("no image {:?} (hint: berth images lists them)", request.image));
    let image = images.find(&request.image).map_err(refuse)?.ok_or_else(missing)?;
    let names = Names { tags: vec![tag_of(&request.name)?], repo_digests: Vec::new() };
    images.tag(&image.id, names).await.map_err(refuse)?;
    Ok(api::TagResponse {})
}

/// A name in full: without a registry it is one of this machine's own.
pub(super) fn tag_of(name: &str) -> Result<String, Status> {
    let wrong = |e: ParseRefError| Status::invalid_argument(e.to_string());
    let reference = match ImageRef::parse(name).map_err(wrong)? {
        Parsed::Full(reference) => Some(reference),
        Parsed::Short(_) => match ImageRef::parse(&format!("localhost/{name}")).map_err(wrong)? {
            Parsed::Full(reference) => Some(reference),
            Parsed::Short(_) => None,
        },
    };
    let tagged =
        reference.filter(|reference| reference.digest().is_none()).and_then(|reference| reference.tagged());
    tagged.ok_or_else(|| {
        Status::invalid_argument(format!("{name:?} is not a name with a tag: expected NAME:TAG"))
    })
}

/// What images, and the writable layers of containers, take on the disk.
pub(super) async fn usage(service: &Service) -> api::DiskUsageResponse {
    let images = service.engine.images();
    let mut containers_bytes = 0;
    for view in service.engine.containers(None) {
        // One that is removed meanwhile takes nothing.
        containers_bytes += images.snapshot_usage(&view.id).await.map_or(0, |usage| usage.bytes);
    }
    let disk = images.disk().ok();
    api::DiskUsageResponse {
        images_bytes: images.usage().bytes,
        containers_bytes,
        images_reclaimable: images.reclaimable(),
        disk_capacity: disk.map_or(0, |disk| disk.capacity),
        disk_available: disk.map_or(0, |disk| disk.available),
    }
}
