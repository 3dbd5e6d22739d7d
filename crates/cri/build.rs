//! Generates the CRI's message types and services from `proto/api.proto`, without protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/api.proto");
    let files = protox::compile(["proto/api.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // The derived Debug would print passwords and tokens.
        .skip_debug(["AuthConfig"])
        // Maps that keep the order make answers stable for scripts.
        .btree_map(".")
        .compile_fds(files)?;
    Ok(())
}
