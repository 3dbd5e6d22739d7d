//! Why a runtime cannot be used, in one sentence. Pure.

use std::path::PathBuf;

use berth_sys::process::Exit;
use rustix::io::Errno;

use super::contained::MAX_PRINTED;
use crate::handler::found::Kind;

/// The release of gVisor from which on its pods can be run here: those before have no platform that works without KVM in a
/// virtual machine (systrap), or did not trust it yet.
const OLDEST_GVISOR: u32 = 20_230_601;
/// The most of a program's last words.
const MAX_WORDS: usize = 300;
/// The most of a version.
const MAX_VERSION: usize = 100;

/// Why a runtime cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("the check of it could not be made: {0}")]
    NotChecked(String),
    #[error("{program} cannot be executed: {why}", program = .program.display())]
    NotExecuted { program: PathBuf, why: String },
    #[error("`{command}` did not end within {seconds} s{words}")]
    Late { command: String, seconds: u64, words: Words },
    #[error("`{command}` {end}{words}")]
    Failed { command: String, end: Ended, words: Words },
    #[error("`{command}` printed more than {} KiB", MAX_PRINTED >> 10)]
    TooMuch { command: String },
    #[error("`{command}` printed {printed:?}, which is no version of a runtime")]
    NoVersion { command: String, printed: String },
    #[error(
        "`{command}` said that it had run a container, but the container's program was not executed{words}"
    )]
    NotRun { command: String, words: Words },
    #[error(
        "{version:?} is too old: Berth needs one of June 2023 or later (hint: see https://gvisor.dev/docs/user_guide/install)"
    )]
    TooOld { version: String },
    #[error(
        "it is gVisor ({0:?}), for which \"runsc\" or \"gvisor\" must be in the handler's name or its program's"
    )]
    IsGvisor(String),
    #[error(
        "it is not gVisor ({0:?}), as \"runsc\" or \"gvisor\" in the handler's name or its program's says"
    )]
    IsNotGvisor(String),
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended(pub(super) Exit);

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Exit::Code(code) => write!(f, "failed with status {code}"),
            Exit::Signal(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

/// What a program said last: in a sentence `: "..."`, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Words(String);

impl Words {
    /// Out of its standard error: where it says why it crashed, or else its last line.
    pub(super) fn of(errors: &[u8]) -> Self {
        let text = String::from_utf8_lossy(errors);
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        let crash = |line: &&str| ["panic: ", "fatal error: "].iter().any(|word| line.starts_with(word));
        Self(plain(lines().find(crash).or_else(|| lines().next_back()).unwrap_or_default(), MAX_WORDS))
    }
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

/// A text that can be shown in one line.
fn plain(text: &str, most: usize) -> String {
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect();
    if text.chars().nth(most).is_some() { format!("{}...", shown.trim()) } else { shown.trim().to_owned() }
}

/// Why a file that is there and may be executed is not; `head` is how it begins.
pub(super) fn not_executed(errno: Errno, head: &[u8]) -> String {
    match errno {
        Errno::NOEXEC => match machine(head) {
            Some(machine) if machine != std::env::consts::ARCH => {
                format!("it is made for {machine}, and this machine is {}", std::env::consts::ARCH)
            }
            Some(_) | None => "it is not a program".to_owned(),
        },
        Errno::NOENT if head.starts_with(b"#!") => {
            "the interpreter in its first line does not exist".to_owned()
        }
        Errno::NOENT => {
            "the loader that it names does not exist (it is made for another C library)".to_owned()
        }
        Errno::ACCESS => {
            "permission denied (it lies on a file system mounted noexec, or a security module forbids it)"
                .to_owned()
        }
        Errno::TXTBSY => "it is still being written".to_owned(),
        other => std::io::Error::from(other).to_string(),
    }
}

/// The machine that an ELF file is made for, in Rust's words.
fn machine(head: &[u8]) -> Option<String> {
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let is_little = *head.get(5)? == 1;
    let bytes = [*head.get(18)?, *head.get(19)?];
    let number = if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) };
    let name = match number {
        3 => "x86",
        20 => "powerpc",
        21 => "powerpc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        258 => "loongarch64",
        other => return Some(format!("ELF machine {other}")),
    };
    Some(name.to_owned())
}

/// The version in what a runtime printed, if it is one that can be driven as `kind`.
pub(super) fn version(command: &str, printed: &[u8], kind: Kind) -> Result<String, Unusable> {
    let no_version =
        |text: &str| Unusable::NoVersion { command: command.to_owned(), printed: plain(text, MAX_VERSION) };
    let text = std::str::from_utf8(printed).map_err(|_| no_version(&String::from_utf8_lossy(printed)))?;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let is_text = line.chars().all(|c| !c.is_control()) && line.len() <= MAX_VERSION;
    let is_gvisor = line.split_whitespace().next() == Some("runsc");
    // One that was built from the Go module has none: "runsc version VERSION_MISSING".
    if !is_text || !(is_gvisor || line.chars().any(|c| c.is_ascii_digit())) {
        return Err(no_version(line));
    }
    match kind {
        Kind::Runc if is_gvisor => Err(Unusable::IsGvisor(line.to_owned())),
        Kind::Gvisor if !is_gvisor => Err(Unusable::IsNotGvisor(line.to_owned())),
        Kind::Gvisor if date(line).is_some_and(|date| date < OLDEST_GVISOR) => {
            Err(Unusable::TooOld { version: line.to_owned() })
        }
        Kind::Runc | Kind::Gvisor | Kind::Shim => Ok(line.to_owned()),
    }
}

/// What a shim of containerd's protocol printed of its version, in a text of some lines.
pub(super) fn shim(command: &str, printed: &[u8]) -> Result<String, Unusable> {
    let text = String::from_utf8_lossy(printed);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.clone().next().unwrap_or_default();
    let line = lines.find_map(|line| line.strip_prefix("Version:")).map_or(first, str::trim);
    if line.is_empty() || line.chars().any(char::is_control) || line.len() > MAX_VERSION {
        let printed = plain(line, MAX_VERSION);
        return Err(Unusable::NoVersion { command: command.to_owned(), printed });
    }
    Ok(line.to_owned())
}

/// The day in a version of gVisor, as a number: of `release-20260831.0`, `0.0~20221219.0-2+b3` or
/// `v0.0.0-20260905035102-160fafc42237`. One that was built without has none.
fn date(version: &str) -> Option<u32> {
    let runs = version.split(|c: char| !c.is_ascii_digit());
    let days = runs.filter(|run| matches!(run.len(), 8 | 14) && run.starts_with("20"));
    days.filter_map(|run| run.get(..8)?.parse().ok()).next()
}

#[cfg(test)]
mod tests;
