//! Bytes between a process and its client.

use berth_engine::{Input, Resizer};
use tokio::io::{AsyncRead, AsyncWriteExt};

use super::size::Sizes;
use crate::session::Outlet;
use crate::wire::{Incoming, Item, Packet};

/// Bytes of output at a time: what a pipe holds.
const CHUNK: usize = 64 << 10;

/// Output to its end. What the client does not take is read all the same, so that the process does not wait for it for ever.
/// `seen` is called for each part. The client is told that nothing more comes.
pub(super) async fn output(mut from: impl AsyncRead + Unpin, to: &Outlet, seen: impl Fn()) {
    let mut packet = Packet::space(CHUNK);
    let mut wanted = true;
    while let Ok(1..) = packet.read(&mut from).await {
        seen();
        wanted = wanted && to.send(&mut packet).await.is_ok();
    }
    to.finish().await;
}

/// How input came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InputEnd {
    /// The client has ended it.
    Told,
    /// The connection is over. All that came has been given.
    Gone,
}

/// Input to its end, or until the process takes no more.
pub(super) async fn input(from: &mut Incoming, to: &mut Option<Input>) -> InputEnd {
    loop {
        match from.next().await {
            Some(Item::Data(bytes)) => {
                if let Some(process) = to
                    && process.write_all(&bytes).await.is_err()
                {
                    *to = None;
                }
            }
            Some(Item::Fin | Item::Reset) => return InputEnd::Told,
            None => return InputEnd::Gone,
        }
    }
}

/// Sizes of the terminal, as long as the client sends some.
pub(super) async fn sizes(from: Option<Sizes>, to: Option<Resizer>) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    while let Some((rows, columns)) = from.next().await {
        if let Err(error) = to.resize(rows, columns).await {
            tracing::debug!(%error, "failed to resize the terminal");
        }
    }
}
