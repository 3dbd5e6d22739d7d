//! Generates the CRI's message types and services from `proto/api.proto`, without protoc.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/api.proto");
    let files = protox::compile(["proto/api.proto"], ["proto"])?;
    // The tests of this crate walk the descriptor.
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptor.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure()
        // The derived Debug would print passwords and tokens.
        .skip_debug(["AuthConfig"])
        // Maps that keep the order make answers stable for scripts.
        .btree_map(".")
        .compile_fds(files)?;
    Ok(())
}
