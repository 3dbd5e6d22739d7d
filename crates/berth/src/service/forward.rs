//! A connection to a port of a pod: bytes in both directions, each to its own end.

use berth_engine::Connection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{Answer, Messages, Service, refuse, stream, target};
use crate::api::{self, forward_input::Input};

/// Bytes read at a time.
const CHUNK: usize = 32 << 10;

type Sender = mpsc::Sender<Result<api::ForwardOutput, Status>>;
type Inputs = Streaming<api::ForwardInput>;

/// Connects, and passes on what comes until both directions have ended or the client is gone.
pub(super) async fn forward(service: &Service, mut inputs: Inputs) -> Answer<Messages<api::ForwardOutput>> {
    let first = inputs.message().await?.and_then(|message| message.input);
    let Some(Input::Start(start)) = first else {
        return Err(Status::invalid_argument("the first message of a forward must be its start"));
    };
    let port = u16::try_from(start.port).ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| Status::invalid_argument(format!("{} is not a port", start.port)))?;
    let pod = target::pod(&service.engine, &start.pod)?;
    let connection = service.engine.connect(&pod.id, port).await.map_err(refuse)?;
    let (sender, answer) = stream();
    match connection {
        Connection::Tcp(socket) => {
            let (read, write) = socket.into_split();
            tokio::spawn(pass(inputs, sender, read, write));
        }
        Connection::Unix(socket) => {
            let (read, write) = socket.into_split();
            tokio::spawn(pass(inputs, sender, read, write));
        }
    }
    answer
}

async fn pass(
    inputs: Inputs,
    sender: Sender,
    read: impl AsyncRead + Unpin + Send + 'static,
    write: impl AsyncWrite + Unpin + Send + 'static,
) {
    let feed = tokio::spawn(feed(inputs, write));
    tokio::select! {
        () = answers(&sender, read) => {}
        () = sender.closed() => {}
    }
    // The pod has ended its side: what the client still sends would find no reader.
    feed.abort();
}

async fn answers(sender: &Sender, mut read: impl AsyncRead + Unpin) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(count @ 1..) = read.read(&mut buffer).await {
        if sender.send(Ok(api::ForwardOutput { data: buffer[..count].to_vec() })).await.is_err() {
            return;
        }
    }
}

async fn feed(mut inputs: Inputs, mut write: impl AsyncWrite + Unpin) {
    while let Ok(Some(message)) = inputs.message().await {
        let written = match message.input {
            Some(Input::Data(data)) => write.write_all(&data).await,
            Some(Input::End(_)) => write.shutdown().await,
            Some(Input::Start(_)) | None => return,
        };
        if written.is_err() {
            return;
        }
    }
    // The client has gone without an end.
    write.shutdown().await.ok();
}
