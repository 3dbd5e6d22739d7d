//! The streams of a process that a shim of others serves.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use berth_types::shim::Stream;

use super::Source;
use super::input::Stdin;

/// Our ends of its FIFOs.
#[derive(Debug)]
pub(crate) struct Fifos {
    /// Where its input goes, and what is done when that is closed.
    pub(crate) stdin: Option<(OwnedFd, Then)>,
    /// Its output.
    pub(crate) stdout: OwnedFd,
    /// Its error output; without one, the output is that of a terminal.
    pub(crate) stderr: Option<OwnedFd>,
}

impl Fifos {
    pub(super) fn into_sources(self, once: bool) -> (Vec<Source>, Stdin) {
        let of = |stream, fd: OwnedFd| Source { is_fifo: true, ..Source::new(stream, fd.into()) };
        let stdin = match (self.stdin, &self.stderr) {
            (None, _) => Stdin::pipe(None, once),
            (Some((fd, _)), None) => Stdin::terminal(Arc::new(fd)),
            (Some((fd, then)), Some(_)) => Stdin::fifo(fd, then, once),
        };
        let stderr = self.stderr.map(|fd| of(Stream::Stderr, fd));
        (std::iter::once(of(Stream::Stdout, self.stdout)).chain(stderr).collect(), stdin)
    }
}

/// What is done when this is dropped.
pub(crate) struct Then(Option<Box<dyn FnOnce() + Send>>);

impl Then {
    pub(crate) fn new(then: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(then)))
    }
}

impl Drop for Then {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then();
        }
    }
}

impl std::fmt::Debug for Then {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Then")
    }
}

#[cfg(test)]
mod tests;
