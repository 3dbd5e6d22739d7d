//! What a shim's program prints when it has started a shim. Pure.
//!
//! There are three forms, told apart by what they look like:
//!
//! ```text
//! unix:///run/containerd/s/5c0f...                                  shims of before containerd 1.7, Task version 2
//! {"version":3,"address":"unix:///...","protocol":"ttrpc"}          of 1.7 to 2.2
//! an encoded containerd.runtime.bootstrap.v1.BootstrapResult        of 2.3 and newer
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use prost::Message;

use crate::message::Version;
use crate::message::bootstrap::Outcome;

/// The most bytes of an answer.
pub const MAX_ANSWER: usize = 64 << 10;
/// The most bytes of the name of a unix socket (unix(7): 108 with the zero behind it).
const MAX_SOCKET: usize = 107;

/// Where a shim listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// At a path.
    Path(PathBuf),
    /// At a name in the abstract namespace: what has no scheme, of shims before containerd 1.4.
    Abstract(Vec<u8>),
}

/// A shim that was started, or was there already for another container of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Where it listens.
    pub address: Address,
    /// The Task service that it has.
    pub version: Version,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Nothing was printed.
    #[error("it printed no address")]
    Empty,
    /// None of the three forms.
    #[error("it printed no address but {0:?}")]
    Garbage(String),
    /// A version of the Task service that is not known.
    #[error("it has version {0} of the Task service; 2 and 3 are supported")]
    Version(i64),
    /// Another protocol.
    #[error("it speaks {0:?}; only ttrpc is supported")]
    Protocol(String),
    /// An address that cannot be connected to.
    #[error("it listens at {address:?}: {why}")]
    Address {
        /// What it said.
        address: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

#[derive(serde::Deserialize)]
struct Json {
    version: i64,
    address: String,
    protocol: String,
}

/// Reads an answer.
///
/// # Errors
/// It is none, or of a kind that is not supported.
pub fn parse(bytes: &[u8]) -> Result<Started, AnswerError> {
    let Some(text) = text(bytes) else {
        let outcome = Outcome::decode(bytes).map_err(|_| garbage(bytes))?;
        return started(outcome.version.into(), &outcome.address, &outcome.protocol);
    };
    if text.is_empty() {
        return Err(AnswerError::Empty);
    }
    if text.starts_with('{') {
        let json: Json = serde_json::from_str(text).map_err(|_| garbage(bytes))?;
        return started(json.version, &json.address, &json.protocol);
    }
    if text.contains(char::is_whitespace) {
        return Err(garbage(bytes));
    }
    started(2, text, "ttrpc")
}

/// The answer as one text without control characters. No encoded message is that: the tags of its fields are such.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    text.chars().all(|c| !c.is_control() || c.is_whitespace()).then_some(text)
}

fn garbage(bytes: &[u8]) -> AnswerError {
    const SHOWN: usize = 200;
    let shown = bytes.get(..SHOWN).unwrap_or(bytes);
    AnswerError::Garbage(String::from_utf8_lossy(shown).trim().to_owned())
}

fn started(version: i64, address: &str, protocol: &str) -> Result<Started, AnswerError> {
    if !protocol.eq_ignore_ascii_case("ttrpc") {
        return Err(AnswerError::Protocol(protocol.to_owned()));
    }
    let version = match version {
        2 => Version::V2,
        3 => Version::V3,
        other => return Err(AnswerError::Version(other)),
    };
    Ok(Started { address: Address::parse(address)?, version })
}

impl Address {
    /// Reads an address as containerd does.
    ///
    /// # Errors
    /// It is no unix socket, or has a name that no socket can have.
    pub fn parse(address: &str) -> Result<Self, AnswerError> {
        let bad = |why| Err(AnswerError::Address { address: address.to_owned(), why });
        let (scheme, name) = address.split_once("://").unwrap_or(("", address));
        if name.is_empty() || name.contains('\0') {
            return bad("no socket can have this name");
        }
        if name.len() > MAX_SOCKET {
            return bad("a unix socket's name has at most 107 bytes");
        }
        match scheme {
            "" => Ok(Address::Abstract(name.as_bytes().to_vec())),
            "unix" if name.starts_with('/') => Ok(Address::Path(PathBuf::from(name))),
            "unix" => bad("its path does not begin at the root"),
            _ => bad("only unix sockets are supported"),
        }
    }

    /// The socket's path, if it has one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Address::Path(path) => Some(path),
            Address::Abstract(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Path(path) => write!(f, "unix://{}", path.display()),
            Address::Abstract(name) => f.write_str(&String::from_utf8_lossy(name)),
        }
    }
}

#[cfg(test)]
mod tests;
