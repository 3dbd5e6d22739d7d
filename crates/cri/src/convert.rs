//! Between the CRI's messages and the engine's model. Handlers convert, they do not decide: what
//! is checked here is the shape of a message; what a value means is the engine's business.

pub(crate) mod container;
pub(crate) mod image;

pub(crate) mod resources;
pub(crate) mod sandbox;
pub(crate) mod security;
pub(crate) mod signal;
pub(crate) mod stats;

use std::collections::BTreeMap;

/// Whether `labels` has everything that `selector` asks for.
pub(crate) fn selected(labels: &BTreeMap<String, String>, selector: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests;
