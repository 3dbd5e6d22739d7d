//! Runs containers the Kubernetes way: the daemon and the command line.

fn main() {}
