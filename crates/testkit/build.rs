//! Generates the client half of the CRI from the pinned `api.proto`, when the feature `cri` is on.
//!
//! The client is generated here and not taken from `berth-cri`, so that the tests of every crate
//! below the engine can use the testkit without building the engine first.

#[cfg(feature = "cri")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = "../cri/proto";
    println!("cargo::rerun-if-changed={dir}/api.proto");
    let files = protox::compile([format!("{dir}/api.proto")], [dir])?;
    tonic_prost_build::configure().build_server(false).btree_map(".").compile_fds(files)?;
    Ok(())
}

#[cfg(not(feature = "cri"))]
fn main() {}
