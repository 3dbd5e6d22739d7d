//! The shim's records on disk: `<state_dir>/containers/<id>/pid` and `.../exit`.
//!
//! A record is eight bytes of magic, the last of which is its version, then the struct encoded by postcard. It is
//! written to a temporary name and renamed, without fsync: it survives a killed daemon and a killed
//! shim, and need not survive a reboot. Nothing signals a pid from a record.

use serde::{Deserialize, Serialize};

use super::{CodecError, Exit};

/// File name of a [`Started`] in the container's directory, written before Create is answered.
pub const PID: &str = "pid";
/// File name of an [`Exited`], written before the end is told.
pub const EXIT: &str = "exit";

const MAGIC: &[u8; 8] = b"berthrc\x01";

/// The main process exists, prepared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The process id in the host's PID namespace.
    pub pid: i32,
    /// The shim's process id.
    pub shim: i32,
}

/// The main process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// When it was started (nanoseconds since 1970); 0 when it never ran.
    pub started_at: i64,
    /// How it ended.
    pub exit: Exit,
}

/// The file's content for a record.
pub fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&super::encode(record)?);
    Ok(bytes)
}

/// The record in a file's content.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    let body =
        bytes.strip_prefix(MAGIC).ok_or(CodecError::Malformed(postcard::Error::DeserializeBadEncoding))?;
    super::decode(body)
}
