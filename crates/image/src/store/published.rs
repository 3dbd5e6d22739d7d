//! The images as they are looked up: a map that is exchanged whole after each change, so that a lookup never waits for a
//! writer, who holds the state over renames and deletions on a disk that may be slow.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, MutexGuard, PoisonError, RwLock};

use berth_types::Digest;

use super::Images;
use super::state::State;
use crate::image::Image;

/// Every image, by id.
pub(crate) type Published = BTreeMap<Digest, Arc<Image>>;

/// The published images.
#[derive(Debug, Default)]
pub(super) struct Publication(RwLock<Arc<Published>>);

impl Publication {
    /// Those of this state.
    pub(super) fn of(state: &State) -> Self {
        let publication = Self::default();
        publication.put(state);
        publication
    }

    fn put(&self, state: &State) {
        let images = state.images.iter().map(|(id, stored)| (id.clone(), Arc::clone(&stored.image)));
        let images = Arc::new(images.collect());
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = images;
    }

    fn get(&self) -> Arc<Published> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The state, held. Changes are published when it is dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    state: MutexGuard<'a, State>,
    publication: &'a Publication,
    changed: bool,
}

impl Deref for Held<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.changed = true;
        &mut self.state
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.changed {
            self.publication.put(&self.state);
        }
    }
}

impl Images {
    /// The images, as they are known outside.
    pub(super) fn published(&self) -> Arc<Published> {
        self.inner.published.get()
    }

    /// The state, for callers that change it or need more than images.
    pub(crate) fn state(&self) -> Held<'_> {
        let state = super::lock(&self.inner.state);
        Held { state, publication: &self.inner.published, changed: false }
    }
}

#[cfg(test)]
mod tests;
