//! `--format`: the part of Go's templates that scripts use. `{{.Key}}`, `{{.A.B}}`, `{{json .A}}`, and text between them; keys
//! are those of the JSON, in any case.

use anyhow::{Context, bail};
use serde_json::Value;

/// The longest template.
const MAX: usize = 4096;

/// A template that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
    /// Whether it began with the word `table`.
    pub(crate) table: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value { path: Vec<String>, json: bool },
}

impl std::str::FromStr for Template {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if text.len() > MAX {
            bail!("a template has at most {MAX} characters");
        }
        let (table, text) = match text.strip_prefix("table ") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        // The shell leaves these as they are.
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("{{") {
            let (inside, after) = after.split_once("}}").context("a {{ has no }}")?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(value(inside.trim())?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts, table })
    }
}

fn value(inside: &str) -> anyhow::Result<Part> {
    let (json, path) = match inside.strip_prefix("json ") {
        Some(path) => (true, path.trim()),
        None => (false, inside),
    };
    let names = path.strip_prefix('.').filter(|rest| !rest.contains([' ', '|', '(']));
    let names = names.with_context(|| {
        format!("{{{{{inside}}}}} is not supported: only {{{{.Key}}}} and {{{{json .Key}}}} are (hint: -o json, and jq)")
    })?;
    let path = names.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Ok(Part::Value { path, json })
}

impl Template {
    /// The text for an object.
    pub(crate) fn text(&self, object: &Value) -> anyhow::Result<String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Value { path, json } => {
                    let found = find(object, path)?;
                    text.push_str(&if *json { found.to_string() } else { plain(found) });
                }
            }
        }
        Ok(text)
    }

    /// The heads of the columns of a table: the keys.
    pub(crate) fn head(&self) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Value { path, .. } => path.last().map_or_else(String::new, |name| name.to_uppercase()),
        };
        self.parts.iter().map(part).collect()
    }
}

fn find<'a>(object: &'a Value, path: &[String]) -> anyhow::Result<&'a Value> {
    let mut at = object;
    for name in path {
        let same = |key: &&String| key.eq_ignore_ascii_case(name);
        at = match at {
            Value::Object(fields) => match fields.keys().find(same).and_then(|key| fields.get(key)) {
                Some(value) => value,
                None => {
                    let keys: Vec<_> = fields.keys().map(String::as_str).collect();
                    bail!("there is no {name:?} here (hint: there are {})", keys.join(", "));
                }
            },
            // What is not there has nothing inside.
            Value::Null => at,
            _ => bail!("there is nothing in {name:?}: what is before it is no object"),
        };
    }
    Ok(at)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
