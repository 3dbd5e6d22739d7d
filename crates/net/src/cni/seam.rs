//! A network by CNI plugins as a [`PodNetwork`].

use std::collections::HashSet;
use std::sync::PoisonError;

use berth_types::SandboxId;
use serde_json::Value;

use super::detach::is_namespace;
use super::plugin::Limit;
use super::{Cni, Phase, lock};
use crate::cidr::Cidr;
use crate::error::NetError;
use crate::network::{AttachRequest, Attached, Changes, Inventory, NOT_READY, NetworkStatus, PodNetwork};

impl PodNetwork for Cni {
    fn attach(&self, request: &AttachRequest<'_>) -> Result<Attached, NetError> {
        Ok(self.add(request)?)
    }

    fn detach(&self, sandbox: &SandboxId) -> Result<(), NetError> {
        Ok(self.remove(sandbox, Limit::of(self.limits.del))?)
    }

    fn check(&self, sandbox: &SandboxId) -> Result<(), NetError> {
        match self.attached(sandbox)? {
            Some(record) if is_namespace(&record.netns) => Ok(()),
            Some(record) => {
                Err(NetError::Unplugged { sandbox: sandbox.clone(), interface: record.interface })
            }
            None => Err(NetError::NotAttached { sandbox: sandbox.clone() }),
        }
    }

    fn examine(&self, sandbox: &SandboxId) -> Result<(), NetError> {
        self.check(sandbox)?;
        Ok(self.check_plugins(sandbox)?)
    }

    fn details(&self, sandbox: &SandboxId) -> Option<Value> {
        let record = self.attached(sandbox).ok()??;
        Some(serde_json::json!({ "network": record.network.name, "result": record.result }))
    }

    fn set_pod_blocks(&self, blocks: &[Cidr]) -> Result<(), NetError> {
        let mut now = lock(&self.blocks);
        if *now != blocks {
            self.store.write_blocks(blocks)?;
            *now = blocks.to_vec();
        }
        Ok(())
    }

    fn status(&self) -> NetworkStatus {
        // A purge or GC that is at work is not waited for.
        let purged = self.phase.try_read().is_ok_and(|phase| *phase == Phase::Purged);
        if purged {
            let message = "the pod network was removed".to_owned();
            return NetworkStatus::NotReady { reason: NOT_READY, message };
        }
        self.readiness()
    }

    fn inventory(&self) -> Result<Inventory, NetError> {
        let sandboxes = lock(&self.held).keys().cloned().collect();
        Ok(Inventory { sandboxes, orphans: Vec::new() })
    }

    fn sweep(&self, known: &HashSet<SandboxId>) -> Result<Inventory, NetError> {
        let (sandboxes, failure) = self.remove_unknown(known);
        let collected = self.collect_garbage();
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(collected.map(|()| Inventory { sandboxes, orphans: Vec::new() })?),
        }
    }

    fn changes(&self) -> Result<Vec<Changes>, NetError> {
        let descriptors = self.watch.descriptors().map_err(NetError::Watch)?;
        Ok(descriptors.into_iter().map(Changes::of_file).collect())
    }

    fn verify(&self) -> Result<(), NetError> {
        if *self.phase() == Phase::Open {
            self.load();
        }
        Ok(())
    }

    fn purge(&self) -> Result<(), NetError> {
        let (_, failure) = self.remove_unknown(&HashSet::new());
        *self.phase.write().unwrap_or_else(PoisonError::into_inner) = Phase::Purged;
        self.watch.look_every(None, true);
        lock(&self.held).clear();
        let files = self.store.purge();
        failure.map_or(Ok(()), Err).and(files)?;
        Ok(())
    }
}
