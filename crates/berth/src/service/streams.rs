//! Exec and attach: bytes in both directions, the terminal's size, the exit status.

use berth_engine::{EngineError, ExecRequest, Input, Resizer};
use berth_types::shim::LEFT_INPUT_LIMIT;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{Answer, Messages, Service, refuse, stream, target};
use crate::api::{self, input, output};

/// Bytes read at a time.
const CHUNK: usize = 32 << 10;

type Sender = mpsc::Sender<Result<api::Output, Status>>;

async fn first(inputs: &mut Streaming<api::Input>) -> Result<input::Input, Status> {
    let message = inputs.message().await?.and_then(|m| m.input);
    message.ok_or_else(|| Status::invalid_argument("the stream ended before its first message"))
}

/// Runs a further process in a container.
pub(super) async fn exec(
    service: &Service,
    mut inputs: Streaming<api::Input>,
) -> Answer<Messages<api::Output>> {
    let input::Input::Start(start) = first(&mut inputs).await? else {
        return Err(Status::invalid_argument("the first message of an exec must be its start"));
    };
    if start.argv.is_empty() {
        return Err(Status::invalid_argument("no command was given"));
    }
    let view = target::container(&service.engine, &start.container)?;
    let given = |text: String| (!text.is_empty()).then_some(text);
    let request = ExecRequest {
        argv: start.argv,
        env: start.env,
        user: given(start.user),
        working_dir: given(start.working_dir),
        tty: start.tty,
        size: start.size.map(sides),
        stdin: start.stdin,
    };
    let (sender, answer) = stream();
    let mut session = match service.engine.exec(&view.id, request).await {
        Ok(session) => session,
        Err(EngineError::Command { message, code }) => {
            // As in a shell, with the status of a shell.
            let text = format!("berth: {message}\n").into_bytes();
            for output in [output::Output::Stderr(text), output::Output::ExitCode(code)] {
                drop(sender.send(Ok(said(output))).await);
            }
            return answer;
        }
        Err(e) => return Err(refuse(e)),
    };
    if start.detach {
        tokio::spawn(async move {
            let (stdout, stderr) = session.outputs();
            tokio::join!(session.ending.wait(), swallow(Some(stdout)), swallow(stderr))
        });
        drop(sender.send(Ok(said(output::Output::ExitCode(0)))).await);
        return answer;
    }
    let feed = tokio::spawn(feed(inputs, session.stdin.take(), session.resizer.clone()));
    tokio::spawn(async move {
        let (stdout, stderr) = session.outputs();
        let outputs = outputs(&sender, stdout, stderr);
        let end = tokio::select! {
            (end, ()) = async { tokio::join!(session.ending.wait(), outputs) } => end,
            // The client has disconnected: dropping the session ends the process.
            () = sender.closed() => { feed.abort(); return; }
        };
        let last = match end {
            Ok(end) => Ok(said(output::Output::ExitCode(end.code))),
            Err(e) => Err(refuse(e)),
        };
        drop(sender.send(last).await);
        feed.abort();
    });
    answer
}

/// Joins the stdio of a container; with `release` it starts first.
pub(super) async fn attach(
    service: &Service,
    mut inputs: Streaming<api::Input>,
) -> Answer<Messages<api::Output>> {
    let input::Input::Join(join) = first(&mut inputs).await? else {
        return Err(Status::invalid_argument("the first message of an attach must be its join"));
    };
    let view = target::container(&service.engine, &join.container)?;
    if service.engine.is_paused(&view) {
        return Err(Status::failed_precondition(format!(
            "{name} is paused (hint: berth unpause {name} lets it go on)",
            name = view.config.metadata.name
        )));
    }
    let mut session = service.engine.attach(&view.id, join.stdin).await.map_err(refuse)?;
    resize(session.resizer.as_ref(), join.size).await;
    if join.release {
        service.pods.release(&view).await.map_err(refuse)?;
    }
    let (sender, answer) = stream();
    let feed = tokio::spawn(feed(inputs, session.stdin.take(), session.resizer.clone()));
    let service = service.clone();
    tokio::spawn(async move {
        let outputs = outputs(&sender, session.stdout, session.stderr);
        tokio::select! {
            // Looked at first: output that cannot be sent to it any more ends at the same moment.
            biased;
            // What it has sent is input still.
            () = sender.closed() => drop(tokio::spawn(async move {
                let abort = feed.abort_handle();
                if tokio::time::timeout(LEFT_INPUT_LIMIT, feed).await.is_err() {
                    abort.abort();
                }
            })),
            () = outputs => feed.abort(),
        }
        if join.release {
            service.pods.left(&view).await;
        }
    });
    answer
}

fn said(output: output::Output) -> api::Output {
    api::Output { output: Some(output) }
}

fn sides(size: api::Size) -> (u16, u16) {
    let side = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    (side(size.rows), side(size.columns))
}

async fn resize(resizer: Option<&Resizer>, size: Option<api::Size>) {
    let (Some(resizer), Some(size)) = (resizer, size) else { return };
    let (rows, columns) = sides(size);
    if let Err(e) = resizer.resize(rows, columns).await {
        tracing::debug!(error = %e, "failed to resize the terminal");
    }
}

/// The client's bytes to the process. The end of either side ends it.
async fn feed(mut inputs: Streaming<api::Input>, mut stdin: Option<Input>, resizer: Option<Resizer>) {
    while let Ok(Some(message)) = inputs.message().await {
        match message.input {
            Some(input::Input::Stdin(bytes)) => {
                let Some(to) = stdin.as_mut() else { continue };
                if to.write_all(&bytes).await.is_err() {
                    stdin = None;
                }
            }
            Some(input::Input::Resize(size)) => resize(resizer.as_ref(), Some(size)).await,
            Some(input::Input::End(_)) => {
                if let Some(mut to) = stdin.take() {
                    // It ended by itself when this fails.
                    to.shutdown().await.ok();
                }
            }
            Some(input::Input::Start(_) | input::Input::Join(_)) | None => return,
        }
    }
}

/// The process' bytes to the client: both streams to their ends.
async fn outputs<R: AsyncRead + Unpin>(sender: &Sender, stdout: R, stderr: Option<R>) {
    let err = async {
        if let Some(stderr) = stderr {
            pump(sender, stderr, output::Output::Stderr).await;
        }
    };
    tokio::join!(pump(sender, stdout, output::Output::Stdout), err);
}

/// Reads to the end, for nobody: a process that writes must not wait.
async fn swallow(from: Option<impl AsyncRead + Unpin>) {
    let mut buffer = vec![0; CHUNK];
    let Some(mut from) = from else { return };
    while let Ok(1..) = from.read(&mut buffer).await {}
}

async fn pump(sender: &Sender, mut from: impl AsyncRead + Unpin, wrap: fn(Vec<u8>) -> output::Output) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if sender.send(Ok(said(wrap(buffer[..read].to_vec())))).await.is_err() {
            return;
        }
    }
}
