//! What the program of a shim reads and writes when it is asked to start one (`containerd.runtime.bootstrap.v1`).

use std::collections::BTreeMap;

use super::Any;

/// On stdin, for shims of containerd 2.3 and newer; older ones have the same from flags and environment.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Params {
    /// The container for which the shim is started.
    #[prost(string, tag = "1")]
    pub instance_id: String,
    /// The namespace of containerd's kind.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// How much it logs: 0 is information, -4 is for debugging.
    #[prost(int32, tag = "3")]
    pub log_level: i32,
    /// The version of who starts it.
    #[prost(string, tag = "4")]
    pub version: String,
    /// Where events are forwarded to.
    #[prost(string, tag = "5")]
    pub ttrpc_address: String,
    /// Where containerd's own services are.
    #[prost(string, tag = "6")]
    pub grpc_address: String,
    /// The program that publishes events.
    #[prost(string, tag = "7")]
    pub binary: String,
    /// Whatever else: the options of the runtime.
    #[prost(message, repeated, tag = "8")]
    pub extensions: Vec<Extension>,
    /// Where the shim makes its socket; its own choice if none is given.
    #[prost(string, optional, tag = "9")]
    pub socket_dir: Option<String>,
}

/// Something that is not in the protocol itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Extension {
    /// What it is.
    #[prost(message, optional, tag = "1")]
    pub value: Option<Any>,
}

/// On stdout, of shims of containerd 2.3 and newer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Outcome {
    /// The version of the Task service.
    #[prost(int32, tag = "1")]
    pub version: i32,
    /// Where the shim listens.
    #[prost(string, tag = "2")]
    pub address: String,
    /// `ttrpc` or `grpc`.
    #[prost(string, tag = "3")]
    pub protocol: String,
    /// Whatever else it says.
    #[prost(btree_map = "string, string", tag = "5")]
    pub metadata: BTreeMap<String, String>,
}
