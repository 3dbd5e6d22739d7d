//! Which images go when the disk is full: the kubelet's rule, for machines that have none (docs/adr/0104).
//!
//! Above the high threshold, images that nobody uses go, the least recently used first, until the disk would be at the low
//! threshold. What counts as a use and how long ago it was is measured without the machine's clock, which may jump: by the order of
//! uses, and by the time that this process has seen pass.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use berth_types::Digest;

use crate::image::LayerId;

/// When images go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Percent of the file system in use from which on images go.
    pub high: u8,
    /// Percent at which that ends.
    pub low: u8,
    /// An image that was used since stays.
    pub minimum_age: Duration,
}

impl Policy {
    /// The kubelet's own minimum age.
    pub const MINIMUM_AGE: Duration = Duration::from_secs(120);
}

/// A file system's bytes, as statvfs has them for those who are not root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// All.
    pub capacity: u64,
    /// Those that can be written.
    pub available: u64,
}

impl Disk {
    /// Percent in use, rounded up as the kubelet does: 100 where nothing can be written.
    pub fn used_percent(self) -> u8 {
        let free = u128::from(self.available.min(self.capacity)) * 100 / u128::from(self.capacity.max(1));
        100 - u8::try_from(free).unwrap_or(100)
    }

    /// The bytes that are to be freed; 0 below the high threshold.
    pub fn excess(self, policy: &Policy) -> u64 {
        if self.capacity == 0 || self.used_percent() < policy.high {
            return 0;
        }
        let wanted = u128::from(self.capacity) * u128::from(100 - policy.low.min(100)) / 100;
        u64::try_from(wanted).unwrap_or(u64::MAX).saturating_sub(self.available)
    }
}

/// An image, as the rule sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub id: Digest,
    /// The number of its last use: more is later. Before all uses: when it came.
    pub used: (u64, i64),
    /// How long ago its last use was, as far as this process has seen.
    pub age: Duration,
    /// Whether it stays whatever happens: a container has it, a pull or a load brings it, or somebody asked for it.
    pub kept: bool,
    /// Its layers with their bytes.
    pub layers: Vec<(LayerId, u64)>,
}

/// What is to go, in this order, and the bytes that are free then.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The images.
    pub go: Vec<Digest>,
    /// What their layers take that nothing else has.
    pub frees: u64,
}

/// Which images go so that `excess` bytes are free. `held` are layers that stay whatever goes: those of containers whose image
/// is gone, and of what cannot be read.
pub fn plan(candidates: &[Candidate], held: &HashSet<LayerId>, minimum_age: Duration, excess: u64) -> Plan {
    let mut users: BTreeMap<&LayerId, usize> = BTreeMap::new();
    for candidate in candidates {
        for layer in distinct(candidate) {
            *users.entry(layer).or_default() += 1;
        }
    }
    let mut order: Vec<&Candidate> =
        candidates.iter().filter(|one| !one.kept && one.age >= minimum_age).collect();
    order.sort_by(|a, b| a.used.cmp(&b.used).then_with(|| a.id.cmp(&b.id)));
    let mut plan = Plan::default();
    for candidate in order {
        if plan.frees >= excess {
            break;
        }
        for layer in distinct(candidate) {
            let left = users.get_mut(layer).expect("every layer was counted");
            *left -= 1;
            if *left == 0 && !held.contains(layer) {
                let bytes =
                    candidate.layers.iter().find(|(id, _)| id == layer).map_or(0, |(_, bytes)| *bytes);
                plan.frees = plan.frees.saturating_add(bytes);
            }
        }
        plan.go.push(candidate.id.clone());
    }
    plan
}

/// The layers of an image, each once.
fn distinct(candidate: &Candidate) -> HashSet<&LayerId> {
    candidate.layers.iter().map(|(id, _)| id).collect()
}

#[cfg(test)]
mod tests;
