//! Removing images: by the rules of the CRI, and by docker's.

use berth_sys::fs::sync_dir;
use berth_types::{Digest, ImageRef};

use super::record::ImageRecord;
use super::state::State;
use super::{Images, blocking, delete};
use crate::error::StoreError;
use crate::image::Names;

/// What [`Images::untag`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// There was no such name.
    Nothing,
    /// A name was taken from an image that has others.
    Untagged(String),
    /// The image was removed, with these names.
    Image {
        /// Its id.
        id: Digest,
        /// The tags it had.
        tags: Vec<String>,
    },
}

impl Images {
    /// Removes an image with all its names, whatever name is given, as the CRI's RemoveImage.
    /// `false` when there was none. What nothing else uses is freed when this returns.
    pub async fn remove(&self, name: &str) -> Result<bool, StoreError> {
        let (this, name) = (self.clone(), name.to_owned());
        blocking(move || {
            let _writer = this.writer();
            match this.find(&name)? {
                Some(image) => this.remove_image(&image.id).map(|()| true),
                None => this.remove_damaged(&name),
            }
        })
        .await
    }

    /// Removes a name, and the image with its last tag, as `docker rmi`. An id or the beginning of one stands
    /// for the whole image.
    pub async fn untag(&self, name: &str) -> Result<Removed, StoreError> {
        let (this, name) = (self.clone(), name.to_owned());
        blocking(move || {
            let _writer = this.writer();
            let Some(image) = this.find(&name)? else {
                let removed = this.remove_damaged(&name)?;
                let id = format!("sha256:{}", name.trim_start_matches("sha256:")).parse();
                return Ok(match (removed, id) {
                    (true, Ok(id)) => Removed::Image { id, tags: Vec::new() },
                    _ => Removed::Nothing,
                });
            };
            let tag = image.tags.iter().find(|tag| is_named(tag, &name));
            let whole = Removed::Image { id: image.id.clone(), tags: image.tags.clone() };
            match tag {
                Some(tag) if image.tags.len() > 1 => {
                    this.take_tags(&image.id, std::slice::from_ref(tag))?;
                    Ok(Removed::Untagged(tag.clone()))
                }
                Some(_) => this.remove_image(&image.id).map(|()| whole),
                None => this.forget_digest(&image.id, &name, whole),
            }
        })
        .await
    }

    /// A reference by digest is a name like a tag; an id is the image.
    fn forget_digest(&self, id: &Digest, name: &str, whole: Removed) -> Result<Removed, StoreError> {
        let record = self.record(id)?;
        let others = !record.tags.is_empty() || record.repo_digests.len() > 1;
        let found =
            record.repo_digests.iter().find(|known| is_digest(known, name)).filter(|_| others).cloned();
        if let Some(found) = found {
            let mut record: ImageRecord = record;
            record.repo_digests.retain(|known| *known != found);
            self.put(record, &Names::default())?;
            return Ok(Removed::Untagged(found));
        }
        self.remove_image(id).map(|()| whole)
    }

    /// The record goes first, for good; then what only it used. The writer's lock is held.
    fn remove_image(&self, id: &Digest) -> Result<(), StoreError> {
        self.remove_image_if(id, |_| true).map(drop)
    }

    /// The same, where the state still allows it: between the question and the removal nothing can begin to use it.
    pub(super) fn remove_image_if(
        &self,
        id: &Digest,
        allowed: impl FnOnce(&State) -> bool,
    ) -> Result<bool, StoreError> {
        let stored = {
            let mut state = self.state();
            if !allowed(&state) {
                return Ok(false);
            }
            state.images.remove(id)
        };
        let Some(stored) = stored else { return Ok(false) };
        if let Err(error) = self.unlink_record(id.hex()) {
            self.state().images.insert(id.clone(), stored);
            return Err(error);
        }
        self.step("record removed");
        self.collect(&[stored.record.id.clone(), stored.record.manifest]);
        Ok(true)
    }

    fn unlink_record(&self, name: &str) -> Result<(), StoreError> {
        let path = self.layout().records().join(name);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            other => other.map_err(StoreError::io("remove", &path))?,
        }
        let dir = self.layout().records();
        sync_dir(&dir).map_err(StoreError::io("sync", dir))
    }

    /// Removes the record of a damaged image by its id or the beginning of it.
    fn remove_damaged(&self, name: &str) -> Result<bool, StoreError> {
        let digits = name.strip_prefix("sha256:").unwrap_or(name);
        let found: Vec<_> = {
            let state = self.state();
            state
                .damaged
                .keys()
                .filter(|known| !digits.is_empty() && known.starts_with(digits))
                .cloned()
                .collect()
        };
        match &found[..] {
            [] => Ok(false),
            [one] => {
                self.unlink_record(one)?;
                self.state().damaged.remove(one);
                let blob: Option<Digest> = format!("sha256:{one}").parse().ok();
                self.collect(blob.as_slice());
                Ok(true)
            }
            many => Err(StoreError::Ambiguous { name: name.to_owned(), candidates: many.join(", ") }),
        }
    }

    /// Frees the layers that nothing uses any more, and those of these blobs.
    pub(super) fn collect(&self, blobs: &[Digest]) {
        self.read_again();
        let trash = {
            let mut state = self.state();
            for blob in state.unused_blobs(blobs) {
                // Not there, or removed when the store is opened.
                let _stays = std::fs::remove_file(self.layout().blob(&blob));
            }
            state.collect_layers(self.layout())
        };
        delete(trash);
    }
}

/// Whether the reference by digest `known` is what `name` means.
fn is_digest(known: &str, name: &str) -> bool {
    use berth_types::reference::Parsed;
    let Ok(known) = known.parse::<ImageRef>() else { return false };
    let wanted = match ImageRef::parse(name) {
        Ok(Parsed::Full(reference)) => reference,
        Ok(Parsed::Short(short)) => match short.on_host(known.host()) {
            Ok(reference) => reference,
            Err(_) => return false,
        },
        Err(_) => return false,
    };
    wanted.digest().is_some()
        && wanted.digest() == known.digest()
        && wanted.repository() == known.repository()
}

/// Whether `tag` is what `name` means.
pub(crate) fn is_named(tag: &str, name: &str) -> bool {
    use berth_types::reference::Parsed;
    match ImageRef::parse(name) {
        Ok(Parsed::Full(reference)) => {
            reference.tagged().as_deref() == Some(tag) && reference.digest().is_none()
        }
        Ok(Parsed::Short(short)) => tag.parse::<ImageRef>().is_ok_and(|known| {
            short.on_host(known.host()).is_ok_and(|wanted| wanted.tagged().as_deref() == Some(tag))
        }),
        Err(_) => false,
    }
}
