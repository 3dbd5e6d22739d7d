//! Bodies, complete or faulty.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;

use crate::image::Content;

pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Bytes read from a file at a time.
const CHUNK: u64 = 256 * 1024;

/// A body in memory.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A source of bytes that can be cut and read from any place.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Memory(Bytes),
    File(Arc<std::fs::File>, u64),
}

impl Source {
    pub(super) fn open(content: Content) -> std::io::Result<Self> {
        match content {
            Content::Memory(bytes) => Ok(Self::Memory(bytes)),
            Content::File(path) => {
                let file = std::fs::File::open(path)?;
                let length = file.metadata()?.len();
                Ok(Self::File(Arc::new(file), length))
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }

    pub(super) fn read(&self, at: u64, most: u64) -> std::io::Result<Bytes> {
        let most = usize::try_from(most).expect("a chunk fits in memory");
        match self {
            Self::Memory(bytes) => {
                let at = usize::try_from(at).expect("an offset in memory fits");
                Ok(bytes.slice(at..(at + most)))
            }
            Self::File(file, _) => {
                let mut buffer = vec![0; most];
                file.read_exact_at(&mut buffer, at)?;
                Ok(buffer.into())
            }
        }
    }
}

/// What happens after the bytes that are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The body ends.
    Proper,
    /// Nothing more comes.
    Stall,
    /// The connection breaks.
    Break,
}

/// How a body is sent.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) source: Source,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) end: End,
    pub(super) invert: bool,
    pub(super) pause: Option<Duration>,
}

impl Plan {
    /// The bytes from `from` to before `to`, as they are.
    pub(super) fn plain(source: Source, from: u64, to: u64) -> Self {
        Self { source, from, to, end: End::Proper, invert: false, pause: None }
    }

    /// The body as a stream of chunks.
    pub(super) fn body(self) -> Body {
        let chunk = if self.pause.is_some() { 64 * 1024 } else { CHUNK };
        let stream = stream::try_unfold(self, move |mut plan| async move {
            if plan.from == plan.to {
                return match plan.end {
                    End::Proper => Ok(None),
                    End::Stall => std::future::pending().await,
                    End::Break => Err(std::io::Error::other("the registry breaks off on cue")),
                };
            }
            if let Some(pause) = plan.pause {
                tokio::time::sleep(pause).await;
            }
            let size = chunk.min(plan.to - plan.from);
            let mut bytes = plan.source.read(plan.from, size)?;
            if plan.invert {
                bytes = bytes.iter().map(|byte| !byte).collect();
            }
            plan.from += size;
            Ok(Some((Frame::data(bytes), plan)))
        });
        StreamBody::new(stream).boxed_unsync()
    }
}
