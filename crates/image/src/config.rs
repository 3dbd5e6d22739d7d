//! The configuration of an image, checked.

/// What an image says about running it (OCI image-spec, config.md). Everything is bounded, and
/// strings hold no NUL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// `USER`: `name`, `uid`, `name:group`, ... as written; empty for none.
    pub user: String,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// The entry point; empty for none.
    pub entrypoint: Vec<String>,
    /// The default arguments; empty for none.
    pub cmd: Vec<String>,
    /// The working directory; empty for none.
    pub working_dir: String,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// `STOPSIGNAL` as written (`SIGQUIT`, `3`); empty for none.
    pub stop_signal: String,
    /// Directories declared as volumes.
    pub volumes: Vec<String>,
    /// Ports declared: `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// `amd64`, `arm64`, ...
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// `v8`, ...; empty for none.
    pub variant: String,
    /// When the image was made, as written (RFC 3339); empty for unknown.
    pub created: String,
    /// The author; empty for unknown.
    pub author: String,
    /// The digests of the uncompressed layers, the lowest first.
    pub diff_ids: Vec<berth_types::Digest>,
}

/// Why bytes are not an image's configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or not of this shape.
    #[error("image config: not the JSON of an image configuration")]
    Json(#[source] serde_json::Error),
    /// A field has a value that cannot be obeyed.
    #[error("image config: {field}: {reason}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Too many bytes.
    #[error("image config: {0} bytes, {max} are allowed", max = crate::config::MAX_BYTES)]
    TooLarge(usize),
}

/// The most bytes of a configuration.
pub(crate) const MAX_BYTES: usize = 8 << 20;

impl ImageConfig {
    /// Parses and checks the bytes of a configuration blob.
    pub fn parse(_bytes: &[u8]) -> Result<Self, ConfigError> {
        unimplemented!()
    }
}
