//! OCI artifacts: what they are made of, their files, and making them.

use std::collections::BTreeSet;

use berth_engine::image::{Ingest, LayerStep, Names, NewArtifact, NewFile};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::archive::pump;
use super::images::{message, tag_of};
use super::{Service, refuse};
use crate::api::{self, artifact_input::Input};

/// What an artifact is made of.
pub(super) fn look(service: &Service, name: &str) -> Result<api::ArtifactResponse, Status> {
    let images = service.engine.images();
    let missing = || Status::not_found(format!("no artifact {name:?} (hint: berth artifact ls lists them)"));
    let image = images.find(name).map_err(refuse)?.ok_or_else(missing)?;
    let contents = images.contents(&image.id).map_err(refuse)?.ok_or_else(|| {
        Status::failed_precondition(format!(
            "{name:?} is an image, and no artifact (hint: berth inspect {name})"
        ))
    })?;
    let file = |file: berth_engine::image::ArtifactFile| api::ArtifactEntry {
        path: file.path.to_string_lossy().into_owned(),
        titled: file.titled,
        digest: file.digest.to_string(),
        size: file.size,
        media_type: file.media_type,
    };
    Ok(api::ArtifactResponse {
        image: Some(message(&image, &service.engine.images_in_use(None))),
        manifest: contents.manifest,
        files: contents.files.into_iter().map(file).collect(),
    })
}

/// Sends the content of a file.
pub(super) async fn file(
    service: Service,
    request: api::ArtifactFileRequest,
    sender: mpsc::Sender<Result<api::Chunk, Status>>,
) {
    let (pieces, images) = (sender.clone(), service.engine.images().clone());
    let sent = tokio::task::spawn_blocking(move || {
        let id =
            request.id.parse().map_err(|_| Status::invalid_argument(format!("{:?} is no id", request.id)))?;
        let index = usize::try_from(request.index).map_err(|e| Status::invalid_argument(e.to_string()))?;
        pump(images.open_file(&id, index).map_err(refuse)?, &pieces)
            .map_err(|e| Status::internal(format!("read the artifact's file: {e}")))
    });
    let sent = sent.await.unwrap_or_else(|e| Err(Status::internal(e.to_string())));
    if let Err(status) = sent {
        drop(sender.send(Err(status)).await);
    }
}

/// Makes an artifact of the files that the client sends.
pub(super) async fn make(
    service: &Service,
    mut input: Streaming<api::ArtifactInput>,
) -> Result<api::MakeArtifactResponse, Status> {
    let Some(api::ArtifactInput { input: Some(Input::Begin(begin)) }) = input.message().await? else {
        return Err(Status::invalid_argument("the first message does not say what is made"));
    };
    let tag = tag_of(&begin.name)?;
    let images = service.engine.images();
    let known = images.list().into_iter().find(|image| image.tags.contains(&tag));
    if let (Some(known), false) = (known, begin.replace) {
        let what = if known.config.artifact.is_empty() { "an image" } else { "an artifact" };
        return Err(Status::already_exists(format!(
            "{tag} is {what} already (hint: --replace takes its name)"
        )));
    }
    let files = begin.files.into_iter().map(new_file).collect::<Result<Vec<_>, Status>>()?;
    let count = files.len();
    let new = NewArtifact { kind: begin.r#type, files };
    let (ingest, digest) = images.make_artifact(&new).await.map_err(refuse)?;
    for index in 0..count {
        receive(&ingest, index, &mut input).await?;
    }
    let names = Names { tags: vec![tag], repo_digests: Vec::new() };
    let image = ingest.commit(names).await.map_err(refuse)?;
    debug_assert!(!message(&image, &BTreeSet::new()).artifact.is_empty(), "it is an artifact");
    Ok(api::MakeArtifactResponse { digest: digest.to_string(), id: image.id.to_string() })
}

fn new_file(file: api::NewFile) -> Result<NewFile, Status> {
    let digest = file.digest.parse();
    Ok(NewFile {
        digest: digest.map_err(|_| Status::invalid_argument(format!("{:?} is no digest", file.digest)))?,
        title: file.title,
        size: file.size,
        media_type: file.media_type,
        annotations: file.annotations.into_iter().collect(),
    })
}

/// The bytes of one file, which are passed over where they are there already.
async fn receive(
    ingest: &Ingest,
    index: usize,
    input: &mut Streaming<api::ArtifactInput>,
) -> Result<(), Status> {
    let mut writer = match ingest.layer(index).await.map_err(refuse)? {
        LayerStep::Present => None,
        LayerStep::Write(writer) => Some(writer),
    };
    loop {
        let Some(api::ArtifactInput { input: Some(Input::Chunk(chunk)) }) = input.message().await? else {
            return Err(Status::aborted("the client stopped sending before the end of a file"));
        };
        if let Some(writer) = &mut writer {
            writer.write(&chunk.data).await.map_err(refuse)?;
        }
        if chunk.last {
            break;
        }
    }
    match writer {
        Some(writer) => writer.finish().await.map_err(refuse),
        None => Ok(()),
    }
}
