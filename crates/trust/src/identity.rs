//! Whether a signature is for the image that was asked for: what it says of the image's name.
//!
//! A signature's name is read as docker reads names (`busybox` is `docker.io/library/busybox`), but gets no tag that
//! it does not have.

use berth_types::ImageRef;
use berth_types::reference::Parsed;

/// What a signature has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The name asked for, to the letter.
    Exact,
    /// The tag asked for; of an image that is asked for by digest, its repository.
    RepoDigestOrExact,
    /// The repository asked for.
    Repository,
    /// This name.
    ExactReference(Name),
    /// This repository.
    ExactRepository(Name),
    /// As `RepoDigestOrExact`, where the beginning of the name asked for is another.
    Remap { prefix: String, signed: String },
}

/// A complete name: a repository, and a tag or a digest where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Name {
    /// Reads a name as docker does.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parsed = ImageRef::parse(text).map_err(|e| e.to_string())?;
        let reference = match parsed {
            Parsed::Full(reference) => reference,
            Parsed::Short(short) => short.on_host("docker.io").map_err(|e| e.to_string())?,
        };
        let name = text.split('@').next().unwrap_or_default();
        let has_tag = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
        Ok(Self {
            repository: repository_of(&reference),
            tag: reference.tag().filter(|_| has_tag).map(str::to_owned),
            digest: reference.digest().map(|digest| digest.to_string()),
        })
    }

    /// What was asked for. A digest wins over a tag, which was not asked about then.
    pub(crate) fn asked(reference: &ImageRef) -> Self {
        let digest = reference.digest().map(|digest| digest.to_string());
        let tag = reference.tag().filter(|_| digest.is_none()).map(str::to_owned);
        Self { repository: repository_of(reference), tag, digest }
    }

    fn is_repository_alone(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }
}

/// Docker Hub has several names, of which signatures and policies have one. Hosts are the same in capitals.
pub(crate) fn repository_of(reference: &ImageRef) -> String {
    let (host, path) = (reference.host().to_ascii_lowercase(), reference.path());
    let host = match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    };
    match host {
        "docker.io" if !path.contains('/') => format!("docker.io/library/{path}"),
        _ => format!("{host}/{path}"),
    }
}

/// A name that is complete, for `exactReference`.
pub(crate) fn exact(text: &str) -> Result<Name, String> {
    let name = Name::parse(text)?;
    match name.is_repository_alone() {
        true => Err(format!("{text:?} has neither a tag nor a digest")),
        false => Ok(name),
    }
}

/// A repository, for `exactRepository`.
pub(crate) fn repository(text: &str) -> Result<Name, String> {
    let name = Name::parse(text)?;
    match name.is_repository_alone() {
        true => Ok(name),
        false => Err(format!("{text:?} is more than a repository")),
    }
}

/// A host, a namespace or a repository, for `remapIdentity`.
pub(crate) fn prefix(text: &str) -> Result<(), String> {
    let wrong = || format!("{text:?} is neither a host nor the complete name of a namespace or repository");
    // A host alone is no name: any repository of it is.
    let name = if text.contains('/') { text.to_owned() } else { format!("{text}/a") };
    match ImageRef::parse(&name) {
        Ok(Parsed::Full(reference)) if reference.repository() == name => Ok(()),
        _ => Err(wrong()),
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Exact => "matchExact",
            Self::RepoDigestOrExact => "matchRepoDigestOrExact",
            Self::Repository => "matchRepository",
            Self::ExactReference(_) => "exactReference",
            Self::ExactRepository(_) => "exactRepository",
            Self::Remap { .. } => "remapIdentity",
        })
    }
}

impl Identity {
    /// Whether a signature that says `signed` is one for `asked`.
    pub(crate) fn fits(&self, asked: &ImageRef, signed: &str) -> bool {
        let Ok(signed) = Name::parse(signed) else { return false };
        let asked = Name::asked(asked);
        match self {
            Self::Exact => exactly(&asked, &signed),
            Self::RepoDigestOrExact => repo_digest_or_exact(&asked, &signed),
            Self::Repository => asked.repository == signed.repository,
            Self::ExactReference(name) => exactly(name, &signed),
            Self::ExactRepository(name) => name.repository == signed.repository,
            Self::Remap { prefix, signed: other } => {
                let asked = Name { repository: remapped(&asked.repository, prefix, other), ..asked };
                // What the prefix became must be a name again.
                Name::parse(&asked.repository).is_ok_and(|name| name.repository == asked.repository)
                    && repo_digest_or_exact(&asked, &signed)
            }
        }
    }
}

fn exactly(asked: &Name, signed: &Name) -> bool {
    !asked.is_repository_alone() && asked == signed
}

/// The digest asked for is compared with the manifest's, and that with the signature's: here the repository is enough.
fn repo_digest_or_exact(asked: &Name, signed: &Name) -> bool {
    if signed.is_repository_alone() {
        return false;
    }
    match (&asked.tag, &asked.digest) {
        (None, Some(_)) => asked.repository == signed.repository,
        _ => exactly(asked, signed),
    }
}

/// The prefix ends with a whole element of the path.
fn remapped(repository: &str, prefix: &str, signed: &str) -> String {
    match repository.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{signed}{rest}"),
        _ => repository.to_owned(),
    }
}

#[cfg(test)]
mod tests;
