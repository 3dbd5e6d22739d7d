//! `update`: other limits for a container. What is not named stays.

use std::path::Path;

use berth_container::plan;
use berth_sys::cgroup::Resources;
use berth_sys::fs::{read_bounded, read_bounded_from};
use serde_json::{Map, Value, json};

use super::refused;
use crate::OciError;
use crate::cli::Update;
use crate::record::Status;
use crate::store::Store;

pub(super) fn update(store: &Store, options: &Update) -> Result<(), OciError> {
    let resources = match &options.resources {
        Some(path) => from_file(path)?,
        None => from_options(options)?,
    };
    let resources = converted(&resources)?;
    let (locked, record) = store.locked(&options.id)?;
    match locked.status(&record)? {
        Status::Created | Status::Running | Status::Paused => {}
        status => {
            let (id, needed) = (options.id.clone(), "created or running");
            return Err(OciError::State { verb: "update", id, status, needed });
        }
    }
    Ok(record.group()?.with(|group| group.update(&resources))?)
}

/// By way of a whole specification, whose parser and conversion refuse what is not known or not done. Rules for devices are left
/// out, as runc does: callers send those of the beginning along, and to write them again would close every device for a moment and
/// take back what a hook has given since.
fn converted(resources: &Value) -> Result<Resources, OciError> {
    let whole =
        json!({ "ociVersion": "1.0.0", "root": { "path": "/" }, "linux": { "resources": resources } });
    let whole = serde_json::to_vec(&whole).map_err(|e| OciError::invalid("the resources", e))?;
    let mut resources = plan::resources(&plan::parse(&whole)?)?;
    resources.devices.clear();
    Ok(resources)
}

fn from_file(path: &Path) -> Result<Value, OciError> {
    let limit = plan::MAX_SPEC as u64;
    let bytes = if path == Path::new("-") {
        read_bounded_from(std::io::stdin().lock(), limit)
    } else {
        read_bounded(path, limit)
    };
    let bytes = bytes.map_err(OciError::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(|e| OciError::invalid(path.display().to_string(), e))
}

fn from_options(options: &Update) -> Result<Value, OciError> {
    let not_zero =
        |text: &Option<String>| text.as_ref().is_some_and(|text| !matches!(text.as_str(), "" | "0"));
    if not_zero(&options.kernel_memory) {
        return Err(refused("--kernel-memory", "the kernel has no such limit any more"));
    }
    if not_zero(&options.kernel_memory_tcp) {
        return Err(refused("--kernel-memory-tcp", "the kernel has no such limit any more"));
    }
    if not_zero(&options.l3_cache_schema) || not_zero(&options.mem_bw_schema) {
        return Err(refused("--l3-cache-schema and --mem-bw-schema", "Berth does not set Intel RDT"));
    }
    let bytes = |name: &str, text: &Option<String>| -> Result<Value, OciError> {
        let Some(text) = text else { return Ok(Value::Null) };
        bytes(text)
            .map(Value::from)
            .ok_or_else(|| OciError::invalid(name, "bytes, as 1048576, 1024k or 1g; -1 for no limit"))
    };
    let resources = json!({
        "cpu": some(&[
            ("shares", json!(options.cpu_share)),
            ("quota", json!(options.cpu_quota)),
            ("period", json!(options.cpu_period)),
            ("burst", json!(options.cpu_burst)),
            ("realtimeRuntime", json!(options.cpu_rt_runtime)),
            ("realtimePeriod", json!(options.cpu_rt_period)),
            ("idle", json!(options.cpu_idle)),
            ("cpus", json!(options.cpuset_cpus)),
            ("mems", json!(options.cpuset_mems)),
        ]),
        "memory": some(&[
            ("limit", bytes("--memory", &options.memory)?),
            ("reservation", bytes("--memory-reservation", &options.memory_reservation)?),
            ("swap", bytes("--memory-swap", &options.memory_swap)?),
        ]),
        "blockIO": some(&[("weight", json!(options.blkio_weight))]),
        "pids": some(&[("limit", json!(options.pids_limit))]),
    });
    let sections = resources.as_object().cloned().unwrap_or_default();
    let sections =
        sections.into_iter().filter(|(_, section)| section.as_object().is_some_and(|s| !s.is_empty()));
    Ok(Value::Object(sections.collect()))
}

/// Those that are given.
fn some(fields: &[(&str, Value)]) -> Value {
    let given = fields.iter().filter(|(_, value)| !value.is_null());
    Value::Object(given.map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>())
}

/// A number of bytes, with k, m, g or t behind it (powers of 1024), and a b or iB behind that.
fn bytes(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|c: char| !(c.is_ascii_digit() || c == '-')).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let factor = match unit {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    let number: i64 = number.parse().ok()?;
    if number < -1 {
        None
    } else if number == -1 {
        unit.is_empty().then_some(-1)
    } else {
        number.checked_mul(factor)
    }
}

#[cfg(test)]
mod tests;
