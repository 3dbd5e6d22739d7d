//! The pod networks, in network namespaces made by each test: one stands for the host, one for
//! a machine outside, and one for each pod. Nothing touches the machine's own network.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod beside_docker;
mod cni;
mod host_ports;
mod lifecycle;
mod limits;
mod reach;
mod repair;
mod ruleset;
mod senders;
mod services;
mod suite;
mod world;
