//! Calling a plugin by its name, and reading what it answers.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::error::PluginError;
use super::process::{self, Failure, MAX_OUTPUT, Output};
use super::request::{self, Attachment, Command};

/// Where plugins find the programs that they call: iptables, nft, ip.
const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The most of a plugin's words that an error repeats.
const MAX_SAID: usize = 300;
/// The most of what a plugin says of its error.
const MAX_MESSAGE: usize = 2000;

/// The directories of plugins, searched in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    dirs: Vec<PathBuf>,
}

/// How long a call may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    begun: Instant,
    time: Duration,
}

impl Limit {
    /// A time that begins now. Calls that share it take it together.
    pub(super) fn of(time: Duration) -> Self {
        Self { begun: Instant::now(), time }
    }
}

impl Programs {
    pub(super) fn new(dirs: Vec<PathBuf>) -> Self {
        Self { dirs }
    }

    pub(super) fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// The program of a plugin.
    pub(super) fn find(&self, kind: &str) -> Result<PathBuf, PluginError> {
        let executable = |path: &PathBuf| {
            path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        };
        let found = self.dirs.iter().map(|dir| dir.join(kind)).find(executable);
        found.ok_or_else(|| PluginError::Missing { name: kind.to_owned(), dirs: self.list(", ") })
    }

    fn list(&self, separator: &str) -> String {
        let dirs: Vec<_> = self.dirs.iter().map(|dir| dir.to_string_lossy()).collect();
        dirs.join(separator)
    }

    /// Calls a program about a pod, or about the network as a whole; gives what it printed.
    pub(super) fn call(
        &self,
        program: &Path,
        command: Command,
        attachment: Option<&Attachment<'_>>,
        input: &[u8],
        limit: Limit,
    ) -> Result<Vec<u8>, PluginError> {
        let mut environment = vec![
            ("CNI_COMMAND", command.word().to_owned()),
            ("CNI_PATH", self.list(":")),
            ("PATH", PROGRAMS.to_owned()),
        ];
        environment.extend(attachment.into_iter().flat_map(Attachment::environment));
        let outcome = process::run(program, &environment, input, limit.begun + limit.time);
        match outcome {
            Ok(output) if output.status.success() => Ok(output.stdout),
            Ok(output) => Err(said(&output)),
            Err(Failure::Run(source)) => Err(PluginError::Run { path: program.to_owned(), source }),
            Err(Failure::TimedOut) => Err(PluginError::TimedOut { seconds: limit.time.as_secs() }),
            Err(Failure::TooMuch) => Err(PluginError::TooMuch { limit: MAX_OUTPUT }),
        }
    }

    /// The versions that a program says it supports; `None` when it does not say.
    pub(super) fn versions(&self, program: &Path, limit: Limit) -> Result<Option<Vec<String>>, PluginError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            supported_versions: Option<Vec<String>>,
        }
        match self.call(program, Command::Version, None, &request::for_version(), limit) {
            Ok(answer) => Ok(serde_json::from_slice::<Answer>(&answer)
                .ok()
                .and_then(|answer| answer.supported_versions)),
            // Shell scripts commonly know no VERSION.
            Err(PluginError::Said { .. } | PluginError::Ended { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What a plugin that failed says: its error object, or else the last line of its standard error.
fn said(output: &Output) -> PluginError {
    #[derive(Deserialize)]
    struct Error {
        code: u64,
        #[serde(default)]
        msg: Option<String>,
        #[serde(default)]
        details: Option<String>,
    }
    if let Ok(Error { code, msg, details }) = serde_json::from_slice(&output.stdout) {
        let words = [msg, details].into_iter().flatten().filter(|text| !text.is_empty());
        let message = beginning(words.collect::<Vec<_>>().join(": ").as_bytes(), MAX_MESSAGE);
        return PluginError::Said { code, message };
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().map(str::trim).rfind(|line| !line.is_empty());
    let said = match last {
        Some(line) => beginning(line.as_bytes(), MAX_SAID),
        None => beginning(&output.stdout, MAX_SAID),
    };
    PluginError::Ended { status: output.status.to_string(), said }
}

/// The beginning of what a plugin printed, in one line.
pub(super) fn beginning(bytes: &[u8], most: usize) -> String {
    let part = bytes.get(..most).unwrap_or(bytes);
    let text = String::from_utf8_lossy(part);
    let words: Vec<_> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// An answer that cannot be read.
pub(super) fn unreadable(bytes: &[u8], reason: String) -> PluginError {
    let said = beginning(bytes, MAX_SAID);
    PluginError::Answer { reason, said }
}

#[cfg(test)]
mod tests;
