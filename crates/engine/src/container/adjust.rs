//! The place between a container's specification and its preparation where plugins may change it.

use std::fmt;
use std::pin::Pin;

use berth_types::{ContainerId, SandboxId};
use oci_spec::runtime::Spec;

use crate::error::EngineError;
use crate::model::{ContainerConfig, SandboxConfig};

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
}

/// A specification to come.
pub type Adjusted<'a> = Pin<Box<dyn Future<Output = Result<Spec, EngineError>> + Send + 'a>>;

/// Something that may change the specifications of containers.
pub trait Adjust: fmt::Debug + Send + Sync {
    /// Gives the specification that is prepared instead of `spec`. What status and exec sessions show is what this gives.
    /// It bounds its own waits: creation waits for it.
    ///
    /// # Errors
    /// The container must not be created.
    fn adjust<'a>(&'a self, subject: Subject<'a>, spec: Spec) -> Adjusted<'a>;
}
