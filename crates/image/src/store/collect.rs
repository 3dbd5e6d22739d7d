//! Collecting images by [`crate::collect`]: what is known of their uses, and the removal of what the plan says.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use berth_sys::fs::Durability;
use berth_types::Digest;
use serde::{Deserialize, Serialize};

use super::state::State;
use super::{Images, blocking, lock, record};
use crate::collect::{Candidate, Disk, Plan, Policy, plan};
use crate::error::StoreError;
use crate::image::LayerId;

/// The order of uses, kept over restarts. What is lost of it costs no more than a better choice.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Order {
    last: u64,
    of: BTreeMap<Digest, u64>,
}

/// The last use of each image.
#[derive(Debug)]
pub(super) struct Uses {
    known: Mutex<Known>,
    begun: Instant,
}

#[derive(Debug)]
struct Known {
    order: Order,
    at: HashMap<Digest, Instant>,
    changed: bool,
}

impl Uses {
    pub(super) fn read(layout: &super::layout::Layout) -> Self {
        let order = record::read(&layout.uses()).unwrap_or_default();
        let known = Known { order, at: HashMap::new(), changed: false };
        Self { known: Mutex::new(known), begun: Instant::now() }
    }

    fn note(&self, image: &Digest) {
        let known = &mut *lock(&self.known);
        known.order.last += 1;
        known.order.of.insert(image.clone(), known.order.last);
        known.at.insert(image.clone(), Instant::now());
        known.changed = true;
    }
}

/// What was collected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collected {
    /// How full the disk was, in percent.
    pub before: u8,
    /// And is now.
    pub after: u8,
    /// The images that went, with a name of each.
    pub images: Vec<(Digest, String)>,
    /// The bytes that their layers had.
    pub bytes: u64,
    /// Bytes that should be free and are not, since nothing else may go.
    pub missing: u64,
}

impl Images {
    /// From now on this image was used just now: a collection passes it over for a while.
    pub fn note_use(&self, image: &Digest) {
        self.inner.uses.note(image);
    }

    /// How full the file system of the images is.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn disk(&self) -> Result<Disk, StoreError> {
        let dir = self.dir();
        let asked =
            rustix::fs::statvfs(dir).map_err(|e| StoreError::io("ask the file system of", dir)(e.into()))?;
        Ok(Disk {
            capacity: asked.f_blocks.saturating_mul(asked.f_frsize),
            available: asked.f_bavail.saturating_mul(asked.f_frsize),
        })
    }

    /// Removes images by the policy, where the disk is that full. `keep` are images that stay whatever happens.
    ///
    /// # Errors
    /// The file system cannot be asked, or a record cannot be removed.
    pub async fn collect_by(&self, policy: Policy, keep: HashSet<Digest>) -> Result<Collected, StoreError> {
        let this = self.clone();
        blocking(move || {
            this.write_uses()?;
            let before = this.disk()?;
            let excess = before.excess(&policy);
            let mut done = Collected { before: before.used_percent(), ..Collected::default() };
            if excess > 0 {
                let (plan, uses) = this.plan(policy.minimum_age, excess, &keep);
                for id in &plan.go {
                    if let Some(name) = this.remove_unused(id, uses.get(id).copied())? {
                        done.images.push((id.clone(), name));
                    }
                }
                done.bytes = if done.images.len() == plan.go.len() { plan.frees } else { 0 };
            }
            let after = this.disk()?;
            done.after = after.used_percent();
            done.missing = if excess > 0 { after.excess(&policy) } else { 0 };
            Ok(done)
        })
        .await
    }

    /// The bytes that are free when every image goes that no container uses, as `berth prune -a` has it.
    pub fn reclaimable(&self) -> u64 {
        self.plan(Duration::ZERO, u64::MAX, &HashSet::new()).0.frees
    }

    fn plan(
        &self,
        minimum_age: Duration,
        excess: u64,
        keep: &HashSet<Digest>,
    ) -> (Plan, BTreeMap<Digest, u64>) {
        let state = self.state();
        let known = lock(&self.inner.uses.known);
        let used = in_use(&state);
        let candidate = |(id, stored): (&Digest, &super::Stored)| Candidate {
            id: id.clone(),
            used: (known.order.of.get(id).copied().unwrap_or(0), stored.record.created_at),
            age: known.at.get(id).unwrap_or(&self.inner.uses.begun).elapsed(),
            kept: stored.record.pinned || used.contains(id) || keep.contains(id),
            layers: stored.record.layers.iter().map(|layer| (layer.id.clone(), layer.file_bytes)).collect(),
        };
        let candidates: Vec<_> = state.images.iter().map(candidate).collect();
        (plan(&candidates, &held(&state), minimum_age, excess), known.order.of.clone())
    }

    /// Removes an image unless it was used, or somebody began to use it, since the plan was made. Its name, when it went.
    fn remove_unused(&self, id: &Digest, used: Option<u64>) -> Result<Option<String>, StoreError> {
        let _writer = self.writer();
        let mut name = None;
        let removed = self.remove_image_if(id, |state| {
            let Some(stored) = state.images.get(id) else { return false };
            let mut names = stored.record.tags.iter().map(|tag| &tag.name).chain(&stored.record.repo_digests);
            name = Some(names.next().cloned().unwrap_or_else(|| id.to_string()));
            let again = lock(&self.inner.uses.known).order.of.get(id).copied() != used;
            !again && !stored.record.pinned && !in_use(state).contains(id)
        })?;
        Ok(name.filter(|_| removed))
    }

    /// Writes the order of uses, where it changed.
    fn write_uses(&self) -> Result<(), StoreError> {
        let there: HashSet<Digest> = self.published().keys().cloned().collect();
        let order = {
            let known = &mut *lock(&self.inner.uses.known);
            known.at.retain(|id, _| there.contains(id));
            if !std::mem::take(&mut known.changed) {
                return Ok(());
            }
            known.order.of.retain(|id, _| there.contains(id));
            Order { last: known.order.last, of: known.order.of.clone() }
        };
        record::write(&self.layout().uses(), &order, Durability::Process)
    }
}

/// Images that containers have, as their root or as volumes, and that pulls and loads bring.
fn in_use(state: &State) -> HashSet<Digest> {
    let snapshots = state.snapshots.values().flat_map(|s| s.volumes.iter().chain([&s.image]));
    snapshots.chain(state.blob_leases.values().flatten()).cloned().collect()
}

/// Layers that stay when no image has them.
fn held(state: &State) -> HashSet<LayerId> {
    if !state.unreadable.is_empty() {
        // Any may be below a container.
        return state.layers.keys().cloned().collect();
    }
    let snapshots = state.snapshots.values().flat_map(|s| s.layers.iter().map(|l| l.id.clone()));
    let damaged = state.damaged.values().flat_map(|d| d.layers.iter().cloned());
    snapshots.chain(damaged).chain(state.leases.values().flatten().cloned()).collect()
}
