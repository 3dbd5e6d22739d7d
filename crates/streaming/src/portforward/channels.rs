//! Two channels of a WebSocket connection for each port: one connection each, made at once.

use std::sync::Arc;

use berth_engine::Engine;
use berth_types::SandboxId;
use tokio::task::JoinSet;

use super::copy::{Ends, Pair, forward};
use crate::session::Outlet;
use crate::websocket::{self, Channels, Coding};
use crate::wire::{Link, Packet};

/// The most ports of one connection: their channels are counted in a byte, and 255 is none.
pub(crate) const MAX_CHANNEL_PORTS: usize = 127;

/// The channels of these ports: for bytes the even ones, for errors the odd ones.
pub(crate) fn channels(link: &Arc<Link>, ports: &[u16], coding: Coding) -> (Channels, Vec<Pair>) {
    let numbers = (0u8..).step_by(2).zip(ports.iter().take(MAX_CHANNEL_PORTS));
    let count = u8::try_from(2 * ports.len().min(MAX_CHANNEL_PORTS)).unwrap_or(0);
    let (channels, mut incoming) = Channels::new(count, coding, false, |channel| channel % 2 == 0);
    let outlet = |channel| Outlet::Channel(websocket::Outlet::new(Arc::clone(link), channel, coding));
    let pairs = numbers.filter_map(|(channel, port)| {
        let data = incoming.get_mut(usize::from(channel))?.take()?;
        let (outlet, error) = (outlet(channel), outlet(channel + 1));
        Some(Pair { port: *port, data, outlet, error, ends: Ends::Together })
    });
    let pairs = pairs.collect();
    (channels, pairs)
}

/// Forwards them until all have ended.
pub(crate) async fn fixed(engine: &Engine, sandbox: &SandboxId, pairs: Vec<Pair>) {
    for pair in &pairs {
        // By its first bytes a channel tells its port.
        for outlet in [&pair.outlet, &pair.error] {
            outlet.send(&mut Packet::of(&pair.port.to_le_bytes())).await.ok();
        }
    }
    let mut running = JoinSet::new();
    for pair in pairs {
        let (engine, sandbox) = (engine.clone(), sandbox.clone());
        running.spawn(async move { forward(&engine, &sandbox, pair).await });
    }
    running.join_all().await;
}
