//! Instructions as in a Dockerfile that change the configuration of an image: `berth commit --change`.

use serde_json::{Map, Value, json};

use super::object;

/// An instruction cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("change {text:?}: {reason}")]
pub struct ChangeError {
    text: String,
    reason: String,
}

/// Those that there are.
const KNOWN: &str = "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR are";

/// Does what one instruction says.
pub(super) fn apply(text: &str, config: &mut Map<String, Value>) -> Result<(), ChangeError> {
    let wrong = |reason: String| ChangeError { text: text.to_owned(), reason };
    let (word, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    // As podman has it, too: CMD=...
    let (word, rest) = match word.split_once('=') {
        Some((word, value)) => (word, text.trim().strip_prefix(word).map_or(value, |rest| &rest[1..])),
        None => (word, rest.trim()),
    };
    let word = word.to_ascii_uppercase();
    if rest.is_empty() && !matches!(word.as_str(), "CMD" | "ENTRYPOINT") {
        return Err(wrong(format!("nothing follows {word}")));
    }
    let whole = |key: &str, config: &mut Map<String, Value>| {
        config.insert(key.to_owned(), json!(unquoted(rest)));
    };
    match word.as_str() {
        "CMD" => drop(config.insert("Cmd".to_owned(), command(rest).map_err(wrong)?)),
        "ENTRYPOINT" => drop(config.insert("Entrypoint".to_owned(), command(rest).map_err(wrong)?)),
        "ENV" => {
            for (name, value) in pairs(rest).map_err(wrong)? {
                set_env(config, &name, &value);
            }
        }
        "LABEL" => {
            for (name, value) in pairs(rest).map_err(wrong)? {
                object(config, "Labels").insert(name, json!(value));
            }
        }
        "EXPOSE" => {
            for port in words(rest).map_err(wrong)? {
                let port = port_of(&port).map_err(wrong)?;
                object(config, "ExposedPorts").insert(port, json!({}));
            }
        }
        "VOLUME" => {
            let places = match list(rest) {
                Some(places) => places.map_err(wrong)?,
                None => words(rest).map_err(wrong)?,
            };
            for place in places {
                if !place.starts_with('/') {
                    return Err(wrong(format!("{place:?} is not a path from /")));
                }
                object(config, "Volumes").insert(place, json!({}));
            }
        }
        "ONBUILD" => match config.entry("OnBuild").or_insert_with(|| json!([])) {
            Value::Array(all) => all.push(json!(rest)),
            other => *other = json!([rest]),
        },
        "USER" => whole("User", config),
        "STOPSIGNAL" => whole("StopSignal", config),
        "WORKDIR" => {
            let dir = unquoted(rest);
            let dir = if dir.starts_with('/') {
                dir
            } else {
                let before = config.get("WorkingDir").and_then(Value::as_str).unwrap_or("/");
                format!("{}/{dir}", before.trim_end_matches('/'))
            };
            config.insert("WorkingDir".to_owned(), json!(dir));
        }
        "FROM" | "RUN" | "COPY" | "ADD" | "ARG" | "SHELL" | "HEALTHCHECK" | "MAINTAINER" => {
            return Err(wrong(format!("{word} is not possible here: only {KNOWN}")));
        }
        _ => return Err(wrong(format!("{word} is no instruction: {KNOWN}"))),
    }
    Ok(())
}

/// Sets a variable where it stands, or as the last.
pub(super) fn set_env(config: &mut Map<String, Value>, name: &str, value: &str) {
    let entry = config.entry("Env").or_insert_with(|| json!([]));
    if !entry.is_array() {
        *entry = json!([]);
    }
    let all = entry.as_array_mut().expect("it was just made one");
    let of_name = |text: &Value| {
        text.as_str().and_then(|text| text.split_once('=')).is_some_and(|(known, _)| known == name)
    };
    let text = json!(format!("{name}={value}"));
    match all.iter_mut().find(|text| of_name(text)) {
        Some(known) => *known = text,
        None => all.push(text),
    }
}

/// A JSON list of words, or a line for a shell.
fn command(text: &str) -> Result<Value, String> {
    match list(text) {
        Some(words) => words.map(|words| json!(words)),
        None if text.is_empty() => Ok(Value::Null),
        None => Ok(json!(["/bin/sh", "-c", text])),
    }
}

fn list(text: &str) -> Option<Result<Vec<String>, String>> {
    text.starts_with('[').then(|| {
        serde_json::from_str(text).map_err(|e| format!("it is no JSON list of words in double quotes: {e}"))
    })
}

/// `80`, `80/tcp`.
fn port_of(text: &str) -> Result<String, String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    match port.parse::<u16>() {
        Ok(1..) if matches!(protocol.as_str(), "tcp" | "udp" | "sctp") => Ok(format!("{port}/{protocol}")),
        _ => Err(format!("{text:?} is not a port: expected 80, 80/tcp, 80/udp or 80/sctp")),
    }
}

/// `A=b C="d e"`, or `A the rest`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let first = text.split(char::is_whitespace).next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace).ok_or("expected NAME=VALUE")?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let one = |word: String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{word:?}: expected NAME=VALUE")),
    };
    words(text)?.into_iter().map(one).collect()
}

fn unquoted(text: &str) -> String {
    match words(text) {
        Ok(words) => words.join(" "),
        Err(_) => text.to_owned(),
    }
}

/// Words by spaces; quotes and backslashes keep spaces in one.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            ('\'' | '"', None) => (quote, begun) = (Some(letter), true),
            ('\\', None | Some('"')) => {
                word.push(letters.next().ok_or("a backslash stands at the end")?);
                begun = true;
            }
            (letter, None) if letter.is_whitespace() => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (letter, _) => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    if begun {
        words.push(word);
    }
    Ok(words)
}

#[cfg(test)]
mod tests;
