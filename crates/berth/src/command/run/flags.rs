//! The flags of `berth run`, and the pod manifest that they mean.

mod health;
mod limits;
mod manifest;
mod ports;
mod security;
mod volumes;

use std::path::PathBuf;

use anyhow::Context;
use clap::{ArgAction, ValueEnum};

/// `berth run`
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  berth run --rm -it docker.io/library/busybox sh
  berth run -d --name web -p 8080:80 docker.io/library/nginx
  berth run --rm -v .:/src:ro -w /src docker.io/library/busybox ls

Everything after the image belongs to the container. Ctrl-C stops the container, once more kills it.
Private images: docker login or podman login first.
Exit status: the container's own; 125 when Berth failed, 126 or 127 when the command cannot be executed."
)]
pub(crate) struct Run {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    pub(in crate::command) detach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Remove the container when it ends
    #[arg(long = "rm")]
    pub(super) remove: bool,
    /// Name of the pod and the container [default: generated]
    #[arg(long)]
    name: Option<String>,
    /// Remove a pod of this name first
    #[arg(long)]
    pub(super) replace: bool,
    /// File that gets the container's id; it must not exist
    #[arg(long, value_name = "FILE")]
    pub(super) cidfile: Option<PathBuf>,
    /// Environment variable; without a value it is taken from here; repeatable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// File of environment variables, one a line; repeatable
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// File or directory of this machine, or volume, in the container; a path alone is a volume without a name; repeatable
    #[arg(short, long, value_name = "[PATH|NAME:]PATH[:ro]")]
    volume: Vec<String>,
    /// The same in words; repeatable
    #[arg(long, value_name = "type=bind|volume|tmpfs,src=PATH|NAME,dst=PATH[,ro]")]
    mount: Vec<String>,
    /// Directory in memory; repeatable
    #[arg(long, value_name = "PATH[:size=SIZE]")]
    tmpfs: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// Port of this machine that leads to the container, or ports as 8000-8009; without it a free one; repeatable
    #[arg(short, long, value_name = "[[IP:]PORT:]PORT[/udp]")]
    publish: Vec<String>,
    /// Port that the container serves; says so only; repeatable
    #[arg(long, value_name = "PORT[/udp]")]
    expose: Vec<String>,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Replaces the image's entrypoint; \"\" removes it
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// User, and group, to run as, by number or by a name in the image
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Further group, by number; repeatable
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Host name in the container
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// Line of the container's /etc/hosts; repeatable
    #[arg(long, value_name = "NAME:IP")]
    add_host: Vec<String>,
    /// Name server, instead of this machine's; repeatable
    #[arg(long, value_name = "IP")]
    dns: Vec<String>,
    /// Domain in which names are looked for; repeatable
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Option of resolv.conf; repeatable
    #[arg(long, alias = "dns-opt", value_name = "NAME[:VALUE]")]
    dns_option: Vec<String>,
    /// Network: an address of its own, this machine's, or none
    #[arg(long, alias = "net", value_enum, default_value_t = Net::Pod)]
    network: Net,
    /// Processes that the container sees: its own, or this machine's
    #[arg(long, value_name = "host")]
    pid: Option<String>,
    /// IPC objects that the container sees: its own, or this machine's
    #[arg(long, value_name = "host")]
    ipc: Option<String>,
    /// User ids: this machine's (host), or a range that no other pod has (auto)
    #[arg(long, value_enum, value_name = "host|auto")]
    userns: Option<Users>,
    /// A first process that takes up what the container leaves behind
    #[arg(long)]
    init: bool,
    /// Memory limit, as 64Mi or 1g
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// Limit of memory and swap together; -1 for no limit of swap [default: as --memory]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// CPUs, as 0.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Weight beside other containers; 1024 is usual
    #[arg(short = 'c', long, value_name = "WEIGHT")]
    cpu_shares: Option<u64>,
    /// CPUs that it may use, as 0-2,5
    #[arg(long, value_name = "CPUS")]
    cpuset_cpus: Option<String>,
    /// Memory nodes that it may use
    #[arg(long, value_name = "NODES")]
    cpuset_mems: Option<String>,
    /// The most processes and threads; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Limit of each process, as nofile=1024 or nofile=1024:2048; -1 is none; repeatable
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// How soon the kernel ends it when memory runs out, -1000 to 1000
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    oom_score_adj: Option<i32>,
    /// Read-only root file system
    #[arg(long)]
    read_only: bool,
    /// Capability to add, or ALL; repeatable
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// Capability to drop, or ALL; repeatable
    #[arg(long, value_name = "NAME")]
    cap_drop: Vec<String>,
    /// All capabilities, all devices, no seccomp filter and no AppArmor profile
    #[arg(long)]
    privileged: bool,
    /// no-new-privileges, seccomp=unconfined|FILE or apparmor=unconfined|PROFILE; repeatable
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Device of this machine in the container, or one by the Container Device Interface; repeatable
    #[arg(long, value_name = "PATH[:PATH[:rwm]]|VENDOR/CLASS=NAME")]
    device: Vec<String>,
    /// Kernel setting of the container's own namespaces; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// Handler that runs the container, such as runc or runsc; berth info lists them [default: the daemon's]
    #[arg(long, value_name = "NAME")]
    runtime: Option<String>,
    /// Label of the pod; repeatable
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Annotation of the pod; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// When the container is run again after it ended: no, always, on-failure, or on-failure:3
    #[arg(long, value_name = "POLICY", default_value = "no")]
    restart: Restart,
    /// Signal that asks the container to end [default: the image's, or SIGTERM]
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds between the stop signal and the kill [default: 10]
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u64>,
    /// Seconds that the container may run
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Shell line that says whether the container can serve; berth ps shows it
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Time between two checks [default: 30s]
    #[arg(long, value_name = "TIME")]
    health_interval: Option<String>,
    /// Time that a check may take [default: 30s]
    #[arg(long, value_name = "TIME")]
    health_timeout: Option<String>,
    /// Failed checks in a row after which it cannot serve [default: 3]
    #[arg(long, value_name = "NUMBER")]
    health_retries: Option<u32>,
    /// Time before failures count: a container serves from its first success on in any case
    #[arg(long, value_name = "TIME")]
    health_start_period: Option<String>,
    /// No checks; those of an image are never made
    #[arg(long, conflicts_with = "health_cmd")]
    no_healthcheck: bool,
    /// When the image is pulled [default: missing]
    #[arg(long, value_enum)]
    pub(super) pull: Option<Pull>,
    /// No progress of pulls
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// The most that the root file system's changes may take: size=20g; needs project quotas
    #[arg(long, value_name = "size=SIZE")]
    storage_opt: Vec<String>,
    /// The image, and the command with its arguments [default: the image's]
    #[arg(trailing_var_arg = true, required = true, value_names = ["IMAGE", "COMMAND"])]
    words: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Net {
    #[value(alias = "bridge", alias = "private")]
    Pod,
    Host,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Users {
    Host,
    #[value(alias = "private")]
    Auto,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restart {
    No,
    OnFailure(Option<u32>),
    Always,
}

impl std::str::FromStr for Restart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "no" | "never" => Ok(Self::No),
            // Nothing that was stopped is started again here, by no policy.
            "always" | "unless-stopped" => Ok(Self::Always),
            "on-failure" => Ok(Self::OnFailure(None)),
            other => other
                .strip_prefix("on-failure:")
                .and_then(|most| most.parse().ok())
                .map(|most| Self::OnFailure(Some(most)))
                .ok_or_else(|| "expected no, always, on-failure or on-failure:NUMBER".to_owned()),
        }
    }
}

/// When the image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    // Even when it is there.
    Always,
    Missing,
    Never,
}

impl Pull {
    /// The value as the daemon takes it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Missing => "missing",
            Self::Never => "never",
        }
    }
}

impl Run {
    fn image(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    fn command(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// The name given, or one made of the image's and a few random digits.
    pub(super) fn pod_name(&self) -> anyhow::Result<String> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let last = self.image().rsplit('/').next().unwrap_or_default();
        let base = host_name(last.split([':', '@']).next().unwrap_or_default(), 40);
        let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("generate a name")?;
        let base = if base.is_empty() { "container" } else { &base };
        Ok(format!("{base}-{}", random.get(..5).unwrap_or("0")))
    }
}

/// The first `most` characters of a name as a host name may have them.
fn host_name(text: &str, most: usize) -> String {
    let shown = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = text.chars().map(shown).take(most).collect();
    name.trim_matches('-').to_owned()
}

/// `KEY=VALUE` of a flag.
fn pair<'a>(text: &'a str, flag: &str) -> anyhow::Result<(&'a str, &'a str)> {
    text.split_once('=').with_context(|| format!("invalid {flag} {text:?}: expected KEY=VALUE"))
}

#[cfg(test)]
mod tests;
