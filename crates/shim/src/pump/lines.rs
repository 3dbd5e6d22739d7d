//! Output cut into the lines of a CRI log: `TIME STREAM P|F CONTENT\n`.
//!
//! A line of at most [`MAX_LINE`] bytes is one `F` entry, however many reads it came in. What is longer
//! is cut into `P` entries of [`MAX_LINE`] bytes and an `F` with the rest; what has no newline at
//! the end of the output is a `P` entry. containerd does the same, and the kubelet joins them again.

use berth_types::shim::Stream;
use berth_types::stamp::{LEN, Stamper};

/// The most content of one entry.
pub(crate) const MAX_LINE: usize = 16 << 10;

/// How much formatted text is gathered before it is handed on.
const BATCH: usize = 32 << 10;

/// Cuts both streams of one container.
#[derive(Debug)]
pub(crate) struct Lines {
    stdout: Tail,
    stderr: Tail,
    /// Whether a carriage return before a newline is the terminal's own and is left out.
    terminal: bool,
    stamper: Stamper,
    out: Vec<u8>,
}

/// The beginning of a line whose end has not come.
#[derive(Debug, Default)]
struct Tail {
    content: Vec<u8>,
    last: i64,
}

#[derive(Clone, Copy)]
enum Tag {
    Partial,
    Full,
}

/// Takes whole entries.
pub(crate) trait Sink {
    /// Writes them, or drops and counts them.
    fn entries(&mut self, text: &[u8]);
}

impl Lines {
    /// Nothing read yet.
    pub(crate) fn new(terminal: bool) -> Self {
        Self {
            stdout: Tail::default(),
            stderr: Tail::default(),
            terminal,
            stamper: Stamper::default(),
            out: Vec::new(),
        }
    }

    /// Takes what was read from a stream at `now` (nanoseconds since 1970). Entries of one stream get
    /// strictly increasing times, whatever the clock does.
    pub(crate) fn push(&mut self, stream: Stream, mut bytes: &[u8], now: i64, sink: &mut dyn Sink) {
        while let Some(at) = bytes.iter().position(|b| *b == b'\n') {
            let rest = self.cut(stream, &bytes[..at], now, sink);
            let mut content = rest;
            if self.terminal {
                content = self.without_return(stream, content);
            }
            self.entry(stream, Tag::Full, content, now);
            bytes = &bytes[at + 1..];
            self.hand_on(sink, BATCH);
        }
        let rest = self.cut(stream, bytes, now, sink);
        self.tail(stream).content.extend_from_slice(rest);
        self.hand_on(sink, 1);
    }

    /// The streams ended: what has no newline is handed on as it is.
    pub(crate) fn end(&mut self, now: i64, sink: &mut dyn Sink) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.tail(stream).content.is_empty() {
                self.entry(stream, Tag::Partial, &[], now);
            }
        }
        self.hand_on(sink, 1);
    }

    /// An entry of our own on stderr, for what could not be written.
    pub(crate) fn notice(&mut self, text: &str, now: i64) -> Vec<u8> {
        let last = &mut self.stderr.last;
        *last = now.max(*last + 1);
        let mut entry = self.stamper.text(*last).to_vec();
        entry.extend_from_slice(b" stderr F ");
        entry.extend_from_slice(text.as_bytes());
        entry.push(b'\n');
        entry
    }

    /// Cuts full `P` entries off the tail and `bytes`, and returns what is left of `bytes`.
    fn cut<'a>(&mut self, stream: Stream, mut bytes: &'a [u8], now: i64, sink: &mut dyn Sink) -> &'a [u8] {
        loop {
            let have = self.tail(stream).content.len();
            if have + bytes.len() <= MAX_LINE {
                return bytes;
            }
            let (first, rest) = bytes.split_at(MAX_LINE - have);
            self.entry(stream, Tag::Partial, first, now);
            bytes = rest;
            self.hand_on(sink, BATCH);
        }
    }

    /// A terminal turns each newline of a program into a carriage return and a newline.
    fn without_return<'a>(&mut self, stream: Stream, content: &'a [u8]) -> &'a [u8] {
        if content.is_empty() {
            let tail = &mut self.tail(stream).content;
            if tail.last() == Some(&b'\r') {
                tail.pop();
            }
        }
        content.strip_suffix(b"\r").unwrap_or(content)
    }

    /// Formats one entry of the tail and `more`; the tail is empty then.
    fn entry(&mut self, stream: Stream, tag: Tag, more: &[u8], now: i64) {
        let (tail, word): (_, &[u8]) = match stream {
            Stream::Stdout => (&mut self.stdout, b" stdout "),
            Stream::Stderr => (&mut self.stderr, b" stderr "),
        };
        tail.last = now.max(tail.last + 1);
        self.out.reserve(LEN + 12 + tail.content.len() + more.len());
        self.out.extend_from_slice(self.stamper.text(tail.last));
        self.out.extend_from_slice(word);
        self.out.extend_from_slice(match tag {
            Tag::Partial => b"P ",
            Tag::Full => b"F ",
        });
        self.out.extend_from_slice(&tail.content);
        self.out.extend_from_slice(more);
        self.out.push(b'\n');
        tail.content.clear();
        // A long line was the exception: its memory goes back.
        tail.content.shrink_to(1024);
    }

    fn tail(&mut self, stream: Stream) -> &mut Tail {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn hand_on(&mut self, sink: &mut dyn Sink, at_least: usize) {
        if self.out.len() >= at_least {
            sink.entries(&self.out);
            self.out.clear();
            self.out.shrink_to(BATCH);
        }
    }
}

#[cfg(test)]
mod tests;
