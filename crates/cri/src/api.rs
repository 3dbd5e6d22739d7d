//! The messages and services of the CRI, generated from `proto/api.proto` (k8s.io/cri-api v0.37.2, Apache-2.0).
//!
//! They stay in this crate; everything further in uses `berth_engine::model`.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, rustdoc::all, reason = "generated")]

tonic::include_proto!("runtime.v1");

impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}
