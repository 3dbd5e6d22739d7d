//! What the command line prints: tables, JSON, sizes, times, errors.

pub(crate) mod pull;
pub(crate) mod table;

use std::io::{IsTerminal, Write};

use anyhow::{Context, bail};
use berth_sys::clock::now;
use clap::ValueEnum;
use serde_json::Value;

/// The form of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; on a terminal columns are cut
    #[default]
    Table,
    /// The same with whole columns, and more of them
    Wide,
    /// One document with everything
    Json,
    /// The same as YAML
    Yaml,
    /// What other commands take, a line each
    Name,
}

/// What an object is called on the command line.
pub(crate) type NameOf = fn(&Value) -> String;

impl Format {
    /// Prints objects; false where a table is wanted. `name` is None where they have no names.
    pub(crate) fn shows(self, objects: &Value, name: Option<NameOf>) -> anyhow::Result<bool> {
        match (self, name) {
            (Self::Table | Self::Wide, _) => return Ok(false),
            (Self::Json, _) => line(objects)?,
            (Self::Yaml, _) => yaml(objects)?,
            (Self::Name, None) => {
                bail!("-o name: there are no names here (hint: -o json has everything)")
            }
            (Self::Name, Some(name)) => {
                let all = objects.as_array().map(Vec::as_slice).unwrap_or_default();
                all.iter().try_for_each(|object| line(name(object)))?;
            }
        }
        Ok(true)
    }

    /// Prints a table, whole where it is to be wide.
    pub(crate) fn table(self, head: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
        match self {
            Self::Wide => table::lines(head, rows).into_iter().try_for_each(line),
            _ => table::print(head, rows),
        }
    }
}

/// The text of a key.
pub(crate) fn text_of(object: &Value, key: &str) -> String {
    object[key].as_str().unwrap_or_default().to_owned()
}

/// A value as YAML on standard output.
pub(crate) fn yaml(value: &serde_json::Value) -> anyhow::Result<()> {
    line(serde_saphyr::to_string(value)?.trim_end())
}

/// A line on standard output. What cannot be written is an error: a partial list in a file on a full disk is not a list.
pub(crate) fn line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("write output")
}

/// The exit status of a program that SIGPIPE ended.
pub(crate) const CLOSED: u8 = 141;

/// Whether this says that the reader of our output went away.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// A line for users, on standard error.
pub(crate) fn note(text: impl std::fmt::Display) {
    writeln!(std::io::stderr(), "{text}").ok();
}

/// An error with its causes in one line.
pub(crate) fn error(error: &anyhow::Error) {
    let mut text = format!("{error:#}");
    // Causes that only repeat the text before them are left out.
    if let Some((first, rest)) = text.split_once(": ")
        && first == rest
    {
        text = first.to_owned();
    }
    complain(&text);
}

/// An error, in red on a terminal, its hint in a line of its own.
pub(crate) fn complain(text: &str) {
    let (text, hint) = match text.rsplit_once(" (hint: ").map(|(text, hint)| (text, hint.strip_suffix(')'))) {
        Some((text, Some(hint))) => (text, Some(hint)),
        Some((_, None)) | None => (text, None),
    };
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (on, off) = if color { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
    note(format_args!("{on}berth: {text}{off}"));
    if let Some(hint) = hint {
        note(format_args!("  hint: {hint}"));
    }
}

/// Bytes as `1.2 MB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let mut value = count as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// How long ago, as kubectl writes ages: `5s`, `3m`, `2h`, `4d`.
pub(crate) fn age(at: i64) -> String {
    let since = u64::try_from(now().saturating_sub(at)).unwrap_or_default();
    short(std::time::Duration::from_nanos(since).as_secs())
}

fn short(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The first digits of an id, without its algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_234_567, "1.2 MB"),
            (15_000_000, "15 MB"),
            (999_900_000, "1.0 GB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn ages_for_people() {
        for (seconds, text) in [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (172_800, "2d")] {
            assert_eq!(short(seconds), text);
        }
    }

    #[test]
    fn short_ids() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("0123"), "0123");
    }
}
