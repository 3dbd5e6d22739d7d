//! `$(NAME)` in command, args and env, as Kubernetes expands it: a reference to a variable that is
//! not there stays as it is, and `$$` is one dollar.

use std::collections::{BTreeMap, BTreeSet};

/// `text` with its references expanded.
pub(super) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    expand_by(text, |name| match variables.get(name) {
        Some(value) => value.clone(),
        None => format!("$({name})"),
    })
}

/// The same where every reference must have a value.
///
/// # Errors
/// The names of the variables that are missing or empty.
pub(super) fn expand_all(
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Result<String, BTreeSet<String>> {
    let mut missing = BTreeSet::new();
    let expanded = expand_by(text, |name| match variables.get(name).filter(|value| !value.is_empty()) {
        Some(value) => value.clone(),
        None => {
            missing.insert(name.to_owned());
            String::new()
        }
    });
    if missing.is_empty() { Ok(expanded) } else { Err(missing) }
}

fn expand_by(text: &str, mut value: impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            out.push_str(&value(name));
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_as_kubernetes_expands_them() {
        let variables =
            BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())]);
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(A)"),
            ("$(C)", "$(C)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
            ("$()", "$()"),
        ] {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }
}
