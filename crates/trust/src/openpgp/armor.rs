//! Keys as text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// The blocks of keys in a file: what is no text is one.
pub(super) fn blocks(file: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    if file.first().is_none_or(|first| first & 0x80 != 0) {
        return Ok(vec![file.to_vec()]);
    }
    let text = std::str::from_utf8(file).map_err(|_| "it is neither text nor OpenPGP".to_owned())?;
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while lines.any(|line| line == BEGIN) {
        // Headers, up to an empty line.
        if !lines.any(str::is_empty) {
            return Err("a block of keys is cut off".to_owned());
        }
        let mut body = String::new();
        loop {
            match lines.next() {
                Some(END) => break,
                // A checksum, which says nothing that the signatures in it do not.
                Some(line) if line.starts_with('=') => {}
                Some(line) => body.push_str(line),
                None => return Err("a block of keys is cut off".to_owned()),
            }
        }
        blocks.push(STANDARD.decode(body).map_err(|e| format!("a block of keys is not base64: {e}"))?);
    }
    match blocks.is_empty() {
        true => Err(format!("it is no OpenPGP key: it has no {BEGIN}")),
        false => Ok(blocks),
    }
}
