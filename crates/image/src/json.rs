//! Reading the JSON of other programs.

use serde::{Deserialize, Deserializer};

/// Null means a missing value, as in the decoders of the programs that write these files:
/// for `#[serde(default, deserialize_with = ...)]`.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
