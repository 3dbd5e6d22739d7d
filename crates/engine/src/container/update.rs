//! Changing the limits of a container or pod. One change is made at a time: each builds on the one before.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use berth_sys::cgroup::CgroupPath;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::container::{Facts, limits};
use crate::error::EngineError;
use crate::host::record::{self, ContainerRecord, SandboxRecord};
use crate::model::Resources;
use crate::oci::resources;
use crate::sandbox::Caller;
use crate::shared::Shared;

/// Changes that may wait for the one that is being made.
const MAX_WAITING: usize = 64;

/// The limits of a container or pod.
#[derive(Debug)]
pub(crate) struct Limits {
    now: Resources,
    /// The changes that wait for the one that is being made; None when none is.
    waiting: Option<VecDeque<(Box<Resources>, Caller)>>,
}

impl Limits {
    pub(crate) fn new(now: Resources) -> Self {
        Self { now, waiting: None }
    }

    /// Those in force.
    pub(crate) fn now(&self) -> &Resources {
        &self.now
    }

    /// Takes a change: it is to be made now, waits, or is returned when too many wait.
    pub(crate) fn ask(&mut self, change: Box<Resources>, caller: Caller) -> Asked {
        match &mut self.waiting {
            None => {
                self.waiting = Some(VecDeque::new());
                Asked::Begin(change, caller)
            }
            Some(waiting) if waiting.len() < MAX_WAITING => {
                waiting.push_back((change, caller));
                Asked::Waits
            }
            Some(_) => Asked::TooMany(caller),
        }
    }

    /// A change was made, or not (None); returns those that waited, in their order.
    pub(crate) fn over(&mut self, made: Option<Resources>) -> VecDeque<(Box<Resources>, Caller)> {
        if let Some(made) = made {
            self.now = made;
        }
        self.waiting.take().unwrap_or_default()
    }
}

/// What happens to a change.
#[derive(Debug)]
pub(crate) enum Asked {
    /// It is to be made.
    Begin(Box<Resources>, Caller),
    /// It is made later.
    Waits,
    /// Too many wait.
    TooMany(Caller),
}

/// Makes a change; gives the limits in force after it. What was in force before is, when a part of it is refused or
/// cannot be recorded.
pub(crate) async fn make(
    shared: Arc<Shared>,
    facts: Arc<Facts>,
    now: Resources,
    change: Box<Resources>,
    file: PathBuf,
    records: Arc<Mutex<()>>,
) -> Result<Resources, EngineError> {
    let change = resources::Change::of(&now, &change, &shared.facts);
    Shared::blocking(move || {
        let Some(cgroup) = &facts.cgroup else {
            return Err(EngineError::unsupported(
                "resources",
                "the pod's handler does not support limits of a single container",
            ));
        };
        limits::apply(&shared, cgroup, &change)?;
        let keep = |record: &mut ContainerRecord| record.resources = change.now.clone();
        let kept = rewrite(&file, &records, "container", keep);
        kept.inspect_err(|_| limits::take_back(&shared, cgroup, &change))?;
        Ok(change.now)
    })
    .await
}

/// The same for the group that a pod's containers are in, where Berth makes it.
pub(crate) async fn make_of_pod(
    shared: Arc<Shared>,
    cgroup: CgroupPath,
    now: Resources,
    change: Box<Resources>,
    file: PathBuf,
    records: Arc<Mutex<()>>,
) -> Result<Resources, EngineError> {
    let change = resources::Change::of(&now, &change, &shared.facts);
    Shared::blocking(move || {
        limits::apply(&shared, &cgroup, &change)?;
        let keep = |record: &mut SandboxRecord| record.resources = Some(change.now.clone());
        let kept = rewrite(&file, &records, "pod", keep);
        kept.inspect_err(|_| limits::take_back(&shared, &cgroup, &change))?;
        Ok(change.now)
    })
    .await
}

/// Changes a record, if there is one.
fn rewrite<R: Serialize + DeserializeOwned>(
    file: &Path,
    records: &Mutex<()>,
    thing: &str,
    change: impl FnOnce(&mut R),
) -> Result<(), EngineError> {
    let _one_writer = records.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = |e| EngineError::system(format!("write the {thing}'s record"), e);
    let Some(mut record) = record::read::<R>(file).map_err(failed)? else { return Ok(()) };
    change(&mut record);
    record::write(file, &record).map_err(failed)
}
