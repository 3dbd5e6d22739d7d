//! The test registry as a program: for the conformance run, the benchmark, and trying by hand.
//!
//! Prints one line of JSON when it is ready, and serves until its standard input ends.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use berth_testkit::Registry;
use berth_testkit::image::{Compression, Digest, big, standin};
use clap::Parser;

/// A throw-away OCI registry with stand-ins for the images of the CRI conformance suite.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Only the busybox images.
    #[arg(long)]
    small: bool,
    /// Also bench/usr:gzip and bench/usr:zstd, some 500 MB of this machine's /usr, kept in this directory.
    #[arg(long, value_name = "DIR")]
    big: Option<PathBuf>,
    /// Write hosts.toml files here that make this registry the mirror of the upstream ones.
    #[arg(long, value_name = "DIR")]
    mirrors: Option<PathBuf>,
}

/// What is printed when the registry is ready.
#[derive(serde::Serialize)]
struct Ready {
    address: SocketAddr,
    test_image_digest: Option<Digest>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let registry = Registry::builder().address(arguments.listen).start()?;
    let test_image_digest = if arguments.small {
        standin::publish_busybox(&registry)?;
        None
    } else {
        Some(standin::publish(&registry)?)
    };
    if let Some(dir) = &arguments.big {
        for (tag, compression) in [("gzip", Compression::Gzip), ("zstd", Compression::Zstd)] {
            registry.push("bench/usr", tag, &big::image(compression, dir)?);
        }
    }
    if let Some(dir) = &arguments.mirrors {
        registry.write_mirrors(dir, &standin::HOSTS)?;
    }
    let ready = Ready { address: registry.address(), test_image_digest };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&ready)?)?;
    out.flush()?;
    drop(out);
    // Whoever started this ends it by closing the pipe, or by ending.
    std::io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(())
}
