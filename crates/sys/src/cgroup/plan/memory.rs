//! Memory and swap.

use super::{Current, Planner, TOO_SMALL, Tolerate, Write, invalid};
use crate::cgroup::convert::swap_to_v2;
use crate::cgroup::{CgroupError, Controller, Memory, Version};

const LIMIT: &str = "linux.resources.memory.limit";
const SWAP: &str = "linux.resources.memory.swap";
const RESERVATION: &str = "linux.resources.memory.reservation";
const SWAPPINESS: &str = "linux.resources.memory.swappiness";
const OOM: &str = "linux.resources.memory.disableOOMKiller";

pub(super) fn plan(out: &mut Planner, memory: &Memory, current: Current) -> Result<(), CgroupError> {
    let limit = memory.limit.filter(|v| *v != 0);
    let swap = memory.swap.filter(|v| *v != 0);
    for (value, setting) in [(limit, LIMIT), (swap, SWAP), (memory.reservation, RESERVATION)] {
        if let Some(value) = value.filter(|v| *v < -1) {
            return Err(invalid(setting, value, "is negative"));
        }
    }
    if let (Some(limit), Some(usage)) = (limit.and_then(|l| u64::try_from(l).ok()), current.memory_usage)
        && limit < usage
    {
        return Err(invalid(LIMIT, limit, TOO_SMALL));
    }
    if limit.is_some() || swap.is_some() {
        match out.need(Controller::Memory, if limit.is_some() { LIMIT } else { SWAP })? {
            Version::V1 => limits_v1(out, limit, swap, current)?,
            Version::V2 => limits_v2(out, limit, swap, current)?,
        }
    }
    if let Some(reservation) = memory.reservation.filter(|v| *v != 0) {
        let (file, value) = match out.need(Controller::Memory, RESERVATION)? {
            Version::V1 => ("memory.soft_limit_in_bytes", reservation.to_string()),
            Version::V2 => ("memory.low", bytes(reservation)),
        };
        out.write(Controller::Memory, file, value, RESERVATION);
    }
    if let Some(swappiness) = memory.swappiness {
        if swappiness > 100 {
            return Err(invalid(SWAPPINESS, swappiness, "is more than 100"));
        }
        out.v1_only(Controller::Memory, SWAPPINESS)?;
        out.write(Controller::Memory, "memory.swappiness", swappiness, SWAPPINESS);
    }
    if memory.disable_oom_killer {
        out.v1_only(Controller::Memory, OOM)?;
        out.write(Controller::Memory, "memory.oom_control", "1", OOM);
    }
    Ok(())
}

/// v1 refuses at any moment a limit of memory above that of both together: which is written first
/// depends on what is there.
fn limits_v1(
    out: &mut Planner,
    limit: Option<i64>,
    swap: Option<i64>,
    current: Current,
) -> Result<(), CgroupError> {
    if let (Some(limit), Some(swap)) = (limit, swap)
        && swap != -1
        && (swap < limit || limit == -1)
    {
        return Err(invalid(
            SWAP,
            swap,
            "counts memory and swap together, so it cannot be less than the limit of memory",
        ));
    }
    let memory = limit.map(|value| ("memory.limit_in_bytes", value, LIMIT, Tolerate::Nothing));
    let both = match (swap, limit) {
        // Without swap accounting the host has no file for it: no limit is what it has, and equal
        // limits (no swap) are only kept when there is no swap at all, which cannot be known here.
        (Some(-1), _) => Some(("memory.memsw.limit_in_bytes", -1, SWAP, Tolerate::Absent)),
        (Some(value), _) => Some(("memory.memsw.limit_in_bytes", value, SWAP, Tolerate::Nothing)),
        // Unlimited memory needs unlimited both. A new group has that already.
        (None, Some(-1)) if !current.new => {
            Some(("memory.memsw.limit_in_bytes", -1, LIMIT, Tolerate::Absent))
        }
        (None, _) => None,
    };
    let raise = match (both, current.memory_limit) {
        _ if current.new => false,
        (Some((_, -1, ..)), _) => true,
        (Some((_, value, ..)), Some(now)) => u64::try_from(value).is_ok_and(|value| now < value),
        _ => false,
    };
    let order = if raise { [both, memory] } else { [memory, both] };
    for (file, value, setting, tolerate) in order.into_iter().flatten() {
        out.push(Write {
            controller: Some(Controller::Memory),
            file: file.into(),
            value: value.to_string(),
            setting: setting.into(),
            tolerate,
        });
    }
    Ok(())
}

fn limits_v2(
    out: &mut Planner,
    limit: Option<i64>,
    swap: Option<i64>,
    current: Current,
) -> Result<(), CgroupError> {
    // An update of swap alone counts from the limit that is set.
    let base = limit.or(current.memory_limit.and_then(|l| i64::try_from(l).ok()));
    let both = if swap.is_some() { base } else { limit };
    let value = swap_to_v2(swap, both).map_err(|why| invalid(SWAP, swap.unwrap_or(0), why))?;
    if let Some(value) = value {
        out.push(Write {
            controller: Some(Controller::Memory),
            file: "memory.swap.max".into(),
            value: bytes(value),
            setting: SWAP.into(),
            // Without swap in the kernel, none and unlimited are the same.
            tolerate: if value <= 0 { Tolerate::Absent } else { Tolerate::Nothing },
        });
    }
    if let Some(limit) = limit {
        out.write(Controller::Memory, "memory.max", bytes(limit), LIMIT);
    }
    Ok(())
}

fn bytes(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}
