//! One configuration file: TOML whose keys are in the table of settings, and nothing else. Every mistake has its place.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_types::setting::{Form, KEYS, Key};
use rustix::fs::{Mode, OFlags};
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::SettingsError;

/// The longest file. That of a package, with every key and sentence, has some thousand bytes.
const LONGEST: u64 = 256 << 10;
/// The most mistakes of one file that are told.
const MOST_PROBLEMS: usize = 20;
/// How unlike a key may be to what was probably meant, in letters.
const UNLIKE: usize = 3;

/// A place in a file; line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: Arc<PathBuf>,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// A mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) place: Place,
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Mistakes as one line of an error; `berth config check` shows each.
pub(super) fn told(problems: &[Problem]) -> String {
    match problems {
        [] => "the configuration is wrong".to_owned(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more: berth config check)", rest.len()),
    }
}

/// What a file says of one setting.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: &'static Key,
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// What a file holds as text; none where there is no file. Whatever is in its place is not waited for.
pub(crate) fn text(path: &Path) -> Result<Option<String>, SettingsError> {
    let read = |source: std::io::Error| SettingsError::Read { path: path.to_owned(), source };
    let too_much = |what: String| SettingsError::TooMuch { path: path.to_owned(), what };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => std::fs::File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(read(error.into())),
    };
    if !file.metadata().map_err(read)?.is_file() {
        return Err(read(std::io::Error::other("it is not a regular file")));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > LONGEST {
        return Err(too_much(format!("longer than {} KiB", LONGEST >> 10)));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(read(std::io::Error::other(format!("line {line} is not UTF-8 text"))))
        }
    }
}

/// What the text of a file says, in the order of the text.
///
/// # Errors
/// Every mistake, up to a bound.
pub(crate) fn parse(path: &Arc<PathBuf>, text: &str) -> Result<Vec<Entry>, Vec<Problem>> {
    let place = |offset: usize| placed(path, text, offset);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| Problem {
            place: place(error.span().map_or(0, |span| span.start)),
            message: error.message().trim().replace('\n', "; "),
        };
        return Err(errors.iter().take(MOST_PROBLEMS).map(problem).collect());
    }
    let mut pairs: Vec<_> = table.get_ref().iter().collect();
    pairs.sort_by_key(|(name, _)| name.span().start);
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in pairs {
        let place = place(name.span().start);
        let made = match Key::find(name.get_ref()) {
            Some(key) => {
                checked(key, value.get_ref()).map(|value| Entry { key, value, place: place.clone() })
            }
            None => Err(unknown(name.get_ref())),
        };
        match made {
            Ok(entry) => entries.push(entry),
            Err(message) if problems.len() < MOST_PROBLEMS => problems.push(Problem { place, message }),
            Err(_) => {}
        }
    }
    if problems.is_empty() { Ok(entries) } else { Err(problems) }
}

fn placed(path: &Arc<PathBuf>, text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place { path: Arc::clone(path), line, column }
}

fn unknown(name: &str) -> String {
    let shown: String = name.chars().take(60).collect();
    match meant(name) {
        Some(key) => format!("there is no key {shown:?} (hint: did you mean {}?)", key.name),
        None => format!("there is no key {shown:?} (hint: berth config default shows all)"),
    }
}

/// The setting that was probably meant: by its name, or by its beginning.
fn meant(name: &str) -> Option<&'static Key> {
    if name.len() > 60 {
        return None;
    }
    let plain = name.to_lowercase().replace(['_', '.', ' '], "-");
    let close = KEYS.iter().map(|key| (strsim::damerau_levenshtein(&plain, key.name), key));
    let nearest = close.min_by_key(|(distance, _)| *distance);
    nearest.filter(|(distance, key)| *distance <= UNLIKE && *distance < key.name.len()).map(|(_, key)| key)
}

/// The value, if it has the form of the setting.
///
/// # Errors
/// What is expected, and what is there.
pub(super) fn checked(key: &Key, value: &DeValue<'_>) -> Result<Value, String> {
    let wrong = |found: &str| Err(format!("{}: expected {}, found {found}", key.name, key.form.words()));
    match (key.form, value) {
        (Form::Text, DeValue::String(text)) => Ok(Value::String(text.to_string())),
        (Form::Switch, DeValue::Boolean(on)) => Ok(Value::Boolean(*on)),
        (Form::Word(words), DeValue::String(text)) => {
            if words.contains(&text.as_ref()) {
                Ok(Value::String(text.to_string()))
            } else {
                wrong(&format!("{:?}", text.chars().take(60).collect::<String>()))
            }
        }
        (Form::Number(most), DeValue::Integer(digits)) => {
            match i64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(number) if (0..=most).contains(&number) => Ok(Value::Integer(number)),
                _ => wrong(digits.as_str().get(..40).unwrap_or(digits.as_str())),
            }
        }
        (Form::List, DeValue::Array(all)) => {
            let text = |value: &DeValue<'_>| value.as_str().map(|text| Value::String(text.to_owned()));
            match all.iter().map(|value| text(value.get_ref())).collect::<Option<Vec<_>>>() {
                Some(texts) => Ok(Value::Array(texts)),
                None => wrong("a list of something else"),
            }
        }
        (_, value) => wrong(article(value)),
    }
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests;
