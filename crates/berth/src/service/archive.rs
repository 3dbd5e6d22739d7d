//! Archives of images in pieces: into the store, and out of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use berth_engine::image::LoadProgress;
use rustix::fs::{Mode, OFlags};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{Service, refuse};
use crate::api::{self, load_event::Event};

/// Bytes of a piece on its way out.
const PIECE: usize = 256 << 10;

/// Loads the archive that the client sends.
pub(super) async fn load(
    service: Service,
    chunks: Streaming<api::Chunk>,
    sender: mpsc::Sender<Result<api::LoadEvent, Status>>,
) {
    let last = load_all(&service, chunks, &sender).await.map(said);
    // The client has disconnected when this fails; what was loaded stays.
    drop(sender.send(last).await);
}

fn said(event: Event) -> api::LoadEvent {
    api::LoadEvent { event: Some(event) }
}

async fn load_all(
    service: &Service,
    chunks: Streaming<api::Chunk>,
    sender: &mpsc::Sender<Result<api::LoadEvent, Status>>,
) -> Result<Event, Status> {
    let archive = receive(&service.engine.config().root, chunks).await?;
    let progress = |step: LoadProgress| {
        let state = if step.done < step.total { "unpacking" } else { "done" };
        let layer = api::Layer {
            digest: step.layer.to_string(),
            state: state.to_owned(),
            done: step.done,
            total: step.total,
        };
        // A slow client misses steps.
        drop(sender.try_send(Ok(said(Event::Layer(layer)))));
    };
    let images = service.engine.images().load(archive, progress).await.map_err(refuse)?;
    let images = images.iter().map(|image| super::images::message(image, &BTreeSet::new())).collect();
    Ok(Event::Loaded(api::LoadedImages { images }))
}

/// The archive as a nameless file in `dir`: what names the layers may stand at its end.
async fn receive(dir: &Path, mut chunks: Streaming<api::Chunk>) -> Result<File, Status> {
    let failed = |e: std::io::Error| {
        let text = format!("store the archive in {}: {e}", dir.display());
        match e.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Status::resource_exhausted(text),
            _ => Status::internal(text),
        }
    };
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let opened = rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR);
    let mut file = File::from(opened.map_err(|e| failed(e.into()))?);
    while let Some(chunk) = chunks.message().await? {
        let written = tokio::task::spawn_blocking(move || file.write_all(&chunk.data).map(|()| file)).await;
        file = written.map_err(|e| failed(std::io::Error::other(e)))?.map_err(failed)?;
        if chunk.last {
            return Ok(file);
        }
    }
    Err(Status::aborted("the client stopped sending before the end of the archive"))
}

/// Sends an archive of images.
pub(super) async fn save(
    service: Service,
    request: api::SaveRequest,
    sender: mpsc::Sender<Result<api::Chunk, Status>>,
) {
    let result = match std::io::pipe() {
        Ok((reader, writer)) => {
            let out = File::from(OwnedFd::from(writer));
            let pieces = sender.clone();
            // What cannot be read from a pipe is told by the side that writes it.
            let pump = tokio::task::spawn_blocking(move || pump(reader, &pieces).ok());
            let saved = service.engine.images().save(&request.images, out).await.map_err(refuse);
            // The pipe's end is closed: the pump ends too.
            pump.await.ok();
            saved
        }
        Err(e) => Err(Status::internal(format!("make a pipe: {e}"))),
    };
    if let Err(status) = result {
        drop(sender.send(Err(status)).await);
    }
}

/// Sends what is read until its end. A client that went away ends it too: that closes the pipe, and so the save.
pub(super) fn pump(
    mut reader: impl Read,
    sender: &mpsc::Sender<Result<api::Chunk, Status>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let data = match reader.read(&mut buffer) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Ok(0) => return Ok(()),
            Err(e) => return Err(e),
            Ok(read) => buffer[..read].to_vec(),
        };
        if sender.blocking_send(Ok(api::Chunk { data, last: false })).is_err() {
            return Ok(());
        }
    }
}
