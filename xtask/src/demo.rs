//! `cargo xtask demo`: Berth's main job, from nothing: builds it, plays the pod of
//! `examples/web.yaml`, shows it, fetches its page, shows its log, and takes it down again.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// `cargo xtask demo`
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Another image for the pod; it is pulled
    image: Option<String>,
    /// The instance, apart from any other Berth of this machine
    #[arg(long, default_value = "demo")]
    instance: String,
    /// Leave the pod and its daemon running
    #[arg(long)]
    keep: bool,
}

/// How long the pod may take until it answers.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Runs the demo.
pub(crate) fn run(options: &Options) -> Result<()> {
    let begun = Instant::now();
    step(begun, "compiling Berth (about four minutes the first time, on two cores)");
    let berth = Berth { program: build()?, instance: options.instance.clone() };
    let manifest = manifest(options.image.as_deref())?;
    step(begun, "running the pod of examples/web.yaml");
    let shown = show(&berth, &manifest, options.image.is_some());
    if options.keep {
        println!("\nleft running: berth --instance {} pods", berth.instance);
        return shown;
    }
    let purged = berth.run(&["purge", "--yes"], None);
    shown?;
    purged?;
    step(begun, "done: nothing is left on this machine");
    Ok(())
}

/// What is done now, and how long all before it took.
fn step(begun: Instant, text: &str) {
    println!("== {:>4} s  {text}", begun.elapsed().as_secs());
    std::io::stdout().flush().ok();
}

struct Berth {
    program: PathBuf,
    instance: String,
}

fn build() -> Result<PathBuf> {
    // Compiled fast: the first pod is worth more here than its speed.
    println!("$ cargo build --profile quick --package berth");
    let status =
        Command::new(env!("CARGO")).args(["build", "--profile", "quick", "--package", "berth"]).status()?;
    ensure!(status.success(), "the build failed");
    let output =
        Command::new(env!("CARGO")).args(["metadata", "--format-version=1", "--no-deps"]).output()?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(Path::new(target).join("quick/berth"))
}

/// The example, with another image when one is named.
fn manifest(image: Option<&str>) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/web.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(match image {
        Some(image) => text.replace("berth.local/demo:latest", image),
        None => text,
    })
}

fn show(berth: &Berth, manifest: &str, foreign: bool) -> Result<()> {
    berth.run(&["play", "--replace", "-"], Some(manifest))?;
    berth.run(&["ps"], None)?;
    if !foreign {
        let page = fetch(SocketAddr::from(([127, 0, 0, 1], 18080)), "/hello")?;
        println!("\n$ curl http://127.0.0.1:18080/hello\n{page}");
    }
    berth.run(&["logs", "web"], None)?;
    berth.run(&["down", "web"], None)
}

impl Berth {
    /// Runs a command and prints it as a user would type it.
    fn run(&self, args: &[&str], input: Option<&str>) -> Result<()> {
        let shown = args
            .iter()
            .map(|a| if *a == "-" { "examples/web.yaml" } else { a })
            .collect::<Vec<_>>()
            .join(" ");
        println!("\n$ berth --instance {} {shown}", self.instance);
        let mut child = Command::new(&self.program)
            .args(["--instance", &self.instance])
            .args(args)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .spawn()
            .with_context(|| format!("run {}", self.program.display()))?;
        if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin.write_all(text.as_bytes())?;
        }
        let status = child.wait()?;
        ensure!(status.success(), "berth {shown} failed: {status}");
        Ok(())
    }
}

/// The body of a page, as soon as the server answers.
fn fetch(address: SocketAddr, path: &str) -> Result<String> {
    let begun = Instant::now();
    loop {
        match get(address, path) {
            Ok(page) => return Ok(page),
            Err(e) if begun.elapsed() > ANSWER_LIMIT => bail!("no answer from {address}: {e:#}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(64 << 10).read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
    Ok(body.to_owned())
}
