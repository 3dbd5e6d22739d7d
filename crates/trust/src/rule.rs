//! What a policy says of one image: the requirements of the most specific scope that has it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use berth_types::{Digest, ImageRef};

use crate::identity::repository_of;
use crate::openpgp::Keyring;
use crate::payload::{self, Claim};
use crate::policy::{Policy, Requirement};
use crate::sigstore::Verifier;

/// The longest reason, in characters.
const MAX_WHY: usize = 600;

/// A signature that was found beside an image. Nothing of it is known to be true.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Signature {
    /// An OpenPGP message ("simple signing").
    Simple(Vec<u8>),
    /// What sigstore's tools attach.
    Sigstore {
        /// What is signed.
        payload: Vec<u8>,
        /// The signature and what belongs to it, by its annotation's name.
        annotations: std::collections::BTreeMap<String, String>,
    },
}

/// An image to be decided on.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// What was asked for: never a mirror's name.
    pub reference: &'a ImageRef,
    /// The manifest that will be used; of an index, that of the platform.
    pub manifest: &'a Digest,
}

/// What holds for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    image: String,
    path: PathBuf,
    scope: String,
    requirements: Vec<Requirement>,
}

/// Why an image is refused: by which requirement of which scope in which file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{image} is refused by {scope} in {}, requirement {number} ({kind}): {why}", path.display())]
pub struct Refused {
    /// What was asked for.
    pub image: String,
    /// The policy.
    pub path: PathBuf,
    /// The scope that has the image.
    pub scope: String,
    /// The requirement in that scope, from 1.
    pub number: usize,
    /// Its type.
    pub kind: &'static str,
    /// Why it is not met.
    pub why: String,
}

/// What a policy says of an image of a registry, or of an archive.
pub fn rule_for(policy: &Policy, transport: &str, reference: Option<&ImageRef>) -> Rule {
    let image = reference.map_or_else(|| format!("an image of {transport}"), ToString::to_string);
    let (scope, requirements) = policy.find(transport, reference);
    Rule { image, path: policy.path.clone(), scope, requirements: requirements.to_vec() }
}

impl Policy {
    /// The most specific scope, as a user would look for it in the file, and its requirements.
    fn find(&self, transport: &str, reference: Option<&ImageRef>) -> (String, &[Requirement]) {
        if let Some(known) = self.transports.get(transport) {
            let scopes = reference.map(scopes).unwrap_or_default();
            for scope in scopes.into_iter().chain([String::new()]) {
                if let Some(requirements) = known.get(&scope) {
                    return (format!("the scope {transport} {scope:?}"), requirements);
                }
            }
        }
        ("the default".to_owned(), &self.default)
    }
}

/// The scopes that an image is in, the most specific first: itself, its repository, each namespace, its host, and each
/// domain that the host is below.
pub(crate) fn scopes(reference: &ImageRef) -> Vec<String> {
    let repository = repository_of(reference);
    let own = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("{repository}@{digest}"),
        (None, Some(tag)) => format!("{repository}:{tag}"),
        (None, None) => repository.clone(),
    };
    let mut scopes = vec![own];
    let mut rest = repository.as_str();
    scopes.push(rest.to_owned());
    while let Some((shorter, _)) = rest.rsplit_once('/') {
        scopes.push(shorter.to_owned());
        rest = shorter;
    }
    if rest.starts_with('[') {
        return scopes;
    }
    let mut host = rest.split(':').next().unwrap_or_default();
    while let Some((_, domain)) = host.split_once('.') {
        scopes.push(format!("*.{domain}"));
        host = domain;
    }
    scopes
}

impl Rule {
    /// The scope that has the image.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// The policy's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The types of the requirements.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.requirements.iter().map(Requirement::kind).collect()
    }

    /// Whether signatures have to be fetched.
    pub fn needs_signatures(&self) -> bool {
        self.requirements.iter().any(|r| !matches!(r, Requirement::Accept | Requirement::Reject))
    }

    /// Refuses what no signature could make acceptable, before a registry is asked.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn before(&self) -> Result<(), Refused> {
        match self.requirements.iter().position(|r| *r == Requirement::Reject) {
            Some(index) => Err(self.refuse(index, "it refuses every image".to_owned())),
            None => Ok(()),
        }
    }

    /// Refuses where anything is required of what has no signatures.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn without_signatures(&self) -> Result<(), Refused> {
        match self.requirements.iter().position(|r| *r != Requirement::Accept) {
            Some(index) if self.requirements[index] == Requirement::Reject => {
                Err(self.refuse(index, "it refuses every image".to_owned()))
            }
            Some(index) => Err(self.refuse(index, "it has no signatures".to_owned())),
            None => Ok(()),
        }
    }

    /// Whether the image may be used, given the signatures that were found for its manifest. All requirements have to
    /// be met, each by one of the signatures.
    ///
    /// # Errors
    /// [`Refused`], also for keys that cannot be read.
    pub fn decide(&self, image: Image<'_>, signatures: &[Signature], now: SystemTime) -> Result<(), Refused> {
        if self.requirements.is_empty() {
            return Err(self.refuse(0, "there are no requirements".to_owned()));
        }
        for (index, requirement) in self.requirements.iter().enumerate() {
            requirement.check(image, signatures, now).map_err(|why| self.refuse(index, why))?;
        }
        Ok(())
    }

    fn refuse(&self, index: usize, why: String) -> Refused {
        let kind = self.requirements.get(index).map_or("none", Requirement::kind);
        let (image, path, scope) = (self.image.clone(), self.path.clone(), self.scope.clone());
        let why = if why.chars().count() > MAX_WHY { why.chars().take(MAX_WHY).collect() } else { why };
        Refused { image, path, scope, number: index + 1, kind, why }
    }
}

impl Requirement {
    fn check(&self, image: Image<'_>, signatures: &[Signature], now: SystemTime) -> Result<(), String> {
        match self {
            Self::Accept => Ok(()),
            Self::Reject => Err("it refuses every image".to_owned()),
            Self::SignedBy { keys, identity } => {
                let keyring = Keyring::read(&keys.read()?).map_err(|e| format!("{keys}: {e}"))?;
                one_of(signatures, |signature| match signature {
                    Signature::Simple(message) => {
                        Some(keyring.verify(message, now).and_then(|content| {
                            Claim::read(&content, payload::SIMPLE)?.check(image, identity)
                        }))
                    }
                    Signature::Sigstore { .. } => None,
                })
            }
            Self::Sigstore { signer, log, identity } => {
                let verifier = Verifier::new(signer, log.as_ref(), identity)?;
                one_of(signatures, |signature| match signature {
                    Signature::Sigstore { payload, annotations } => {
                        Some(verifier.check(image, payload, annotations, now))
                    }
                    Signature::Simple(_) => None,
                })
            }
        }
    }
}

/// One signature that will do is enough, whatever the others are.
fn one_of(
    signatures: &[Signature],
    check: impl Fn(&Signature) -> Option<Result<(), String>>,
) -> Result<(), String> {
    let mut reasons = Vec::new();
    for checked in signatures.iter().filter_map(check) {
        match checked {
            Ok(()) => return Ok(()),
            Err(reason) => reasons.push(reason),
        }
    }
    match (reasons.len(), signatures.len()) {
        (0, 0) => Err("it has no signature in the places that registries.d says".to_owned()),
        (0, others) => Err(format!("it has no signature of this kind ({others} of another)")),
        (1, _) => Err(format!("its signature will not do: {}", reasons[0])),
        (count, _) => {
            reasons.dedup();
            Err(format!("none of its {count} signatures will do: {}", reasons.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests;
