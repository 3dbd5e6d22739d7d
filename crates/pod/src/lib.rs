//! Pod manifests, with the kubelet's semantics, turned into engine requests; and the workloads that make pods.
//!
//! ```text
//! YAML or JSON -> manifest (parsed, every field known or refused by name)
//!              -> plan     (pure: sandbox, volumes, containers)
//!              -> controller (one task per pod: init containers, restarts, back-off, the end)
//!              -> workload (one task per workload, which makes and removes pods by the controller)
//!              -> service  (names and addresses that lead to pods which are ready)
//! ```

#![forbid(unsafe_code)]

pub mod claims;
pub mod controller;
pub mod manifest;
pub mod plan;
pub mod probe;
pub mod restart;
pub mod service;
pub mod status;
pub mod termination;
pub mod volumes;
pub mod workload;
