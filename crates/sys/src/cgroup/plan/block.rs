//! Block devices.

use super::{Planner, Write, invalid};
use crate::cgroup::convert::blkio_weight_to_io;
use crate::cgroup::plan::{Tolerate, unsupported};
use crate::cgroup::{Blkio, CgroupError, Controller, Throttle, ThrottleKind, Version};

const WEIGHT: &str = "linux.resources.blockIO.weight";
const LEAF: &str = "linux.resources.blockIO.leafWeight";
const WEIGHT_DEVICE: &str = "linux.resources.blockIO.weightDevice";

pub(super) fn plan(out: &mut Planner, blkio: &Blkio) -> Result<(), CgroupError> {
    if let Some(weight) = blkio.weight.filter(|w| *w != 0) {
        check(weight, WEIGHT)?;
        match out.need(Controller::Blkio, WEIGHT)? {
            // BFQ has the weight since CFQ was removed (5.0).
            Version::V1 => out.write(Controller::Blkio, "blkio.bfq.weight", weight, WEIGHT),
            Version::V2 => out.write(Controller::Blkio, "io.weight", blkio_weight_to_io(weight), WEIGHT),
        }
    }
    if blkio.leaf_weight.is_some_and(|w| w != 0) {
        return Err(unsupported(LEAF, "no kernel since 5.0 has it"));
    }
    for device in blkio.weight_devices.iter().filter(|d| d.weight != 0) {
        check(device.weight, WEIGHT_DEVICE)?;
        let (major, minor) = (device.major, device.minor);
        match out.need(Controller::Blkio, WEIGHT_DEVICE)? {
            Version::V1 => {
                let value = format!("{major}:{minor} {}", device.weight);
                out.write(Controller::Blkio, "blkio.bfq.weight_device", value, WEIGHT_DEVICE);
            }
            Version::V2 => {
                let value = format!("{major}:{minor} {}", blkio_weight_to_io(device.weight));
                out.write(Controller::Blkio, "io.weight", value, WEIGHT_DEVICE);
            }
        }
    }
    blkio.throttles.iter().try_for_each(|throttle| limit(out, throttle))
}

fn check(weight: u16, setting: &str) -> Result<(), CgroupError> {
    if (10..=1000).contains(&weight) {
        Ok(())
    } else {
        Err(invalid(setting, weight, "is not between 10 and 1000"))
    }
}

fn limit(out: &mut Planner, throttle: &Throttle) -> Result<(), CgroupError> {
    let (v1, v2, setting) = match throttle.kind {
        ThrottleKind::ReadBytes => {
            ("blkio.throttle.read_bps_device", "rbps", "linux.resources.blockIO.throttleReadBpsDevice")
        }
        ThrottleKind::WriteBytes => {
            ("blkio.throttle.write_bps_device", "wbps", "linux.resources.blockIO.throttleWriteBpsDevice")
        }
        ThrottleKind::ReadOperations => {
            ("blkio.throttle.read_iops_device", "riops", "linux.resources.blockIO.throttleReadIOPSDevice")
        }
        ThrottleKind::WriteOperations => {
            ("blkio.throttle.write_iops_device", "wiops", "linux.resources.blockIO.throttleWriteIOPSDevice")
        }
    };
    let Throttle { major, minor, rate, .. } = *throttle;
    let (file, value) = match out.need(Controller::Blkio, setting)? {
        Version::V1 => (v1, format!("{major}:{minor} {rate}")),
        Version::V2 if rate == 0 => ("io.max", format!("{major}:{minor} {v2}=max")),
        Version::V2 => ("io.max", format!("{major}:{minor} {v2}={rate}")),
    };
    out.push(Write {
        controller: Some(Controller::Blkio),
        file: file.into(),
        value,
        setting: setting.into(),
        tolerate: Tolerate::Nothing,
    });
    Ok(())
}
