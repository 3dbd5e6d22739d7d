//! Everything that is wrong with a document, not only the first: what was refused is put right in a copy, which is read again.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serde_path_to_error::Segment;

use super::{ManifestError, fields};

/// The most faults that are looked for in a document.
const MAX_FAULTS: usize = 50;
/// The most bytes that the list of faults has as text.
const MAX_TEXT: usize = 6000;

/// Where a fault is: keys and indexes, from the document down.
type Place = Vec<Step>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Index(usize),
}

/// Reads a document of `kind`, or names all its faults in the order in which they were met.
pub(super) fn read<T: DeserializeOwned>(
    document: usize,
    kind: &str,
    value: &Value,
) -> Result<T, Vec<ManifestError>> {
    let first = match serde_path_to_error::deserialize(value) {
        Ok(read) => return Ok(read),
        Err(e) => e,
    };
    let (mut left, mut error) = (value.clone(), first);
    let (mut faults, mut tried) = (Vec::new(), BTreeMap::<Place, usize>::new());
    loop {
        let place = place(&error);
        // What is below a fault is our own repair.
        if !tried.keys().any(|told| place.as_deref().is_some_and(|place| place.starts_with(told))) {
            faults.push(refusal(document, kind, &error));
        }
        let Some(place) = place.filter(|_| faults.len() < MAX_FAULTS) else { return Err(faults) };
        if let Some(meant) = meant(&error, &place) {
            // That it is missing is the same mistake.
            tried.entry(meant).or_default();
        }
        let attempt = tried.entry(place.clone()).or_default();
        if !repair(&mut left, &place, *attempt) {
            return Err(faults);
        }
        *attempt += 1;
        match serde_path_to_error::deserialize::<_, T>(&left) {
            Ok(_) => return Err(faults),
            Err(e) => error = e,
        }
    }
}

/// Removes what is at a place; when that is not enough, puts a value of each type there.
fn repair(document: &mut Value, place: &[Step], attempt: usize) -> bool {
    let values = [json!({}), json!("x"), json!(1), json!([]), json!("Unconfined")];
    let Some((last, parents)) = place.split_last() else { return false };
    let mut at = document;
    for step in parents {
        let next = match step {
            Step::Key(key) => at.get_mut(key),
            Step::Index(index) => at.get_mut(index),
        };
        let Some(next) = next else { return false };
        at = next;
    }
    let value = attempt.checked_sub(1).map(|n| values.get(n).cloned());
    match (last, at, value) {
        (_, _, Some(None)) => false,
        (Step::Key(key), Value::Object(fields), None) => {
            fields.remove(key);
            true
        }
        (Step::Index(_), Value::Array(_), None) => true,
        (Step::Key(key), Value::Object(fields), Some(Some(value))) => {
            fields.insert(key.clone(), value);
            true
        }
        (Step::Index(index), Value::Array(items), Some(Some(value))) => {
            let item = items.get_mut(*index);
            item.map(|item| *item = value).is_some()
        }
        _ => false,
    }
}

fn quoted<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    message.strip_prefix(before)?.split('`').next()
}

/// Nothing when the deserializer does not say it in keys and indexes.
fn place(error: &serde_path_to_error::Error<serde_json::Error>) -> Option<Place> {
    let mut place = Vec::new();
    for segment in error.path() {
        place.push(match segment {
            Segment::Map { key } => Step::Key(key.clone()),
            Segment::Seq { index } => Step::Index(*index),
            Segment::Enum { .. } | Segment::Unknown => return None,
        });
    }
    let message = error.inner().to_string();
    if let Some(name) = quoted(&message, "missing field `") {
        place.push(Step::Key(name.to_owned()));
    } else if let Some(name) = quoted(&message, "unknown field `")
        && place.last() != Some(&Step::Key(name.to_owned()))
    {
        place.push(Step::Key(name.to_owned()));
    }
    Some(place)
}

/// The field that was meant by an unknown one.
fn meant(error: &serde_path_to_error::Error<serde_json::Error>, place: &[Step]) -> Option<Place> {
    let message = error.inner().to_string();
    let known = fields::meant(quoted(&message, "unknown field `")?, &message)?;
    let (_, parents) = place.split_last()?;
    Some([parents, &[Step::Key(known.to_owned())]].concat())
}

/// Tells a field that Berth does not support yet from one that does not exist.
fn refusal(
    document: usize,
    kind: &str,
    error: &serde_path_to_error::Error<serde_json::Error>,
) -> ManifestError {
    let message = error.inner().to_string();
    let at = error.path().to_string();
    let Some(name) = quoted(&message, "unknown field `") else {
        let path = if at == "." { "the document".to_owned() } else { at };
        let message = as_server(&message).unwrap_or(message);
        return ManifestError::Field { document, path, message };
    };
    // The path ends in the object or in the field itself, as the deserializer saw it.
    let path = match at.as_str() {
        "." => name.to_owned(),
        at if at == name || at.ends_with(&format!(".{name}")) => at.to_owned(),
        at => format!("{at}.{name}"),
    };
    // Names of resources are not fixed: every name is valid.
    let resource = [".limits.", ".requests."].iter().any(|list| path.ends_with(&format!("{list}{name}")));
    if resource || fields::exists(name) {
        return ManifestError::Later { document, path };
    }
    let meant = fields::meant(name, &message).map(|known| format!(" (hint: did you mean {known}?)"));
    let message = format!("no such field in a {kind}{}", meant.unwrap_or_default());
    ManifestError::Field { document, path, message }
}

/// What the API server says where the parser has words of its own.
fn as_server(message: &str) -> Option<String> {
    if let Some(word) = quoted(message, "unknown variant `") {
        let known: Vec<_> = message.split("expected ").nth(1)?.split('`').skip(1).step_by(2).collect();
        let known: Vec<_> = known.iter().map(|word| format!("{word:?}")).collect();
        return Some(format!("Unsupported value: {word:?}: supported values: {}", known.join(", ")));
    }
    let number = quoted(message, "invalid value: integer `")?;
    let reason = match message.split("expected ").nth(1)? {
        "u16" => "must be between 1 and 65535, inclusive",
        "u32" | "u64" if number.starts_with('-') => "must be greater than or equal to 0",
        _ => return None,
    };
    Some(format!("Invalid value: {number}: {reason}"))
}

/// One fault for a line, as many as fit into an answer of the daemon.
pub(crate) fn list<E: std::fmt::Display>(faults: &[E]) -> String {
    let mut text = format!("{} faults", faults.len());
    for (index, fault) in faults.iter().enumerate() {
        let line = fault.to_string();
        if text.len() + line.len() > MAX_TEXT {
            text.push_str(&format!("\n  and {} more", faults.len() - index));
            break;
        }
        text.push_str("\n  ");
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests;
