//! A key with its names and subordinate keys, and what its own signatures say of them: which may sign, and until when.

use super::packet::{PUBLIC_SUBKEY, Packet, SIGNATURE, USER_ATTRIBUTE, USER_ID};
use super::public::{PublicKey, Unverified};
use super::signature::{Kind, Signature};

/// May sign.
const SIGNS: u8 = 2;

/// A key as it is exported.
#[derive(Debug)]
pub(super) struct Certificate {
    primary: PublicKey,
    /// Why it is no longer to be used.
    revoked: bool,
    /// The newest of its own signatures about itself.
    own: Option<Signature>,
    subkeys: Vec<Subkey>,
}

#[derive(Debug)]
struct Subkey {
    key: PublicKey,
    revoked: bool,
    /// The newest signature that binds it.
    binding: Option<Signature>,
}

/// What the signatures that follow are about.
enum About<'a> {
    Primary,
    Name(&'a Packet),
    Subkey,
    Unknown,
}

impl Certificate {
    /// Reads a public key and what belongs to it.
    pub(super) fn read(packets: &[Packet]) -> Result<Self, String> {
        let primary = PublicKey::read(&packets[0].body)?;
        let mut read = Self { primary, revoked: false, own: None, subkeys: Vec::new() };
        let mut about = About::Primary;
        for packet in &packets[1..] {
            match packet.tag {
                USER_ID | USER_ATTRIBUTE => about = About::Name(packet),
                PUBLIC_SUBKEY => match PublicKey::read(&packet.body) {
                    Ok(key) => {
                        read.subkeys.push(Subkey { key, revoked: false, binding: None });
                        about = About::Subkey;
                    }
                    // One that is not known signs nothing here.
                    Err(_) => about = About::Unknown,
                },
                SIGNATURE => match Signature::read(&packet.body) {
                    Ok(signature) => read.take(&about, signature),
                    Err(_) => read.unknown(&about, &packet.body),
                },
                _ => {}
            }
        }
        Ok(read)
    }

    fn take(&mut self, about: &About<'_>, signature: Signature) {
        if !signature.may_be_of(&self.primary) {
            return;
        }
        let content = self.content(about);
        let valid = signature.verify(&self.primary, &content, true);
        match (about, signature.kind) {
            (About::Primary, Kind::KeyRevocation) => self.revoked |= stands(&valid),
            (About::Primary, Kind::Direct) | (About::Name(_), Kind::Certification) if valid.is_ok() => {
                newest(&mut self.own, signature);
            }
            (About::Subkey, Kind::SubkeyRevocation) => {
                if let Some(subkey) = self.subkeys.last_mut() {
                    subkey.revoked |= stands(&valid);
                }
            }
            (About::Subkey, Kind::SubkeyBinding) if valid.is_ok() => {
                if let Some(subkey) = self.subkeys.last_mut() {
                    newest(&mut subkey.binding, signature);
                }
            }
            _ => {}
        }
    }

    /// A signature that cannot be read: if it is a revocation, it is not to be overlooked.
    fn unknown(&mut self, about: &About<'_>, body: &[u8]) {
        match (about, body.get(1)) {
            (About::Primary, Some(0x20)) => self.revoked = true,
            (About::Subkey, Some(0x28)) => {
                if let Some(subkey) = self.subkeys.last_mut() {
                    subkey.revoked = true;
                }
            }
            _ => {}
        }
    }

    /// What a signature about something is made of.
    fn content(&self, about: &About<'_>) -> Vec<u8> {
        let mut content = keyed(&self.primary);
        match about {
            About::Name(packet) => {
                content.push(if packet.tag == USER_ID { 0xb4 } else { 0xd1 });
                content.extend(u32::try_from(packet.body.len()).unwrap_or(u32::MAX).to_be_bytes());
                content.extend_from_slice(&packet.body);
            }
            About::Subkey => {
                content.extend(self.subkeys.last().map(|subkey| keyed(&subkey.key)).unwrap_or_default())
            }
            About::Primary | About::Unknown => {}
        }
        content
    }

    /// All keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        std::iter::once(&self.primary).chain(self.subkeys.iter().map(|subkey| &subkey.key))
    }

    /// Whether one of its keys may have made a signature.
    pub(super) fn may_sign(&self, key: &PublicKey, signature: &Signature, now: u64) -> Result<(), String> {
        let primary = &self.primary;
        if self.revoked {
            return Err(format!("{primary} is revoked"));
        }
        let own = self.own.as_ref().ok_or_else(|| format!("{primary} has no valid signature of its own"))?;
        if is_over(primary, own, now) || own.is_over(now) {
            return Err(format!("{primary} has expired"));
        }
        if signature.created < key.created {
            return Err(format!("the signature is older than {key}"));
        }
        let Some(subkey) = self.subkeys.iter().find(|subkey| std::ptr::eq(&raw const subkey.key, key)) else {
            return match own.flags {
                Some(flags) if flags & SIGNS == 0 => Err(format!("{key} is not for signing")),
                _ => Ok(()),
            };
        };
        if subkey.revoked {
            return Err(format!("{key} is revoked"));
        }
        let binding = subkey.binding.as_ref().ok_or_else(|| format!("{key} is bound to no key"))?;
        if is_over(key, binding, now) || binding.is_over(now) {
            return Err(format!("{key} has expired"));
        }
        if binding.flags.unwrap_or_default() & SIGNS == 0 {
            return Err(format!("{key} is not for signing"));
        }
        // Else a key of another could be taken in, and its signatures be passed off as one's own.
        let content = [keyed(primary), keyed(key)].concat();
        let back = binding.embedded.iter().filter_map(|body| Signature::read(body).ok());
        let mut back = back.filter(|back| back.kind == Kind::PrimaryBinding);
        match back.any(|back| back.verify(key, &content, true).is_ok()) {
            true => Ok(()),
            false => Err(format!("{key} does not say that it belongs to {primary}")),
        }
    }
}

/// What a key adds to the content of a signature.
fn keyed(key: &PublicKey) -> Vec<u8> {
    let length = u16::try_from(key.body.len()).unwrap_or(u16::MAX);
    [&[0x99], &length.to_be_bytes()[..], &key.body].concat()
}

fn is_over(key: &PublicKey, said: &Signature, now: u64) -> bool {
    said.key_life.is_some_and(|life| key.created.saturating_add(life) < now)
}

/// A revocation stands unless it is certain that the key did not make it.
fn stands(valid: &Result<(), Unverified>) -> bool {
    match valid {
        Ok(()) | Err(Unverified::Unsupported(_)) => true,
        Err(Unverified::Wrong(_)) => false,
    }
}

fn newest(known: &mut Option<Signature>, signature: Signature) {
    if known.as_ref().is_none_or(|known| known.created <= signature.created) {
        *known = Some(signature);
    }
}
