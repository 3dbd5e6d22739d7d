//! Limits of writable layers, and what they take without a walk: where the file system of the snapshots has project quotas
//! (ADR 0104).
//!
//! Each snapshot has a project of its own, in its record before it is on its directories. A number is used again only when the kernel
//! says that nothing has it: what a removed snapshot leaves in the trash, or another program took, is not counted for a new one.

use std::fs::File;
use std::path::Path;

use berth_sys::quota::{self, Support};
use berth_types::ContainerId;

use super::state::State;
use super::{Images, blocking};
use crate::error::StoreError;
use crate::snapshot::Usage;

/// The numbers that are ours. Docker and containerd begin at 1, the kubelet at 1,048,577, and each asks before it takes one.
const FIRST: u32 = 0x4245_0000;
const MOST: u32 = 0x1_0000;
/// How many numbers in a row are asked about for one snapshot.
const TRIES: u32 = 1000;

/// What the file system of the snapshots has.
#[derive(Debug)]
pub(super) struct Quotas {
    dir: Option<File>,
    pub(super) support: Support,
}

impl Quotas {
    /// Asks the file system. What cannot be asked has none: containers run without.
    pub(super) fn of(snapshots: &Path) -> Self {
        let asked = File::open(snapshots).and_then(|dir| quota::support(&dir).map(|support| (dir, support)));
        match asked {
            Ok((dir, support)) if support != Support::None => Self { dir: Some(dir), support },
            Ok(_) => Self { dir: None, support: Support::None },
            Err(error) => {
                tracing::warn!(path = %snapshots.display(), %error, "the file system was not asked about quotas");
                Self { dir: None, support: Support::None }
            }
        }
    }

    /// A number that nothing has; none where there are no quotas, or all are taken.
    pub(super) fn free(&self, state: &State) -> Option<u32> {
        let dir = self.dir.as_ref()?;
        let unused = |id: u32| quota::project(dir, id).is_ok_and(|project| project.is_unused());
        choose(state.snapshots.values().map(|record| record.project), unused)
    }

    /// Gives the empty directories of a snapshot its project.
    pub(super) fn give(&self, project: u32, dirs: [&Path; 2]) -> Result<(), StoreError> {
        if project == 0 {
            return Ok(());
        }
        for path in dirs {
            let given = File::open(path).and_then(|dir| quota::give_project(&dir, project));
            given.map_err(StoreError::io("set the quota's project of", path))?;
        }
        Ok(())
    }

    /// From now on nothing of this project is limited, so that its number is free once its files are gone.
    pub(super) fn give_back(&self, project: u32) {
        if let (Some(dir), false) = (&self.dir, project == 0)
            && let Err(error) = quota::set_limit(dir, project, 0)
        {
            tracing::warn!(project, %error, "the limit of a removed writable layer was not taken back");
        }
    }
}

/// The first number that no snapshot has and nothing else either, from behind the highest taken one on: what was just given back is
/// asked about last.
fn choose(taken: impl Iterator<Item = u32>, unused: impl Fn(u32) -> bool) -> Option<u32> {
    let taken: std::collections::HashSet<u32> = taken.filter(|id| *id != 0).collect();
    let highest = taken.iter().max().map_or(FIRST, |id| id + 1);
    (0..MOST)
        .map(|step| FIRST + (highest.wrapping_sub(FIRST).wrapping_add(step)) % MOST)
        .filter(|id| !taken.contains(id))
        .take(TRIES as usize)
        .find(|id| unused(*id))
}

impl Images {
    /// Whether limits of writable layers hold here.
    pub fn has_limits(&self) -> bool {
        self.inner.quotas.support == Support::Enforced
    }

    /// Sets the most bytes that the writable layer of a container may take. False where the file system enforces none.
    ///
    /// # Errors
    /// The container has no snapshot, or the kernel refuses.
    pub async fn limit_snapshot(&self, container: &ContainerId, bytes: u64) -> Result<bool, StoreError> {
        let (this, container) = (self.clone(), container.clone());
        blocking(move || {
            let project = this.project(&container)?;
            let quotas = &this.inner.quotas;
            let (Some(dir), Some(project), Support::Enforced) = (&quotas.dir, project, quotas.support) else {
                return Ok(false);
            };
            let failed = StoreError::io("set the quota of", this.layout().snapshot(&container));
            quota::set_limit(dir, project, bytes.max(1)).map_err(failed).map(|()| true)
        })
        .await
    }

    fn project(&self, container: &ContainerId) -> Result<Option<u32>, StoreError> {
        let state = self.state();
        let record =
            state.snapshots.get(container).ok_or_else(|| StoreError::NoSnapshot(container.clone()))?;
        Ok(Some(record.project).filter(|project| *project != 0))
    }

    /// What a snapshot takes, as the kernel counts it; none where it does not.
    pub(super) fn counted(&self, container: &ContainerId) -> Option<Usage> {
        let project = self.project(container).ok()??;
        let counted = quota::project(self.inner.quotas.dir.as_ref()?, project).ok()?;
        Some(Usage { bytes: counted.bytes, inodes: counted.inodes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_chosen_behind_the_highest_and_never_twice() {
        let all = |_| true;
        assert_eq!(choose([].into_iter(), all), Some(FIRST));
        assert_eq!(choose([0, 0].into_iter(), all), Some(FIRST));
        assert_eq!(choose([FIRST, FIRST + 5].into_iter(), all), Some(FIRST + 6));
        // What something else has is passed over.
        assert_eq!(choose([FIRST].into_iter(), |id| id > FIRST + 3), Some(FIRST + 4));
        // At the end it begins anew.
        let last = FIRST + MOST - 1;
        assert_eq!(choose([last].into_iter(), all), Some(FIRST));
        assert_eq!(choose([last, FIRST].into_iter(), all), Some(FIRST + 1));
        assert_eq!(choose(FIRST..FIRST + MOST, all), None);
        // No more is asked than that.
        let asked = std::cell::Cell::new(0);
        let none = |_| {
            asked.set(asked.get() + 1);
            false
        };
        assert_eq!((choose([].into_iter(), none), asked.get()), (None, TRIES));
    }
}
