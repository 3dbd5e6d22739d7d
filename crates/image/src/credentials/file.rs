//! docker's `config.json` and podman's `auth.json`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use berth_sys::fs::read_bounded;
use serde::Deserialize;

use super::helper::{self, HelperError};
use super::{Credentials, Environment, Secret, decode_auth, same_server};
use crate::json::nullable;

/// The largest file read.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// The files to look in, in order; one that does not exist is skipped.
#[derive(Debug, Clone, Default)]
pub struct CredentialFiles {
    pub(super) paths: Vec<PathBuf>,
}

/// Why a file's credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("read credentials from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("write credentials to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("credentials file {} is larger than 1 MiB", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what docker writes.
    #[error("credentials file {} is malformed at line {line}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line at which reading stopped. The text is not shown, it may be a secret.
        line: usize,
    },
    /// One entry is malformed.
    #[error("credentials file {}: the entry of {server:?} is malformed", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The entry's key.
        server: String,
    },
    /// A credential helper failed.
    #[error("credential helper of {}", path.display())]
    Helper {
        /// The file that names it.
        path: PathBuf,
        /// What it did.
        source: HelperError,
    },
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ConfigJson {
    #[serde(deserialize_with = "nullable")]
    auths: BTreeMap<String, Option<AuthEntry>>,
    #[serde(deserialize_with = "nullable")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    creds_store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AuthEntry {
    #[serde(deserialize_with = "nullable")]
    auth: String,
    #[serde(deserialize_with = "nullable")]
    username: String,
    #[serde(deserialize_with = "nullable")]
    password: String,
    #[serde(deserialize_with = "nullable")]
    identitytoken: String,
    #[serde(deserialize_with = "nullable")]
    registrytoken: String,
}

impl CredentialFiles {
    /// These files, in this order.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths }
    }

    /// The places podman and docker use: `$REGISTRY_AUTH_FILE` alone if set; else podman's
    /// `auth.json` of the session and of the user, then docker's `config.json` in
    /// `$DOCKER_CONFIG` or `~/.docker`.
    pub fn standard(environment: &Environment) -> Self {
        if let Some(file) = &environment.registry_auth_file {
            return Self::new(vec![file.clone()]);
        }
        let podman = |dir: &Path| dir.join("containers/auth.json");
        let mut paths: Vec<PathBuf> = environment.xdg_runtime_dir.iter().map(|dir| podman(dir)).collect();
        let home = environment.home.as_ref();
        let config = environment.xdg_config_home.clone().or_else(|| home.map(|home| home.join(".config")));
        paths.extend(config.map(|dir| podman(&dir)));
        let docker = environment.docker_config.clone().or_else(|| home.map(|home| home.join(".docker")));
        paths.extend(docker.map(|dir| dir.join("config.json")));
        Self { paths }
    }

    /// The files, the first to be asked first.
    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// What the first file that knows `host` says; an entry for `host/path/of/repository` or a
    /// part of it goes before one for the host, as in podman.
    pub async fn lookup(&self, host: &str, repository: &str) -> Result<Credentials, FileError> {
        for path in &self.paths {
            let Some(config) = read(path)? else { continue };
            if let Some(helper) = config.helper(host) {
                let found = helper::get(&helper, &helper_server(host))
                    .await
                    .map_err(|source| FileError::Helper { path: path.clone(), source })?;
                if let Some(credentials) = found {
                    return Ok(credentials);
                }
            }
            if let Some((server, entry)) = config.entry(host, repository) {
                let malformed = || FileError::Entry { path: path.clone(), server: server.to_owned() };
                let credentials = entry.credentials().map_err(|_| malformed())?;
                if credentials != Credentials::Anonymous {
                    return Ok(credentials);
                }
            }
        }
        Ok(Credentials::Anonymous)
    }
}

fn read(path: &Path) -> Result<Option<ConfigJson>, FileError> {
    let text = match read_bounded(path, MAX_FILE) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == ErrorKind::FileTooLarge => {
            return Err(FileError::TooLarge { path: path.to_owned() });
        }
        Err(source) => return Err(FileError::Read { path: path.to_owned(), source }),
    };
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|e| FileError::Malformed { path: path.to_owned(), line: e.line() })
}

/// The name by which docker stores an account of Docker Hub.
pub(super) fn helper_server(host: &str) -> String {
    if same_server(host, "docker.io") { "https://index.docker.io/v1/".to_owned() } else { host.to_owned() }
}

impl ConfigJson {
    pub(super) fn helper(&self, host: &str) -> Option<String> {
        let own = self.cred_helpers.iter().find(|(server, _)| is_whole_server(server, host));
        let name = own.map_or(&self.creds_store, |(_, name)| name);
        (!name.is_empty()).then(|| name.clone())
    }

    fn entry(&self, host: &str, repository: &str) -> Option<(&str, &AuthEntry)> {
        let mut scope = Some(repository);
        while let Some(path) = scope.filter(|path| !path.is_empty()) {
            if let Some((key, Some(entry))) = self.auths.get_key_value(&format!("{host}/{path}")) {
                return Some((key, entry));
            }
            scope = path.rsplit_once('/').map(|(parent, _)| parent);
        }
        // One host may be there in several spellings, and docker leaves empty entries for what a helper holds.
        let others = self.auths.iter().filter(|(server, _)| is_whole_server(server, host));
        let all = self.auths.get_key_value(host).into_iter().chain(others);
        let mut filled = all.filter_map(|(server, entry)| Some((server.as_str(), entry.as_ref()?)));
        filled.find(|(_, entry)| !entry.is_empty())
    }
}

/// Whether `key` names the whole of `host`, not a part of its repositories: `host`,
/// `https://host`, `https://host/v1/`.
pub(super) fn is_whole_server(key: &str, host: &str) -> bool {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let path = rest.split_once('/').map_or("", |(_, path)| path).trim_end_matches('/');
    matches!(path, "" | "v1" | "v2") && same_server(key, host)
}

impl AuthEntry {
    fn is_empty(&self) -> bool {
        [&self.auth, &self.username, &self.identitytoken, &self.registrytoken]
            .iter()
            .all(|field| field.is_empty())
    }

    fn credentials(&self) -> Result<Credentials, super::AuthError> {
        if !self.identitytoken.is_empty() {
            return Ok(Credentials::IdentityToken(Secret::new(&*self.identitytoken)));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Credentials::RegistryToken(Secret::new(&*self.registrytoken)));
        }
        if !self.auth.is_empty() {
            return decode_auth(&self.auth);
        }
        if !self.username.is_empty() {
            return Ok(Credentials::Basic {
                username: self.username.clone(),
                password: Secret::new(&*self.password),
            });
        }
        Ok(Credentials::Anonymous)
    }
}
