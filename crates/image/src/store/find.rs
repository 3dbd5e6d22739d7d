//! Finding an image by a name that a user or a kubelet gives.

use std::sync::Arc;

use berth_types::reference::{Parsed, ShortRef};
use berth_types::{Digest, ImageRef};

use super::Images;
use super::published::Published;
use crate::error::StoreError;
use crate::image::Image;

impl Images {
    /// The image with this name: a reference with a tag or digest, a short reference, an id
    /// (with or without `sha256:`), a manifest's digest, or the beginning of an id.
    pub fn find(&self, name: &str) -> Result<Option<Arc<Image>>, StoreError> {
        let images = self.published();
        if let Some(image) = by_digest(&images, name) {
            return Ok(Some(image));
        }
        if let Some(image) = by_reference(&images, name)? {
            return Ok(Some(image));
        }
        by_prefix(&images, name)
    }
}

fn by_digest(images: &Published, name: &str) -> Option<Arc<Image>> {
    let digest: Digest = match name.parse() {
        Ok(digest) => digest,
        Err(_) => format!("sha256:{name}").parse().ok()?,
    };
    if let Some(image) = images.get(&digest) {
        return Some(Arc::clone(image));
    }
    let suffix = format!("@{digest}");
    let has = |image: &Image| {
        image.manifest == digest || image.repo_digests.iter().any(|known| known.ends_with(&suffix))
    };
    images.values().find(|image| has(image)).cloned()
}

fn by_reference(images: &Published, name: &str) -> Result<Option<Arc<Image>>, StoreError> {
    match ImageRef::parse(name) {
        Ok(Parsed::Full(reference)) => Ok(by_full(images, &reference)),
        Ok(Parsed::Short(short)) => by_short(images, name, &short),
        Err(_) => Ok(None),
    }
}

/// With a tag and a digest, the digest is what counts.
fn by_full(images: &Published, reference: &ImageRef) -> Option<Arc<Image>> {
    let has = |image: &Image| match reference.digest() {
        Some(digest) => {
            let known = reference.with_digest(digest);
            image.repo_digests.contains(&known)
                || image.id == *digest && in_repository(image, &reference.repository())
        }
        None => reference.tagged().is_some_and(|tag| image.tags.contains(&tag)),
    };
    images.values().find(|image| has(image)).cloned()
}

fn in_repository(image: &Image, repository: &str) -> bool {
    let of = |name: &String| {
        name.strip_prefix(repository).is_some_and(|rest| rest.starts_with(':') || rest.starts_with('@'))
    };
    image.tags.iter().any(of) || image.repo_digests.iter().any(of)
}

/// A short name stands for the image of that path on any registry, when there is only one. docker.io comes first,
/// as everywhere.
fn by_short(images: &Published, name: &str, short: &ShortRef) -> Result<Option<Arc<Image>>, StoreError> {
    let Ok(on_docker) = short.on_host("docker.io") else { return Ok(None) };
    if let Some(image) = by_full(images, &on_docker) {
        return Ok(Some(image));
    }
    let mut found: Vec<(String, Arc<Image>)> = Vec::new();
    for image in images.values() {
        for known in image.tags.iter().chain(&image.repo_digests) {
            let Ok(reference) = known.parse::<ImageRef>() else { continue };
            let Ok(wanted) = short.on_host(reference.host()) else { continue };
            if wanted.path() == reference.path() && wanted.selector() == reference.selector() {
                found.push((known.clone(), Arc::clone(image)));
            }
        }
    }
    one(name, found)
}

fn by_prefix(images: &Published, name: &str) -> Result<Option<Arc<Image>>, StoreError> {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    if !berth_types::id::is_prefix(digits) {
        return Ok(None);
    }
    // Artifacts are shown by the digests of their manifests, as others do.
    let begins = |image: &&Arc<Image>| {
        image.id.hex().starts_with(digits)
            || !image.config.artifact.is_empty() && image.manifest.hex().starts_with(digits)
    };
    let found = images.values().filter(begins);
    one(name, found.map(|image| (image.id.short().to_owned(), Arc::clone(image))).collect())
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
