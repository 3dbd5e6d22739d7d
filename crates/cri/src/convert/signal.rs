//! Signals: the CRI's enumeration and the names that images and users use.

use crate::api;
use crate::error::FieldError;

/// What the enumeration's names begin with.
const PREFIX: &str = "SIGNAL_";

/// The name of a signal asked for; None for the default.
pub(crate) fn from_api(field: &str, value: i32) -> Result<Option<String>, FieldError> {
    match super::known(field, value)? {
        api::Signal::RuntimeDefault => Ok(None),
        signal => {
            let name = signal.as_str_name().trim_start_matches(PREFIX);
            Ok(Some(name.replace("PLUS", "+").replace("MINUS", "-")))
        }
    }
}

/// The CRI's value for a name as `SIGTERM`, `TERM` or `SIGRTMIN+3`; the default when it has none.
pub(crate) fn to_api(name: &str) -> i32 {
    let upper = name.to_ascii_uppercase().replace('+', "PLUS").replace('-', "MINUS");
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    api::Signal::from_str_name(&format!("{PREFIX}{full}")).unwrap_or(api::Signal::RuntimeDefault) as i32
}
