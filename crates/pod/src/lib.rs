//! Pod manifests, with the kubelet's semantics, turned into engine requests.
//!
//! ```text
//! YAML or JSON -> manifest (parsed, every field known or refused by name)
//!              -> plan     (pure: sandbox, volumes, containers)
//!              -> controller (one task per pod: init containers, restarts, back-off, the end)
//! ```

#![forbid(unsafe_code)]

pub mod controller;
pub mod manifest;
pub mod plan;
pub mod probe;
pub mod restart;
pub mod status;
pub mod termination;
