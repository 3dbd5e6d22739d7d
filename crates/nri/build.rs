//! Generates NRI's message types from `proto/api.proto`, without protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/api.proto");
    let files = protox::compile(["proto/api.proto"], ["proto"])?;
    // Maps that keep the order make what plugins see, and errors, the same every time.
    prost_build::Config::new().btree_map(["."]).compile_fds(files)?;
    Ok(())
}
