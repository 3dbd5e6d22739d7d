//! The daemon's settings, in two stages: what flags, environment and configuration files say (`layers`), and what
//! follows from it. A flag wins over the environment, that over the files, a later file over an earlier one, and all of
//! them over the default.

mod cgroups;
mod collect;
mod file;
mod flags;
mod handlers;
mod layers;
mod metrics;
mod nri;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use berth_streaming::TlsFiles;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub(crate) use cgroups::Cgroups;
pub(crate) use file::text;
pub(crate) use flags::Flags;
pub(crate) use layers::{Layers, Source};
pub(crate) use metrics::MetricsAddress;
pub(crate) use nri::Nri;

/// What flags, environment and files can say. Every flag is a key of the file under the same name; what each is for is
/// in the table (`berth_types::setting`).
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Given {
    #[arg(skip)]
    pub(crate) instance: Option<String>,
    #[arg(long)]
    pub(crate) root: Option<PathBuf>,
    #[arg(long)]
    pub(crate) state: Option<PathBuf>,
    #[arg(long)]
    pub(crate) listen: Option<String>,
    #[arg(long)]
    pub(crate) certs_dir: Option<Vec<PathBuf>>,
    #[arg(long)]
    pub(crate) short_name_host: Option<Vec<String>>,
    #[arg(long, value_enum)]
    pub(crate) network: Option<Network>,
    #[arg(long)]
    pub(crate) pod_cidr: Option<String>,
    #[arg(long)]
    pub(crate) service_cidr: Option<String>,
    #[arg(long)]
    pub(crate) bridge: Option<String>,
    #[arg(long)]
    pub(crate) cni_conf_dir: Option<PathBuf>,
    #[arg(long)]
    pub(crate) cni_bin_dir: Option<Vec<PathBuf>>,
    #[arg(long, value_enum)]
    pub(crate) cgroup_driver: Option<CgroupDriver>,
    #[arg(long)]
    pub(crate) cgroup_root: Option<String>,
    #[arg(long)]
    pub(crate) stream_address: Option<String>,
    #[arg(long)]
    pub(crate) stream_port: Option<u16>,
    #[arg(long)]
    pub(crate) stream_tls_cert: Option<PathBuf>,
    #[arg(long)]
    pub(crate) stream_tls_key: Option<PathBuf>,
    #[arg(long)]
    pub(crate) stream_idle_timeout: Option<String>,
    #[arg(long)]
    pub(crate) nri_socket: Option<String>,
    #[arg(long)]
    pub(crate) nri_plugin_dir: Option<PathBuf>,
    #[arg(long)]
    pub(crate) nri_config_dir: Option<PathBuf>,
    #[arg(long)]
    pub(crate) cdi_dir: Option<Vec<PathBuf>>,
    #[arg(long)]
    pub(crate) hooks_dir: Option<Vec<PathBuf>>,
    #[arg(long)]
    pub(crate) handler: Option<Vec<String>>,
    #[arg(long)]
    pub(crate) handler_dir: Option<Vec<PathBuf>>,
    #[arg(long)]
    pub(crate) default_handler: Option<String>,
    #[arg(long)]
    pub(crate) image_gc_high_threshold: Option<u8>,
    #[arg(long)]
    pub(crate) image_gc_low_threshold: Option<u8>,
    #[arg(long)]
    pub(crate) image_gc_minimum_age: Option<String>,
    #[arg(long)]
    pub(crate) metrics_address: Option<String>,
    #[arg(long)]
    pub(crate) log_level: Option<String>,
    #[arg(long, value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    #[arg(long)]
    pub(crate) pid_file: Option<PathBuf>,
}

/// The network of pods made through the CRI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Network {
    /// CNI plugins; the node is not ready until one is configured
    Cni,
    /// Berth's own bridge network
    Builtin,
    /// Loopback only
    None,
}

/// Who manages cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CgroupDriver {
    /// systemd where it is the first process and cgroup v2 is alone, else Berth itself
    Auto,
    /// Berth itself
    Cgroupfs,
    /// systemd
    Systemd,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For humans
    Text,
    /// One JSON object a line
    Json,
}

/// What the daemon runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) instance: String,
    pub(crate) root: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) certs_dirs: Vec<PathBuf>,
    pub(crate) short_name_hosts: Vec<String>,
    pub(crate) network: Network,
    /// Empty lets the network choose.
    pub(crate) pod_cidr: String,
    /// The same.
    pub(crate) service_cidr: String,
    pub(crate) bridge: String,
    pub(crate) table: String,
    pub(crate) cni_conf_dir: PathBuf,
    pub(crate) cni_bin_dirs: Vec<PathBuf>,
    pub(crate) streams: berth_streaming::Settings,
    pub(crate) cgroups: Cgroups,
    pub(crate) handlers: BTreeMap<String, PathBuf>,
    pub(crate) handler_dirs: Vec<PathBuf>,
    pub(crate) cdi_dirs: Vec<PathBuf>,
    pub(crate) hooks_dirs: Vec<PathBuf>,
    pub(crate) default_handler: String,
    pub(crate) nri: Nri,
    /// None collects none.
    pub(crate) image_gc: Option<berth_image::collect::Policy>,
    pub(crate) metrics: Option<MetricsAddress>,
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
    pub(crate) pid_file: Option<PathBuf>,
}

/// An invalid setting.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("read the configuration {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is {what}: leave out what is not needed")]
    TooMuch { path: PathBuf, what: String },
    #[error("{}", file::told(.0))]
    Files(Vec<file::Problem>),
    #[error("--{name} {value:?}: {reason}")]
    Invalid { name: &'static str, value: String, reason: String },
    #[error("{place}: {message}")]
    Placed { place: Source, message: String },
}

impl Given {
    /// What follows from all this.
    pub(crate) fn resolve(self) -> Result<Settings, SettingsError> {
        let instance = self.instance.unwrap_or_default();
        let defaults = Defaults::of(&instance)?;
        let root = self.root.unwrap_or(defaults.root);
        let state = self.state.unwrap_or(defaults.state);
        let nri = (self.nri_socket, self.nri_plugin_dir, self.nri_config_dir);
        let nri = Nri::of(nri, instance.is_empty(), (&root, &state))?;
        let socket = match &self.listen {
            Some(listen) => socket_path(listen).ok_or_else(|| {
                invalid("listen", listen, "expected an address such as unix:///run/berth/berth.sock")
            })?,
            None => state.join("berth.sock"),
        };
        if socket.as_os_str().len() > MAX_SOCKET {
            let reason = format!("a socket path must not be longer than {MAX_SOCKET} bytes");
            return Err(invalid("listen", &socket.to_string_lossy(), &reason));
        }
        let bridge = self.bridge.unwrap_or(defaults.bridge);
        if bridge.is_empty() || bridge.len() > 15 || bridge.contains(['/', ' ']) {
            return Err(invalid("bridge", &bridge, "an interface name must have 1 to 15 characters"));
        }
        let cgroups = Cgroups::of(&instance).given(self.cgroup_driver, self.cgroup_root)?;
        let tls = (self.stream_tls_cert, self.stream_tls_key);
        let streams = streams(self.stream_address, self.stream_port, tls, self.stream_idle_timeout)?;
        Ok(Settings {
            instance,
            root,
            state,
            socket,
            certs_dirs: or(self.certs_dir, ["/etc/berth/certs.d", "/etc/containerd/certs.d"]),
            short_name_hosts: self.short_name_host.unwrap_or_default(),
            network: self.network.unwrap_or(Network::Cni),
            pod_cidr: cidr("pod-cidr", self.pod_cidr)?,
            service_cidr: cidr("service-cidr", self.service_cidr)?,
            bridge,
            table: defaults.table,
            cni_conf_dir: absolute(
                "cni-conf-dir",
                self.cni_conf_dir.unwrap_or_else(|| "/etc/cni/net.d".into()),
            )?,
            cni_bin_dirs: bin_dirs(self.cni_bin_dir)?,
            cgroups,
            streams,
            handlers: handlers::given(&self.handler.unwrap_or_default())?,
            handler_dirs: handlers::dirs(self.handler_dir)?,
            cdi_dirs: or(self.cdi_dir, berth_cdi::devices::DIRS)
                .into_iter()
                .map(|dir| absolute("cdi-dir", dir))
                .collect::<Result<_, _>>()?,
            hooks_dirs: or(self.hooks_dir, berth_engine::HOOKS_DIRS)
                .into_iter()
                .map(|dir| absolute("hooks-dir", dir))
                .collect::<Result<_, _>>()?,
            default_handler: handlers::default(self.default_handler)?,
            nri,
            image_gc: collect::policy(
                self.image_gc_high_threshold,
                self.image_gc_low_threshold,
                self.image_gc_minimum_age,
            )?,
            metrics: self.metrics_address.map(|text| metrics::address(&text)).transpose()?,
            log_level: log_level(self.log_level)?,
            log_format: self.log_format.unwrap_or(LogFormat::Text),
            pid_file: self.pid_file,
        })
    }
}

fn or<const N: usize>(given: Option<Vec<PathBuf>>, default: [&str; N]) -> Vec<PathBuf> {
    given.unwrap_or_else(|| default.map(PathBuf::from).to_vec())
}

fn absolute(name: &'static str, dir: PathBuf) -> Result<PathBuf, SettingsError> {
    if dir.is_absolute() {
        Ok(dir)
    } else {
        Err(invalid(name, &dir.to_string_lossy(), "expected an absolute path"))
    }
}

/// The directories of plugins, which are passed on in a list that is separated by colons.
fn bin_dirs(given: Option<Vec<PathBuf>>) -> Result<Vec<PathBuf>, SettingsError> {
    let dirs = or(given, ["/opt/cni/bin", "/usr/lib/cni"]);
    let one = |dir: PathBuf| match dir.to_str() {
        Some(text) if !text.contains(':') => absolute("cni-bin-dir", dir),
        _ => Err(invalid("cni-bin-dir", &dir.to_string_lossy(), "a colon cannot be passed to plugins")),
    };
    dirs.into_iter().map(one).collect()
}

fn log_level(given: Option<String>) -> Result<String, SettingsError> {
    let level = given.unwrap_or_else(|| "info".to_owned());
    match super::logging::filter(&level) {
        Ok(_) => Ok(level),
        Err(reason) => Err(invalid("log-level", &level, &reason)),
    }
}

/// Empty lets the network choose.
fn cidr(name: &'static str, given: Option<String>) -> Result<String, SettingsError> {
    let cidr = given.unwrap_or_default();
    match cidr.parse::<berth_net::Cidr4>() {
        Err(e) if !cidr.is_empty() => Err(invalid(name, &cidr, &e.to_string())),
        _ => Ok(cidr),
    }
}

/// The longest path of a socket. The kernel takes 107 bytes (unix(7)), of which the name that it is bound by before it
/// is renamed needs a few.
const MAX_SOCKET: usize = 95;

fn invalid(name: &'static str, value: &str, reason: &str) -> SettingsError {
    SettingsError::Invalid { name, value: value.to_owned(), reason: reason.to_owned() }
}

/// The path of a `unix://` address; a bare absolute path is one too.
pub(crate) fn socket_path(address: &str) -> Option<PathBuf> {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    path.starts_with('/').then(|| PathBuf::from(path))
}

/// How the streaming server is reached.
fn streams(
    address: Option<String>,
    port: Option<u16>,
    tls: (Option<PathBuf>, Option<PathBuf>),
    idle: Option<String>,
) -> Result<berth_streaming::Settings, SettingsError> {
    const DEFAULT_IDLE: Duration = Duration::from_secs(4 * 60 * 60);
    let address = address.map_or(Ok(Ipv4Addr::LOCALHOST.into()), |text| {
        text.parse().map_err(|_| invalid("stream-address", &text, "expected an IP address such as 127.0.0.1"))
    })?;
    let tls = match tls {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        (Some(given), None) => {
            return Err(invalid("stream-tls-cert", &given.to_string_lossy(), "--stream-tls-key is missing"));
        }
        (None, Some(given)) => {
            return Err(invalid("stream-tls-key", &given.to_string_lossy(), "--stream-tls-cert is missing"));
        }
    };
    let idle = idle.map_or(Ok(DEFAULT_IDLE), |text| {
        let time = text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
        let reason = "expected a time above 0 such as 4h, 30m or 90s";
        time.filter(|time| !time.is_zero()).ok_or_else(|| invalid("stream-idle-timeout", &text, reason))
    })?;
    Ok(berth_streaming::Settings { address, port: port.unwrap_or(0), tls, idle })
}

/// What an instance has unless it says otherwise.
struct Defaults {
    root: PathBuf,
    state: PathBuf,
    bridge: String,
    table: String,
}

impl Defaults {
    fn of(instance: &str) -> Result<Self, SettingsError> {
        if instance.is_empty() {
            return Ok(Self {
                root: "/var/lib/berth".into(),
                state: "/run/berth".into(),
                bridge: "berth0".into(),
                table: "berth".into(),
            });
        }
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if instance.len() > 32 || !instance.bytes().all(allowed) || instance.starts_with('-') {
            return Err(invalid(
                "instance",
                instance,
                "up to 32 lower-case letters, digits and '-' are allowed",
            ));
        }
        let hash = fnv(instance);
        let bridge =
            if instance.len() <= 8 { format!("berth-{instance}") } else { format!("berth-{:08x}", hash) };
        Ok(Self {
            root: format!("/var/lib/berth-{instance}").into(),
            state: format!("/run/berth-{instance}").into(),
            bridge,
            table: format!("berth-{instance}"),
        })
    }
}

/// FNV-1a: the same name gives the same bridge, on every machine and in every version.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests;
