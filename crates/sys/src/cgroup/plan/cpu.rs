//! Processor time and placement.

use super::{Planner, Tolerate, Write, invalid};
use crate::cgroup::convert::shares_to_weight;
use crate::cgroup::{CgroupError, Controller, Cpu, Version};

const QUOTA: &str = "linux.resources.cpu.quota";
const PERIOD: &str = "linux.resources.cpu.period";
const SHARES: &str = "linux.resources.cpu.shares";
const BURST: &str = "linux.resources.cpu.burst";
const IDLE: &str = "linux.resources.cpu.idle";
const RT_RUNTIME: &str = "linux.resources.cpu.realtimeRuntime";
const RT_PERIOD: &str = "linux.resources.cpu.realtimePeriod";
/// The kernel's own period of bandwidth control, in microseconds.
const USUAL_PERIOD: u64 = 100_000;
/// The least quota, in microseconds.
const LEAST: i64 = 1000;
/// The periods that the kernel takes, in microseconds.
const PERIODS: std::ops::RangeInclusive<u64> = 1000..=1_000_000;

pub(super) fn plan(out: &mut Planner, cpu: &Cpu) -> Result<(), CgroupError> {
    placement(out, cpu)?;
    realtime(out, cpu)?;
    if let Some(idle) = cpu.idle {
        out.need(Controller::Cpu, IDLE)?;
        // A host without cpu.idle (before 5.15) is one where nothing is idle.
        out.push(Write {
            controller: Some(Controller::Cpu),
            file: "cpu.idle".into(),
            value: u8::from(idle).to_string(),
            setting: IDLE.into(),
            tolerate: if idle { Tolerate::Nothing } else { Tolerate::Absent },
        });
    }
    // The kernel refuses a weight for a group that is idle: idle decides.
    if let Some(shares) = cpu.shares.filter(|s| *s != 0 && cpu.idle != Some(true)) {
        match out.need(Controller::Cpu, SHARES)? {
            Version::V1 => out.write(Controller::Cpu, "cpu.shares", shares, SHARES),
            Version::V2 => out.write(Controller::Cpu, "cpu.weight", shares_to_weight(shares), SHARES),
        }
    }
    bandwidth(out, cpu)
}

fn bandwidth(out: &mut Planner, cpu: &Cpu) -> Result<(), CgroupError> {
    let quota = cpu.quota.filter(|q| *q != 0);
    let period = cpu.period.filter(|p| *p != 0);
    if let Some(quota) = quota.filter(|q| *q < -1) {
        return Err(invalid(QUOTA, quota, "is negative"));
    }
    if let Some(quota) = quota.filter(|q| (0..LEAST).contains(q)) {
        return Err(invalid(QUOTA, quota, "is less than 1000 microseconds, the least that the kernel takes"));
    }
    if let Some(period) = period.filter(|p| !PERIODS.contains(p)) {
        return Err(invalid(PERIOD, period, "is not between 1000 and 1000000 microseconds"));
    }
    if quota.is_some() || period.is_some() {
        match out.need(Controller::Cpu, if quota.is_some() { QUOTA } else { PERIOD })? {
            Version::V1 => {
                // The period first: quota over period may not be more than the parent's.
                if let Some(period) = period {
                    out.write(Controller::Cpu, "cpu.cfs_period_us", period, PERIOD);
                }
                if let Some(quota) = quota {
                    out.write(Controller::Cpu, "cpu.cfs_quota_us", quota, QUOTA);
                }
            }
            Version::V2 => {
                let quota = quota.filter(|q| *q > 0).map_or("max".to_owned(), |q| q.to_string());
                out.write(
                    Controller::Cpu,
                    "cpu.max",
                    format!("{quota} {}", period.unwrap_or(USUAL_PERIOD)),
                    QUOTA,
                );
            }
        }
    }
    if let Some(burst) = cpu.burst {
        let file = match out.need(Controller::Cpu, BURST)? {
            Version::V1 => "cpu.cfs_burst_us",
            Version::V2 => "cpu.max.burst",
        };
        out.write(Controller::Cpu, file, burst, BURST);
    }
    Ok(())
}

fn realtime(out: &mut Planner, cpu: &Cpu) -> Result<(), CgroupError> {
    if let Some(period) = cpu.realtime_period.filter(|p| *p != 0) {
        out.v1_only(Controller::Cpu, RT_PERIOD)?;
        out.write(Controller::Cpu, "cpu.rt_period_us", period, RT_PERIOD);
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|r| *r != 0) {
        out.v1_only(Controller::Cpu, RT_RUNTIME)?;
        out.write(Controller::Cpu, "cpu.rt_runtime_us", runtime, RT_RUNTIME);
    }
    Ok(())
}

fn placement(out: &mut Planner, cpu: &Cpu) -> Result<(), CgroupError> {
    let settings = [
        (&cpu.cpus, "cpuset.cpus", "linux.resources.cpu.cpus"),
        (&cpu.mems, "cpuset.mems", "linux.resources.cpu.mems"),
    ];
    for (list, file, setting) in settings {
        let Some(list) = list.as_deref().filter(|l| !l.is_empty()) else { continue };
        if list.len() > 1024
            || !list.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b',' | b':' | b'/'))
        {
            return Err(invalid(setting, list, "is not a list such as 0-3,7"));
        }
        out.need(Controller::Cpuset, setting)?;
        out.write(Controller::Cpuset, file, list, setting);
    }
    Ok(())
}
