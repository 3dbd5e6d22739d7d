//! The handshake with a shim: the same for one that was just started, one that a new daemon finds, and one whose
//! connection was lost.

use std::time::Duration;

use berth_types::shim::{self, Answer, Known, Request};
use tokio::sync::mpsc;

use super::{Connection, Notice, Shim, ShimError};

/// A shim that said hello.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) shim: Shim,
    /// Every container that it knows.
    pub(crate) known: Vec<Known>,
}

/// Says hello on a new connection and waits for the answer, at most for `limit`. From then on `notices` gets what the
/// shim says unasked.
pub(crate) async fn greet<N>(
    connection: Connection,
    notices: mpsc::Sender<N>,
    limit: Duration,
) -> Result<Greeting, ShimError>
where
    N: From<Notice> + Send + 'static,
{
    let unusable = || ShimError::Unexpected { request: "Hello" };
    let shim = connection.serve(notices).map_err(|_| unusable())?;
    match shim.ask(Request::Hello { version: shim::VERSION }, Vec::new(), limit).await? {
        (Answer::Hello { containers, .. }, _) => Ok(Greeting { shim, known: containers }),
        (Answer::Done | Answer::Created { .. } | Answer::ExecStarted { .. } | Answer::Started { .. }, _) => {
            Err(unusable())
        }
    }
}
