//! Signatures of version 4: what they say, and of what they are made.

use super::packet::Reader;
use super::public::{Hash, PublicKey, Unverified};

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Binary,
    /// Of a name, by the key whose name it is.
    Certification,
    SubkeyBinding,
    /// Of the primary key, by a subordinate one that signs.
    PrimaryBinding,
    Direct,
    KeyRevocation,
    SubkeyRevocation,
    CertificationRevocation,
    Other(u8),
}

/// A signature. What is not signed of it serves to find the key alone.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) kind: Kind,
    pub(super) created: u64,
    /// Seconds that a key lives from when it was created.
    pub(super) key_life: Option<u64>,
    /// What a key may do.
    pub(super) flags: Option<u8>,
    /// Signatures in this one.
    pub(super) embedded: Vec<Vec<u8>>,
    life: Option<u64>,
    issuers: Vec<Vec<u8>>,
    algorithm: u8,
    hash: Hash,
    /// From the version to the end of what is signed of it.
    signed: Vec<u8>,
    numbers: Vec<u8>,
}

impl Signature {
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let mut reader = Reader(body);
        match reader.byte()? {
            4 => {}
            other => return Err(format!("a signature of version {other}, where 4 is supported")),
        }
        let kind = Kind::of(reader.byte()?);
        let algorithm = reader.byte()?;
        let hash = Hash::of(reader.byte()?)?;
        let length = reader.number(2)?;
        let hashed = reader.take(length)?;
        let signed = body[..6 + length].to_vec();
        let length = reader.number(2)?;
        let loose = reader.take(length)?;
        // The first bits of the hash, to which nobody is bound.
        reader.take(2)?;
        let mut signature = Self {
            kind,
            created: 0,
            key_life: None,
            flags: None,
            embedded: Vec::new(),
            life: None,
            issuers: Vec::new(),
            algorithm,
            hash,
            signed,
            numbers: reader.0.to_vec(),
        };
        let mut created = None;
        for (id, critical, data) in subpackets(hashed)? {
            signature.take(id, critical, data, &mut created)?;
        }
        for (id, _, data) in subpackets(loose)? {
            match id {
                16 | 33 => signature.issuers.extend(issuer(id, data)),
                32 => signature.embedded.push(data.to_vec()),
                _ => {}
            }
        }
        signature.created = created.ok_or("a signature does not say when it was made")?;
        Ok(signature)
    }

    /// Something that is signed.
    fn take(&mut self, id: u8, critical: bool, data: &[u8], created: &mut Option<u64>) -> Result<(), String> {
        let seconds = || Ok::<_, String>(Reader(data).number(4)? as u64);
        match id {
            2 => *created = Some(seconds()?),
            3 => self.life = Some(seconds()?).filter(|life| *life > 0),
            9 => self.key_life = Some(seconds()?).filter(|life| *life > 0),
            16 | 33 => self.issuers.extend(issuer(id, data)),
            27 => self.flags = Some(data.first().copied().unwrap_or_default()),
            32 => self.embedded.push(data.to_vec()),
            // Preferences, names of policies and the like, which say nothing of whether it is valid.
            4 | 7 | 11 | 21..=26 | 28..=30 | 34 => {}
            _ if critical => return Err(format!("a signature depends on part {id}, which is not known")),
            _ => {}
        }
        Ok(())
    }

    /// Whether it names this key, or none.
    pub(super) fn may_be_of(&self, key: &PublicKey) -> bool {
        let names = |issuer: &Vec<u8>| *issuer == key.fingerprint || *issuer == key.id();
        self.issuers.is_empty() || self.issuers.iter().any(names)
    }

    /// For messages: nothing of it is known to be true.
    pub(super) fn issuer_words(&self) -> String {
        let hex = |issuer: &Vec<u8>| issuer.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
        self.issuers
            .first()
            .map_or_else(|| "a key without a name".to_owned(), |issuer| format!("key {}", hex(issuer)))
    }

    pub(super) fn is_over(&self, now: u64) -> bool {
        self.life.is_some_and(|life| self.created.saturating_add(life) < now)
    }

    /// Whether the key made it of these bytes. SHA-1 will do where someone else would need a second key to have anything from it.
    pub(super) fn verify(&self, key: &PublicKey, content: &[u8], old: bool) -> Result<(), Unverified> {
        if self.hash == Hash::Sha1 && !old {
            return Err(Unverified::Wrong("it is made with SHA-1".to_owned()));
        }
        let length = u32::try_from(self.signed.len()).map_err(|_| "it is too long".to_owned())?;
        let mut message = content.to_vec();
        message.extend_from_slice(&self.signed);
        message.extend([4, 0xff]);
        message.extend(length.to_be_bytes());
        key.verify(self.algorithm, self.hash, &message, &self.numbers)
    }
}

fn issuer(id: u8, data: &[u8]) -> Option<Vec<u8>> {
    match (id, data) {
        (16, id) if id.len() == 8 => Some(id.to_vec()),
        (33, [4, fingerprint @ ..]) if fingerprint.len() == 20 => Some(fingerprint.to_vec()),
        _ => None,
    }
}

impl Kind {
    fn of(number: u8) -> Self {
        match number {
            0x00 => Self::Binary,
            0x10..=0x13 => Self::Certification,
            0x18 => Self::SubkeyBinding,
            0x19 => Self::PrimaryBinding,
            0x1f => Self::Direct,
            0x20 => Self::KeyRevocation,
            0x28 => Self::SubkeyRevocation,
            0x30 => Self::CertificationRevocation,
            other => Self::Other(other),
        }
    }
}

/// A part of a signature: its number, whether it must be understood, and its content.
type Subpacket<'a> = (u8, bool, &'a [u8]);

fn subpackets(bytes: &[u8]) -> Result<Vec<Subpacket<'_>>, String> {
    let mut reader = Reader(bytes);
    let mut all = Vec::new();
    while !reader.0.is_empty() {
        let length = match usize::from(reader.byte()?) {
            length @ 0..192 => length,
            first @ 192..255 => (first - 192) * 256 + reader.number(1)? + 192,
            _ => reader.number(4)?,
        };
        let [id, data @ ..] = reader.take(length)? else {
            return Err("a part of a signature is empty".to_owned());
        };
        all.push((id & 0x7f, id & 0x80 != 0, data));
    }
    Ok(all)
}
