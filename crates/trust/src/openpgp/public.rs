//! Public keys and what they can verify.

use std::fmt;

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519,
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
    VerificationAlgorithm,
};
use sha1::Digest as _;

use super::packet::Reader;

const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const CURVE_ED25519: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];

/// A key: primary or subordinate.
#[derive(Debug)]
pub(super) struct PublicKey {
    /// The packet's body, of which signatures are made.
    pub(super) body: Vec<u8>,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) fingerprint: [u8; 20],
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    /// An algorithm that is not known here, or does not sign.
    Other(u8),
}

/// Why a signature is not known to be a key's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unverified {
    /// It is not.
    Wrong(String),
    /// It may be: this cannot be computed here.
    Unsupported(String),
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(why) | Self::Unsupported(why) => f.write_str(why),
        }
    }
}

impl From<String> for Unverified {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

/// The hash that a signature is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(super) fn of(number: u8) -> Result<Self, String> {
        match number {
            2 => Ok(Self::Sha1),
            8 => Ok(Self::Sha256),
            9 => Ok(Self::Sha384),
            10 => Ok(Self::Sha512),
            other => Err(format!("the hash algorithm {other} is not supported")),
        }
    }

    fn sum(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => sha1::Sha1::digest(message).to_vec(),
            Self::Sha256 => sha2::Sha256::digest(message).to_vec(),
            Self::Sha384 => sha2::Sha384::digest(message).to_vec(),
            Self::Sha512 => sha2::Sha512::digest(message).to_vec(),
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("key ")?;
        self.fingerprint.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl PublicKey {
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let mut reader = Reader(body);
        match reader.byte()? {
            4 => {}
            other => return Err(format!("a key of version {other}, where 4 is supported")),
        }
        let created = reader.number(4)? as u64;
        let material = Material::read(reader.byte()?, &mut reader)?;
        let length = u16::try_from(body.len()).map_err(|_| "a key is too long".to_owned())?;
        let mut sum = sha1::Sha1::new();
        sum.update([0x99]);
        sum.update(length.to_be_bytes());
        sum.update(body);
        Ok(Self { body: body.to_vec(), created, fingerprint: sum.finalize().into(), material })
    }

    /// The last eight bytes of the fingerprint.
    pub(super) fn id(&self) -> &[u8] {
        &self.fingerprint[12..]
    }

    /// Whether the algorithm, hash and numbers of a signature are this key's of the message.
    pub(super) fn verify(
        &self,
        algorithm: u8,
        hash: Hash,
        message: &[u8],
        numbers: &[u8],
    ) -> Result<(), Unverified> {
        let wrong = || Unverified::Wrong("it does not fit the key and what is signed".to_owned());
        let unsupported = || Err(Unverified::Unsupported(format!("{hash:?} with this key is not supported")));
        let mut numbers = Reader(numbers);
        match (&self.material, algorithm) {
            (Material::Rsa { modulus, exponent }, 1 | 3) => {
                let parameters: &RsaParameters = match hash {
                    Hash::Sha1 => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
                    Hash::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
                    Hash::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
                    Hash::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
                };
                let signature = padded(numbers.mpi()?, modulus.len()).ok_or_else(wrong)?;
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, &signature).map_err(|_| wrong())
            }
            (Material::P256(point) | Material::P384(point), 19) => {
                let algorithm: &'static dyn VerificationAlgorithm = match (&self.material, hash) {
                    (Material::P256(_), Hash::Sha256) => &ECDSA_P256_SHA256_ASN1,
                    (Material::P256(_), Hash::Sha384) => &ECDSA_P256_SHA384_ASN1,
                    (Material::P384(_), Hash::Sha256) => &ECDSA_P384_SHA256_ASN1,
                    (Material::P384(_), Hash::Sha384) => &ECDSA_P384_SHA384_ASN1,
                    _ => return unsupported(),
                };
                let signature = der(numbers.mpi()?, numbers.mpi()?).ok_or_else(wrong)?;
                UnparsedPublicKey::new(algorithm, point).verify(message, &signature).map_err(|_| wrong())
            }
            // The hash is what is signed, as any other message.
            (Material::Ed25519(point), 22 | 27) if hash != Hash::Sha1 => {
                let signature = match algorithm {
                    27 => numbers.take(64)?.to_vec(),
                    _ => {
                        let (r, s) = (padded(numbers.mpi()?, 32), padded(numbers.mpi()?, 32));
                        [r.ok_or_else(wrong)?, s.ok_or_else(wrong)?].concat()
                    }
                };
                let key = UnparsedPublicKey::new(&ED25519, point);
                key.verify(&hash.sum(message), &signature).map_err(|_| wrong())
            }
            (Material::Other(algorithm), _) => {
                Err(Unverified::Unsupported(format!("the key's algorithm {algorithm} is not supported")))
            }
            _ => unsupported(),
        }
    }
}

impl Material {
    fn read(algorithm: u8, reader: &mut Reader<'_>) -> Result<Self, String> {
        match algorithm {
            1 | 3 => Ok(Self::Rsa { modulus: reader.mpi()?.to_vec(), exponent: reader.mpi()?.to_vec() }),
            19 | 22 => {
                let length = reader.number(1)?;
                let curve = reader.take(length)?;
                let point = reader.mpi()?;
                match (algorithm, curve) {
                    (19, P256) => Ok(Self::P256(point.to_vec())),
                    (19, P384) => Ok(Self::P384(point.to_vec())),
                    (22, CURVE_ED25519) if point.first() == Some(&0x40) => {
                        Ok(Self::Ed25519(point[1..].to_vec()))
                    }
                    _ => Ok(Self::Other(algorithm)),
                }
            }
            27 => Ok(Self::Ed25519(reader.take(32)?.to_vec())),
            other => Ok(Self::Other(other)),
        }
    }
}

/// A number with zeros in front.
fn padded(number: &[u8], length: usize) -> Option<Vec<u8>> {
    let zeros = length.checked_sub(number.len())?;
    let mut padded = vec![0; zeros];
    padded.extend_from_slice(number);
    Some(padded)
}

/// Two positive numbers as an ASN.1 sequence.
fn der(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    for number in [r, s] {
        let start = number.iter().position(|byte| *byte != 0)?;
        let number = &number[start..];
        let sign = usize::from(number[0] & 0x80 != 0);
        body.extend([2, u8::try_from(number.len() + sign).ok().filter(|length| *length < 64)?]);
        body.extend(std::iter::repeat_n(0, sign));
        body.extend_from_slice(number);
    }
    Some([&[0x30, u8::try_from(body.len()).ok().filter(|length| *length < 128)?][..], &body].concat())
}
