//! Requests and limits, of a container and of a pod as a whole.

use berth_engine::model::Resources;

use super::{Fault, Faults, wrong};
use crate::manifest::{Pod, Quantity, ResourceRequirements};

/// The period of CPU quotas in microseconds, as the kubelet sets it.
const CPU_PERIOD: u64 = 100_000;
/// The smallest quota that the kernel takes, in microseconds.
const MIN_QUOTA: u64 = 1000;
/// The smallest weight.
const MIN_SHARES: u64 = 2;

/// What is asked for of one resource, and what is allowed.
type Pair = (&'static str, Option<Quantity>, Option<Quantity>);

fn pairs(of: &ResourceRequirements) -> [Pair; 2] {
    let (limits, requests) = (&of.limits, &of.requests);
    [("cpu", requests.cpu, limits.cpu), ("memory", requests.memory, limits.memory)]
}

/// A request is no more than its limit. `at` is the path of what they are of.
pub(super) fn check(of: &ResourceRequirements, at: &str, faults: &mut Faults) {
    for (what, request, limit) in pairs(of) {
        if let Some((request, limit)) = request.zip(limit).filter(|(request, limit)| request > limit) {
            let message = format!(
                "Invalid value: \"{request}\": must be less than or equal to {what} limit of {limit}"
            );
            faults.push(wrong(format!("{at}.resources.requests"), message));
        }
    }
}

/// Those of the pod are no less than its containers' together, and no container's limit is more.
pub(super) fn check_pod(pod: &Pod, faults: &mut Faults) {
    check(&pod.spec.resources, "spec", faults);
    for (index, (what, request, limit)) in pairs(&pod.spec.resources).into_iter().enumerate() {
        let of_containers = pod.spec.containers.iter().map(|c| pairs(&c.resources)[index]);
        // A container's request is its limit where it names none.
        let asked: u64 =
            of_containers.clone().filter_map(|(_, own, limit)| own.or(limit)).map(Quantity::millis).sum();
        let asked: Quantity = format!("{asked}m").parse().expect("a number with a suffix is one");
        if let Some(request) = request.or(limit).filter(|request| *request < asked) {
            let reason = format!("must be greater than or equal to aggregate container requests of {asked}");
            let message = format!("Invalid value: \"{request}\": {reason}");
            faults.push(wrong(format!("spec.resources.requests[{what}]"), message));
        }
        for (number, (_, _, own)) in of_containers.enumerate() {
            if let Some((own, limit)) = own.zip(limit).filter(|(own, limit)| own > limit) {
                let message =
                    format!("Invalid value: \"{own}\": must be less than or equal to pod limits of {limit}");
                faults.push(wrong(format!("spec.containers[{number}].resources.limits[{what}]"), message));
            }
        }
    }
}

/// What the kernel is told, as the kubelet converts it.
pub(super) fn of(from: &ResourceRequirements, at: &str) -> Result<Resources, Fault> {
    let (limits, requests) = (&from.limits, &from.requests);
    let memory_limit = match limits.memory.map(Quantity::units).filter(|bytes| *bytes > 0) {
        Some(bytes) => Some(
            i64::try_from(bytes)
                .map_err(|_| wrong(format!("{at}.resources.limits.memory"), "it is too large"))?,
        ),
        None => None,
    };
    Ok(Resources {
        cpu_shares: requests.cpu.or(limits.cpu).map(|cpu| (cpu.millis() * 1024 / 1000).max(MIN_SHARES)),
        cpu_quota: limits
            .cpu
            .filter(|cpu| cpu.millis() > 0)
            .map(|cpu| i64::try_from((cpu.millis() * CPU_PERIOD / 1000).max(MIN_QUOTA)).unwrap_or(i64::MAX)),
        cpu_period: limits.cpu.map(|_| CPU_PERIOD),
        memory_limit,
        // As the kubelet without swap: memory and swap together are the memory.
        memory_swap_limit: memory_limit,
        ..Resources::default()
    })
}
