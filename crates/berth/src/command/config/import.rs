//! `berth config import`: another runtime's configuration as Berth's, with a comment for each key that has no counterpart.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use berth_types::setting::foreign::{Foreign, How, Program, Verdict};
use berth_types::setting::{Form, Key};
use toml::Value;

use crate::output::line;
use crate::serve::settings::{Given, SettingsError, text};

/// The most keys of one file.
const MOST_KEYS: usize = 8192;
/// The longest value that a comment shows, in characters.
const LONGEST_SHOWN: usize = 120;

/// Plugins of containerd by the short names of the table.
const PLUGINS: [(&str, &str); 10] = [
    ("io.containerd.grpc.v1.cri", "cri"),
    ("io.containerd.cri.v1.runtime", "cri"),
    ("io.containerd.cri.v1.images", "cri"),
    ("io.containerd.server.v1.grpc", "server-grpc"),
    ("io.containerd.server.v1.grpc-tcp", "server-grpc-tcp"),
    ("io.containerd.server.v1.ttrpc", "server-ttrpc"),
    ("io.containerd.server.v1.debug", "server-debug"),
    ("io.containerd.server.v1.metrics", "server-metrics"),
    ("io.containerd.gc.v1.scheduler", "gc"),
    ("io.containerd.nri.v1.nri", "nri"),
];

/// `berth config import`
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// containerd's config.toml of version 2, 3 or 4, or CRI-O's crio.conf
    file: PathBuf,
}

impl Import {
    /// Writes Berth's configuration to standard output.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let text = text(&self.file)?.with_context(|| format!("{} does not exist", self.file.display()))?;
        line(imported(&self.file, &text)?.trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What becomes of a file.
#[derive(Debug, Default)]
struct Made {
    settings: BTreeMap<&'static str, (Value, Vec<String>)>,
    needless: Vec<String>,
    lacking: Vec<String>,
    unknown: Vec<String>,
    /// Keys without a counterpart that ask for nothing.
    silent: usize,
}

fn imported(path: &Path, text: &str) -> anyhow::Result<String> {
    let table: toml::Table = toml::from_str(text).map_err(|e: toml::de::Error| {
        let line =
            text.get(..e.span().map_or(0, |span| span.start)).unwrap_or_default().matches('\n').count() + 1;
        anyhow::anyhow!("{}:{line}: {}", path.display(), e.message().trim())
    })?;
    let program = program(path, &table)?;
    let mut leaves = Vec::new();
    flatten(&mut Vec::new(), &table, &mut leaves);
    if leaves.len() > MOST_KEYS {
        bail!("{} has more than {MOST_KEYS} keys", path.display());
    }
    let mut made = Made::default();
    for (names, value) in &leaves {
        made.take(program, names, value);
    }
    made.without_refused();
    Ok(made.written(path, program))
}

/// Whose file it is.
fn program(path: &Path, table: &toml::Table) -> anyhow::Result<Program> {
    if table.contains_key("crio") {
        return Ok(Program::Crio);
    }
    let is_old = ["plugins", "grpc"].iter().any(|name| table.contains_key(*name));
    match table.get("version").map(toml::Value::as_integer) {
        Some(Some(2..=4)) => Ok(Program::Containerd),
        Some(Some(1)) => {
            bail!("{} is of version 1 (hint: containerd config migrate writes it anew)", path.display())
        }
        None if is_old => {
            bail!("{} is of version 1 (hint: containerd config migrate writes it anew)", path.display())
        }
        Some(_) => bail!("{}: its version is none of containerd's 2, 3 and 4", path.display()),
        None => bail!(
            "{} is neither containerd's config.toml, which has a version, nor CRI-O's crio.conf, which has a table crio",
            path.display()
        ),
    }
}

fn flatten(names: &mut Vec<String>, table: &toml::Table, leaves: &mut Vec<(Vec<String>, Value)>) {
    for (name, value) in table {
        names.push(name.clone());
        match value {
            Value::Table(inner) => flatten(names, inner, leaves),
            other if leaves.len() <= MOST_KEYS => leaves.push((names.clone(), other.clone())),
            _ => {}
        }
        names.pop();
    }
}

/// The path as the table has it.
fn short(program: Program, names: &[String]) -> Vec<&str> {
    let all = names.iter().map(String::as_str);
    if program == Program::Crio {
        return all.collect();
    }
    match names {
        [plugins, plugin, rest @ ..] if plugins == "plugins" => {
            let known = PLUGINS.iter().find(|(long, _)| long == plugin).map(|(_, short)| *short);
            let tracing = plugin.contains(".tracing.").then_some("tracing");
            let rest = rest.iter().map(String::as_str);
            match known.or(tracing) {
                Some("cri") => std::iter::once("cri").chain(rest).collect(),
                known => ["plugins", known.unwrap_or(plugin)].into_iter().chain(rest).collect(),
            }
        }
        _ => all.collect(),
    }
}

impl Made {
    fn take(&mut self, program: Program, names: &[String], value: &Value) {
        let path = short(program, names);
        let shown = shown(&path, value);
        match program.find(&path) {
            Some(Foreign { verdict: Verdict::Key(name, how), .. }) => {
                self.setting(name, *how, &path, value, &shown)
            }
            _ if says_nothing(value) => self.silent += 1,
            Some(Foreign { verdict: Verdict::Needless(why), .. }) => {
                self.needless.push(format!("{shown}: {why}"))
            }
            Some(Foreign { verdict: Verdict::Lacking(why), .. }) => {
                self.lacking.push(format!("{shown}: {why}"))
            }
            None => self.unknown.push(shown),
        }
    }

    fn setting(&mut self, name: &'static str, how: How, path: &[&str], value: &Value, shown: &str) {
        let Some(key) = Key::find(name) else { return };
        match converted(key, how, path, value) {
            Ok(None) => self.silent += 1,
            Err(why) => self.lacking.push(format!("{shown}: {why}")),
            Ok(Some(new)) => {
                let (there, from) = self.settings.entry(name).or_insert_with(|| (new.clone(), Vec::new()));
                match (there, new) {
                    (Value::Array(all), Value::Array(more)) if how == How::Handler && !from.is_empty() => {
                        more.into_iter().for_each(|one| add_handler(all, one));
                    }
                    (there, new) => *there = new,
                }
                from.push(shown.to_owned());
            }
        }
    }

    /// What a daemon would refuse is left out, with its reason.
    fn without_refused(&mut self) {
        // Each round takes one out.
        for _ in 0..=self.settings.len() {
            let table: toml::Table =
                self.settings.iter().map(|(name, (value, _))| ((*name).to_owned(), value.clone())).collect();
            let given: Result<Given, _> = table.try_into();
            let refused = match given.map(Given::resolve) {
                Ok(Err(SettingsError::Invalid { name, reason, .. })) => (name, reason),
                _ => return,
            };
            let Some((_, from)) = self.settings.remove(refused.0) else { return };
            self.lacking.extend(from.iter().map(|from| format!("{from}: {}: {}", refused.0, refused.1)));
        }
    }

    fn written(&self, path: &Path, program: Program) -> String {
        let mut text = format!(
            "# Made by berth config import from {} of {} (docs/migrating.md says why).\n",
            path.display().to_string().replace(char::is_control, "?"),
            program.name()
        );
        for (name, (value, from)) in &self.settings {
            for from in from {
                push(&mut text, format_args!("\n# {from}"));
            }
            push(&mut text, format_args!("\n{name} = {value}\n"));
        }
        for (title, lines) in [
            ("No key is needed for these", &self.needless),
            ("Berth has nothing for these", &self.lacking),
            ("These are not known", &self.unknown),
        ] {
            if !lines.is_empty() {
                push(&mut text, format_args!("\n# {title}:\n"));
                lines.iter().for_each(|line| push(&mut text, format_args!("#   {line}\n")));
            }
        }
        if self.silent > 0 {
            push(
                &mut text,
                format_args!("\n# {} keys that are empty, 0 or false were left out.\n", self.silent),
            );
        }
        text
    }
}

/// One for each name; a program counts more than a shim's name.
fn add_handler(all: &mut Vec<Value>, one: Value) {
    let name =
        |value: &Value| value.as_str().and_then(|text| text.split_once('=')).map(|(name, _)| name.to_owned());
    let is_path = one.as_str().is_some_and(|text| text.contains("=/"));
    match all.iter_mut().find(|there| name(there) == name(&one)) {
        Some(there) if is_path => *there = one,
        Some(_) => {}
        None => all.push(one),
    }
}

fn push(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words).expect("writing to a String does not fail");
}

/// Key and value in one line that a comment can hold.
fn shown(path: &[&str], value: &Value) -> String {
    let name = |name: &&str| {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        if plain && !name.is_empty() { (*name).to_owned() } else { format!("{name:?}") }
    };
    let path = path.iter().map(name).collect::<Vec<_>>().join(".");
    // Multi-line texts would end the comment, and credentials are nobody's business.
    let secret = path.contains(".auth") || path.contains("headers");
    let value = if secret { "(hidden)".to_owned() } else { value.to_string().replace(char::is_control, " ") };
    let text = format!("{path} = {value}");
    if text.chars().count() <= LONGEST_SHOWN {
        return text;
    }
    text.chars().take(LONGEST_SHOWN).chain(['…']).collect()
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Integer(number) => *number == 0,
        Value::Boolean(on) => !on,
        Value::Array(all) => all.is_empty(),
        Value::Table(all) => all.is_empty(),
        Value::Float(_) | Value::Datetime(_) => false,
    }
}

/// The value of a setting; none where nothing is said.
fn converted(key: &Key, how: How, path: &[&str], value: &Value) -> Result<Option<Value>, String> {
    if let Value::Boolean(on) = value {
        let driver = if *on { "systemd" } else { "cgroupfs" };
        // What is off is the default there, and auto finds the manager out.
        return match how {
            How::Systemd => Ok(on.then(|| Value::String(driver.to_owned()))),
            _ => Err(format!("expected {}", key.form.words())),
        };
    }
    if says_nothing(value) {
        return Ok(None);
    }
    let text = value.as_str();
    let new = match (how, text) {
        (How::Colons, Some(text)) => list(text.split(':').filter(|part| !part.is_empty())),
        (How::Level, Some(text)) => Value::String(level(text)),
        (How::Time, Some(text)) => {
            let time = text.parse::<jiff::SignedDuration>().map_err(|_| "this is no time".to_owned())?;
            if time.is_zero() {
                return Ok(None);
            }
            Value::String(text.to_owned())
        }
        (How::Runtime, Some("runc" | "crun")) => {
            return Err(
                "pods without a handler get Berth's own runtime, which takes the place of runc and crun \
                 (default-handler would keep it)"
                    .to_owned(),
            );
        }
        (How::Handler, Some(text)) => return handler(path, text),
        _ => same(key, value),
    };
    fits(key, &new).then_some(Some(new)).ok_or_else(|| format!("{} takes {}", key.name, key.form.words()))
}

fn same(key: &Key, value: &Value) -> Value {
    match (key.form, value) {
        (Form::List, Value::String(text)) => list([text.as_str()]),
        (Form::Number(_), Value::String(text)) => text.parse().map_or_else(|_| value.clone(), Value::Integer),
        _ => value.clone(),
    }
}

fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    Value::Array(texts.into_iter().map(|text| Value::String(text.to_owned())).collect())
}

/// Whether a file may say it.
fn fits(key: &Key, value: &Value) -> bool {
    match (key.form, value) {
        (Form::Text, Value::String(_)) | (Form::Switch, Value::Boolean(_)) => true,
        (Form::Word(words), Value::String(text)) => words.contains(&text.as_str()),
        (Form::Number(most), Value::Integer(number)) => (0..=most).contains(number),
        (Form::List, Value::Array(all)) => all.iter().all(Value::is_str),
        _ => false,
    }
}

/// logrus has levels that Berth has not.
fn level(text: &str) -> String {
    match text {
        "fatal" | "panic" => "error",
        "warning" => "warn",
        other => other,
    }
    .to_owned()
}

/// A runtime by its name, which is the one before what is said of it.
fn handler(path: &[&str], text: &str) -> Result<Option<Value>, String> {
    let at = path.iter().position(|name| *name == "runtimes").unwrap_or_default();
    let name = path.get(at + 1).copied().unwrap_or_default();
    let is_runc = text == "io.containerd.runc.v2" || text == "io.containerd.runc.v1";
    if is_runc {
        // Its program, if another one, is said beside it.
        return Ok(None);
    }
    Ok(Some(list([format!("{name}={text}").as_str()])))
}

#[cfg(test)]
mod tests;
