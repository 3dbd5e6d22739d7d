//! Messages and frame headers as bytes.

use serde::{Deserialize, Serialize};

use super::{MAX_FDS, MAX_FRAME};

/// A message that cannot be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The message is too large for a frame.
    #[error("a shim message of {0} bytes is over the limit of {MAX_FRAME}")]
    TooLarge(usize),
    /// The bytes are not a message.
    #[error("malformed shim message: {0}")]
    Malformed(postcard::Error),
}

/// The four bytes before a body of `length` bytes with `fds` descriptors; None over the limits.
pub fn header(length: usize, fds: usize) -> Option<[u8; 4]> {
    if length > MAX_FRAME || fds > MAX_FDS {
        return None;
    }
    let word = u32::try_from(length).ok()? | (u32::try_from(fds).ok()? << 24);
    Some(word.to_le_bytes())
}

/// Length of the body and number of descriptors; None when they are over the limits.
pub fn parse_header(bytes: [u8; 4]) -> Option<(usize, usize)> {
    let word = u32::from_le_bytes(bytes);
    let (length, fds) = ((word & 0x00ff_ffff) as usize, (word >> 24) as usize);
    (length <= MAX_FRAME && fds <= MAX_FDS).then_some((length, fds))
}

/// The body of a frame for `message`.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    let body = postcard::to_allocvec(message).map_err(CodecError::Malformed)?;
    if body.len() > MAX_FRAME { Err(CodecError::TooLarge(body.len())) } else { Ok(body) }
}

/// The message in a frame's body; trailing bytes are refused.
pub fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, CodecError> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(CodecError::Malformed(postcard::Error::DeserializeBadEncoding)),
        Err(e) => Err(CodecError::Malformed(e)),
    }
}

/// The number of a request whose body may otherwise not be understood: it stands first in every version.
pub fn request_number(body: &[u8]) -> Option<u64> {
    postcard::take_from_bytes(body).ok().map(|(number, _)| number)
}

/// The number of the request that a shim's message answers, which may otherwise not be understood; None when it
/// is not an answer.
pub fn answer_number(body: &[u8]) -> Option<u64> {
    /// The index of [`FromShim::Answer`](super::FromShim::Answer) among the variants.
    const ANSWER: u32 = 0;
    match postcard::take_from_bytes::<(u32, u64)>(body) {
        Ok(((ANSWER, number), _)) => Some(number),
        Ok(_) | Err(_) => None,
    }
}
