//! The file: a default, and for each transport its scopes, each with a list of requirements, all of which must be met.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::identity::Identity;
use crate::{MAX_FILE, json};

mod parse;

/// The most requirements of one scope.
const MAX_REQUIREMENTS: usize = 64;
/// The most keys of one requirement.
const MAX_KEYS: usize = 64;

/// Why a policy cannot be used. Nothing is accepted by it then.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be read.
    #[error("read the policy {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It says something that may not be said.
    #[error("policy {}: {why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where in it, and what is wrong.
        why: String,
    },
    /// The file that the configuration names is not there.
    #[error("there is no policy {}, which the configuration names", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The pod's namespace cannot be the name of a file.
    #[error("policies {}: {namespace:?} is not the name of a namespace", dir.display())]
    Namespace {
        /// The directory of policies by namespace.
        dir: PathBuf,
        /// The name.
        namespace: String,
    },
}

/// Where policies are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The policy of the machine.
    pub file: PathBuf,
    /// Whether it has to be there: else everything is accepted without it.
    pub required: bool,
    /// Policies of namespaces, `NAMESPACE.json`.
    pub dir: PathBuf,
    /// registries.d: where signatures are.
    pub registries: PathBuf,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The file that it was read from.
    pub path: PathBuf,
    pub(crate) default: Vec<Requirement>,
    pub(crate) transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

/// What an image has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// Anything.
    Accept,
    /// Nothing is.
    Reject,
    /// Signed by an OpenPGP key ("simple signing").
    SignedBy { keys: Keys, identity: Identity },
    /// Signed as sigstore does.
    Sigstore { signer: Signer, log: Option<Keys>, identity: Identity },
}

/// Keys or certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Keys {
    /// In files, read at each decision.
    Files(Vec<PathBuf>),
    /// In the policy.
    Here(Vec<Vec<u8>>),
}

/// Who makes a sigstore signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signer {
    /// Who has one of these keys.
    Keys(Keys),
    /// Whom Fulcio gave a certificate, on the word of an issuer.
    Fulcio { authority: Keys, issuer: String, email: String },
    /// Whom a certificate authority gave a certificate.
    Pki { roots: Keys, intermediates: Option<Keys>, email: Option<String>, hostname: Option<String> },
}

impl Keys {
    /// What is in the files, or in the policy.
    pub(crate) fn read(&self) -> Result<Vec<Vec<u8>>, String> {
        match self {
            Self::Here(keys) => Ok(keys.clone()),
            Self::Files(paths) => {
                let read = |path: &PathBuf| {
                    let bytes = berth_sys::fs::read_regular(path, MAX_FILE);
                    bytes.map_err(|error| format!("read {}: {error}", path.display()))
                };
                paths.iter().map(read).collect()
            }
        }
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(_) => f.write_str("the keys in the policy"),
            Self::Files(paths) => {
                let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
                f.write_str(&paths.join(", "))
            }
        }
    }
}

impl Requirement {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Accept => "insecureAcceptAnything",
            Self::Reject => "reject",
            Self::SignedBy { .. } => "signedBy",
            Self::Sigstore { .. } => "sigstoreSigned",
        }
    }
}

impl Policy {
    /// Reads a policy; None where there is no file.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn read(path: &Path) -> Result<Option<Self>, PolicyError> {
        match berth_sys::fs::read_regular(path, MAX_FILE) {
            Ok(bytes) => Self::parse(path, &bytes).map(Some),
            // A link to nothing was meant to be a policy.
            Err(error) if error.kind() == ErrorKind::NotFound && path.symlink_metadata().is_err() => Ok(None),
            Err(source) => Err(PolicyError::Read { path: path.to_owned(), source }),
        }
    }

    /// The policy for pods of a namespace: its own where there is one, else the machine's; None where there is
    /// neither, and need not be.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn of(place: &Place, namespace: Option<&str>) -> Result<Option<Self>, PolicyError> {
        match Self::of_namespace(place, namespace)? {
            Some(policy) => Ok(Some(policy)),
            None => match Self::read(&place.file)? {
                None if place.required => Err(PolicyError::Missing { path: place.file.clone() }),
                policy => Ok(policy),
            },
        }
    }

    /// The namespace's own policy, if it has one.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn of_namespace(place: &Place, namespace: Option<&str>) -> Result<Option<Self>, PolicyError> {
        let Some(namespace) = namespace.filter(|name| !name.is_empty()) else { return Ok(None) };
        // Kubernetes has labels of DNS: this keeps a name from being a path.
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if namespace.len() > 253 || !namespace.bytes().all(allowed) || namespace.starts_with('.') {
            let (dir, namespace) = (place.dir.clone(), namespace.chars().take(64).collect());
            return Err(PolicyError::Namespace { dir, namespace });
        }
        Self::read(&place.dir.join(format!("{namespace}.json")))
    }

    /// Reads a policy's text.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, PolicyError> {
        let read = json::parse(bytes).and_then(|value| parse::policy(path, value));
        read.map_err(|problem| PolicyError::Invalid { path: path.to_owned(), why: problem.to_string() })
    }
}

#[cfg(test)]
mod tests;
