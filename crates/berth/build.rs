//! Builds what the `berth` binary carries: the shim and the demo program, as small static
//! programs, and the types of Berth's own service.

#[path = "build/demo.rs"]
mod demo;

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    service()?;
    programs()
}

/// The service that the command line speaks beside the CRI.
fn service() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/berth.proto");
    let files = protox::compile(["proto/berth.proto"], ["proto"])?;
    tonic_prost_build::configure().btree_map(".").compile_fds(files)?;
    Ok(())
}

/// Static and not position-independent: a shim that relocates itself dirties pages in every pod,
/// and one that loads libraries would map files of the host.
fn programs() -> Result<(), Box<dyn Error>> {
    let crates = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("..");
    for used in ["types", "sys", "container", "ttrpc", "shimv2", "shim", "demo"] {
        println!("cargo::rerun-if-changed={}", crates.join(used).display());
    }
    for used in ["../Cargo.lock", "../Cargo.toml", "berth/build.rs", "berth/build"] {
        println!("cargo::rerun-if-changed={}", crates.join(used).display());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let target = env::var("TARGET")?;
    let built = out.join("programs");
    let profile = programs_profile(&out);
    let status = Command::new(env::var("CARGO")?)
        .args([
            "build",
            "--quiet",
            "--profile",
            profile,
            "--package",
            "berth-shim",
            "--package",
            "berth-demo",
        ])
        .args(["--target", &target, "--target-dir"])
        .arg(&built)
        .current_dir(&crates)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static")
        // Set by the outer cargo for its own work: clippy's wrapper must not compile the programs.
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET_DIR")
        .status()?;
    if !status.success() {
        return Err(format!("building the shim and the demo program: {status}").into());
    }
    let dir = built.join(&target).join(profile);
    println!("cargo::rustc-env=BERTH_SHIM={}", dir.join("berth-shim").display());
    let arch = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    };
    let archive = out.join("demo.tar");
    demo::write(&dir.join("berth-demo"), &arch, &archive)?;
    println!("cargo::rustc-env=BERTH_DEMO={}", archive.display());
    Ok(())
}

/// The programs are small before fast, but for a build that is to be over soon. Cargo tells a build
/// script a profile's name only by the directory: `TARGET/PROFILE/build/PACKAGE-HASH/out`.
fn programs_profile(out: &Path) -> &'static str {
    match out.ancestors().nth(3).and_then(Path::file_name) {
        Some(name) if name == "quick" => "quick",
        _ => "small",
    }
}
