//! The plan of calls: which plugin is called with what, and in which order. Everything here is pure.
//!
//! Specification: CNI 1.1, section 3.

use std::path::Path;

use serde_json::{Map, Value};

use super::list::{Network, Plugin};
use super::result::AddResult;
use super::version::Version;

/// What is asked of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Add,
    Del,
    Check,
    Status,
    Gc,
    Version,
}

impl Command {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Status => "STATUS",
            Self::Gc => "GC",
            Self::Version => "VERSION",
        }
    }
}

/// One pod's connection to a network, as every call about it describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attachment<'a> {
    pub(super) container: &'a str,
    /// `None` once the namespace is gone.
    pub(super) netns: Option<&'a Path>,
    pub(super) interface: &'a str,
    pub(super) args: &'a str,
    /// What capabilities may be told.
    pub(super) capabilities: &'a Map<String, Value>,
}

impl Attachment<'_> {
    /// The variables that describe it.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        let netns = self.netns.map(|path| path.to_string_lossy().into_owned());
        vec![
            ("CNI_CONTAINERID", self.container.to_owned()),
            ("CNI_NETNS", netns.unwrap_or_default()),
            ("CNI_IFNAME", self.interface.to_owned()),
            ("CNI_ARGS", self.args.to_owned()),
        ]
    }
}

/// What a plugin reads for ADD, DEL and CHECK: its configuration with what is filled in for this pod.
pub(super) fn for_pod(
    network: &Network,
    plugin: &Plugin,
    attachment: &Attachment<'_>,
    before: Option<&AddResult>,
) -> Vec<u8> {
    let mut body = base(network, plugin);
    let asked = attachment.capabilities.iter().filter(|(name, _)| plugin.capabilities.contains(*name));
    let asked: Map<_, _> = asked.map(|(name, value)| (name.clone(), value.clone())).collect();
    if !asked.is_empty() {
        body.insert("runtimeConfig".to_owned(), asked.into());
    }
    body.extend(before.map(|result| ("prevResult".to_owned(), result.object().into())));
    Value::Object(body).to_string().into_bytes()
}

/// What it reads for STATUS.
pub(super) fn for_status(network: &Network, plugin: &Plugin) -> Vec<u8> {
    Value::Object(base(network, plugin)).to_string().into_bytes()
}

/// What it reads for GC, with the attachments that are in use: container and interface.
pub(super) fn for_gc(network: &Network, plugin: &Plugin, valid: &[(String, String)]) -> Vec<u8> {
    let valid: Vec<_> = valid
        .iter()
        .map(|(container, interface)| serde_json::json!({ "containerID": container, "ifname": interface }))
        .collect();
    let mut body = base(network, plugin);
    // Under the name that the specification had first, too: plugins of that time know no other.
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        body.insert(key.to_owned(), valid.clone().into());
    }
    Value::Object(body).to_string().into_bytes()
}

/// What it reads for VERSION.
pub(super) fn for_version() -> Vec<u8> {
    serde_json::json!({ "cniVersion": Version::NEWEST.text() }).to_string().into_bytes()
}

fn base(network: &Network, plugin: &Plugin) -> Map<String, Value> {
    let mut body = plugin.config.clone();
    body.insert("name".to_owned(), network.name.clone().into());
    body.insert("cniVersion".to_owned(), network.version.text().into());
    body
}

/// What a failure of a DEL means for those that come after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failing {
    /// The others wait until it succeeds: what they give back, an address say, may still be in use by this one.
    Stops,
    /// The others go on: its ADD was never begun, and DEL is only called because the specification wants it.
    IsPassed,
}

/// The order of DEL of `plugins` plugins, of which the ADD of the first `begun` was begun: these in reverse, then the
/// others with the time that is left.
pub(super) fn removal(plugins: usize, begun: usize) -> Vec<(usize, Failing)> {
    let begun = begun.min(plugins);
    let added = (0..begun).rev().map(|index| (index, Failing::Stops));
    added.chain((begun..plugins).rev().map(|index| (index, Failing::IsPassed))).collect()
}

/// The newest version of a network that all of its plugins support. `supported` has, for each plugin, what it says; `None`
/// where it says nothing, which is taken for any.
pub(super) fn common_version(versions: &[Version], supported: &[Option<Vec<String>>]) -> Option<Version> {
    let by_all = |version: &Version| {
        supported.iter().flatten().all(|says| says.iter().any(|text| text == version.text()))
    };
    versions.iter().copied().find(by_all)
}

#[cfg(test)]
mod tests;
