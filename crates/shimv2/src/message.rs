//! The messages, as prost structs.
//!
//! They are written by hand from containerd's published interface (`runtime/task/v2` and `v3`, whose messages are the same, `runtime/sandbox/v1`,
//! `runtime/bootstrap/v1`, `services/ttrpc/events/v1`, `events`, `types/runc/options`, `types/runtimeoptions`, of containerd/api 1.12, and the `Metrics` of
//! containerd/cgroups 3.1): fewer lines than the interface files, one set of types for both versions of the Task service,
//! and no generator. What Berth has no use for is left out: a reader passes over unknown fields.

pub mod bootstrap;
pub mod event;
pub use berth_ttrpc::rpc;
pub mod sandbox;
pub mod stats;
pub mod task;

/// A message with the name of its type (`google.protobuf.Any`).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Any {
    /// The type: containerd writes its full name, or for Go's own types a path, without a scheme.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message; JSON for the types of the OCI runtime specification.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// Names of types in [`Any`].
pub mod type_url {
    /// `process` of the OCI runtime specification, as JSON.
    pub const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
    /// `linux.resources` of the OCI runtime specification, as JSON.
    pub const RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    /// [`task::RuncOptions`](super::task::RuncOptions).
    pub const RUNC_OPTIONS: &str = "containerd.runc.v1.Options";
    /// [`task::ConfigOptions`](super::task::ConfigOptions).
    pub const CONFIG_OPTIONS: &str = "runtimeoptions.v1.Options";
    /// [`task::CheckpointOptions`](super::task::CheckpointOptions).
    pub const CHECKPOINT_OPTIONS: &str = "containerd.runc.v1.CheckpointOptions";
}

impl Any {
    /// An encoded message and the name of its type.
    pub fn of(type_url: &str, message: &impl prost::Message) -> Self {
        Self { type_url: type_url.to_owned(), value: message.encode_to_vec() }
    }

    /// JSON and the name of its type.
    pub fn json(type_url: &str, json: Vec<u8>) -> Self {
        Self { type_url: type_url.to_owned(), value: json }
    }

    /// The last part of the type's name, behind `https://host/path/`.
    pub fn name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }
}

/// A moment (`google.protobuf.Timestamp`).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Timestamp {
    /// Seconds since 1970.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Timestamp {
    /// Nanoseconds since 1970, saturating; 0 for Go's zero time, which stands for "not yet".
    pub fn nanoseconds(self) -> i64 {
        if self.seconds < 0 {
            return 0;
        }
        self.seconds.saturating_mul(1_000_000_000).saturating_add(self.nanos.into())
    }
}

/// Nothing (`google.protobuf.Empty`).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Empty {}

/// A method of a shim's service: the request's type says which.
pub trait Method: prost::Message {
    /// The service.
    const SERVICE: Service;
    /// Its name in the service.
    const NAME: &'static str;
    /// What is answered.
    type Answer: prost::Message + Default;
}

/// The services of a shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Containers and their processes.
    Task,
    /// The pod, of newer shims.
    Sandbox,
}

/// The version of the Task service: a shim has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `containerd.task.v2.Task`
    V2,
    /// `containerd.task.v3.Task`
    V3,
}

impl Service {
    /// Its full name.
    pub fn name(self, version: Version) -> &'static str {
        match (self, version) {
            (Service::Task, Version::V2) => "containerd.task.v2.Task",
            (Service::Task, Version::V3) => "containerd.task.v3.Task",
            (Service::Sandbox, Version::V2 | Version::V3) => "containerd.runtime.sandbox.v1.Sandbox",
        }
    }
}

#[cfg(test)]
mod tests;
