//! Credentials for registries: what a request brings, and what docker's and podman's files hold.
//!
//! A secret is never printed: [`Secret`] has a redacted `Debug` and no `Display`.
//!
//! Credentials that came with a request and name no server belong to the registry of the
//! reference; they are not offered to mirrors, which others may run
//! (see docs/adr/0021-credentials.md).

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

pub use file::{CredentialFiles, FileError};
pub use keep::AuthFile;

mod file;
mod helper;
mod keep;

/// A string that must not reach a log.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` out of logs from here on.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the header or form field that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "[redacted]" })
    }
}

/// What one registry host is shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Credentials {
    /// Nothing.
    #[default]
    Anonymous,
    /// User name and password, for the Basic scheme and for token endpoints.
    Basic {
        /// The account.
        username: String,
        /// Its password or access token.
        password: Secret,
    },
    /// An OAuth 2 refresh token, exchanged at the token endpoint by POST.
    IdentityToken(Secret),
    /// A bearer token that the registry takes as it is.
    RegistryToken(Secret),
}

/// Credentials as a pull request carries them (the fields of the CRI's `AuthConfig`).
#[derive(Debug, Clone, Default)]
pub struct RequestAuth {
    /// The account.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// Base64 of `username:password`, used when `username` is empty.
    pub auth: Secret,
    /// The server these are for: a host, or a URL. Empty: the registry of the reference.
    pub server_address: String,
    /// OAuth 2 refresh token.
    pub identity_token: Secret,
    /// Bearer token for the registry itself.
    pub registry_token: Secret,
}

/// Request credentials that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The `auth` field is malformed.
    #[error("the credentials' auth field is not base64 of user:password")]
    Malformed,
    /// A user name with a colon cannot be sent by the Basic scheme (RFC 7617).
    #[error("the credentials' user name holds a colon or a control character")]
    Username,
}

impl RequestAuth {
    /// What is to be shown to the server these are for. The order is containerd's: user name,
    /// identity token, auth, registry token.
    pub fn credentials(&self) -> Result<Credentials, AuthError> {
        // Clouds name an account besides a refresh token, without a password.
        let refresh_only = self.password.is_empty() && !self.identity_token.is_empty();
        if !self.username.is_empty() && !refresh_only {
            if self.username.contains(|c: char| c == ':' || c.is_control()) {
                return Err(AuthError::Username);
            }
            return Ok(Credentials::Basic {
                username: self.username.clone(),
                password: self.password.clone(),
            });
        }
        if !self.identity_token.is_empty() {
            return Ok(Credentials::IdentityToken(self.identity_token.clone()));
        }
        if !self.auth.is_empty() {
            return decode_auth(self.auth.expose());
        }
        if !self.registry_token.is_empty() {
            return Ok(Credentials::RegistryToken(self.registry_token.clone()));
        }
        Ok(Credentials::Anonymous)
    }

    /// Whether these are for `host`, when the reference names the registry `registry`.
    pub fn is_for(&self, host: &str, registry: &str) -> bool {
        match self.server_address.as_str() {
            "" => same_server(host, registry),
            server => same_server(host, server),
        }
    }
}

/// Decodes base64 of `user:password`; docker pads the plain text with NULs, and base64 may be in several lines.
fn decode_auth(auth: &str) -> Result<Credentials, AuthError> {
    let auth: String = auth.split_ascii_whitespace().collect();
    let plain = STANDARD
        .decode(&auth)
        .or_else(|_| STANDARD_NO_PAD.decode(&auth))
        .map_err(|_| AuthError::Malformed)?;
    let plain = String::from_utf8(plain).map_err(|_| AuthError::Malformed)?;
    let (username, password) = plain.split_once(':').ok_or(AuthError::Malformed)?;
    if username.is_empty() || username.contains(char::is_control) {
        return Err(AuthError::Malformed);
    }
    Ok(Credentials::Basic {
        username: username.to_owned(),
        password: Secret::new(password.trim_end_matches('\0')),
    })
}

/// Whether two ways of writing a server mean the same registry host: scheme, path and Docker
/// Hub's three names aside.
pub fn same_server(a: &str, b: &str) -> bool {
    server_key(a) == server_key(b)
}

/// A server's host and port in lower case; every name of Docker Hub becomes `docker.io`.
fn server_key(server: &str) -> String {
    let (scheme, rest) = server.split_once("://").unwrap_or(("", server));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let host = match scheme {
        "https" => host.strip_suffix(":443").unwrap_or(&host).to_owned(),
        "http" => host.strip_suffix(":80").unwrap_or(&host).to_owned(),
        _ => host,
    };
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        _ => host,
    }
}

/// Where credentials come from, in order: the request, then the files.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    /// What the request brought.
    pub request: Option<RequestAuth>,
    /// docker's and podman's files; none for requests of the CRI, which bring their own.
    pub files: Option<CredentialFiles>,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The request's are malformed.
    #[error(transparent)]
    Request(#[from] AuthError),
    /// A file or a helper failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Keyring {
    /// What to show `host` for a repository `path` of the registry `registry`.
    ///
    /// A request that brought credentials is never completed from files: a refused secret must not
    /// silently become another user's.
    pub async fn lookup(&self, host: &str, registry: &str, path: &str) -> Result<Credentials, KeyringError> {
        if let Some(request) = &self.request {
            let credentials = request.credentials()?;
            if credentials != Credentials::Anonymous {
                return Ok(if request.is_for(host, registry) { credentials } else { Credentials::Anonymous });
            }
        }
        match &self.files {
            Some(files) => Ok(files.lookup(host, path).await?),
            None => Ok(Credentials::Anonymous),
        }
    }
}

/// The home directory's and the environment's part in finding credential files; read by the
/// caller, since libraries do not read the environment.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `$DOCKER_CONFIG`: a directory.
    pub docker_config: Option<PathBuf>,
    /// `$REGISTRY_AUTH_FILE`: a file.
    pub registry_auth_file: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`.
    pub xdg_config_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
}

impl Environment {
    /// Reads this process's environment.
    pub fn from_process() -> Self {
        let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        Self {
            docker_config: var("DOCKER_CONFIG"),
            registry_auth_file: var("REGISTRY_AUTH_FILE"),
            xdg_runtime_dir: var("XDG_RUNTIME_DIR"),
            xdg_config_home: var("XDG_CONFIG_HOME"),
            home: var("HOME"),
        }
    }
}

#[cfg(test)]
mod tests;
