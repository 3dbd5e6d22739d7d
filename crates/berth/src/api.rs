//! The messages and services of Berth's own service, generated from `proto/berth.proto`.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, rustdoc::all, reason = "generated")]

tonic::include_proto!("berth.v1");
