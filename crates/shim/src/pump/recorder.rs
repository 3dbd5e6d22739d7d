//! Output into a log file: lines, file, and the notice of what is missing.

use std::fs::File;
use std::path::PathBuf;

use berth_sys::clock::now;
use berth_types::shim::Stream;

use super::file::{Log, Place};
use super::lines::{Lines, Sink};

/// Writes one container's log.
#[derive(Debug)]
pub(crate) struct Recorder {
    path: Option<PathBuf>,
    place: Option<Place>,
    lines: Lines,
    log: Log<File>,
}

/// Puts the notice of what is missing before the first of the entries.
struct Noticed<'a> {
    log: &'a mut Log<File>,
    notice: Vec<u8>,
}

impl Sink for Noticed<'_> {
    fn entries(&mut self, text: &[u8]) {
        self.log.write(&std::mem::take(&mut self.notice), text);
    }
}

impl Recorder {
    /// Opens the log, if there is to be one.
    pub(crate) fn open(path: Option<PathBuf>, terminal: bool) -> Result<Self, String> {
        let (mut place, mut target) = (None, None);
        if let Some(path) = &path {
            let failed = |e| format!("open the log {}: {e}", path.display());
            let at = Place::of(path).map_err(failed)?;
            target = Some(at.open().map_err(failed)?);
            place = Some(at);
        }
        Ok(Self { path, place, lines: Lines::new(terminal), log: Log::new(target) })
    }

    /// Opens the log again by its name, in the directory where it was. On failure the old file stays in use.
    pub(crate) fn reopen(&mut self) -> Result<(), String> {
        let (Some(path), Some(place)) = (&self.path, &self.place) else {
            return Err("the container has no log file".to_owned());
        };
        let file = place.open().map_err(|e| format!("open the log {}: {e}", path.display()))?;
        self.log.replace(file);
        Ok(())
    }

    /// Records output.
    pub(crate) fn take(&mut self, stream: Stream, bytes: &[u8]) {
        if self.path.is_none() {
            return;
        }
        let now = now();
        let notice = self.missing(now);
        let mut sink = Noticed { log: &mut self.log, notice };
        self.lines.push(stream, bytes, now, &mut sink);
    }

    fn missing(&mut self, now: i64) -> Vec<u8> {
        let text = self.log.missing().map(ToString::to_string);
        text.map(|text| self.lines.notice(&text, now)).unwrap_or_default()
    }

    /// An entry of our own.
    pub(crate) fn notice(&mut self, text: &str) {
        let entry = self.lines.notice(text, now());
        self.log.write(&[], &entry);
    }

    /// The output has ended: the rest, and the notice of what is missing, if it can be written now.
    pub(crate) fn end(&mut self) {
        let now = now();
        let notice = self.missing(now);
        let mut sink = Noticed { log: &mut self.log, notice };
        self.lines.end(now, &mut sink);
        let unsaid = sink.notice;
        self.log.write(&unsaid, &[]);
    }
}
