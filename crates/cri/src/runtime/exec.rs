//! Commands in running containers.

use std::time::Duration;

use berth_engine::Engine;
use tonic::Status;

use crate::api;
use crate::convert::seconds;
use crate::error::{FieldError, status as to_status};
use crate::lookup;

/// ExecSync. A status other than 0 is an answer, not an error; a timeout is DeadlineExceeded.
pub(super) async fn sync(
    engine: &Engine,
    request: api::ExecSyncRequest,
) -> Result<api::ExecSyncResponse, Status> {
    let timeout = timeout(&request)?;
    let view = lookup::container(engine, &request.container_id)?;
    let mut output = engine.exec_sync(&view.id, request.cmd, timeout).await.map_err(|e| to_status(&e))?;
    fit(&mut output.stdout, &mut output.stderr);
    Ok(api::ExecSyncResponse { stdout: output.stdout, stderr: output.stderr, exit_code: output.code })
}

/// The time that the command has; None is no limit.
pub(crate) fn timeout(request: &api::ExecSyncRequest) -> Result<Option<Duration>, FieldError> {
    if request.cmd.is_empty() {
        return Err(FieldError::Missing("cmd"));
    }
    Ok(Some(seconds("timeout", request.timeout)?).filter(|limit| !limit.is_zero()))
}

/// What the answer has beside the two streams: lengths, tags, the status.
const FRAME: usize = 64;

/// Cuts the streams to what a client takes in one message: a longer answer would be none at all. A stream that
/// is under half of it is kept whole.
fn fit(stdout: &mut Vec<u8>, stderr: &mut Vec<u8>) {
    let room = crate::MAX_MESSAGE - FRAME;
    let half = room / 2;
    stderr.truncate(half.max(room.saturating_sub(stdout.len())));
    stdout.truncate(room - stderr.len());
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn an_answer_is_never_longer_than_a_client_takes() {
        const MIB: usize = 1 << 20;
        for (out, err, kept) in [
            (5, 7, (5, 7)),
            (16 * MIB, 0, (16 * MIB - FRAME, 0)),
            (16 * MIB, MIB, (15 * MIB - FRAME, MIB)),
            (0, 16 * MIB, (0, 16 * MIB - FRAME)),
            (MIB, 16 * MIB, (MIB, 15 * MIB - FRAME)),
            (16 * MIB, 16 * MIB, (8 * MIB - FRAME / 2, 8 * MIB - FRAME / 2)),
        ] {
            let (mut stdout, mut stderr) = (vec![0; out], vec![0; err]);
            fit(&mut stdout, &mut stderr);
            assert_eq!((stdout.len(), stderr.len()), kept, "{out} and {err}");
            let answer = api::ExecSyncResponse { stdout, stderr, exit_code: i32::MIN };
            assert!(answer.encoded_len() <= crate::MAX_MESSAGE);
        }
    }
}
