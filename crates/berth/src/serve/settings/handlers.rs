//! Handlers beside Berth's own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{SettingsError, absolute, invalid, or};

/// Where runtimes are looked for, in the order of a root user's search path.
const DIRS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// That of Berth's own runtime.
const NATIVE: &str = "native";

/// Handlers by name, of `NAME=/PATH`, or of `NAME=io.containerd.SHIM.v2` as containerd's configuration calls a shim.
pub(super) fn given(all: &[String]) -> Result<BTreeMap<String, PathBuf>, SettingsError> {
    let mut handlers = BTreeMap::new();
    for text in all {
        let refuse = |reason: &str| Err(invalid("handler", text, reason));
        let is_place = |path: &str| path.starts_with('/') || is_shim(path);
        let Some((name, path)) = text.split_once('=').filter(|(_, path)| is_place(path)) else {
            return refuse("expected NAME=/PATH or NAME=io.containerd.SHIM.v2");
        };
        if name == NATIVE {
            return refuse("the name is that of Berth's own runtime");
        }
        check(name).map_err(|reason| invalid("handler", text, &reason))?;
        if handlers.insert(name.to_owned(), path.into()).is_some() {
            return refuse("the name is given twice");
        }
    }
    Ok(handlers)
}

/// Whether this is containerd's name of a shim, whose program is `containerd-shim-SHIM-v2`.
fn is_shim(text: &str) -> bool {
    let name = text.strip_prefix("io.containerd.").and_then(|rest| rest.strip_suffix(".v2"));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Directories in which runtimes are looked for.
pub(super) fn dirs(given: Option<Vec<PathBuf>>) -> Result<Vec<PathBuf>, SettingsError> {
    let dirs = or(given, DIRS);
    dirs.into_iter().map(|dir| absolute("handler-dir", dir)).collect()
}

/// What pods without a handler get. It need not be there yet.
pub(super) fn default(given: Option<String>) -> Result<String, SettingsError> {
    let name = given.unwrap_or_else(|| NATIVE.to_owned());
    check(&name).map_err(|reason| invalid("default-handler", &name, &reason))?;
    Ok(name)
}

/// A name is the handler of Kubernetes' RuntimeClass: a DNS label.
fn check(name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_label = (1..=63).contains(&name.len()) && name.bytes().all(plain);
    if is_label && !name.starts_with('-') && !name.ends_with('-') {
        Ok(())
    } else {
        Err("a handler's name has 1 to 63 lower-case letters, digits and '-' inside".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(result: Result<BTreeMap<String, PathBuf>, SettingsError>) -> String {
        result.map_or_else(|error| error.to_string(), |all| format!("{all:?}"))
    }

    #[test]
    fn handlers_are_names_and_absolute_paths() {
        let all =
            |words: &[&str]| text(given(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()));
        assert_eq!(
            all(&["kata=/opt/kata", "runc=/opt/runc"]),
            r#"{"kata": "/opt/kata", "runc": "/opt/runc"}"#
        );
        assert_eq!(all(&["vm=io.containerd.kata.v2"]), r#"{"vm": "io.containerd.kata.v2"}"#);
        for (words, part) in [
            (["vm=io.containerd.v2"].as_slice(), "expected NAME=/PATH or"),
            (&["vm=io.containerd./x.v2"], "expected NAME=/PATH or"),
            (&["x=bin/x"], "expected NAME=/PATH"),
            (&["x"], "expected NAME=/PATH"),
            (&["=/x"], "lower-case"),
            (&["-x=/x"], "lower-case"),
            (&["X=/x"], "lower-case"),
            (&["native=/x"], "Berth's own"),
            (&["x=/x", "x=/y"], "twice"),
        ] {
            assert!(all(words).contains(part), "{words:?}: {}", all(words));
        }
    }

    #[test]
    fn directories_are_absolute_and_have_a_default() {
        assert_eq!(dirs(None).unwrap().len(), DIRS.len());
        assert_eq!(dirs(Some(vec!["/opt".into()])).unwrap(), [PathBuf::from("/opt")]);
        assert!(dirs(Some(vec!["bin".into()])).unwrap_err().to_string().contains("absolute"));
    }

    #[test]
    fn the_default_is_a_name() {
        assert_eq!(default(None).unwrap(), "native");
        assert_eq!(default(Some("runc".to_owned())).unwrap(), "runc");
        assert!(default(Some("/bin/runc".to_owned())).is_err());
    }
}
