//! Finding an image by what a person or a kubelet calls it.

use std::sync::Arc;

use berth_types::reference::{Parsed, ShortRef};
use berth_types::{Digest, ImageRef};

use super::Images;
use super::state::State;
use crate::error::StoreError;
use crate::image::Image;

impl Images {
    /// The image with this name: a reference with a tag or digest, a short reference, an id
    /// (with or without `sha256:`), a manifest's digest, or the beginning of an id.
    pub fn find(&self, name: &str) -> Result<Option<Arc<Image>>, StoreError> {
        let state = self.state();
        if let Some(image) = by_digest(&state, name) {
            return Ok(Some(image));
        }
        if let Some(image) = by_reference(&state, name)? {
            return Ok(Some(image));
        }
        by_prefix(&state, name)
    }
}

fn by_digest(state: &State, name: &str) -> Option<Arc<Image>> {
    let digest: Digest = match name.parse() {
        Ok(digest) => digest,
        Err(_) => format!("sha256:{name}").parse().ok()?,
    };
    if let Some(stored) = state.images.get(&digest) {
        return Some(stored.image.clone());
    }
    let suffix = format!("@{digest}");
    let has = |image: &Image| {
        image.manifest == digest || image.repo_digests.iter().any(|known| known.ends_with(&suffix))
    };
    state.images.values().find(|stored| has(&stored.image)).map(|stored| stored.image.clone())
}

fn by_reference(state: &State, name: &str) -> Result<Option<Arc<Image>>, StoreError> {
    match ImageRef::parse(name) {
        Ok(Parsed::Full(reference)) => Ok(by_full(state, &reference)),
        Ok(Parsed::Short(short)) => by_short(state, name, &short),
        Err(_) => Ok(None),
    }
}

/// With a tag and a digest, the digest is what counts.
fn by_full(state: &State, reference: &ImageRef) -> Option<Arc<Image>> {
    let has = |image: &Image| match reference.digest() {
        Some(digest) => {
            let known = reference.with_digest(digest);
            image.repo_digests.contains(&known)
                || image.id == *digest && in_repository(image, &reference.repository())
        }
        None => reference.tagged().is_some_and(|tag| image.tags.contains(&tag)),
    };
    state.images.values().find(|stored| has(&stored.image)).map(|stored| stored.image.clone())
}

fn in_repository(image: &Image, repository: &str) -> bool {
    let of = |name: &String| {
        name.strip_prefix(repository).is_some_and(|rest| rest.starts_with(':') || rest.starts_with('@'))
    };
    image.tags.iter().any(of) || image.repo_digests.iter().any(of)
}

/// A short name stands for the image of that path on any registry, when there is only one. docker.io comes first,
/// as everywhere.
fn by_short(state: &State, name: &str, short: &ShortRef) -> Result<Option<Arc<Image>>, StoreError> {
    let Ok(on_docker) = short.on_host("docker.io") else { return Ok(None) };
    if let Some(image) = by_full(state, &on_docker) {
        return Ok(Some(image));
    }
    let mut found: Vec<(String, Arc<Image>)> = Vec::new();
    for stored in state.images.values() {
        for known in stored.image.tags.iter().chain(&stored.image.repo_digests) {
            let Ok(reference) = known.parse::<ImageRef>() else { continue };
            let Ok(wanted) = short.on_host(reference.host()) else { continue };
            if wanted.path() == reference.path() && wanted.selector() == reference.selector() {
                found.push((known.clone(), stored.image.clone()));
            }
        }
    }
    one(name, found)
}

fn by_prefix(state: &State, name: &str) -> Result<Option<Arc<Image>>, StoreError> {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    if !berth_types::id::is_prefix(digits) {
        return Ok(None);
    }
    let images = state.images.values().filter(|stored| stored.image.id.hex().starts_with(digits));
    one(name, images.map(|stored| (stored.image.id.short().to_owned(), stored.image.clone())).collect())
}

fn one(name: &str, mut found: Vec<(String, Arc<Image>)>) -> Result<Option<Arc<Image>>, StoreError> {
    let mut ids: Vec<_> = found.iter().map(|(_, image)| image.id.clone()).collect();
    ids.dedup();
    if ids.len() > 1 {
        let mut candidates: Vec<_> = found.into_iter().map(|(known, _)| known).take(8).collect();
        candidates.sort();
        return Err(StoreError::Ambiguous { name: name.to_owned(), candidates: candidates.join(", ") });
    }
    Ok(found.pop().map(|(_, image)| image))
}
