//! The configuration of an image, checked.

use std::collections::BTreeMap;

use berth_types::Digest;
use serde::Deserialize;

/// What an image says about running it (OCI image-spec, config.md). Everything is bounded, and
/// strings hold no NUL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// `USER`: `name`, `uid`, `name:group`, ... as written; empty for none.
    pub user: String,
    /// `NAME=value`, in order; entries of another form are left out.
    pub env: Vec<String>,
    /// The entry point; empty for none.
    pub entrypoint: Vec<String>,
    /// The default arguments; empty for none.
    pub cmd: Vec<String>,
    /// The working directory; empty for none.
    pub working_dir: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
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
    /// The type of the OCI artifact that the image was made of here; empty for an image.
    pub artifact: String,
    /// The digests of the uncompressed layers, the lowest first.
    pub diff_ids: Vec<Digest>,
}

/// Why bytes are not an image's configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or not of this shape.
    #[error("image config: not the JSON of an image configuration")]
    Json(#[source] serde_json::Error),
    /// A field has a value that is not supported.
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

/// The most entries of a list, and the most bytes of all strings of a field.
const MAX_ITEMS: usize = 10_000;
const MAX_TEXT: usize = 1 << 20;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    author: Option<String>,
    #[serde(default, rename = "berth.artifact")]
    artifact: Option<String>,
    #[serde(default)]
    config: Option<Run>,
    rootfs: RootFs,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Run {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, Option<String>>>,
    stop_signal: Option<String>,
    volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    exposed_ports: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
struct RootFs {
    /// Some builders leave it out; there is only one.
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

impl ImageConfig {
    /// Parses and checks the bytes of a configuration blob.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > MAX_BYTES {
            return Err(ConfigError::TooLarge(bytes.len()));
        }
        let file: File = serde_json::from_slice(bytes).map_err(ConfigError::Json)?;
        if let Some(kind) = file.rootfs.kind.filter(|kind| kind != "layers") {
            return Err(field("rootfs.type", format!("{kind:?} where \"layers\" belongs")));
        }
        let run = file.config.unwrap_or_default();
        let labels = run.labels.unwrap_or_default();
        let labels = labels.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect();
        let config = Self {
            user: one("config.User", run.user)?,
            env: variables(list("config.Env", run.env.unwrap_or_default())?),
            entrypoint: list("config.Entrypoint", run.entrypoint.unwrap_or_default())?,
            cmd: list("config.Cmd", run.cmd.unwrap_or_default())?,
            working_dir: one("config.WorkingDir", run.working_dir)?,
            stop_signal: one("config.StopSignal", run.stop_signal)?,
            volumes: list("config.Volumes", run.volumes.unwrap_or_default().into_keys().collect())?,
            exposed_ports: list(
                "config.ExposedPorts",
                run.exposed_ports.unwrap_or_default().into_keys().collect(),
            )?,
            architecture: one("architecture", file.architecture)?,
            os: one("os", file.os)?,
            variant: one("variant", file.variant)?,
            created: one("created", file.created)?,
            author: one("author", file.author)?,
            artifact: one("berth.artifact", file.artifact)?,
            diff_ids: file.rootfs.diff_ids.unwrap_or_default(),
            labels,
        };
        list("config.Labels", config.labels.iter().flat_map(|(k, v)| [k.clone(), v.clone()]).collect())?;
        Ok(config)
    }
}

/// The variables that are set. A name without `=` sets none: as in docker, it unsets the one before it. What has no
/// name cannot be set.
fn variables(entries: Vec<String>) -> Vec<String> {
    let mut set: Vec<String> = Vec::with_capacity(entries.len());
    for entry in entries {
        match entry.find('=') {
            Some(0) => {}
            Some(_) => set.push(entry),
            None => set.retain(|known| known.split('=').next() != Some(&entry)),
        }
    }
    set
}

fn field(field: &'static str, reason: String) -> ConfigError {
    ConfigError::Field { field, reason }
}

fn one(name: &'static str, text: Option<String>) -> Result<String, ConfigError> {
    let text = text.unwrap_or_default();
    list(name, vec![text]).map(|mut texts| texts.pop().unwrap_or_default())
}

/// Bounds a list of strings, which hold no NUL since they go to the kernel.
fn list(name: &'static str, texts: Vec<String>) -> Result<Vec<String>, ConfigError> {
    if texts.len() > MAX_ITEMS {
        return Err(field(name, format!("{} entries, {MAX_ITEMS} are allowed", texts.len())));
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    if bytes > MAX_TEXT {
        return Err(field(name, format!("{bytes} bytes, {MAX_TEXT} are allowed")));
    }
    if texts.iter().any(|text| text.contains('\0')) {
        return Err(field(name, "a NUL character".into()));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests;
