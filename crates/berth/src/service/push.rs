//! Pushing images, and whether a registry takes credentials.

use berth_engine::image::credentials::Keyring;
use berth_engine::image::pull::Progress;
use berth_engine::image::push::PushRequest;
use berth_types::reference::{ImageRef, Parsed};
use tokio::sync::mpsc;
use tonic::Status;

use super::images::{auth, progress};
use super::{Service, refuse};
use crate::api;

/// Asks a registry about credentials.
pub(super) async fn login(service: &Service, request: api::LoginRequest) -> Result<(), Status> {
    let given = auth(request.auth.unwrap_or_default());
    service.engine.login(&request.registry, given).await.map_err(refuse)
}

/// Pushes an image and reports the progress.
pub(super) async fn push(
    service: Service,
    request: api::PushRequest,
    sender: mpsc::Sender<Result<api::PushEvent, Status>>,
) {
    let request = match push_request(&service, &request) {
        Ok(request) => request,
        Err(status) => {
            drop(sender.send(Err(status)).await);
            return;
        }
    };
    let name = request.to.to_string();
    let (sink, mut steps) = Progress::channel();
    let mut work = std::pin::pin!(service.engine.push(request, sink));
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            Ok(()) = steps.changed() => {
                let step = told(&name, &steps.borrow_and_update());
                // A slow client misses steps.
                drop(sender.try_send(Ok(step)));
            }
            // Nobody waits for it any more: what was sent stays, and is found the next time.
            () = sender.closed() => return,
        }
    };
    let last = match result {
        Ok(done) => Ok(api::PushEvent {
            digest: done.digest.to_string(),
            changed: done.changed,
            ..told(&name, &steps.borrow())
        }),
        Err(e) => Err(refuse(e)),
    };
    drop(sender.send(last).await);
}

fn told(name: &str, now: &berth_engine::image::pull::PullProgress) -> api::PushEvent {
    let mut layers = progress(name, now, None).layers;
    for layer in &mut layers {
        if layer.state == "downloading" {
            "uploading".clone_into(&mut layer.state);
        }
    }
    api::PushEvent { layers, ..api::PushEvent::default() }
}

fn push_request(service: &Service, request: &api::PushRequest) -> Result<PushRequest, Status> {
    let to = match ImageRef::parse(&request.to).map_err(|e| Status::invalid_argument(e.to_string()))? {
        Parsed::Full(to) => to,
        Parsed::Short(_) => {
            return Err(Status::invalid_argument(format!(
                "{to:?} names no registry (hint: berth push {image} REGISTRY/{to})",
                to = request.to,
                image = request.image
            )));
        }
    };
    let image = service.engine.images().find(&request.image).map_err(refuse)?;
    let image = image.ok_or_else(|| {
        Status::not_found(format!("no image {:?} (hint: berth images lists them)", request.image))
    })?;
    let keyring = |given: Option<api::ImageAuth>| Keyring { request: given.map(auth), files: None };
    let from = image.repo_digests.iter().filter_map(|name| {
        let Ok(Parsed::Full(reference)) = ImageRef::parse(name) else { return None };
        let given = request.sources.iter().find(|given| given.image == *name).cloned();
        Some((reference, keyring(given)))
    });
    Ok(PushRequest {
        image: request.image.clone(),
        to,
        keyring: keyring(request.auth.clone()),
        from: from.collect(),
    })
}
