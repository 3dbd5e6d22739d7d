//! The ids of pods with user namespaces (`hostUsers: false`). A kubelet chooses them for its pods; here Berth does.
//!
//! A pod has a range of its own, as Kubernetes wants it: what breaks out of one is nobody in another. The sandbox's record
//! keeps it, so it is the same after a restart of the daemon.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use berth_engine::model::{IdMap, UserNamespace};

/// How many ids a pod has.
const LENGTH: u32 = 65_536;
/// The ranges: ids that systemd leaves to others and that `adduser` does not give to users' containers.
const FIRST: u32 = 0x7000_0000 / LENGTH;
const COUNT: u32 = 0x0ff0_0000 / LENGTH;

/// The ranges that were given to pods which have no sandbox yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Given(Arc<Mutex<BTreeSet<u32>>>);

/// A range. It is free again when this is dropped, unless a sandbox has it by then.
#[derive(Debug)]
pub(super) struct Ids {
    range: u32,
    given: Given,
}

impl Ids {
    pub(super) fn namespace(&self) -> UserNamespace {
        let map = IdMap { container: 0, host: self.range * LENGTH, length: LENGTH };
        UserNamespace { uids: map, gids: map }
    }
}

impl Drop for Ids {
    fn drop(&mut self) {
        self.given.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.range);
    }
}

impl Given {
    /// A range that neither one of `taken`, the sandboxes' namespaces, nor a pod that is being started has. Instances begin
    /// at different places.
    pub(super) fn take(&self, instance: &str, taken: impl FnOnce() -> Vec<UserNamespace>) -> Option<Ids> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock: a range goes from here to a sandbox, never back.
        let taken = taken();
        let begin =
            instance.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let ranges = (0..COUNT).map(|step| FIRST + (begin % COUNT + step) % COUNT);
        let free = |range: &u32| {
            let overlaps = |map: IdMap| {
                let (first, last) =
                    (u64::from(*range * LENGTH), u64::from(*range * LENGTH) + u64::from(LENGTH));
                u64::from(map.host) < last && first < u64::from(map.host) + u64::from(map.length)
            };
            !given.contains(range) && !taken.iter().any(|user| overlaps(user.uids) || overlaps(user.gids))
        };
        let range = { ranges }.find(free)?;
        given.insert(range);
        Some(Ids { range, given: self.clone() })
    }
}

#[cfg(test)]
mod tests;
