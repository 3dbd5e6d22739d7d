//! Image references, by the grammar of the OCI distribution specification and docker's reading
//! of short names.
//!
//! A reference is `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`. The first path element is a host when it
//! has a dot or a colon, is `localhost`, or has an upper-case letter; otherwise the reference is
//! *short* and the caller decides what it means (refuse with a hint, or complete it by
//! configuration). With neither tag nor digest the tag is `latest`.

use crate::digest::{Digest, ParseDigestError};

/// The most characters a repository (host and path) may have, as the distribution project limits it.
pub const MAX_REPOSITORY: usize = 255;
/// The most characters a tag may have.
pub const MAX_TAG: usize = 128;

/// A complete image reference: host, path, and a tag or digest or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A reference as a user wrote it, which may lack the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// Complete.
    Full(ImageRef),
    /// No host was given: `busybox`, `library/busybox:1.36`.
    Short(ShortRef),
}

/// A reference without a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortRef {
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a string is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseRefError {
    /// Nothing there.
    #[error("the image reference is empty")]
    Empty,
    /// The host part is malformed.
    #[error("image reference {reference:?}: {host:?} is not a registry host")]
    Host {
        /// The whole reference.
        reference: String,
        /// The part at fault.
        host: String,
    },
    /// The path part is malformed.
    #[error(
        "image reference {reference:?}: {part:?} is not a repository name: lower-case letters and digits, separated by '.', '_', '__' or '-', are allowed"
    )]
    Path {
        /// The whole reference.
        reference: String,
        /// The part at fault.
        part: String,
    },
    /// The tag is malformed.
    #[error(
        "image reference {reference:?}: {tag:?} is not a tag: up to 128 letters, digits, '_', '.' and '-'"
    )]
    Tag {
        /// The whole reference.
        reference: String,
        /// The part at fault.
        tag: String,
    },
    /// The digest is malformed.
    #[error("image reference {reference:?}")]
    Digest {
        /// The whole reference.
        reference: String,
        /// What is wrong with the digest.
        source: ParseDigestError,
    },
    /// Host and path together are too long.
    #[error("image reference: the repository has {length} characters, {MAX_REPOSITORY} are allowed")]
    TooLong {
        /// Characters found.
        length: usize,
    },
}

impl ImageRef {
    /// Parses `text`, which must name a host.
    pub fn parse(text: &str) -> Result<Parsed, ParseRefError> {
        if text.is_empty() {
            return Err(ParseRefError::Empty);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest
                    .parse()
                    .map_err(|source| ParseRefError::Digest { reference: text.to_owned(), source })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if let Some(tag) = tag {
            check_tag(text, tag)?;
        }
        let tag = tag.map(str::to_owned);
        if name.len() > MAX_REPOSITORY {
            return Err(ParseRefError::TooLong { length: name.len() });
        }
        match name.split_once('/') {
            Some((host, path)) if is_host(host) => {
                check_host(text, host)?;
                check_path(text, path)?;
                Ok(Parsed::Full(Self { host: host.to_owned(), path: path.to_owned(), tag, digest }))
            }
            _ => {
                check_path(text, name)?;
                Ok(Parsed::Short(ShortRef { path: name.to_owned(), tag, digest }))
            }
        }
    }

    /// The registry host with its port: `registry.k8s.io`, `127.0.0.1:5000`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository's path on the host, without a leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Host and path: `registry.k8s.io/pause`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// The tag; `latest` when neither a tag nor a digest was given.
    pub fn tag(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag),
            (None, Some(_)) => None,
            (None, None) => Some("latest"),
        }
    }

    /// The digest, which wins over the tag when a manifest is fetched.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What to ask the registry for: the digest or the tag.
    pub fn selector(&self) -> &str {
        match (&self.digest, self.tag()) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => unreachable!("without a digest there is a tag"),
        }
    }

    /// The repository with a tag: the name under which a pulled image is known. None when only a
    /// digest was given.
    pub fn tagged(&self) -> Option<String> {
        self.tag().map(|tag| format!("{}/{}:{tag}", self.host, self.path))
    }

    /// The repository with a digest, as CRI's repo digests.
    pub fn with_digest(&self, digest: &Digest) -> String {
        format!("{}/{}@{digest}", self.host, self.path)
    }
}

impl std::fmt::Display for ImageRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        if let Some(tag) = self.tag() {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for ImageRef {
    type Err = ParseRefError;
    /// A full reference; a short one is refused as a bad host.
    fn from_str(text: &str) -> Result<Self, ParseRefError> {
        match Self::parse(text)? {
            Parsed::Full(full) => Ok(full),
            Parsed::Short(_) => {
                let host = text.split('/').next().unwrap_or_default();
                Err(ParseRefError::Host { reference: text.to_owned(), host: host.to_owned() })
            }
        }
    }
}

impl ShortRef {
    /// The reference on `host`. On `docker.io` a path of one element is in `library/`, as docker reads it.
    pub fn on_host(&self, host: &str) -> Result<ImageRef, ParseRefError> {
        check_host(&self.path, host)?;
        let path = match host {
            "docker.io" if !self.path.contains('/') => format!("library/{}", self.path),
            _ => self.path.clone(),
        };
        Ok(ImageRef { host: host.to_owned(), path, tag: self.tag.clone(), digest: self.digest.clone() })
    }
}

/// A colon after the last slash begins a tag; one before it belongs to a port.
fn split_tag(rest: &str) -> (&str, Option<&str>) {
    match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    }
}

fn is_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.bytes().any(|b| b.is_ascii_uppercase())
}

fn check_host(reference: &str, host: &str) -> Result<(), ParseRefError> {
    let bad = || ParseRefError::Host { reference: reference.to_owned(), host: host.to_owned() };
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(bad)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            ("", port.strip_prefix(':').or(if port.is_empty() { None } else { Some("") }))
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    if let Some(port) = port
        && (port.is_empty() || port.starts_with('+') || port.parse::<u16>().is_err())
    {
        return Err(bad());
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    if host.starts_with('[') || name.split('.').all(label) { Ok(()) } else { Err(bad()) }
}

fn check_path(reference: &str, path: &str) -> Result<(), ParseRefError> {
    match path.split('/').find(|part| !is_path_part(part)) {
        Some(part) => Err(ParseRefError::Path { reference: reference.to_owned(), part: part.to_owned() }),
        None => Ok(()),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_part(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    if !alnum(first) || !alnum(last) {
        return false;
    }
    bytes
        .split(|b| alnum(*b))
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

fn check_tag(reference: &str, tag: &str) -> Result<(), ParseRefError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let ok = !tag.is_empty()
        && tag.len() <= MAX_TAG
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
        && word(tag.as_bytes()[0]);
    if ok { Ok(()) } else { Err(ParseRefError::Tag { reference: reference.to_owned(), tag: tag.to_owned() }) }
}

#[cfg(test)]
#[path = "reference/tests.rs"]
mod tests;
