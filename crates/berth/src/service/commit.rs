//! Roots of containers: out of the store as a tar, and into images.

use std::path::PathBuf;
use std::sync::Arc;

use berth_engine::image::{Files, Ids, Names, RunWith, Words};
use berth_engine::model::{ContainerView, User};
use berth_types::lifecycle::container::State;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tonic::{Status, Streaming};

use super::{Service, archive, images, look, refuse, target, views};
use crate::api::{self, import_input::Input};

/// Sends the root of a container as a tar.
pub(super) async fn export(service: Service, name: String, sender: mpsc::Sender<Result<api::Chunk, Status>>) {
    let found = target::container(&service.engine, &name);
    let service = &service;
    let export = |out| async move {
        let view = found?;
        service.engine.images().export(&view.id, ids(service, &view), out).await.map_err(refuse)
    };
    archive::in_pieces(sender, export).await;
}

/// The ids of the user namespace that a container's files on the disk have.
fn ids(service: &Service, view: &ContainerView) -> Option<Ids> {
    let user = service.engine.sandbox(view.sandbox.as_str()).ok()?.config.namespaces.user?;
    Some(Ids { first: (user.uids.host, user.gids.host), length: user.uids.length })
}

/// Makes an image of a container; one that runs is paused meanwhile where that is asked.
pub(super) async fn commit(service: &Service, request: api::CommitRequest) -> Result<api::MadeImage, Status> {
    let view = target::container(&service.engine, &request.container)?;
    let words = words(request.words.unwrap_or_default())?;
    let pauses = request.pause && view.state == State::Running && !service.engine.is_paused(&view);
    if pauses {
        service.engine.pause_container(&view.id).await.map_err(|e| {
            let status = refuse(e);
            Status::new(
                status.code(),
                format!("{} (hint: --pause=false takes it as it runs)", status.message()),
            )
        })?;
    }
    // It goes on also when the client does not wait.
    let work = tokio::spawn(made(service.clone(), view, words, pauses));
    let made = work.await.map_err(|e| Status::internal(e.to_string()))?;
    made.map(|id| api::MadeImage { id })
}

async fn made(
    service: Service,
    view: Arc<ContainerView>,
    words: Words,
    paused: bool,
) -> Result<String, Status> {
    let images = service.engine.images();
    let mounts = view.config.mounts.iter().map(|mount| mount.container_path.clone());
    let without = mounts.chain(look::MOUNTED.map(PathBuf::from)).collect();
    let files = Files { without, ids: ids(&service, &view) };
    let made = images.commit_container(&view.id, files, run_with(&service, &view), words).await;
    if paused && let Err(e) = service.engine.unpause_container(&view.id).await {
        // It has ended meanwhile, or somebody else let it go on.
        tracing::debug!(container = view.id.short(), error = %berth_types::error::chain(&e), "not unpaused");
    }
    made.map(|image| image.id.to_string()).map_err(refuse)
}

/// What the container has beside what its image says.
fn run_with(service: &Service, view: &ContainerView) -> RunWith {
    let config = &view.config;
    let some = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    let variable = |of: &berth_engine::model::EnvVar| {
        // What is not text has no place in the image's JSON.
        Some(format!("{}={}", of.name, std::str::from_utf8(&of.value).ok()?))
    };
    let user = config.security.user.as_ref().map(|user| match (user, config.security.group) {
        (User::Id(uid), Some(gid)) => format!("{uid}:{gid}"),
        (User::Id(uid), None) => uid.to_string(),
        (User::Name(name), _) => name.clone(),
    });
    let image = service.engine.images().find(&view.image_id).ok().flatten();
    RunWith {
        env: config.envs.iter().filter_map(variable).collect(),
        entrypoint: some(&config.command),
        cmd: some(&config.args),
        working_dir: config.working_dir.clone(),
        user,
        command: views::command(view, image.as_deref()),
    }
}

/// Makes an image of the tree in a tar that the client sends.
pub(super) async fn import(
    service: &Service,
    mut input: Streaming<api::ImportInput>,
) -> Result<api::MadeImage, Status> {
    let first = input.message().await?.and_then(|first| first.input);
    let Some(Input::Words(said)) = first else {
        return Err(Status::invalid_argument("the first message of an import says what the image is to be"));
    };
    let words = words(said)?;
    let chunks = input.map(|message| match message?.input {
        Some(Input::Chunk(chunk)) => Ok(chunk),
        _ => Err(Status::invalid_argument("only chunks follow the first message of an import")),
    });
    let tar = archive::receive(&service.engine.config().root, chunks).await?;
    let image = service.engine.images().import(tar, words).await.map_err(refuse)?;
    Ok(api::MadeImage { id: image.id.to_string() })
}

fn words(said: api::ImageWords) -> Result<Words, Status> {
    let tags = if said.name.is_empty() { Vec::new() } else { vec![images::tag_of(&said.name)?] };
    let names = Names { tags, repo_digests: Vec::new() };
    Ok(Words { names, author: said.author, message: said.message, changes: said.changes })
}
