//! The testkit as a program, which `cargo xtask` runs: the registry, the leak check, the
//! conformance run against a daemon of its own, and the benchmark.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use berth_testkit::image::{Compression, Digest, big, standin};
use berth_testkit::leak::{Snapshot, Thing};
use berth_testkit::{Daemon, Registry, bench, cni};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// A throw-away registry with stand-ins for the images of the CRI conformance suite
    Registry(RegistryOptions),
    /// Takes a snapshot of the machine, or compares with one
    Leaks(LeakOptions),
    /// Runs a critest binary
    Conformance(ConformanceOptions),
    /// Measures CRI runtimes
    Bench(bench::Options),
}

#[derive(Debug, clap::Args)]
struct RegistryOptions {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Only the busybox images
    #[arg(long)]
    small: bool,
    /// Also bench/usr:gzip and bench/usr:zstd, some 500 MB of this machine's /usr, kept in this directory
    #[arg(long, value_name = "DIR")]
    big: Option<PathBuf>,
    /// Write hosts.toml files here that make this registry the mirror of the upstream ones
    #[arg(long, value_name = "DIR")]
    mirrors: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct LeakOptions {
    /// The snapshot
    file: PathBuf,
    /// Take the snapshot now
    #[arg(long)]
    take: bool,
    /// Places whose files count
    #[arg(long, value_name = "DIR")]
    place: Vec<PathBuf>,
    /// Only things whose name contains one of these words
    #[arg(long, value_name = "WORD")]
    only: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct ConformanceOptions {
    /// The critest binary
    #[arg(long)]
    critest: PathBuf,
    /// The berth binary, of which a daemon is started
    #[arg(long, required_unless_present = "socket")]
    berth: Option<PathBuf>,
    /// A socket to test instead
    #[arg(long, requires = "listen")]
    socket: Option<String>,
    /// Where the registry is to listen, when the runtime under test has its address already
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// The pods' network of the daemon is made by the CNI plugins of this directory
    #[arg(long, value_name = "DIR")]
    cni: Option<PathBuf>,
    /// A further handler of the daemon
    #[arg(long, value_name = "NAME=PATH")]
    handler: Option<String>,
    /// Ginkgo's program, which runs the specs in several processes
    #[arg(long, requires = "parallel")]
    ginkgo: Option<PathBuf>,
    /// How many
    #[arg(long, requires = "ginkgo")]
    parallel: Option<u32>,
    /// Where the report goes: report.json, critest.log, daemon.log
    #[arg(long)]
    out: PathBuf,
    /// Further flags for critest
    #[arg(last = true)]
    flags: Vec<String>,
}

/// What the registry prints when it is ready.
#[derive(serde::Serialize)]
struct Ready {
    address: SocketAddr,
    test_image_digest: Option<Digest>,
}

/// The digest by which the suite names [`standin::BY_DIGEST`] upstream.
const UPSTREAM_DIGEST: &str = "9700f9a2f5bf2c45f2f605a0bd3bce7cf37420ec9d3ed50ac2758413308766bf";

/// How often the machine is checked again before what is left counts as leaked.
const LOOKS: usize = 20;

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        // Without standard error nothing can be reported.
        writeln!(std::io::stderr(), "error: {error:#}").ok();
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    match Arguments::parse().verb {
        Verb::Registry(options) => registry(&options),
        Verb::Leaks(options) => leaks(&options),
        Verb::Conformance(options) => conformance(&options),
        Verb::Bench(options) => bench::run(&options).map(|()| ExitCode::SUCCESS),
    }
}

/// Prints one line of JSON when the registry is ready, and serves until standard input ends.
fn registry(options: &RegistryOptions) -> Result<ExitCode> {
    let registry = Registry::builder().address(options.listen).start()?;
    let test_image_digest = if options.small {
        standin::publish_busybox(&registry)?;
        None
    } else {
        Some(standin::publish(&registry)?)
    };
    if let Some(dir) = &options.big {
        for (tag, compression) in [("gzip", Compression::Gzip), ("zstd", Compression::Zstd)] {
            registry.push("bench/usr", tag, &big::image(compression, dir)?);
        }
    }
    if let Some(dir) = &options.mirrors {
        registry.write_mirrors(dir, &standin::HOSTS)?;
    }
    let ready = Ready { address: registry.address(), test_image_digest };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&ready)?)?;
    out.flush()?;
    drop(out);
    // The parent ends this by closing the pipe, or by ending.
    std::io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(ExitCode::SUCCESS)
}

fn leaks(options: &LeakOptions) -> Result<ExitCode> {
    let places: Vec<_> = options.place.iter().map(PathBuf::as_path).collect();
    if options.take {
        std::fs::write(&options.file, serde_json::to_vec(&Snapshot::take(&places))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let before = std::fs::read(&options.file).with_context(|| format!("read {}", options.file.display()))?;
    let before: Snapshot = serde_json::from_slice(&before)?;
    // Everything of kinds that only a container runtime makes; of the rest what is named.
    let look = || {
        Snapshot::take(&places).since(&before).of(|thing, name| match thing {
            Thing::Process | Thing::Cgroup => options.only.iter().any(|word| name.contains(word.as_str())),
            Thing::Mount | Thing::NetworkNamespace | Thing::Link | Thing::NftTable | Thing::File => true,
        })
    };
    // The kernel takes links and namespaces down some time after their last user.
    let mut found = look();
    for _ in 0..LOOKS {
        if found.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        found = look();
    }
    let mut out = std::io::stdout().lock();
    write!(out, "{found}")?;
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn conformance(options: &ConformanceOptions) -> Result<ExitCode> {
    std::fs::create_dir_all(&options.out)?;
    let mut builder = Registry::builder();
    if let Some(address) = options.listen {
        builder = builder.address(address);
    }
    let registry = builder.start()?;
    let digest = standin::publish(&registry)?;
    // Ginkgo's program takes only what has such a name.
    let suite = options.out.join("critest.test");
    rename_image(&options.critest, &suite, digest.hex())?;

    let network = options.cni.as_deref().map(cni::Network::new).transpose()?;
    let daemon = match &options.berth {
        Some(berth) => Some(daemon(options, berth, &registry, network.as_ref())?),
        None => None,
    };
    let endpoint = match (&daemon, &options.socket) {
        (Some(daemon), _) => daemon.endpoint(),
        (None, Some(socket)) => socket.clone(),
        (None, None) => bail!("neither a program nor a socket to test"),
    };
    let report = options.out.join("report.json");
    let log = std::fs::File::create(options.out.join("critest.log"))?;
    // That of another runtime is not known here: its specs are skipped then, unless a flag names it.
    let nri = daemon.as_ref().map(|daemon| daemon.dir().join("state/nri.sock"));
    let nri = nri.map(|path| format!("-nri-socket={}", path.display()));
    let status = suite_command(options, &suite, &endpoint, &report)
        .args(nri)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .with_context(|| format!("run {}", suite.display()))?;
    let mut failed = !report.exists();
    if let Some(mut daemon) = daemon {
        std::fs::write(options.out.join("daemon.log"), daemon.log())?;
        if let Err(error) = daemon.purge() {
            writeln!(std::io::stderr(), "{error}")?;
            failed = true;
        }
    }
    if failed {
        bail!("the suite ended with {status}: see {}", options.out.display());
    }
    // Which specs failed is in the report; the caller knows which may.
    Ok(ExitCode::SUCCESS)
}

fn daemon(
    options: &ConformanceOptions,
    berth: &Path,
    registry: &Registry,
    network: Option<&cni::Network>,
) -> Result<Daemon> {
    let mut builder = Daemon::builder(berth)?.mirrors(registry)?;
    if let Some(network) = network {
        builder = builder.cni(network);
    }
    if let Some(handler) = &options.handler {
        builder = builder.arguments(["--handler", handler]);
    }
    Ok(builder.start()?)
}

/// The suite by itself, or by ginkgo's program, which has the flags of ginkgo under names of its own.
fn suite_command(options: &ConformanceOptions, suite: &Path, endpoint: &str, report: &Path) -> Command {
    const GINKGO: &str = "-ginkgo.";
    let mut flags = vec!["-ginkgo.no-color".to_owned(), "-ginkgo.timeout=25m".to_owned()];
    flags.extend(options.flags.iter().cloned());
    if !flags.iter().any(|flag| flag.starts_with("-ginkgo.seed=")) {
        flags.push("-ginkgo.seed=1".to_owned());
    }
    let of_critest = [format!("-runtime-endpoint={endpoint}"), format!("-image-endpoint={endpoint}")];
    let mut command = match (&options.ginkgo, options.parallel) {
        (Some(ginkgo), Some(parallel)) => {
            let (of_ginkgo, others): (Vec<_>, Vec<_>) =
                flags.iter().partition(|flag| flag.starts_with(GINKGO));
            let mut command = Command::new(ginkgo);
            command.args(["run", &format!("--procs={parallel}"), "--json-report=report.json"]);
            command.arg("--output-dir").arg(&options.out);
            command.args(of_ginkgo.iter().map(|flag| format!("--{}", &flag[GINKGO.len()..])));
            command.arg(suite).arg("--").args(others);
            command
        }
        _ => {
            let mut command = Command::new(suite);
            command.arg(format!("-ginkgo.json-report={}", report.display())).args(&flags);
            command
        }
    };
    command.current_dir(&options.out).args(of_critest);
    command
}

/// The suite names one image by its upstream digest; in the copy that runs here it is that of the
/// stand-in, which has as many digits.
fn rename_image(from: &Path, to: &Path, digest: &str) -> Result<()> {
    let mut program = std::fs::read(from).with_context(|| format!("read {}", from.display()))?;
    let old = UPSTREAM_DIGEST.as_bytes();
    let mut at = 0;
    while let Some(found) = find(&program[at..], old) {
        at += found;
        program[at..at + old.len()].copy_from_slice(digest.as_bytes());
    }
    if at == 0 {
        bail!("{} does not name the image that is known by digest", from.display());
    }
    std::fs::write(to, program)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    Ok(std::fs::set_permissions(to, mode)?)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle[0];
    let mut at = 0;
    while let Some(next) = haystack[at..].iter().position(|byte| *byte == first) {
        at += next;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}
