//! The pod brain.
//!
//! One owner task per pod applies the lifecycle tables, plans containers, talks to the pod's
//! shim, keeps the records on disk and publishes a snapshot that every read answers from.
//! Callers (`cri`, `pod`, `berth`) convert their wire types to [`model`] and call [`Engine`].

#![forbid(unsafe_code)]

pub mod model;
