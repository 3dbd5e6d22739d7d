//! Collecting images while the daemon runs, where that was asked for: machines without a kubelet have nobody else to do it
//! (docs/adr/0104).

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use berth_image::collect::Policy;
use berth_image::{Collected, StoreError};
use berth_types::error::chain;
use tokio::sync::watch;

use crate::Engine;
use crate::model::Owner;

/// How often the disk is looked at.
const LOOK: Duration = Duration::from_secs(30);

/// The policy, and what was collected.
#[derive(Debug, Default)]
pub(crate) struct Collection {
    policy: watch::Sender<Option<Policy>>,
    images: AtomicU64,
    bytes: AtomicU64,
}

/// What is told of one look, so that a state that lasts is told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Told {
    #[default]
    Nothing,
    Kubelet,
    Full,
    Failed,
}

impl Engine {
    /// From now on images are collected by this policy, or not.
    pub fn set_image_policy(&self, policy: Option<Policy>) {
        self.shared.collection.policy.send_if_modified(|now| std::mem::replace(now, policy) != policy);
    }

    /// Collects images by the policy of the moment, for as long as this is polled.
    pub async fn keep_collecting(self) {
        let mut policy = self.shared.collection.policy.subscribe();
        let mut told = Told::default();
        loop {
            let now = *policy.borrow_and_update();
            if let Some(policy) = now {
                told = self.look(policy, told).await;
            }
            // The sender is this engine's own.
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _changed = policy.changed() => {}
            }
        }
    }

    async fn look(&self, policy: Policy, told: Told) -> Told {
        if !self.sandboxes(Some(Owner::Cri)).is_empty() {
            if told != Told::Kubelet {
                tracing::warn!(
                    "images are not collected while there are pods of a kubelet, which does it by its own settings"
                );
            }
            return Told::Kubelet;
        }
        match self.collect_images(policy).await {
            Ok(done) if done.missing > 0 => {
                if told != Told::Full {
                    let (percent, missing) = (done.after, done.missing);
                    tracing::warn!(
                        percent,
                        missing,
                        "the file system of the images is full, and no more of them may be removed"
                    );
                }
                Told::Full
            }
            Ok(_) => Told::Nothing,
            Err(error) => {
                if told != Told::Failed {
                    tracing::error!(error = chain(&error), "images were not collected");
                }
                Told::Failed
            }
        }
    }

    /// Collects images by a policy, once.
    ///
    /// # Errors
    /// The file system cannot be asked, or a record cannot be removed.
    pub async fn collect_images(&self, policy: Policy) -> Result<Collected, StoreError> {
        let images = self.images();
        // What the program carries comes again with the next start.
        let builtin = self.config().images.builtin.iter().filter_map(|image| images.find(image.name).ok()?);
        let keep: HashSet<_> = builtin.map(|image| image.id.clone()).collect();
        let done = images.collect_by(policy, keep).await?;
        for (id, name) in &done.images {
            tracing::info!(
                image = name,
                id = id.short(),
                "removed: the disk is full, and nobody used it for the longest time"
            );
        }
        if !done.images.is_empty() {
            let (count, before, after, bytes) = (done.images.len(), done.before, done.after, done.bytes);
            tracing::info!(count, before, after, bytes, "images were collected");
        }
        let collection = &self.shared.collection;
        collection.images.fetch_add(done.images.len() as u64, Ordering::Relaxed);
        collection.bytes.fetch_add(done.bytes, Ordering::Relaxed);
        Ok(done)
    }

    /// How many images were collected since the start, and the bytes that they took.
    pub fn collected(&self) -> (u64, u64) {
        let collection = &self.shared.collection;
        (collection.images.load(Ordering::Relaxed), collection.bytes.load(Ordering::Relaxed))
    }
}
