//! Runs a hook.

use berth_types::error::chain;

use super::check::Target;
use super::{Hook, exec, http};

/// Runs a hook to its end, which it says itself: its caller bounds it by a grace, or by the container's life.
pub(crate) async fn run(target: &Target, hook: &Hook) -> Result<(), String> {
    match hook {
        Hook::Exec(argv) => match target.engine.exec_sync(&target.container, argv.clone(), None).await {
            Ok(output) if output.code == 0 => Ok(()),
            Ok(output) => Err(format!("status {}: {}", output.code, exec::text(&output))),
            Err(e) => Err(chain(&e)),
        },
        Hook::Http(get) => http::call(target.address, get).await,
        Hook::Sleep(time) => {
            tokio::time::sleep(*time).await;
            Ok(())
        }
    }
}
