//! The messages of NRI, generated from `proto/api.proto` (github.com/containerd/nri v0.12.2, Apache-2.0).

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, rustdoc::all, reason = "generated")]

include!(concat!(env!("OUT_DIR"), "/nri.pkg.api.v1alpha1.rs"));
