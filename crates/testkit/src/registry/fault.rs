//! Faults on request: what a registry, a proxy or a network does to a pull.

use std::time::Duration;

/// Which requests a fault concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum On {
    /// Every request.
    Any,
    /// Those for manifests.
    Manifests,
    /// Those for blobs.
    Blobs,
    /// Those for a bearer token.
    Tokens,
    /// Those whose path contains this text: a digest, a tag, a repository.
    Path(String),
}

/// What the registry does wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultAction {
    /// Sends so many bytes of the body, then nothing more, and keeps the connection.
    StallAfter(u64),
    /// Does not answer at all, and keeps the connection.
    Silence,
    /// Sends so many bytes of the body, then resets the connection.
    ResetAfter(u64),
    /// Sends so many bytes of the body without having told the length, then ends properly.
    TruncateAfter(u64),
    /// Inverts every byte of the body: its length is right, its digest is not.
    WrongBytes,
    /// Appends this many zero bytes, and says so in the length.
    TooLong(u64),
    /// Answers with this status, and the seconds to wait if any.
    Status(u16, Option<u32>),
    /// Answers a range with the whole.
    IgnoreRange,
    /// Answers a range with another part of the content than was asked for.
    WrongRange,
    /// Redirects to this absolute URL, with the path and query of the request appended.
    Redirect(String),
    /// Names another digest in the Docker-Content-Digest header.
    WrongDigestHeader,
    /// Waits before every 64 KiB of the body.
    Slow(Duration),
}

/// A fault that waits for its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    on: On,
    action: FaultAction,
    skip: u32,
    times: Option<u32>,
}

impl Fault {
    /// Does `action` to every request that `on` selects.
    pub fn new(on: On, action: FaultAction) -> Self {
        Self { on, action, skip: 0, times: None }
    }

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Only once.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Skips the first `skip` requests.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// What happens to this request, if this fault concerns it; counts.
    pub(super) fn strike(&mut self, path: &str) -> Option<FaultAction> {
        let concerns = match &self.on {
            On::Any => true,
            On::Manifests => path.contains("/manifests/"),
            On::Blobs => path.contains("/blobs/"),
            On::Tokens => path.starts_with("/token"),
            On::Path(part) => path.contains(part.as_str()),
        };
        if !concerns {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        match &mut self.times {
            Some(0) => None,
            Some(left) => {
                *left -= 1;
                Some(self.action.clone())
            }
            None => Some(self.action.clone()),
        }
    }
}
