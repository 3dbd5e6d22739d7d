//! A network's configuration: `.conflist` files, and the single plugin of a `.conf` or `.json` file.
//!
//! Specification: CNI 1.1, section 1. Everything here is pure. What the specification leaves to plugins is passed on as it is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::version::Version;

/// The most plugins of a network.
const MAX_PLUGINS: usize = 64;
/// The longest name of a network.
const MAX_NAME: usize = 255;

/// A network as a file describes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct List {
    pub(super) name: String,
    /// The versions that it may be used with and Berth speaks, the newest first; never empty.
    pub(super) versions: Vec<Version>,
    pub(super) disable_check: bool,
    pub(super) disable_gc: bool,
    /// Whether plugins of the directory with the network's name are left out.
    pub(super) only_inlined: bool,
    pub(super) plugins: Vec<Plugin>,
}

/// A network with the version that it is used with: also what the record of a pod keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Network {
    pub(super) name: String,
    pub(super) version: Version,
    #[serde(default)]
    pub(super) disable_check: bool,
    #[serde(default)]
    pub(super) disable_gc: bool,
    pub(super) plugins: Vec<Plugin>,
}

/// One plugin's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Plugin {
    /// The name of its program.
    pub(super) kind: String,
    /// What it wants to be told of each pod.
    pub(super) capabilities: BTreeSet<String>,
    /// All of its configuration but for what the runtime fills in.
    pub(super) config: Map<String, Value>,
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ListError {
    #[error("it is not JSON: {0}")]
    Json(String),
    #[error("it is not a JSON object")]
    NotAnObject,
    #[error("{key} is missing")]
    Missing { key: String },
    #[error("{key} is not {expected}")]
    Type { key: String, expected: &'static str },
    #[error("{key} {value:?} is not allowed: {rule}")]
    Name { key: String, value: String, rule: &'static str },
    #[error("it needs version {versions} of CNI, Berth speaks 0.1.0 to {}", Version::NEWEST)]
    Version { versions: String },
    #[error("plugins is empty")]
    NoPlugins,
    #[error("it has more than {MAX_PLUGINS} plugins")]
    TooManyPlugins,
    #[error("it has only the loopback plugin, which gives pods no network")]
    OnlyLoopback,
    #[error("it is a list of plugins: rename it to end in .conflist")]
    IsList,
    #[error("it is a single plugin: rename it to end in .conf")]
    IsSingle,
}

type Object = Map<String, Value>;

impl List {
    /// The content of a `.conflist` file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ListError> {
        let object = object(bytes)?;
        let only_inlined = flag(&object, "loadOnlyInlinedPlugins")?;
        let plugins = match said(&object, "plugins") {
            Some(Value::Array(plugins)) if plugins.is_empty() => return Err(ListError::NoPlugins),
            Some(Value::Array(plugins)) => plugins.clone(),
            Some(_) => return Err(wrong("plugins", "a list")),
            None if said(&object, "type").is_some() => return Err(ListError::IsSingle),
            None if only_inlined => return Err(missing("plugins")),
            None => Vec::new(),
        };
        let plugins = plugins.into_iter().enumerate().map(|(i, plugin)| match plugin {
            Value::Object(plugin) => Plugin::of(plugin, &format!("plugins[{i}].")),
            _ => Err(wrong(&format!("plugins[{i}]"), "an object")),
        });
        let plugins = plugins.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            name: name(&object)?,
            versions: versions(&object)?,
            disable_check: flag(&object, "disableCheck")?,
            disable_gc: flag(&object, "disableGC")?,
            only_inlined,
            plugins,
        })
    }

    /// The content of a `.conf` or `.json` file: a list of one.
    pub(super) fn parse_single(bytes: &[u8]) -> Result<Self, ListError> {
        let object = object(bytes)?;
        if said(&object, "type").is_none() && said(&object, "plugins").is_some() {
            return Err(ListError::IsList);
        }
        let (name, versions) = (name(&object)?, versions(&object)?);
        let plugins = vec![Plugin::of(object, "")?];
        Ok(Self { name, versions, disable_check: false, disable_gc: false, only_inlined: true, plugins })
    }

    /// Whether pods can be connected by it.
    pub(super) fn check(&self) -> Result<(), ListError> {
        match self.plugins.len() {
            0 => Err(ListError::NoPlugins),
            n if n > MAX_PLUGINS => Err(ListError::TooManyPlugins),
            _ if self.plugins.iter().all(|plugin| plugin.kind == "loopback") => Err(ListError::OnlyLoopback),
            _ => Ok(()),
        }
    }

    /// The network with one of its versions.
    pub(super) fn with(&self, version: Version) -> Network {
        Network {
            name: self.name.clone(),
            version,
            disable_check: self.disable_check,
            disable_gc: self.disable_gc,
            plugins: self.plugins.clone(),
        }
    }
}

impl Plugin {
    /// The content of a file in the directory with the network's name.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ListError> {
        Self::of(object(bytes)?, "")
    }

    fn of(mut config: Object, at: &str) -> Result<Self, ListError> {
        let key = format!("{at}type");
        let kind = match said(&config, "type") {
            Some(Value::String(kind)) => kind.clone(),
            Some(_) => return Err(wrong(&key, "a string")),
            None => return Err(missing(&key)),
        };
        if kind.is_empty() || kind == "." || kind == ".." || kind.contains(['/', '\\', '\0']) {
            let rule = "it is the name of a program, without a path";
            return Err(ListError::Name { key, value: kind, rule });
        }
        let capabilities = match said(&config, "capabilities") {
            None => BTreeSet::new(),
            Some(Value::Object(all)) => all
                .iter()
                .filter(|(_, on)| on.as_bool() == Some(true))
                .map(|(name, _)| name.clone())
                .collect(),
            Some(_) => return Err(wrong(&format!("{at}capabilities"), "an object")),
        };
        // What the runtime says must not come from the file.
        config.retain(|key, _| {
            !matches!(key.as_str(), "name" | "cniVersion" | "cniVersions" | "capabilities" | "prevResult")
                && !key.starts_with("cni.dev/")
        });
        Ok(Self { kind, capabilities, config })
    }
}

fn object(bytes: &[u8]) -> Result<Object, ListError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ListError::NotAnObject),
        Err(error) => Err(ListError::Json(error.to_string())),
    }
}

/// The value of a key; null says nothing.
fn said<'a>(object: &'a Object, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

fn wrong(key: &str, expected: &'static str) -> ListError {
    ListError::Type { key: key.to_owned(), expected }
}

fn missing(key: &str) -> ListError {
    ListError::Missing { key: key.to_owned() }
}

fn flag(object: &Object, key: &'static str) -> Result<bool, ListError> {
    match said(object, key) {
        None => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        // As others take it, too.
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(wrong(key, "true or false")),
    }
}

fn name(object: &Object) -> Result<String, ListError> {
    let name = match said(object, "name") {
        Some(Value::String(name)) => name,
        Some(_) => return Err(wrong("name", "a string")),
        None => return Err(missing("name")),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !first || !name.bytes().all(plain) || name.len() > MAX_NAME {
        let rule = "letters, digits, _ . and - are, and a letter or digit is the first";
        return Err(ListError::Name { key: "name".to_owned(), value: name.clone(), rule });
    }
    Ok(name.clone())
}

/// The versions of `cniVersion` and `cniVersions` that Berth speaks, the newest first.
fn versions(object: &Object) -> Result<Vec<Version>, ListError> {
    let mut asked = Vec::new();
    match said(object, "cniVersion") {
        None => {}
        Some(Value::String(version)) => asked.push(version.as_str()),
        Some(_) => return Err(wrong("cniVersion", "a string")),
    }
    match said(object, "cniVersions") {
        None => {}
        Some(Value::Array(versions)) => {
            for version in versions {
                asked.push(version.as_str().ok_or_else(|| wrong("cniVersions", "a list of strings"))?);
            }
        }
        Some(_) => return Err(wrong("cniVersions", "a list of strings")),
    }
    asked.retain(|version| !version.is_empty());
    if asked.is_empty() {
        return Ok(vec![Version::UNSAID]);
    }
    let mut known: Vec<_> = asked.iter().filter_map(|version| Version::known(version)).collect();
    known.sort_unstable_by(|a, b| b.cmp(a));
    known.dedup();
    if known.is_empty() { Err(ListError::Version { versions: asked.join(", ") }) } else { Ok(known) }
}

#[cfg(test)]
mod tests;
