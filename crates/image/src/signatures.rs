//! Fetching what claims to be signatures of a manifest: from a lookaside directory, where they are named by the
//! manifest's digest, and from the registry, where they are attached by a tag of that digest. Nothing is believed here.

use berth_trust::Signature;
use berth_trust::registries::{RegistriesError, Where};
use berth_types::{Classify, Digest, Kind};

use crate::registry::{RegistryError, Source};

mod attached;
pub(crate) mod kept;
mod lookaside;

/// The most signatures of an image, in each place.
const MAX_SIGNATURES: usize = 128;
/// The most bytes of one.
const MAX_BYTES: u64 = 1 << 20;

/// Why it is not known which signatures there are.
#[derive(Debug, thiserror::Error)]
pub enum SignaturesError {
    /// The files that say where they are.
    #[error(transparent)]
    Registries(#[from] RegistriesError),
    /// The registry did not answer, or answered what cannot be read.
    #[error("signatures in the registry")]
    Registry(#[from] RegistryError),
    /// A lookaside directory cannot be read.
    #[error("signatures at {url}: {why}")]
    Lookaside {
        /// Which.
        url: String,
        /// What is wrong.
        why: String,
        /// What a caller may act on.
        kind: Kind,
    },
    /// There is what cannot be a signature, or too much of it.
    #[error("signatures at {place}: {why}")]
    Malformed {
        /// Where.
        place: String,
        /// What is wrong.
        why: String,
    },
}

impl Classify for SignaturesError {
    fn kind(&self) -> Kind {
        match self {
            Self::Registries(_) => Kind::Precondition,
            // Not `Denied` or `NotFound`, after which another registry would be asked for an image of this name.
            Self::Registry(error) => match error.kind() {
                Kind::Denied | Kind::NotFound => Kind::Precondition,
                kind => kind,
            },
            Self::Lookaside { kind, .. } => *kind,
            Self::Malformed { .. } => Kind::Untrusted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            _ => None,
        }
    }
}

/// All signatures of a manifest that its places have; none where they have none.
pub(crate) async fn fetch(
    source: &Source,
    manifest: &Digest,
    found: &Where,
) -> Result<Vec<Signature>, SignaturesError> {
    let mut signatures = lookaside::fetch(source.registry(), &found.lookaside, manifest).await?;
    if found.attachments {
        signatures.extend(attached::fetch(source, manifest).await?);
    }
    Ok(signatures)
}
