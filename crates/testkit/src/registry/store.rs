//! What the registry holds: blobs by repository, manifests by digest, tags.

use std::collections::{BTreeMap, HashMap};

use berth_types::Digest;
use bytes::Bytes;

use crate::image::{Built, Content};

#[derive(Debug, Default)]
pub(super) struct Store {
    repositories: HashMap<String, Repository>,
}

#[derive(Debug, Default)]
struct Repository {
    blobs: HashMap<String, Content>,
    manifests: HashMap<String, Manifest>,
    tags: BTreeMap<String, Digest>,
}

#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
    pub(super) digest: Digest,
}

impl Store {
    pub(super) fn push(&mut self, repository: &str, tag: &str, image: &Built) {
        let repository = self.repositories.entry(repository.to_owned()).or_default();
        repository.put(image);
        repository.tags.insert(tag.to_owned(), image.digest.clone());
    }

    pub(super) fn put_blob(&mut self, repository: &str, digest: &Digest, content: Content) {
        let repository = self.repositories.entry(repository.to_owned()).or_default();
        repository.blobs.insert(digest.to_string(), content);
    }

    pub(super) fn remove_blob(&mut self, repository: &str, digest: &Digest) {
        if let Some(repository) = self.repositories.get_mut(repository) {
            repository.blobs.remove(digest.as_str());
        }
    }

    pub(super) fn untag(&mut self, repository: &str, tag: &str) {
        if let Some(repository) = self.repositories.get_mut(repository) {
            repository.tags.remove(tag);
        }
    }

    pub(super) fn blob(&self, repository: &str, digest: &str) -> Option<Content> {
        self.repositories.get(repository)?.blobs.get(digest).cloned()
    }

    /// The manifest under a tag or a digest.
    pub(super) fn manifest(&self, repository: &str, selector: &str) -> Option<Manifest> {
        let repository = self.repositories.get(repository)?;
        let digest = repository.tags.get(selector).map_or(selector, Digest::as_str);
        repository.manifests.get(digest).cloned()
    }

    pub(super) fn tags(&self, repository: &str) -> Option<Vec<String>> {
        Some(self.repositories.get(repository)?.tags.keys().cloned().collect())
    }
}

impl Repository {
    fn put(&mut self, image: &Built) {
        for child in &image.children {
            self.put(child);
        }
        for (digest, content) in &image.blobs {
            self.blobs.insert(digest.to_string(), content.clone());
        }
        let manifest = Manifest {
            media_type: image.media_type.clone(),
            bytes: image.manifest.clone(),
            digest: image.digest.clone(),
        };
        self.manifests.insert(image.digest.to_string(), manifest);
    }
}
