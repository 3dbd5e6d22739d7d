//! GetContainerEvents: what happens to sandboxes and containers, as a kubelet's event-driven PLEG reads it.
//!
//! Each event has the statuses of its moment, also when the reader is late. A reader that is so late that it missed
//! some is told so by the end of its stream, and lists everything again; nobody waits for it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use berth_engine::model::{Owner, SandboxView};
use berth_engine::{Engine, EngineEvent, Events, Stamped};
use berth_types::lifecycle::{container, sandbox};
use tokio_stream::Stream;
use tonic::Status;

use super::container as of;
use crate::api::{self, ContainerEventType as Kind};
use crate::convert;

/// The most streams of events at a time. A kubelet has one.
const MOST: usize = 64;

/// How many streams there are.
#[derive(Debug, Clone, Default)]
pub(super) struct Watchers(Arc<AtomicUsize>);

/// One of them, until it is dropped.
#[derive(Debug)]
struct Watcher(Arc<AtomicUsize>);

impl Watchers {
    fn enter(&self) -> Result<Watcher, Status> {
        let more = |now: usize| (now < MOST).then_some(now + 1);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Watcher(Arc::clone(&self.0))),
            Err(_) => Err(Status::resource_exhausted(format!("{MOST} clients are reading events already"))),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is left of one stream.
struct Watching {
    engine: Engine,
    events: Events,
    ready: VecDeque<api::ContainerEventResponse>,
    ended: bool,
    _watcher: Watcher,
}

type EventStream = Pin<Box<dyn Stream<Item = Result<api::ContainerEventResponse, Status>> + Send>>;

/// The events from now on.
pub(super) fn watch(engine: &Engine, watchers: &Watchers) -> Result<EventStream, Status> {
    let watching = Watching {
        _watcher: watchers.enter()?,
        events: engine.events(),
        engine: engine.clone(),
        ready: VecDeque::new(),
        ended: false,
    };
    Ok(Box::pin(futures_util::stream::unfold(watching, next)))
}

async fn next(mut at: Watching) -> Option<(Result<api::ContainerEventResponse, Status>, Watching)> {
    loop {
        if at.ended {
            return None;
        }
        if let Some(event) = at.ready.pop_front() {
            return Some((Ok(event), at));
        }
        let stamped = at.events.next().await?;
        if matches!(stamped.event, EngineEvent::Resync) {
            at.ended = true;
            let lost = "events were missed, since they were not read in time: list the pods, and ask for events again";
            return Some((Err(Status::aborted(lost)), at));
        }
        at.ready.extend(messages(&at.engine, &stamped));
    }
}

/// What one event is to a kubelet: nothing, or one or two messages.
fn messages(engine: &Engine, stamped: &Stamped) -> Vec<api::ContainerEventResponse> {
    let Some(pod) = stamped.pod.as_ref().filter(|pod| pod.config.owner == Owner::Cri) else {
        return Vec::new();
    };
    let (id, kinds) = match &stamped.event {
        EngineEvent::Sandbox { now, before } => {
            (now.id.to_string(), of_sandbox(before.and_then(sandbox::State::listed), now.state.listed()))
        }
        EngineEvent::Container { now, before } => {
            (now.id.to_string(), of_container(before.and_then(container::State::listed), now.state.listed()))
        }
        EngineEvent::SandboxRemoved(id) => (id.to_string(), &[Kind::ContainerDeletedEvent][..]),
        EngineEvent::ContainerRemoved { container, .. } => {
            (container.to_string(), &[Kind::ContainerDeletedEvent][..])
        }
        EngineEvent::Resync => return Vec::new(),
    };
    kinds.iter().map(|kind| message(engine, &id, *kind, stamped.at, pod)).collect()
}

fn message(engine: &Engine, id: &str, kind: Kind, at: i64, pod: &SandboxView) -> api::ContainerEventResponse {
    api::ContainerEventResponse {
        container_id: id.to_owned(),
        container_event_type: kind as i32,
        created_at: at,
        // A kubelet drops an event without it, also that of a removal.
        pod_sandbox_status: convert::sandbox::status(pod),
        containers_statuses: of::statuses(engine, pod),
    }
}

/// A kubelet takes a sandbox for a container of the pod.
fn of_sandbox(before: Option<sandbox::Listed>, now: Option<sandbox::Listed>) -> &'static [Kind] {
    use sandbox::Listed::{NotReady, Ready};
    match (before, now) {
        (None, Some(Ready)) => &[Kind::ContainerCreatedEvent, Kind::ContainerStartedEvent],
        (None, Some(NotReady)) => &[Kind::ContainerCreatedEvent, Kind::ContainerStoppedEvent],
        (Some(NotReady), Some(Ready)) => &[Kind::ContainerStartedEvent],
        (Some(Ready), Some(NotReady)) => &[Kind::ContainerStoppedEvent],
        (Some(Ready), Some(Ready)) | (Some(NotReady), Some(NotReady)) | (_, None) => &[],
    }
}

/// One that is not known any more has stopped, as far as the CRI has words for it; its status says the rest.
fn of_container(before: Option<container::Listed>, now: Option<container::Listed>) -> &'static [Kind] {
    use container::Listed::{Created, Exited, Running, Unknown};
    match (before, now) {
        (before, now) if before == now => &[],
        (None, Some(Created)) => &[Kind::ContainerCreatedEvent],
        (None, Some(Running)) => &[Kind::ContainerCreatedEvent, Kind::ContainerStartedEvent],
        (None, Some(Exited | Unknown)) => &[Kind::ContainerCreatedEvent, Kind::ContainerStoppedEvent],
        (Some(_), Some(Running)) => &[Kind::ContainerStartedEvent],
        (Some(_), Some(Exited | Unknown)) => &[Kind::ContainerStoppedEvent],
        (Some(_), Some(Created)) | (_, None) => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_bounded_and_one_that_ends_makes_room() {
        let watchers = Watchers::default();
        let mut all: Vec<_> = (0..MOST).map(|_| watchers.enter().unwrap()).collect();
        assert_eq!(watchers.enter().unwrap_err().code(), tonic::Code::ResourceExhausted);
        drop(all.pop());
        drop(watchers.enter().unwrap());
    }

    #[test]
    fn every_way_of_a_container_tells_what_a_kubelet_has_to_know() {
        use Kind::{
            ContainerCreatedEvent as Made, ContainerStartedEvent as Began, ContainerStoppedEvent as Ended,
        };
        use container::Listed::{Created, Exited, Running, Unknown};
        let ways: [(&[container::Listed], &[Kind]); 6] = [
            (&[Created, Running, Exited], &[Made, Began, Ended]),
            // Killed before it was started; found by a new daemon; lost and found again.
            (&[Created, Exited], &[Made, Ended]),
            (&[Running], &[Made, Began]),
            (&[Exited], &[Made, Ended]),
            (&[Created, Running, Unknown, Running, Exited], &[Made, Began, Ended, Began, Ended]),
            // Stopping is running, and removing exited, to a kubelet.
            (&[Running, Running, Exited, Exited], &[Made, Began, Ended]),
        ];
        for (states, told) in ways {
            let (mut before, mut all) = (None, Vec::new());
            for now in states {
                all.extend_from_slice(of_container(before, Some(*now)));
                before = Some(*now);
            }
            assert_eq!(all, told, "{states:?}");
            assert_eq!(of_container(before, None), []);
        }
    }

    #[test]
    fn a_sandbox_begins_and_ends_like_a_container() {
        use sandbox::Listed::{NotReady, Ready};
        assert_eq!(of_sandbox(None, Some(Ready)), [Kind::ContainerCreatedEvent, Kind::ContainerStartedEvent]);
        assert_eq!(of_sandbox(Some(Ready), Some(NotReady)), [Kind::ContainerStoppedEvent]);
        assert_eq!(of_sandbox(Some(NotReady), Some(NotReady)), []);
    }
}
