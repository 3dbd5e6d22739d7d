//! What was said of each setting, and where: flags over the environment, that over the files, a later file over an
//! earlier one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_types::setting::{Change, FILE, Form, KEYS, Key, Standard};
use toml::Value;

use super::file::{self, Entry, Place, Problem};
use super::{Given, Settings, SettingsError};

/// The most files beside the first.
const MOST_FILES: usize = 64;
/// The longest value of a variable.
const LONGEST_VARIABLE: usize = 16 << 10;

/// Where something was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Flag(&'static str),
    Environment(String),
    File(&'static str, Place),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Environment(variable) => f.write_str(variable),
            Self::File(name, place) => write!(f, "{place}: {name}"),
        }
    }
}

/// Everything that was said.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Layers {
    said: BTreeMap<&'static str, (Value, Source)>,
    /// The files that were read, in their order.
    pub(crate) files: Vec<PathBuf>,
}

impl Layers {
    /// These flags, the environment of this process, and the files. A missing file is an error only when it was named.
    pub(crate) fn read(flags: &Given, path: Option<&Path>) -> Result<Self, SettingsError> {
        Self::read_with(flags, |name| std::env::var(name).ok(), path)
    }

    /// The same with another environment.
    pub(crate) fn read_with(
        flags: &Given,
        environment: impl Fn(&str) -> Option<String>,
        path: Option<&Path>,
    ) -> Result<Self, SettingsError> {
        let mut layers = Self::default();
        let mut problems = Vec::new();
        let first = path.unwrap_or(Path::new(FILE));
        match file::text(first)? {
            Some(text) => layers.file(first, &text, &mut problems),
            None if path.is_none() => {}
            None => {
                let source = std::io::ErrorKind::NotFound.into();
                return Err(SettingsError::Read { path: first.to_owned(), source });
            }
        }
        for path in drop_ins(first)? {
            // One that was removed a moment ago is none.
            if let Some(text) = file::text(&path)? {
                layers.file(&path, &text, &mut problems);
            }
        }
        if !problems.is_empty() {
            return Err(SettingsError::Files(problems));
        }
        for key in KEYS {
            let own = std::iter::once(key.variable());
            let variables = own.chain(key.shared_variables().iter().map(|name| (*name).to_owned()));
            let said = variables.filter_map(|name| Some((environment(&name)?, name)));
            if let Some((text, variable)) = said.into_iter().find(|(text, _)| !text.is_empty()) {
                let source = Source::Environment(variable);
                let value = of_variable(key, &text)
                    .map_err(|message| SettingsError::Placed { place: source.clone(), message })?;
                layers.said.insert(key.name, (value, source));
            }
        }
        layers.flags(flags)?;
        Ok(layers)
    }

    fn file(&mut self, path: &Path, text: &str, problems: &mut Vec<Problem>) {
        match file::parse(&Arc::new(path.to_owned()), text) {
            Ok(entries) => {
                for Entry { key, value, place } in entries {
                    self.said.insert(key.name, (value, Source::File(key.name, place)));
                }
            }
            Err(more) => problems.extend(more),
        }
        self.files.push(path.to_owned());
    }

    fn flags(&mut self, flags: &Given) -> Result<(), SettingsError> {
        let unwritten = |e: toml::ser::Error| SettingsError::Invalid {
            name: "root",
            value: format!("{flags:?}"),
            reason: e.to_string(),
        };
        let table = toml::Table::try_from(flags).map_err(unwritten)?;
        for (name, value) in table {
            let Some(key) = Key::find(&name) else { continue };
            let same = self.said.get(key.name).is_some_and(|(said, source)| {
                // The command line has taken it from there already.
                key.name == "instance" && *said == value && matches!(source, Source::Environment(_))
            });
            if !same {
                self.said.insert(key.name, (value, Source::Flag(key.name)));
            }
        }
        Ok(())
    }

    /// What was said of a setting.
    pub(crate) fn said(&self, key: &Key) -> Option<(&Value, &Source)> {
        self.said.get(key.name).map(|(value, source)| (value, source))
    }

    /// What a setting is: what was said, or what holds without it. None where that is found out later.
    pub(crate) fn value(&self, key: &Key) -> Option<Value> {
        let said = self.said(key).map(|(value, _)| value.clone());
        said.or_else(|| match key.name {
            "listen" => {
                let state = self.value(Key::find("state")?)?;
                Some(Value::String(format!("unix://{}/berth.sock", state.as_str()?)))
            }
            "nri-socket" | "nri-plugin-dir" | "nri-config-dir" => self.plugins(key),
            _ => standard(key, self.instance()),
        })
    }

    /// Where plugins come from when nothing is said of it.
    fn plugins(&self, key: &Key) -> Option<Value> {
        let Given { instance, root, state, .. } = self.given().ok()?;
        let nri = Given { instance, root, state, ..Given::default() }.resolve().ok()?.nri;
        let path = match key.name {
            "nri-socket" => nri.socket?,
            "nri-plugin-dir" => nri.plugin_dir,
            _ => nri.config_dir,
        };
        Some(Value::String(path.to_string_lossy().into_owned()))
    }

    /// What was said of these settings is from now on what `other` says.
    pub(crate) fn take(&mut self, other: &Self, which: Change) {
        for key in KEYS.iter().filter(|key| key.change == which) {
            match other.said.get(key.name) {
                Some(said) => self.said.insert(key.name, said.clone()),
                None => self.said.remove(key.name),
            };
        }
    }

    fn instance(&self) -> &str {
        self.said.get("instance").and_then(|(value, _)| value.as_str()).unwrap_or_default()
    }

    /// All of it in one place.
    pub(crate) fn given(&self) -> Result<Given, SettingsError> {
        let table: toml::Table =
            self.said.iter().map(|(name, (value, _))| ((*name).to_owned(), value.clone())).collect();
        // What the forms of the table allow can be read; this is for numbers with another bound there.
        table.try_into().map_err(|e: toml::de::Error| SettingsError::Invalid {
            name: "config",
            value: String::new(),
            reason: e.message().to_owned(),
        })
    }

    /// What follows from all this; a mistake has its place.
    pub(crate) fn resolve(&self) -> Result<Settings, SettingsError> {
        self.given()?.resolve().map_err(|error| match error {
            SettingsError::Invalid { name, value, reason } => match self.said.get(name) {
                Some((_, place)) => {
                    SettingsError::Placed { place: place.clone(), message: format!("{value:?}: {reason}") }
                }
                None => SettingsError::Invalid { name, value, reason },
            },
            other => other,
        })
    }
}

/// The files beside `first` that add to it: those of `config.d` for `config.toml`, by their names.
fn drop_ins(first: &Path) -> Result<Vec<PathBuf>, SettingsError> {
    let dir = first.with_extension("d");
    let failed = |source| SettingsError::Read { path: dir.clone(), source };
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(failed(e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden || path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        if paths.len() == MOST_FILES {
            let what = format!("a directory of more than {MOST_FILES} files");
            return Err(SettingsError::TooMuch { path: dir, what });
        }
        paths.push(path);
    }
    paths.sort();
    Ok(paths)
}

/// What a variable says; texts of a list are separated by commas.
fn of_variable(key: &Key, text: &str) -> Result<Value, String> {
    if text.len() > LONGEST_VARIABLE {
        return Err(format!("longer than {} KiB", LONGEST_VARIABLE >> 10));
    }
    let value = match key.form {
        Form::List => {
            let texts = text.split(',').filter(|text| !text.is_empty());
            return Ok(Value::Array(texts.map(|text| Value::String(text.to_owned())).collect()));
        }
        Form::Number(_) => text.parse().ok().map(Value::Integer),
        Form::Switch => text.parse().ok().map(Value::Boolean),
        Form::Text | Form::Word(_) => Some(Value::String(text.to_owned())),
    };
    let fits = match (key.form, &value) {
        (Form::Word(words), Some(Value::String(text))) => words.contains(&text.as_str()),
        (Form::Number(most), Some(Value::Integer(number))) => (0..=most).contains(number),
        (_, value) => value.is_some(),
    };
    let shown: String = text.chars().take(60).collect();
    value.filter(|_| fits).ok_or_else(|| format!("{shown:?}: expected {}", key.form.words()))
}

/// What holds where nothing is said.
fn standard(key: &Key, instance: &str) -> Option<Value> {
    let text = |text: &str| Value::String(text.to_owned());
    match key.standard {
        Standard::Nothing | Standard::Found(_) => None,
        Standard::Off => Some(Value::Boolean(false)),
        Standard::Number(number) => Some(Value::Integer(number)),
        Standard::Text(words) => Some(text(words)),
        Standard::List(list) => Some(Value::Array(list.iter().map(|words| text(words)).collect())),
        Standard::OfInstance(words) if instance.is_empty() => Some(text(words)),
        Standard::OfInstance(_) => {
            let given = Given { instance: Some(instance.to_owned()), ..Given::default() };
            let settings = given.resolve().ok()?;
            match key.name {
                "root" => Some(text(&settings.root.to_string_lossy())),
                "state" => Some(text(&settings.state.to_string_lossy())),
                "bridge" => Some(text(&settings.bridge)),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests;
