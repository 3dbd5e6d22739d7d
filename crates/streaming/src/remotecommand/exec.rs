//! A command in a container.

use std::time::Duration;

use berth_engine::{Engine, EngineError, ExecEnd, ExecRequest, ExecSession};
use berth_types::error::chain;
use tokio::io::AsyncWriteExt;

use super::Streams;
use super::copy::{self, InputEnd};
use super::size::Sizes;
use super::status::Outcome;
use crate::request::Exec;
use crate::session::Outlet;
use crate::wire::Packet;

/// How long the command waits for the terminal's first size, so that it has it from the beginning. Clients send it at once; those
/// that send none are held up by this.
const FIRST_SIZE: Duration = Duration::from_millis(200);

/// Runs it to its end, and tells the outcome.
pub(crate) async fn exec(engine: &Engine, request: Exec, mut streams: Streams) {
    let mut sizes = streams.resize.take().map(Sizes::new);
    let size = match &mut sizes {
        Some(sizes) => tokio::time::timeout(FIRST_SIZE, sizes.next()).await.ok().flatten(),
        None => None,
    };
    let Exec { container, argv, tty, streams: wanted } = request;
    let asked = ExecRequest { argv, tty, size, stdin: wanted.stdin, ..ExecRequest::default() };
    let outcome = match engine.exec(&container, asked).await {
        Ok(session) => match run(session, sizes, &mut streams).await {
            Ok(end) => Outcome::of_code(end.code),
            Err(error) => Outcome::Failed(chain(&error)),
        },
        Err(error) => not_begun(&error, tty, &streams).await,
    };
    for outlet in [&streams.stdout, &streams.stderr] {
        outlet.finish().await;
    }
    outcome.tell(streams.version, &streams.error).await;
}

/// A command that cannot be executed is said as a shell says it: in the output, with the status of a shell.
async fn not_begun(error: &EngineError, tty: bool, streams: &Streams) -> Outcome {
    let EngineError::Command { message, code } = error else {
        return Outcome::Failed(format!("cannot run the command: {}", chain(error)));
    };
    let (to, end) = if tty { (&streams.stdout, "\r\n") } else { (&streams.stderr, "\n") };
    to.send(&mut Packet::of(format!("{message}{end}").as_bytes())).await.ok();
    Outcome::of_code(*code)
}

/// Every byte of output that there is at the command's end is sent before this is over.
async fn run(
    mut session: ExecSession,
    sizes: Option<Sizes>,
    streams: &mut Streams,
) -> Result<ExecEnd, EngineError> {
    let (stdout, stderr) = session.outputs();
    let resizer = session.resizer.take();
    let (mut from, mut to) = (streams.stdin.take(), session.stdin.take());
    let (out, err): (&Outlet, &Outlet) = (&streams.stdout, &streams.stderr);
    let inputs = async {
        let input = async {
            let Some(from) = &mut from else { return };
            // The end of a connection is that of the command, and not of its input: that would be half of what was meant.
            if copy::input(from, &mut to).await == InputEnd::Told
                && let Some(mut ended) = to.take()
            {
                // It has ended by itself when this fails.
                ended.shutdown().await.ok();
            }
        };
        tokio::join!(input, copy::sizes(sizes, resizer));
        std::future::pending::<()>().await;
    };
    let outputs = async {
        let stderr = async {
            if let Some(stderr) = stderr {
                copy::output(stderr, err, || ()).await;
            }
        };
        tokio::join!(session.ending.wait(), copy::output(stdout, out, || ()), stderr).0
    };
    tokio::select! {
        end = outputs => end,
        () = inputs => Err(EngineError::Closed),
    }
}
