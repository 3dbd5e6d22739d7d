//! The Sandbox service (`containerd.runtime.sandbox.v1.Sandbox`): the pod as a thing of its own, of shims whose pod is a
//! virtual machine or the like. `UpdateSandbox` is left out: it takes containerd's own record of a pod.

use std::collections::BTreeMap;

use super::task::{Mount, methods};
use super::{Any, Empty, Method, Service, Timestamp};

/// Makes a pod.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Create {
    /// The pod.
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    /// Its bundle.
    #[prost(string, tag = "2")]
    pub bundle_path: String,
    /// The root of what holds the pod, if it has one.
    #[prost(message, repeated, tag = "3")]
    pub rootfs: Vec<Mount>,
    /// The pod, of a type of the caller's choice.
    #[prost(message, optional, tag = "4")]
    pub options: Option<Any>,
    /// Its network namespace.
    #[prost(string, tag = "5")]
    pub netns_path: String,
    /// Its annotations.
    #[prost(btree_map = "string, string", tag = "6")]
    pub annotations: BTreeMap<String, String>,
}

/// Starts it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Start {
    /// The pod.
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
}

/// What was started.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StartAnswer {
    /// What holds the pod; 0 if it is no process of the host.
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    /// When.
    #[prost(message, optional, tag = "2")]
    pub created_at: Option<Timestamp>,
}

/// Asks what its containers run on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Platform {
    /// The pod.
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
}

/// What its containers run on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PlatformAnswer {
    /// The platform.
    #[prost(message, optional, tag = "1")]
    pub platform: Option<OnPlatform>,
}

/// A platform.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OnPlatform {
    /// `linux`, say.
    #[prost(string, tag = "1")]
    pub os: String,
    /// As Go names it.
    #[prost(string, tag = "2")]
    pub architecture: String,
    /// Of the architecture.
    #[prost(string, tag = "3")]
    pub variant: String,
}

/// Stops it with all its containers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Stop {
    /// The pod.
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    /// How long it may take.
    #[prost(uint32, tag = "2")]
    pub timeout_secs: u32,
}

/// Waits for its end.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Wait {
    /// The pod.
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
}

/// How it ended.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WaitAnswer {
    /// Its exit status.
    #[prost(uint32, tag = "1")]
    pub exit_status: u32,
    /// When.
    #[prost(message, optional, tag = "2")]
    pub exited_at: Option<Timestamp>,
}

/// Asks how it is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct State {
    /// The pod.
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    /// With whatever the shim says beyond that.
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

/// How it is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StateAnswer {
    /// The pod.
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    /// What holds it.
    #[prost(uint32, tag = "2")]
    pub pid: u32,
    /// `SANDBOX_READY` or `SANDBOX_NOTREADY`.
    #[prost(string, tag = "3")]
    pub state: String,
    /// What else the shim says.
    #[prost(btree_map = "string, string", tag = "4")]
    pub info: BTreeMap<String, String>,
    /// When it was made.
    #[prost(message, optional, tag = "5")]
    pub created_at: Option<Timestamp>,
    /// When it ended.
    #[prost(message, optional, tag = "6")]
    pub exited_at: Option<Timestamp>,
}

/// Asks whether the shim answers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Ping {
    /// The pod.
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
}

/// Ends the shim.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Shutdown {
    /// The pod.
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
}

/// Asks what the pod uses.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Metrics {
    /// The pod.
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
}

/// What the pod uses.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MetricsAnswer {
    /// It.
    #[prost(message, optional, tag = "1")]
    pub metrics: Option<Metric>,
}

/// What something uses.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Metric {
    /// When.
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    /// What.
    #[prost(string, tag = "2")]
    pub id: String,
    /// The numbers: see [`stats::usage`](super::stats::usage).
    #[prost(message, optional, tag = "3")]
    pub data: Option<Any>,
}

methods! { Sandbox:
    Create: "CreateSandbox" -> Empty,
    Start: "StartSandbox" -> StartAnswer,
    Platform: "Platform" -> PlatformAnswer,
    Stop: "StopSandbox" -> Empty,
    Wait: "WaitSandbox" -> WaitAnswer,
    State: "SandboxStatus" -> StateAnswer,
    Ping: "PingSandbox" -> Empty,
    Shutdown: "ShutdownSandbox" -> Empty,
    Metrics: "SandboxMetrics" -> MetricsAnswer,
}
