//! Limits. In the CRI zero means "not set"; in the model that is `None`.

use berth_engine::model::{HugepageLimit, Resources};

use crate::api;
use crate::error::FieldError;

fn positive(field: &str, value: i64) -> Result<Option<u64>, FieldError> {
    match u64::try_from(value) {
        Ok(0) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(FieldError::invalid(field, format!("{value} is negative"))),
    }
}

fn set(value: i64) -> Option<i64> {
    (value != 0).then_some(value)
}

/// The limits asked for. `field` is the message's path in the request.
pub(crate) fn from_api(field: &str, from: &api::LinuxContainerResources) -> Result<Resources, FieldError> {
    let oom = i32::try_from(from.oom_score_adj).ok().filter(|adj| (-1000..=1000).contains(adj)).ok_or_else(
        || {
            FieldError::invalid(
                format!("{field}.oom_score_adj"),
                format!("{} is not in -1000 to 1000", from.oom_score_adj),
            )
        },
    )?;
    Ok(Resources {
        cpu_shares: positive(&format!("{field}.cpu_shares"), from.cpu_shares)?,
        cpu_quota: set(from.cpu_quota),
        cpu_period: positive(&format!("{field}.cpu_period"), from.cpu_period)?,
        cpuset_cpus: from.cpuset_cpus.clone(),
        cpuset_mems: from.cpuset_mems.clone(),
        memory_limit: set(from.memory_limit_in_bytes),
        memory_swap_limit: set(from.memory_swap_limit_in_bytes),
        pids_limit: None,
        oom_score_adj: Some(oom),
        hugepages: from
            .hugepage_limits
            .iter()
            .map(|h| HugepageLimit { page_size: h.page_size.clone(), limit: h.limit })
            .collect(),
        unified: from.unified.clone(),
    })
}

/// The change of limits asked for. Here a score of zero, too, is one that was not given: a kubelet that moves a
/// container to other CPUs says nothing else.
pub(crate) fn change(field: &str, from: &api::LinuxContainerResources) -> Result<Resources, FieldError> {
    let all = from_api(field, from)?;
    Ok(Resources { oom_score_adj: all.oom_score_adj.filter(|score| *score != 0), ..all })
}

/// The limits of a pod as a whole. No process is the sandbox's own, so a score applies to nothing.
pub(crate) fn of_sandbox(
    field: &str,
    from: Option<&api::LinuxContainerResources>,
) -> Result<Resources, FieldError> {
    let all = from.map(|resources| from_api(field, resources)).transpose()?.unwrap_or_default();
    Ok(Resources { oom_score_adj: None, ..all })
}

/// The limits in force.
pub(crate) fn to_api(from: &Resources) -> api::LinuxContainerResources {
    let signed = |value: Option<u64>| value.map_or(0, |v| i64::try_from(v).unwrap_or(i64::MAX));
    api::LinuxContainerResources {
        cpu_period: signed(from.cpu_period),
        cpu_quota: from.cpu_quota.unwrap_or(0),
        cpu_shares: signed(from.cpu_shares),
        memory_limit_in_bytes: from.memory_limit.unwrap_or(0),
        oom_score_adj: from.oom_score_adj.unwrap_or(0).into(),
        cpuset_cpus: from.cpuset_cpus.clone(),
        cpuset_mems: from.cpuset_mems.clone(),
        hugepage_limits: from
            .hugepages
            .iter()
            .map(|h| api::HugepageLimit { page_size: h.page_size.clone(), limit: h.limit })
            .collect(),
        unified: from.unified.clone(),
        memory_swap_limit_in_bytes: from.memory_swap_limit.unwrap_or(0),
    }
}
