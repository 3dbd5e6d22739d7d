//! Between the CRI's messages and the engine's model. Handlers convert, they do not decide: what
//! is checked here is the shape of a message; what a value means is up to the engine.

pub(crate) mod container;
pub(crate) mod filter;
pub(crate) mod image;
pub(crate) mod metrics;
pub(crate) mod resources;
pub(crate) mod sandbox;
pub(crate) mod security;
pub(crate) mod signal;
pub(crate) mod stats;
pub(crate) mod streaming;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::FieldError;

/// The value of an enumeration. One that this version of the CRI does not have is refused: the default would be
/// something else than what was asked for.
pub(crate) fn known<T: TryFrom<i32>>(field: impl Into<String>, value: i32) -> Result<T, FieldError> {
    T::try_from(value)
        .map_err(|_| FieldError::invalid(field, format!("{value} is not a value of this field")))
}

/// A time in seconds.
pub(crate) fn seconds(field: &str, value: i64) -> Result<Duration, FieldError> {
    let seconds = u64::try_from(value)
        .map_err(|_| FieldError::invalid(field, format!("{value} seconds is negative")))?;
    Ok(Duration::from_secs(seconds))
}

/// Whether `labels` has everything that `selector` asks for.
pub(crate) fn selected(labels: &BTreeMap<String, String>, selector: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests;
