//! What is signed: the digest of a manifest, and the name that it is for. Both kinds of signatures sign the same form, told apart by
//! a type, and are read to the letter: a field more might mean something to another reader.

use crate::identity::Identity;
use crate::json::{self, Fields, Problem, Value};
use crate::rule::Image;

/// The type in OpenPGP messages.
pub(crate) const SIMPLE: &str = "atomic container signature";
/// The type in sigstore's payloads.
pub(crate) const SIGSTORE: &str = "cosign container image signature";

/// What is claimed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    digest: String,
    reference: String,
}

impl Claim {
    /// Reads what has been verified to be signed.
    pub(crate) fn read(bytes: &[u8], kind: &str) -> Result<Self, String> {
        json::parse(bytes).and_then(|value| claim(value, kind)).map_err(|e| format!("what is signed: {e}"))
    }

    /// Whether it is about this manifest, by a name that will do.
    pub(crate) fn check(&self, image: Image<'_>, identity: &Identity) -> Result<(), String> {
        let shown = |text: &str| text.chars().filter(|c| !c.is_control()).take(300).collect::<String>();
        if self.digest != image.manifest.as_str() {
            return Err(format!("it signs {}, and the manifest is {}", shown(&self.digest), image.manifest));
        }
        match identity.fits(image.reference, &self.reference) {
            true => Ok(()),
            false => Err(format!(
                "it is for {:?}, which {identity} does not take for {}",
                shown(&self.reference),
                image.reference
            )),
        }
    }
}

fn claim(value: Value, kind: &str) -> Result<Claim, Problem> {
    let mut fields = Fields::of(value, "")?;
    let mut critical = Fields::of(fields.need("critical")?, "critical")?;
    match fields.need("optional")? {
        // cosign's, without annotations.
        Value::Null if kind == SIGSTORE => {}
        other => drop(other.object("optional")?),
    }
    fields.end()?;
    let found = critical.need_text("type")?;
    if found != kind {
        let found: String = found.chars().take(64).collect();
        return Err(Problem::new("critical.type", format!("{found:?} is not {kind:?}")));
    }
    let mut image = Fields::of(critical.need("image")?, "critical.image")?;
    let digest = image.need_text("docker-manifest-digest")?;
    image.end()?;
    let mut identity = Fields::of(critical.need("identity")?, "critical.identity")?;
    let reference = identity.need_text("docker-reference")?;
    identity.end()?;
    critical.end()?;
    Ok(Claim { digest, reference })
}

#[cfg(test)]
mod tests;
