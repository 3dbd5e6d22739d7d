//! The handshake with a shim: the same for one that was just started, one that a new daemon finds, and one whose
//! connection was lost.

use std::time::Duration;

use berth_types::shim::Known;
use tokio::sync::mpsc;

use super::{Connection, Notice, Shim, ShimError};

/// A shim after the handshake.
#[derive(Debug)]
pub(crate) struct Greeted {
    pub(crate) shim: Shim,
    /// Every container that it knows.
    pub(crate) known: Vec<Known>,
}

/// Says hello on a new connection and waits for the answer, at most for `limit`. From then on `notices` gets what the
/// shim reports.
pub(crate) async fn greet<N>(
    connection: Connection,
    notices: mpsc::Sender<N>,
    limit: Duration,
) -> Result<Greeted, ShimError>
where
    N: From<Notice> + Send + 'static,
{
    let shim = connection.serve(notices).map_err(|_| ShimError::Unexpected { request: "Hello" })?;
    let greeting = shim.hello(limit).await?;
    Ok(Greeted { shim, known: greeting.containers })
}
