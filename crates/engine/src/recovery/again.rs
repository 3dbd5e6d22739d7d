//! What could not be undone of a pod that no caller knows: nobody will ask for it, so it is tried again from here.

use std::sync::Arc;
use std::time::Duration;

use berth_types::SandboxId;

use crate::about::About;
use crate::error::EngineError;
use crate::shared::Shared;

/// The time before the first further attempt; it doubles up to [`MAX_PAUSE`].
const PAUSE: Duration = Duration::from_secs(5);
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// Repeats `work` in the background until it succeeds or the engine is gone.
pub(crate) fn until_done<F>(
    shared: &Arc<Shared>,
    sandbox: SandboxId,
    work: impl Fn(Arc<Shared>) -> F + Send + 'static,
) where
    F: Future<Output = Result<(), EngineError>> + Send,
{
    let shared = Arc::downgrade(shared);
    let about = About::now().asked_by(None);
    tokio::spawn(about.around(async move {
        let mut pause = PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            let Some(shared) = shared.upgrade() else { return };
            match work(shared).await {
                Ok(()) => break,
                Err(error) => {
                    let error = berth_types::error::chain(&error);
                    tracing::debug!(sandbox = sandbox.short(), error, "a pod still cannot be cleaned up");
                }
            }
            pause = MAX_PAUSE.min(pause * 2);
        }
        tracing::info!(sandbox = sandbox.short(), "cleaned up after a pod");
    }));
}
