//! Directories of hooks, as podman and CRI-O have them (oci-hooks(5), version 1.0.0): which programs are run for which containers.
//!
//! A file in a later directory takes the place of one of the same name in an earlier one. They are read when a container is created. One
//! that cannot be read fails that: whoever put it there wants it run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_sys::fs::read_regular;
use berth_types::hook::At;
use oci_spec::runtime::{Hook as OciHook, HookBuilder, Spec};
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

/// Where files are unless the setting says another.
pub const DIRS: [&str; 2] = ["/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"];
/// The largest file.
const MAX_BYTES: u64 = 1 << 20;
/// The most files of one directory.
const MAX_FILES: usize = 1_000;
/// The most memory of one pattern.
const MAX_PATTERN: usize = 1 << 20;
/// The version of the files.
const VERSION: &str = "1.0.0";

/// A hook, and for which containers it is run.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) file: PathBuf,
    hook: OciHook,
    when: When,
    stages: Vec<At>,
}

/// All that is set has to be so; of `commands` one.
#[derive(Debug)]
struct When {
    always: Option<bool>,
    has_bind_mounts: Option<bool>,
    /// By key and by value.
    annotations: Vec<(Regex, Regex)>,
    commands: Vec<Regex>,
}

/// What a container is told from others by.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) command: &'a str,
    pub(crate) annotations: &'a BTreeMap<String, String>,
    pub(crate) has_bind_mounts: bool,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", file.display())]
pub(crate) struct HookFileError {
    file: PathBuf,
    why: String,
}

/// A file's own form. What it says beside that is for others, but a condition that is not known cannot be judged.
#[derive(Debug, Deserialize)]
struct File {
    hook: FileHook,
    #[serde(default)]
    when: FileWhen,
    stages: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct FileHook {
    path: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    timeout: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct FileWhen {
    always: Option<bool>,
    has_bind_mounts: Option<bool>,
    annotations: BTreeMap<String, String>,
    commands: Vec<String>,
}

/// Only that, to say of another version what it is.
#[derive(Deserialize)]
struct Versioned {
    #[serde(default)]
    version: String,
}

/// The hooks of these directories, in the order in which they are run. A directory that is not there has none.
///
/// # Errors
/// The first file that cannot be used.
pub(crate) fn read(dirs: &[PathBuf]) -> Result<Vec<Entry>, HookFileError> {
    let mut files = BTreeMap::new();
    for dir in dirs {
        let found = names(dir).map_err(|e| HookFileError { file: dir.clone(), why: e.to_string() })?;
        // Their order is that of their names, whatever the case.
        files.extend(found.into_iter().map(|name| ((name.to_lowercase(), name.clone()), dir.join(name))));
    }
    let mut entries = Vec::new();
    for file in files.into_values() {
        match read_regular(&file, MAX_BYTES) {
            Ok(bytes) => entries.push(parse(&file, &bytes)?),
            // Removed meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !file.is_symlink() => {}
            Err(e) => return Err(HookFileError { file, why: e.to_string() }),
        }
    }
    Ok(entries)
}

/// The names of a directory's files.
fn names(dir: &Path) -> std::io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut names = Vec::new();
    for entry in entries {
        // What is no text is no name that anybody gave a file of hooks.
        names.extend(entry?.file_name().into_string().ok().filter(|name| name.ends_with(".json")));
        if names.len() > MAX_FILES {
            return Err(std::io::Error::other(format!("more than {MAX_FILES} files of hooks")));
        }
    }
    Ok(names)
}

/// What a file says.
fn parse(file: &Path, bytes: &[u8]) -> Result<Entry, HookFileError> {
    let wrong = |why: String| HookFileError { file: file.to_owned(), why };
    let version: Versioned = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
    match version.version.as_str() {
        VERSION => {}
        "" | "0.1.0" => return Err(wrong(format!("version 0.1.0 is not supported, {VERSION} is"))),
        other => return Err(wrong(format!("version {other:?} is not known, {VERSION} is"))),
    }
    let said: File = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
    let field = |field: &str, why: String| wrong(format!("{field}: {why}"));
    let FileHook { path, args, env, timeout } = said.hook;
    if !path.is_absolute() {
        return Err(field("hook.path", format!("{:?} is not an absolute path", path.display())));
    }
    std::fs::metadata(&path).map_err(|e| field("hook.path", format!("{}: {e}", path.display())))?;
    if timeout.is_some_and(|seconds| seconds <= 0) {
        return Err(field("hook.timeout", "it is not above zero".to_owned()));
    }
    let mut hook = HookBuilder::default().path(path);
    if !args.is_empty() {
        hook = hook.args(args);
    }
    if !env.is_empty() {
        hook = hook.env(env);
    }
    if let Some(seconds) = timeout {
        hook = hook.timeout(seconds);
    }
    let stage = |(number, name): (usize, &String)| {
        let at = At::ALL.into_iter().find(|at| at.name() == name);
        at.ok_or_else(|| {
            let known = At::ALL.map(At::name).join(", ");
            field(&format!("stages[{number}]"), format!("{name:?} is none of {known}"))
        })
    };
    let stages = said.stages.iter().enumerate().map(stage).collect::<Result<_, _>>()?;
    let when = when(said.when).map_err(|(at, why)| field(&format!("when.{at}"), why))?;
    Ok(Entry { file: file.to_owned(), hook: hook.build().expect("every part is given"), when, stages })
}

fn when(said: FileWhen) -> Result<When, (&'static str, String)> {
    let FileWhen { always, has_bind_mounts, annotations, commands } = said;
    let annotations = annotations.iter().map(|(key, value)| Ok((pattern(key)?, pattern(value)?)));
    let commands = commands.iter().map(|command| pattern(command));
    Ok(When {
        always,
        has_bind_mounts,
        annotations: annotations.collect::<Result<_, _>>().map_err(|why| ("annotations", why))?,
        commands: commands.collect::<Result<_, _>>().map_err(|why| ("commands", why))?,
    })
}

/// A pattern as Go has it: its classes are of ASCII.
fn pattern(text: &str) -> Result<Regex, String> {
    let made = RegexBuilder::new(text).unicode(false).size_limit(MAX_PATTERN).build();
    made.map_err(|e| format!("{text:?} is no pattern: {}", e.to_string().lines().last().unwrap_or_default()))
}

impl Entry {
    /// Whether it is run for this container. Nothing is, of which no condition says so.
    pub(crate) fn is_for(&self, container: &Subject<'_>) -> bool {
        let When { always, has_bind_mounts, annotations, commands } = &self.when;
        let has = |(key, value): &(Regex, Regex)| {
            let mut all = container.annotations.iter();
            all.any(|(k, v)| key.is_match(k.as_bytes()) && value.is_match(v.as_bytes()))
        };
        let set =
            always.is_some() || has_bind_mounts.is_some() || !annotations.is_empty() || !commands.is_empty();
        set && *always != Some(false)
            && has_bind_mounts.is_none_or(|wanted| wanted && container.has_bind_mounts)
            && annotations.iter().all(has)
            && (commands.is_empty() || commands.iter().any(|c| c.is_match(container.command.as_bytes())))
    }

    /// Adds it to a specification.
    pub(crate) fn add_to(&self, spec: &mut Spec) {
        let mut all = spec.hooks().clone().unwrap_or_default();
        for at in &self.stages {
            let list = match at {
                At::Prestart => all.prestart_mut(),
                At::CreateRuntime => all.create_runtime_mut(),
                At::CreateContainer => all.create_container_mut(),
                At::StartContainer => all.start_container_mut(),
                At::Poststart => all.poststart_mut(),
                At::Poststop => all.poststop_mut(),
            };
            list.get_or_insert_default().push(self.hook.clone());
        }
        spec.set_hooks(Some(all));
    }
}

#[cfg(test)]
mod tests;
