//! Starting a prepared container.

use std::time::Duration;

use berth_types::ContainerId;
use berth_types::lifecycle::container::Message;
use berth_types::shim::Reason;

use super::exit::Exit;
use crate::error::EngineError;
use crate::sandbox::Live;
use crate::shim::{Shim, ShimError};

/// The time that an execve may take: the program may lie on a slow disk.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Asks the shim to release the process.
pub(crate) async fn run(shim: Option<Shim>, id: &ContainerId) -> Message<Live> {
    let result = match shim {
        Some(shim) => shim.start(id.clone(), START_LIMIT).await,
        None => Err(ShimError::Lost),
    };
    match result {
        Ok(at) => Message::Started(at),
        Err(error) => failed(error),
    }
}

/// A plugin does not want it started: what is prepared of it ends.
pub(crate) async fn refused(shim: Option<Shim>, id: &ContainerId, error: EngineError) -> Message<Live> {
    if let Some(shim) = shim {
        super::remove::end_in_shim(&shim, id).await;
    }
    let exit = Exit::not_started(berth_types::error::chain(&error));
    Message::NotStarted(error, exit)
}

/// A refusal by the shim is final; in all other cases the command may run, and the shim's next report decides.
fn failed(error: ShimError) -> Message<Live> {
    match error {
        ShimError::Failed(failure) => match failure.reason {
            Reason::Refused | Reason::CommandNotFound | Reason::CommandDenied | Reason::NotFound => {
                let exit = Exit::not_started(failure.message.clone());
                let code = exit.view(None).code;
                Message::NotStarted(EngineError::Command { message: failure.message, code }, exit)
            }
            Reason::State | Reason::Protocol | Reason::System => {
                Message::StartOverdue(EngineError::Command { message: failure.message, code: 128 })
            }
        },
        error => Message::StartOverdue(EngineError::failed("start the container", error)),
    }
}
