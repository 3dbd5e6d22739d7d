//! Measures a CRI runtime through its socket, the way a kubelet uses it, and others beside it.
//!
//! Every round visits each runtime in turn, so that a noisy machine hurts all alike; the table
//! shows medians over all rounds.

mod machine;
mod pod;
mod samples;
mod steps;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::image::{Compression, big, standin};
use crate::{Daemon, Registry, cni};
use samples::Samples;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Step {
    /// Each call of a pod's life, host network.
    Host,
    /// Each call of a pod's life, the pod's own network.
    Lifecycle,
    /// Each call of a pod's life, in a user namespace with the pod's own network.
    Users,
    /// Pods per second with 1, 4, 16 and 50 clients.
    Throughput,
    /// ExecSync.
    Exec,
    /// The calls that a kubelet polls, with 50 pods.
    List,
    /// Memory of the daemon and of each pod.
    Memory,
    /// Pull and unpack of 500 MB in five layers.
    Pull,
    /// A new daemon's first answer, with 50 pods.
    Restart,
    /// Exec and port forwarding by URL: calls, and streams of 1 GB.
    Streams,
    /// A pod beside many others, their statistics, and the daemon's memory while they come and go.
    Crowd,
    /// `berth play` and `berth ps`, and what exec probes of 100 local pods cost.
    Local,
}

/// The benchmark's command line.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// A berth binary to start and measure; another build of it can stand beside it under its own label
    #[arg(long, value_name = "[LABEL=]PROGRAM")]
    pub berth: Vec<String>,
    /// A daemon for each of these handlers, whose pods it runs, in place of the default alone
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub handlers: Vec<String>,
    /// A further handler of the daemons
    #[arg(long, value_name = "NAME=PATH")]
    pub handler: Option<String>,
    /// Another runtime to measure in the same run; its images must come from --listen
    #[arg(long, value_name = "LABEL=unix:///PATH")]
    pub against: Vec<String>,
    /// Where the registry is to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// What to measure; everything by default
    #[arg(long, value_delimiter = ',')]
    pub steps: Vec<Step>,
    /// How often every runtime is visited
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Pods of a lifecycle or throughput step in each round
    #[arg(long, default_value_t = 20)]
    pub pods: usize,
    /// How many other pods there are in the step of that name, in turn; a bridge holds 1,023
    #[arg(long, value_delimiter = ',', default_value = "400")]
    pub crowd: Vec<usize>,
    /// The pods' network of Berth is made by the CNI plugins bridge, host-local and portmap of this directory; they are
    /// measured alone too
    #[arg(long, value_name = "DIR")]
    pub cni: Option<PathBuf>,
    /// Kubernetes' client of the streaming server, as tests/streaming builds it
    #[arg(long, value_name = "PROGRAM")]
    pub client: Option<PathBuf>,
    /// Show every call of one pod's start, not only the sums
    #[arg(long)]
    pub profile: bool,
    /// Without the hardening: no seccomp, no limits, all default capabilities
    #[arg(long)]
    pub plain: bool,
    /// Where the 500 MB image is kept between runs
    #[arg(long, value_name = "DIR", default_value = "/var/tmp/berth-bench")]
    pub dir: PathBuf,
    /// Also write the medians as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A runtime that is measured.
#[derive(Debug)]
pub(crate) struct Target {
    label: String,
    endpoint: String,
    /// Present when this run started it and may restart it.
    daemon: Option<Daemon>,
}

const ALL: [Step; 12] = [
    Step::Host,
    Step::Lifecycle,
    Step::Users,
    Step::Exec,
    Step::Throughput,
    Step::List,
    Step::Restart,
    Step::Memory,
    Step::Pull,
    Step::Streams,
    Step::Crowd,
    Step::Local,
];

/// A daemon of this program for each handler, or one.
fn daemons(
    options: &Options,
    program: &str,
    registry: &Registry,
    network: Option<&cni::Network>,
) -> Result<Vec<Target>> {
    let (label, program) = program.split_once('=').unwrap_or(("berth", program));
    let start = |handler: Option<&String>| {
        let mut daemon = Daemon::builder(Path::new(program))?.mirrors(registry)?;
        if let Some(network) = network {
            daemon = daemon.cni(network);
        }
        if let Some(handler) = &options.handler {
            daemon = daemon.arguments(["--handler", handler]);
        }
        let mut label = label.to_owned();
        if let Some(handler) = handler {
            daemon = daemon.arguments(["--default-handler", handler]);
            label = format!("{label} {handler}");
        }
        let daemon = daemon.start()?;
        Ok(Target { label, endpoint: daemon.endpoint(), daemon: Some(daemon) })
    };
    match &options.handlers[..] {
        [] => Ok(vec![start(None)?]),
        handlers => handlers.iter().map(|handler| start(Some(handler))).collect(),
    }
}

/// Measures and prints.
pub fn run(options: &Options) -> Result<()> {
    let steps: Vec<Step> = if options.steps.is_empty() { ALL.to_vec() } else { options.steps.clone() };
    let registry = Registry::builder().address(options.listen).start()?;
    standin::publish(&registry)?;
    if steps.contains(&Step::Pull) {
        for (tag, compression) in [("gzip", Compression::Gzip), ("zstd", Compression::Zstd)] {
            registry.push("bench/usr", tag, &big::image(compression, &options.dir)?);
        }
    }
    let network = options.cni.as_deref().map(cni::Network::new).transpose()?;
    let mut targets = Vec::new();
    for program in &options.berth {
        targets.extend(daemons(options, program, &registry, network.as_ref())?);
    }
    for against in &options.against {
        let (label, endpoint) = against.split_once('=').context("expected --against LABEL=unix:///PATH")?;
        targets.push(Target { label: label.into(), endpoint: endpoint.into(), daemon: None });
    }
    let mut samples = Samples::new(targets.iter().map(|t| t.label.clone()).collect());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for round in 1..=options.rounds {
        if let Some(network) = &network {
            samples.begin(&targets[0].label);
            steps::plugins(network, options.pods, &mut samples)?;
        }
        for step in &steps {
            for target in &mut targets {
                samples.begin(&target.label);
                let about = format!("{step:?} on {}, round {round}", target.label);
                runtime.block_on(steps::run(*step, target, options, &mut samples)).context(about)?;
            }
        }
    }
    drop(targets);
    remove_cgroups();
    samples.print(options.profile)?;
    if let Some(file) = &options.json {
        std::fs::write(file, samples.json().to_string())
            .with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

/// The parent cgroup of the pods stays when they are gone, as a kubelet expects; here nothing else
/// removes it.
fn remove_cgroups() {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    for hierarchy in hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]) {
        std::fs::remove_dir(hierarchy.join(pod::CGROUP.trim_start_matches('/'))).ok();
    }
}
