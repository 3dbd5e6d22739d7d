//! Where plugins are told of pods and containers, and may change what is made: see [`crate::seams`].

use std::fmt;
use std::pin::Pin;

use berth_types::{ContainerId, SandboxId};
use oci_spec::runtime::Spec;
use tokio::sync::OwnedRwLockReadGuard;

use crate::error::EngineError;
use crate::model::{ContainerConfig, ContainerUser, ContainerView, Resources, SandboxConfig, SandboxView};

/// A container that is about to be prepared.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its sandbox.
    pub sandbox: &'a SandboxId,
    /// What was asked for the sandbox.
    pub sandbox_config: &'a SandboxConfig,
    /// The container.
    pub container: &'a ContainerId,
    /// What was asked for it.
    pub config: &'a ContainerConfig,
    /// When it was asked for (nanoseconds since 1970).
    pub created_at: i64,
    /// The digest of the image's configuration.
    pub image_id: &'a str,
    /// The image as `repository@digest`, or its id.
    pub image_ref: &'a str,
    /// Who it runs as.
    pub user: &'a ContainerUser,
}

/// What may be changed of a container before it is prepared.
#[derive(Debug, Clone, PartialEq)]
pub struct Adjustable {
    /// Its specification. Limits are not in it.
    pub spec: Spec,
    /// Its limits: what status and records say, too.
    pub resources: Resources,
    /// Further devices by the Container Device Interface; what comes with them is added to the specification.
    pub cdi_devices: Vec<String>,
}

/// What is prepared, in the future.
pub type Adjusted<'a> = Pin<Box<dyn Future<Output = Result<Adjustable, EngineError>> + Send + 'a>>;

/// Limits, in the future.
pub type Limits<'a> = Pin<Box<dyn Future<Output = Result<Resources, EngineError>> + Send + 'a>>;

/// What plugins say to something that happens. They are told even when nobody waits for this.
pub type Heard = Pin<Box<dyn Future<Output = Result<(), EngineError>> + Send>>;

/// What happens to a pod or to a container of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The pod is made, and nobody sees it yet. A plugin may refuse it.
    PodUp,
    /// The pod's limits are about to be changed. A plugin may refuse it.
    PodChanges,
    /// They were changed.
    PodChanged,
    /// Nothing runs in the pod any more; its network is there.
    PodDown,
    /// The pod is about to be removed.
    PodRemoved,
    /// The container is prepared.
    Created,
    /// It is about to be started. A plugin may refuse it.
    Starts,
    /// Its command runs.
    Started,
    /// Its limits were changed.
    Changed,
    /// Nothing of it runs any more.
    Ended,
    /// It is about to be removed.
    Removed,
}

/// Something that happens.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// What.
    pub what: What,
    /// The pod.
    pub pod: &'a SandboxView,
    /// The container that it happens to.
    pub container: Option<&'a ContainerView>,
    /// The limits that the pod gets.
    pub resources: Option<&'a Resources>,
}

/// Something that may change containers and wants to know of them.
pub trait Adjust: fmt::Debug + Send + Sync {
    /// Whether anybody is there to be told. While not, nothing else is called, and nothing is made for it.
    fn listens(&self) -> bool;

    /// Gives what is prepared instead. What status and exec sessions show is what this gives.
    /// It bounds its own waits: creation waits for it.
    ///
    /// # Errors
    /// The container must not be created.
    fn adjust<'a>(&'a self, subject: Subject<'a>, made: Adjustable) -> Adjusted<'a>;

    /// Gives the limits that a container gets instead of these, which its caller asked for.
    ///
    /// # Errors
    /// They must not be changed.
    fn limits<'a>(&'a self, container: &'a ContainerView, asked: Resources) -> Limits<'a> {
        let _ = container;
        Box::pin(async move { Ok(asked) })
    }

    /// A container that was adjusted is not created after all.
    fn undone(&self, container: &ContainerId) {
        let _ = container;
    }

    /// Something happens: in the order of these calls. It does not wait; what it gives does, within bounds of its own.
    fn hear(&self, moment: Moment<'_>) -> Option<Heard> {
        let _ = moment;
        None
    }
}

/// Held from before plugins are told of something new until it is published: see [`Engine::pause_creation`](crate::Engine::pause_creation).
pub(crate) type Unseen = OwnedRwLockReadGuard<()>;
