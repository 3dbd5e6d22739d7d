//! `emptyDir` volumes: on disk, or in memory as the kubelet sizes them.

use super::facts::Facts;
use super::{Fault, FaultKind, VolumeKind, wrong};
use crate::manifest::{Container, EmptyDir, PodSpec, Quantity};

pub(super) fn plan(facts: &Facts<'_>, from: &EmptyDir, at: &str) -> Result<VolumeKind, Fault> {
    // 0 is no limit.
    let limit = from.size_limit.map(Quantity::units).filter(|bytes| *bytes > 0);
    match (from.medium.as_str(), limit) {
        ("", None) => Ok(VolumeKind::Empty),
        ("", Some(_)) => {
            let reason = "Forbidden: nothing would keep a volume on disk to it (hint: medium: Memory does)";
            Err(wrong(format!("{at}.sizeLimit"), reason))
        }
        ("Memory", limit) => {
            // A kubelet has the node's memory to give, and the pod's limit where it has one.
            let bounds = [limit, memory_limit(&facts.pod.spec), Some(facts.place.node.memory)];
            let least = bounds.into_iter().flatten().filter(|bytes| *bytes > 0).min();
            // tmpfs counts in pages, and takes 0 for no limit.
            Ok(VolumeKind::Memory(least.unwrap_or(u64::MAX >> 1).max(4096)))
        }
        (huge, _) if huge == "HugePages" || huge.starts_with("HugePages-") => {
            Err((format!("{at}.medium"), FaultKind::Later))
        }
        (other, _) => {
            let message = format!("Unsupported value: {other:?}: supported values: \"\", \"Memory\"");
            Err(wrong(format!("{at}.medium"), message))
        }
    }
}

/// The memory that the pod's containers may have together; nothing where one has no limit.
fn memory_limit(spec: &PodSpec) -> Option<u64> {
    let of = |c: &Container| c.resources.limits.memory.map(Quantity::units).filter(|bytes| *bytes > 0);
    let all: Vec<u64> = spec.containers.iter().map(of).collect::<Option<_>>()?;
    let init: Vec<u64> = spec.init_containers.iter().map(of).collect::<Option<_>>()?;
    let together = all.into_iter().fold(0, u64::saturating_add);
    // These run one after another, before the others.
    Some(init.into_iter().fold(together, u64::max))
}

#[cfg(test)]
mod tests;
