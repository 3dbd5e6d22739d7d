//! The events of shims (`containerd.events`, `containerd.types.Envelope`) and the service that takes them.

use prost::Message;

use super::{Any, Timestamp};

/// The service to which shims forward events.
pub const SERVICE: &str = "containerd.services.events.ttrpc.v1.Events";
/// Its method.
pub const FORWARD: &str = "Forward";

/// The request of `Forward`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Forward {
    /// The event.
    #[prost(message, optional, tag = "1")]
    pub envelope: Option<Envelope>,
}

/// An event with where it comes from.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Envelope {
    /// When it happened.
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    /// The namespace of containerd's kind.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// `/tasks/exit` and the like.
    #[prost(string, tag = "3")]
    pub topic: String,
    /// What happened.
    #[prost(message, optional, tag = "4")]
    pub event: Option<Any>,
}

/// A process ended.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TaskExit {
    /// The container.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// The exec session; the container's own id for its main process.
    #[prost(string, tag = "2")]
    pub id: String,
    /// Its process id.
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    /// The exit status as a shell gives it.
    #[prost(uint32, tag = "4")]
    pub exit_status: u32,
    /// When.
    #[prost(message, optional, tag = "5")]
    pub exited_at: Option<Timestamp>,
}

/// An event of a container, of which only that is wanted (`TaskStart`, `TaskOOM`, `TaskPaused`, ... begin alike).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OfContainer {
    /// The container.
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// What an event says, as far as Berth acts on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A process ended.
    Exit(TaskExit),
    /// Memory ran out in this container.
    OutOfMemory(String),
    /// Something else, by its topic.
    Other(String),
}

impl Envelope {
    /// What it says.
    ///
    /// # Errors
    /// The event's own bytes cannot be read.
    pub fn decode_event(&self) -> Result<Event, prost::DecodeError> {
        let Some(event) = &self.event else { return Ok(Event::Other(self.topic.clone())) };
        match event.name() {
            "containerd.events.TaskExit" => Ok(Event::Exit(TaskExit::decode(event.value.as_slice())?)),
            "containerd.events.TaskOOM" => {
                Ok(Event::OutOfMemory(OfContainer::decode(event.value.as_slice())?.container_id))
            }
            _ => Ok(Event::Other(self.topic.clone())),
        }
    }
}
