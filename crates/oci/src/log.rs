//! What goes wrong, on standard error and in the file of `--log`, in logrus' two formats, which callers read.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use berth_types::error::chain;
use berth_types::stamp::Stamper;

use crate::OciError;
use crate::cli::{Globals, LogFormat};

/// Where messages go.
#[derive(Debug)]
pub(crate) struct Log {
    path: Option<PathBuf>,
    format: LogFormat,
    debug: bool,
}

impl Log {
    pub(crate) fn new(globals: &Globals) -> Self {
        Self { path: globals.log.clone(), format: globals.log_format, debug: globals.debug }
    }

    /// The error with which the program ends.
    pub(crate) fn failed(&self, error: &OciError) {
        let text = chain(error);
        self.line("error", &text);
        say(&text);
    }

    /// Something that the user should know.
    pub(crate) fn warn(&self, text: &str) {
        self.line("warning", text);
        if self.path.is_none() {
            say(text);
        }
    }

    /// Something for who looks for a fault.
    pub(crate) fn debug(&self, text: &str) {
        if self.debug {
            self.line("debug", text);
            if self.path.is_none() {
                say(text);
            }
        }
    }

    /// Appends to the file. That it cannot be written must not hide what is to be said.
    fn line(&self, level: &str, text: &str) {
        let Some(path) = &self.path else { return };
        let line = line(self.format, level, text, berth_sys::clock::now());
        let file = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
        if let Err(e) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
            say(&format!("write the log {}: {e}", path.display()));
        }
    }
}

/// One line of a log.
fn line(format: LogFormat, level: &str, text: &str, now: i64) -> String {
    let time = String::from_utf8_lossy(Stamper::default().text(now)).into_owned();
    match format {
        LogFormat::Json => {
            serde_json::json!({ "level": level, "msg": text, "time": time }).to_string() + "\n"
        }
        LogFormat::Text => format!("time={time:?} level={level} msg={text:?}\n"),
    }
}

#[allow(clippy::print_stderr, reason = "a command line tool prints")]
fn say(text: &str) {
    eprintln!("berth-oci: {text}");
}

#[cfg(test)]
mod tests;
