//! The names of devices: `vendor.com/class=device`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Annotations whose values name devices, separated by commas, begin so.
pub const ANNOTATION: &str = "cdi.k8s.io/";
/// The longest vendor.
const MAX_VENDOR: usize = 253;
/// The longest class or device.
const MAX_PART: usize = 63;

/// The name of a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Who makes the device, and of which kind it is: `vendor.com/class`.
    pub kind: String,
    /// Which one.
    pub device: String,
}

/// A text that names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no name of a device: {why} (expected vendor.com/class=device)")]
pub struct NameError {
    text: String,
    why: &'static str,
}

impl Name {
    /// Whether a text is meant as one: no path has a `=` behind a kind.
    pub fn is_meant(text: &str) -> bool {
        text.split_once('=').is_some_and(|(kind, _)| !text.starts_with('/') && kind.contains('/'))
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |why| NameError { text: text.chars().take(200).collect(), why };
        let (kind, device) = text.split_once('=').ok_or_else(|| wrong("it has no ="))?;
        is_kind(kind).map_err(wrong)?;
        is_device(device).map_err(wrong)?;
        Ok(Self { kind: kind.to_owned(), device: device.to_owned() })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.device)
    }
}

/// The devices that annotations ask for.
///
/// # Errors
/// The annotation, and what is wrong with one of its names.
pub fn of_annotations(annotations: &BTreeMap<String, String>) -> Result<Vec<Name>, (String, NameError)> {
    let ours = annotations.iter().filter(|(key, _)| key.starts_with(ANNOTATION));
    let names = ours.flat_map(|(key, value)| value.split(',').map(move |name| (key, name.trim())));
    names.map(|(key, name)| name.parse().map_err(|error| (key.clone(), error))).collect()
}

/// Whether this is `vendor.com/class`.
pub(crate) fn is_kind(text: &str) -> Result<(), &'static str> {
    let (vendor, class) = text.split_once('/').ok_or("it has no vendor before a /")?;
    is_part(vendor, MAX_VENDOR, "_-.", false).map_err(|()| "its vendor is no DNS name")?;
    is_part(class, MAX_PART, "_-.", false).map_err(|()| "its class is not of letters, digits, -, _ and .")
}

/// Whether this names a device of a kind.
pub(crate) fn is_device(text: &str) -> Result<(), &'static str> {
    is_part(text, MAX_VENDOR, "_-.:", true)
        .map_err(|()| "its device is not of letters, digits, -, _, . and :")
}

fn is_part(text: &str, longest: usize, between: &str, may_begin_with_digit: bool) -> Result<(), ()> {
    let is_end = |c: char| c.is_ascii_alphanumeric();
    let begins = |c: char| if may_begin_with_digit { is_end(c) } else { c.is_ascii_alphabetic() };
    let good = text.len() <= longest
        && text.starts_with(begins)
        && text.ends_with(is_end)
        && text.chars().all(|c| is_end(c) || between.contains(c));
    if good { Ok(()) } else { Err(()) }
}

#[cfg(test)]
mod tests;
