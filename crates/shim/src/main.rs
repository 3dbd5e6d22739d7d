//! One small process per pod: parent of the containers, holds stdio, writes the logs, keeps exit codes.
#![forbid(unsafe_code)]

mod pump;

fn main() {}
