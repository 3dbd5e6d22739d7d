//! The commands, one file for each family.

pub(crate) mod act;
pub(crate) mod archive;
pub(crate) mod artifact;
pub(crate) mod change;
pub(crate) mod config;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod describe;
pub(crate) mod documents;
pub(crate) mod exec;
pub(crate) mod forward;
pub(crate) mod image;
pub(crate) mod info;
pub(crate) mod layers;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod maintenance;
pub(crate) mod play;
pub(crate) mod prune;
pub(crate) mod push;
pub(crate) mod run;
pub(crate) mod services;
mod stream;
pub(crate) mod volume;
pub(crate) mod watch;
pub(crate) mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use berth_sys::fs::read_bounded;

use crate::api;
use crate::output::complain;

/// The exit status when Berth itself failed, as docker's.
pub(crate) const FAILED: u8 = 125;

/// The exit status of a container or process as that of the command line.
fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(FAILED))
}

/// Reports which of several targets failed; the names of the others go to standard output.
fn outcomes(outcomes: Vec<api::Outcome>) -> anyhow::Result<ExitCode> {
    let mut failed = false;
    for outcome in outcomes {
        if outcome.missing {
            crate::output::note(format_args!("no pod or container {:?}", outcome.target));
        } else if outcome.error.is_empty() {
            crate::output::line(&outcome.target)?;
        } else {
            complain(&about(&outcome.target, &outcome.error));
            failed = true;
        }
    }
    Ok(done(failed))
}

/// A container by its pod's name and its own, where kubectl's `-c` gives that.
fn in_pod(target: &str, container: Option<&str>) -> String {
    container.map_or_else(|| target.to_owned(), |container| format!("{target}/{container}"))
}

/// The exit status when each of several targets was tried.
fn done(failed: bool) -> ExitCode {
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// An error about a target, which is named only once.
fn about(target: &str, error: &str) -> String {
    if error.contains(target) { error.to_owned() } else { format!("{target}: {error}") }
}

/// `NAME=VALUE`; as docker, a name alone takes its value from here, and is left out when it is not set here.
fn environment(given: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let all = given.iter().map(|text| variable(text, "--env")).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(all.into_iter().flatten().collect())
}

/// The most bytes of a file of variables.
const MAX_ENV_FILE: u64 = 1 << 20;

/// Files of variables, one a line, as docker reads them: no quotes, `#` begins a comment.
fn environment_files(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for path in paths {
        let at = || format!("--env-file {}", path.display());
        let text = String::from_utf8(read_bounded(path, MAX_ENV_FILE).with_context(at)?).with_context(at)?;
        let lines = text.lines().map(|line| line.trim_start().trim_end_matches('\r'));
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            all.extend(variable(line, &at())?);
        }
    }
    Ok(all)
}

fn variable(text: &str, given_by: &str) -> anyhow::Result<Option<(String, String)>> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, own(text)?),
    };
    if name.is_empty() {
        anyhow::bail!("invalid {given_by} {text:?}: expected NAME=VALUE");
    }
    Ok(value.map(|value| (name.to_owned(), value)))
}

fn own(name: &str) -> anyhow::Result<Option<String>> {
    match std::env::var_os(name).map(std::ffi::OsString::into_string) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => anyhow::bail!("--env {name}: its value is not UTF-8"),
    }
}
