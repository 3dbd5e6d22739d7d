//! Which hosts serve a registry: containerd's `certs.d/HOST/hosts.toml`.
//!
//! The directory of a host is `host_port_`, `host:port` or `host`, looked for in every certs
//! directory in order; only when none has it, `_default` is. A directory without `hosts.toml` may
//! hold docker's `*.crt` (authorities) and `NAME.cert` with `NAME.key` (client certificates).
//! The files are read at each pull, so a change needs no restart.
//!
//! The hosts are the `[host]` tables in file order, then `server`, or the registry itself where
//! the file names none. Unknown keys are logged by name and ignored, as containerd does; a
//! value that is wrong is an error, since a mirror that is silently ignored sends traffic elsewhere. This and what else
//! differs from containerd is in docs/adr/0020-registry-client.md.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_sys::fs::read_bounded;
use http::{HeaderName, HeaderValue};

mod parse;

/// A host that serves a registry, and how to connect to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// How to connect.
    pub scheme: Scheme,
    /// Host and port, as in a URL.
    pub authority: String,
    /// The API's root, normally `/v2`; no slash at the end.
    pub path: String,
    /// What it is asked for.
    pub capabilities: Capabilities,
    /// Certificates.
    pub tls: TlsSettings,
    /// Headers sent with every request to this host (and to no other).
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// To have a connection, TLS included; None: the client's own.
    pub dial_timeout: Option<Duration>,
    /// Whether this is the registry that the reference names, or stands in for it.
    pub role: Role,
}

/// What a host is to the registry of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The registry itself.
    Registry,
    /// Another host; the registry's name goes along as `?ns=`.
    Mirror,
}

/// How to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// TLS.
    Https,
    /// TLS, and plain HTTP where the other end does not speak it: loopback registries.
    HttpsOrHttp,
}

/// What a host is asked for. (`push` is read and means nothing to a client that only pulls.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Content by digest.
    pub pull: bool,
    /// Turning tags into digests.
    pub resolve: bool,
}

/// Certificates, as read from their files.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TlsSettings {
    /// Authorities to trust besides the system's, PEM.
    pub authorities: Vec<Pem>,
    /// Certificates to show.
    pub clients: Vec<ClientPem>,
    /// Whether the server's certificate is checked.
    pub verify: Verify,
}

/// Whether the server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Verify {
    /// It is.
    #[default]
    Yes,
    /// It is not (`skip_verify`).
    Skip,
}

/// A PEM file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pem {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it; may be a private key, so never printed.
    pub text: Vec<u8>,
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pem({})", self.path.display())
    }
}

/// A client certificate and its key, which may be in one file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientPem {
    /// The certificate chain.
    pub certificate: Pem,
    /// The private key.
    pub key: Pem,
}

/// Why the hosts of a registry cannot be determined.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// A file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is larger than it may be.
    #[error("{} is larger than 1 MiB", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not TOML.
    #[error("parse {}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value is not what its key needs.
    #[error("{}: {key}: {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, with its table.
        key: String,
        /// What is needed.
        problem: String,
    },
}

/// The largest file read from a certs directory, bytes.
const MAX_FILE: u64 = 1 << 20;
/// The directory for hosts that have none of their own.
const DEFAULT: &str = "_default";

/// The hosts of `registry` (as a reference names it), in the order they are to be asked.
pub fn hosts(certs_dirs: &[PathBuf], registry: &str) -> Result<Vec<Host>, HostsError> {
    let Some(dir) = directory(certs_dirs, registry) else { return Ok(vec![Host::of(registry)]) };
    let file = dir.join("hosts.toml");
    match read(&file)? {
        Some(text) => {
            let text = String::from_utf8_lossy(&text.text).into_owned();
            parse::parse(&file, &text, registry)
        }
        None => {
            let mut host = Host::of(registry);
            host.tls = docker_certificates(&dir)?;
            if host.tls != TlsSettings::default() {
                host.scheme = Scheme::Https;
            }
            Ok(vec![host])
        }
    }
}

/// The first directory for `registry`; `_default` only when no certs directory has its own.
fn directory(certs_dirs: &[PathBuf], registry: &str) -> Option<PathBuf> {
    let underscored = registry.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    let names = underscored.map(|(host, port)| format!("{host}_{port}_")).into_iter();
    let own = names.chain([registry.to_owned()]).collect::<Vec<_>>();
    let present = |dir: &PathBuf| dir.is_dir();
    let mut candidates = certs_dirs.iter().flat_map(|dir| own.iter().map(|name| dir.join(name)));
    candidates.find(present).or_else(|| certs_dirs.iter().map(|dir| dir.join(DEFAULT)).find(present))
}

/// The file's contents; None when there is none.
fn read(path: &Path) -> Result<Option<Pem>, HostsError> {
    match read_bounded(path, MAX_FILE) {
        Ok(text) => Ok(Some(Pem { path: path.to_owned(), text })),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) if e.kind() == ErrorKind::FileTooLarge => Err(HostsError::TooLarge { path: path.to_owned() }),
        Err(source) => Err(HostsError::Read { path: path.to_owned(), source }),
    }
}

/// A file that must exist.
fn read_existing(path: &Path) -> Result<Pem, HostsError> {
    read(path)?.ok_or_else(|| HostsError::Read {
        path: path.to_owned(),
        source: std::io::Error::from(std::io::ErrorKind::NotFound),
    })
}

/// docker's layout: `*.crt` are authorities, `NAME.cert` and `NAME.key` a client's.
fn docker_certificates(dir: &Path) -> Result<TlsSettings, HostsError> {
    let failed = |source| HostsError::Read { path: dir.to_owned(), source };
    let entries = std::fs::read_dir(dir).map_err(failed)?;
    let mut files = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    files.sort();
    let mut tls = TlsSettings::default();
    for file in files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => tls.authorities.push(read_existing(&file)?),
            Some("cert") => tls.clients.push(ClientPem {
                certificate: read_existing(&file)?,
                key: read_existing(&file.with_extension("key"))?,
            }),
            _ => {}
        }
    }
    Ok(tls)
}

impl Host {
    /// The registry itself, as it is reached without any configuration.
    pub fn of(registry: &str) -> Self {
        let authority = match registry {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        Self {
            scheme: if is_loopback(authority) { Scheme::HttpsOrHttp } else { Scheme::Https },
            authority: authority.to_owned(),
            path: "/v2".to_owned(),
            capabilities: Capabilities { pull: true, resolve: true },
            // A loopback registry that does speak TLS has a self-signed certificate, and nothing
            // else can listen there.
            tls: TlsSettings {
                verify: if is_loopback(authority) { Verify::Skip } else { Verify::Yes },
                ..TlsSettings::default()
            },
            headers: Vec::new(),
            dial_timeout: None,
            role: Role::Registry,
        }
    }
}

impl std::fmt::Display for Host {
    /// The URL of its API, for users.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http://",
            Scheme::Https => "https://",
            Scheme::HttpsOrHttp => "",
        };
        write!(f, "{scheme}{}{}", self.authority, self.path.strip_suffix("/v2").unwrap_or(&self.path))
    }
}

/// Whether an authority (host, perhaps with a port) is this machine itself.
pub fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
