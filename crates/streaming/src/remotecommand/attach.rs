//! A container's stdio.

use std::time::Duration;

use berth_engine::{AttachSession, Engine};
use berth_types::error::chain;
use berth_types::lifecycle::container::State;
use tokio::io::AsyncWriteExt;

use super::Streams;
use super::copy::{self, InputEnd};
use super::size::Sizes;
use super::status::Outcome;
use crate::request::Attach;
use crate::wire::Activity;

/// How long output may stay away before a client leaves that has ended its input but not the container's.
const QUIET: Duration = Duration::from_millis(500);
/// How long it stays for output at most.
const PARTING: Duration = Duration::from_secs(5);

/// How long a container may take from the end of its output to its own.
const ENDING: Duration = Duration::from_secs(5);
/// What a client is told whose output has ended although the container goes on.
const CUT_OFF: &str = "this client took no output for too long and was cut off; the container goes on";

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// There is no more output.
    Output,
    /// The client has gone, or has ended its input and leaves.
    Left,
}

/// What it means that a client ends its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The container's stdin ends, too.
    Ends,
    /// The container's stdin stays open for others, and the client leaves.
    Leaves,
}

/// Joins it until the container ends or the client leaves, and tells the outcome.
pub(crate) async fn attach(engine: &Engine, request: &Attach, mut streams: Streams) {
    let joined = async {
        let view = engine.container(request.container.as_str())?;
        // As kubectl expects (`run -i`, with and without --leave-stdin-open).
        let once = view.config.stdin_once && !view.config.tty;
        let meaning = if once { Meaning::Ends } else { Meaning::Leaves };
        engine.attach(&request.container, request.streams.stdin).await.map(|session| (session, meaning))
    };
    let outcome = match joined.await {
        Ok((session, meaning)) => match run(session, meaning, &mut streams).await {
            Over::Left => Outcome::Success,
            Over::Output if ends(engine, request).await => Outcome::Success,
            Over::Output => Outcome::failed(&CUT_OFF),
        },
        Err(error) => Outcome::Failed(format!("cannot attach to the container: {}", chain(&error))),
    };
    outcome.tell(streams.version, &streams.error).await;
}

/// Whether the container ends now. Its output ends a moment before that is known.
async fn ends(engine: &Engine, request: &Attach) -> bool {
    let until = tokio::time::Instant::now() + ENDING;
    while tokio::time::Instant::now() < until {
        let running = |state| matches!(state, State::Running | State::Stopping { .. });
        if !engine.container(request.container.as_str()).is_ok_and(|view| running(view.state)) {
            return true;
        }
        tokio::time::sleep(ENDING / 50).await;
    }
    false
}

async fn run(session: AttachSession, meaning: Meaning, streams: &mut Streams) -> Over {
    let AttachSession { stdin, stdout, stderr, resizer } = session;
    let sizes = streams.resize.take().map(Sizes::new);
    let from = streams.stdin.take();
    let output = Activity::new();
    let input = async {
        let (Some(mut from), mut stdin) = (from, stdin) else { return std::future::pending().await };
        match (copy::input(&mut from, &mut stdin).await, meaning) {
            (InputEnd::Told, Meaning::Ends) => {
                if let Some(mut stdin) = stdin.take() {
                    // The container has closed it when this fails.
                    stdin.shutdown().await.ok();
                }
                from.over().await;
            }
            (InputEnd::Told, Meaning::Leaves) => {
                output.touch();
                drop(tokio::time::timeout(PARTING, output.idle(QUIET)).await);
            }
            (InputEnd::Gone, _) => {}
        }
    };
    let sizes = async {
        copy::sizes(sizes, resizer).await;
        std::future::pending().await
    };
    let outputs = async {
        let stderr = async {
            if let Some(stderr) = stderr {
                copy::output(stderr, &streams.stderr, || output.touch()).await;
            }
        };
        tokio::join!(copy::output(stdout, &streams.stdout, || output.touch()), stderr);
    };
    let over = tokio::select! {
        () = outputs => Over::Output,
        () = input => Over::Left,
        () = sizes => Over::Left,
    };
    for outlet in [&streams.stdout, &streams.stderr] {
        outlet.finish().await;
    }
    over
}
