//! As much of OpenPGP (RFC 9580) as simple signing needs: a message with one signature, and the keys that may have made it. ring
//! computes; what keys, their parts and times mean is here. Version 4 keys with RSA, ECDSA and Ed25519, and SHA-2; what is
//! older or newer is refused by name. See docs/adr/0103-trust-in-images.md.

use std::io::Read as _;
use std::time::SystemTime;

use key::Certificate;
use packet::{COMPRESSED, LITERAL, ONE_PASS, PUBLIC_KEY, Packet, SIGNATURE, packets};
use signature::{Kind, Signature};

mod armor;
mod key;
mod packet;
mod public;
mod signature;

/// The most bytes that a message holds when it is no longer compressed.
const MAX_MESSAGE: u64 = 4 << 20;
/// The most keys of a keyring.
const MAX_KEYS: usize = 1000;

/// Keys whose signatures count.
#[derive(Debug)]
pub(crate) struct Keyring {
    certificates: Vec<Certificate>,
}

impl Keyring {
    /// Reads keys as `gpg --export` writes them, armored or not.
    pub(crate) fn read(files: &[Vec<u8>]) -> Result<Self, String> {
        let mut certificates = Vec::new();
        for file in files {
            for block in armor::blocks(file)? {
                let mut rest: &[Packet] = &packets(&block)?;
                match rest.first() {
                    Some(first) if first.tag == PUBLIC_KEY => {}
                    Some(first) => {
                        return Err(format!("it begins with a packet of type {}, no public key", first.tag));
                    }
                    None => {}
                }
                while !rest.is_empty() {
                    let next = rest[1..].iter().position(|packet| packet.tag == PUBLIC_KEY);
                    let (one, others) = rest.split_at(next.map_or(rest.len(), |next| next + 1));
                    certificates.push(Certificate::read(one)?);
                    rest = others;
                    if certificates.len() > MAX_KEYS {
                        return Err(format!("there are more than {MAX_KEYS} keys"));
                    }
                }
            }
        }
        match certificates.is_empty() {
            true => Err("there is no public key".to_owned()),
            false => Ok(Self { certificates }),
        }
    }

    /// What a message says, if one of the keys signed it and may sign at this moment.
    pub(crate) fn verify(&self, message: &[u8], now: SystemTime) -> Result<Vec<u8>, String> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (signature, content) = signed(message)?;
        let signature = Signature::read(&signature)?;
        if signature.kind != Kind::Binary {
            return Err(format!("it is a signature of another kind ({:?})", signature.kind));
        }
        if signature.is_over(now) {
            return Err("the signature has expired".to_owned());
        }
        let mut reasons = Vec::new();
        for certificate in &self.certificates {
            for key in certificate.keys().filter(|key| signature.may_be_of(key)) {
                match certificate.may_sign(key, &signature, now).and_then(|()| {
                    signature.verify(key, &content, false).map_err(|e| format!("the signature of {key}: {e}"))
                }) {
                    Ok(()) => return Ok(content),
                    Err(reason) => reasons.push(reason),
                }
            }
        }
        match reasons.is_empty() {
            true => Err(format!("it is signed by {}, which is none of the keys", signature.issuer_words())),
            false => {
                reasons.truncate(4);
                Err(reasons.join("; "))
            }
        }
    }
}

/// The one signature of a message, and what it is about. Messages with more or other parts mean different things to
/// different readers.
fn signed(message: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
    let mut parts = packets(message)?;
    if let [compressed] = parts.as_slice()
        && compressed.tag == COMPRESSED
    {
        parts = packets(&inflate(&compressed.body)?)?;
    }
    let tags: Vec<u8> = parts.iter().map(|part| part.tag).collect();
    match (tags.as_slice(), parts.as_slice()) {
        ([ONE_PASS, LITERAL, SIGNATURE], [_, content, signature])
        | ([SIGNATURE, LITERAL], [signature, content]) => {
            Ok((signature.body.clone(), literal(&content.body)?.to_vec()))
        }
        _ => Err(format!("it is no message with one signature: its packets are {tags:?}")),
    }
}

fn inflate(body: &[u8]) -> Result<Vec<u8>, String> {
    let (kind, data) = body.split_first().ok_or("a compressed packet is empty")?;
    let mut out = Vec::new();
    let read = match kind {
        0 => data.take(MAX_MESSAGE + 1).read_to_end(&mut out),
        1 => flate2::read::DeflateDecoder::new(data).take(MAX_MESSAGE + 1).read_to_end(&mut out),
        2 => flate2::read::ZlibDecoder::new(data).take(MAX_MESSAGE + 1).read_to_end(&mut out),
        other => return Err(format!("compression {other} is not supported")),
    };
    let length = read.map_err(|e| format!("it cannot be decompressed: {e}"))?;
    match length as u64 > MAX_MESSAGE {
        true => Err(format!("it is larger than {MAX_MESSAGE} bytes")),
        false => Ok(out),
    }
}

/// The data of a literal packet: after its format, file name and date.
fn literal(body: &[u8]) -> Result<&[u8], String> {
    let name = usize::from(*body.get(1).ok_or("its data is cut off")?);
    body.get(2 + name + 4..).ok_or_else(|| "its data is cut off".to_owned())
}

#[cfg(test)]
mod tests;
