//! The daemon's settings, in two stages: what flags and the configuration file say, and what
//! follows from it. A flag wins over the file, the file over the default.

mod cgroups;
mod handlers;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_streaming::TlsFiles;
use clap::ValueEnum;
use serde::Deserialize;

pub(crate) use cgroups::Cgroups;

/// Where the configuration file is unless a flag says so.
pub(crate) const CONFIG: &str = "/etc/berth/config.toml";

/// What flags and file can say. Every flag is a key of the file under the same name.
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Given {
    /// A second daemon beside the first: derives root, state, socket, bridge, addresses, firewall
    /// table and cgroup root. The flag is a global one of the command line.
    #[arg(skip)]
    pub(crate) instance: Option<String>,
    /// What survives a reboot: images, address leases [default: /var/lib/berth]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// What does not survive a reboot: records and sockets of pods [default: /run/berth]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// The socket to answer on [default: unix:///run/berth/berth.sock]
    #[arg(long, value_name = "unix:///PATH")]
    pub(crate) listen: Option<String>,
    /// Directory of HOST/hosts.toml files, as containerd reads them; repeatable [default: /etc/berth/certs.d, /etc/containerd/certs.d]
    #[arg(long, value_name = "DIR")]
    pub(crate) certs_dir: Vec<PathBuf>,
    /// Registry host that completes a short image name; repeatable, tried in order [default: none, short names are refused]
    #[arg(long, value_name = "HOST")]
    pub(crate) short_name_host: Vec<String>,
    /// Network of pods made through the CRI [default: cni]
    #[arg(long, value_enum)]
    pub(crate) network: Option<Network>,
    /// IPv4 addresses of the built-in network [default: a free /20 of 10.208.0.0/14, chosen once and kept]
    #[arg(long, value_name = "CIDR")]
    pub(crate) pod_cidr: Option<String>,
    /// IPv4 addresses of services [default: a free /20 of 10.212.0.0/14, chosen once and kept]
    #[arg(long, value_name = "CIDR")]
    pub(crate) service_cidr: Option<String>,
    /// Bridge of the built-in network [default: berth0]
    #[arg(long, value_name = "NAME")]
    pub(crate) bridge: Option<String>,
    /// Directory of CNI configurations, of which the first by name is the network; watched, and may be made later [default: /etc/cni/net.d]
    #[arg(long, value_name = "DIR")]
    pub(crate) cni_conf_dir: Option<PathBuf>,
    /// Directory of CNI plugins; repeatable, searched in order [default: /opt/cni/bin, /usr/lib/cni]
    #[arg(long, value_name = "DIR")]
    pub(crate) cni_bin_dir: Vec<PathBuf>,
    /// Who manages cgroups; a kubelet asks, and follows [default: auto]
    #[arg(long, value_enum)]
    pub(crate) cgroup_driver: Option<CgroupDriver>,
    /// Cgroup for shims and for pods without a parent of their own [default: /berth, or berth.slice under systemd]
    #[arg(long, value_name = "PATH|SLICE")]
    pub(crate) cgroup_root: Option<String>,
    /// Address of the streaming server [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) stream_address: Option<String>,
    /// Port of the streaming server; 0 is any [default: 0]
    #[arg(long, value_name = "PORT")]
    pub(crate) stream_port: Option<u16>,
    /// Certificate of the streaming server as PEM; it speaks TLS then
    #[arg(long, value_name = "FILE")]
    pub(crate) stream_tls_cert: Option<PathBuf>,
    /// Private key of the streaming server as PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) stream_tls_key: Option<PathBuf>,
    /// How long a stream may stay open without a byte, such as 30m [default: 4h]
    #[arg(long, value_name = "TIME")]
    pub(crate) stream_idle_timeout: Option<String>,
    /// Socket for NRI plugins, or off
    #[arg(long, value_name = "PATH|off")]
    pub(crate) nri_socket: Option<String>,
    /// NRI plugins to start
    #[arg(long, value_name = "DIR")]
    pub(crate) nri_plugin_dir: Option<PathBuf>,
    /// Configurations of NRI plugins
    #[arg(long, value_name = "DIR")]
    pub(crate) nri_config_dir: Option<PathBuf>,
    /// Directory with devices of the Container Device Interface, of which a later one counts more; repeatable [default: /etc/cdi,
    /// /var/run/cdi]
    #[arg(long, value_name = "DIR")]
    pub(crate) cdi_dir: Vec<PathBuf>,
    /// Another OCI runtime as a handler, or the place of runc, crun or runsc; repeatable
    #[arg(long, value_name = "NAME=PATH")]
    pub(crate) handler: Vec<String>,
    /// Directory in which runc, crun and runsc are looked for; repeatable, searched in order [default: /usr/local/sbin,
    /// /usr/local/bin, /usr/sbin, /usr/bin, /sbin, /bin]
    #[arg(long, value_name = "DIR")]
    pub(crate) handler_dir: Vec<PathBuf>,
    /// What pods without a handler get [default: native]
    #[arg(long, value_name = "NAME")]
    pub(crate) default_handler: Option<String>,
    /// Address of the metrics server
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics_address: Option<String>,
    /// error, warn, info, debug or trace, or a filter such as berth_engine=debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Form of the log on standard error [default: text]
    #[arg(long, value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// File to write the daemon's process id to
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
}

/// The network of pods made through the CRI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
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
    pub(crate) default_handler: String,
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
    pub(crate) pid_file: Option<PathBuf>,
}

/// An invalid setting.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("read the configuration {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("configuration {path}: {message}")]
    Syntax { path: PathBuf, message: String },
    #[error("--{name} {value:?}: {reason}")]
    Invalid { name: &'static str, value: String, reason: String },
    #[error("--{name} is not supported yet: leave it out")]
    Later { name: &'static str },
}

impl Given {
    /// Reads a configuration file. A missing file is an error only when it was given explicitly.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, SettingsError> {
        let file = path.unwrap_or(Path::new(CONFIG));
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&text)
                .map_err(|e| SettingsError::Syntax { path: file.to_owned(), message: e.to_string() }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && path.is_none() => Ok(Self::default()),
            Err(source) => Err(SettingsError::Read { path: file.to_owned(), source }),
        }
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// These settings, and where they say nothing, those of `below`.
    pub(crate) fn over(self, below: Self) -> Self {
        fn list<T>(above: Vec<T>, below: Vec<T>) -> Vec<T> {
            if above.is_empty() { below } else { above }
        }
        Self {
            instance: self.instance.or(below.instance),
            root: self.root.or(below.root),
            state: self.state.or(below.state),
            listen: self.listen.or(below.listen),
            certs_dir: list(self.certs_dir, below.certs_dir),
            short_name_host: list(self.short_name_host, below.short_name_host),
            network: self.network.or(below.network),
            pod_cidr: self.pod_cidr.or(below.pod_cidr),
            service_cidr: self.service_cidr.or(below.service_cidr),
            bridge: self.bridge.or(below.bridge),
            cni_conf_dir: self.cni_conf_dir.or(below.cni_conf_dir),
            cni_bin_dir: list(self.cni_bin_dir, below.cni_bin_dir),
            cgroup_driver: self.cgroup_driver.or(below.cgroup_driver),
            cgroup_root: self.cgroup_root.or(below.cgroup_root),
            stream_address: self.stream_address.or(below.stream_address),
            stream_port: self.stream_port.or(below.stream_port),
            stream_tls_cert: self.stream_tls_cert.or(below.stream_tls_cert),
            stream_tls_key: self.stream_tls_key.or(below.stream_tls_key),
            stream_idle_timeout: self.stream_idle_timeout.or(below.stream_idle_timeout),
            nri_socket: self.nri_socket.or(below.nri_socket),
            nri_plugin_dir: self.nri_plugin_dir.or(below.nri_plugin_dir),
            nri_config_dir: self.nri_config_dir.or(below.nri_config_dir),
            cdi_dir: list(self.cdi_dir, below.cdi_dir),
            handler: list(self.handler, below.handler),
            handler_dir: list(self.handler_dir, below.handler_dir),
            default_handler: self.default_handler.or(below.default_handler),
            metrics_address: self.metrics_address.or(below.metrics_address),
            log_level: self.log_level.or(below.log_level),
            log_format: self.log_format.or(below.log_format),
            pid_file: self.pid_file.or(below.pid_file),
        }
    }

    /// What follows from all this.
    pub(crate) fn resolve(self) -> Result<Settings, SettingsError> {
        self.refuse_later()?;
        let instance = self.instance.unwrap_or_default();
        let defaults = Defaults::of(&instance)?;
        let state = self.state.unwrap_or(defaults.state);
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
            root: self.root.unwrap_or(defaults.root),
            state,
            socket,
            certs_dirs: or(
                self.certs_dir,
                ["/etc/berth/certs.d", "/etc/containerd/certs.d"].map(PathBuf::from).to_vec(),
            ),
            short_name_hosts: self.short_name_host,
            network: self.network.unwrap_or(Network::Cni),
            pod_cidr: self.pod_cidr.unwrap_or_default(),
            service_cidr: self.service_cidr.unwrap_or_default(),
            bridge,
            table: defaults.table,
            cni_conf_dir: absolute(
                "cni-conf-dir",
                self.cni_conf_dir.unwrap_or_else(|| "/etc/cni/net.d".into()),
            )?,
            cni_bin_dirs: bin_dirs(self.cni_bin_dir)?,
            cgroups,
            streams,
            handlers: handlers::given(&self.handler)?,
            handler_dirs: handlers::dirs(self.handler_dir)?,
            cdi_dirs: or(self.cdi_dir, berth_cdi::devices::DIRS.map(PathBuf::from).to_vec())
                .into_iter()
                .map(|dir| absolute("cdi-dir", dir))
                .collect::<Result<_, _>>()?,
            default_handler: handlers::default(self.default_handler)?,
            log_level: self.log_level.unwrap_or_else(|| "info".to_owned()),
            log_format: self.log_format.unwrap_or(LogFormat::Text),
            pid_file: self.pid_file,
        })
    }

    /// Flags of features that do not exist yet are refused when they are set.
    fn refuse_later(&self) -> Result<(), SettingsError> {
        let later = [
            ("nri-plugin-dir", self.nri_plugin_dir.is_some()),
            ("nri-config-dir", self.nri_config_dir.is_some()),
            ("nri-socket", self.nri_socket.as_deref().is_some_and(|s| s != "off")),
            ("metrics-address", self.metrics_address.is_some()),
        ];
        match later.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(SettingsError::Later { name }),
            None => Ok(()),
        }
    }
}

fn or<T>(given: Vec<T>, default: Vec<T>) -> Vec<T> {
    if given.is_empty() { default } else { given }
}

fn absolute(name: &'static str, dir: PathBuf) -> Result<PathBuf, SettingsError> {
    if dir.is_absolute() {
        Ok(dir)
    } else {
        Err(invalid(name, &dir.to_string_lossy(), "expected an absolute path"))
    }
}

/// The directories of plugins, which are passed on in a list that is separated by colons.
fn bin_dirs(given: Vec<PathBuf>) -> Result<Vec<PathBuf>, SettingsError> {
    let dirs = or(given, ["/opt/cni/bin", "/usr/lib/cni"].map(PathBuf::from).to_vec());
    let one = |dir: PathBuf| match dir.to_str() {
        Some(text) if !text.contains(':') => absolute("cni-bin-dir", dir),
        _ => Err(invalid("cni-bin-dir", &dir.to_string_lossy(), "a colon cannot be passed to plugins")),
    };
    dirs.into_iter().map(one).collect()
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
