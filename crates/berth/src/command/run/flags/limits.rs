//! Limits: `-m`, `--cpus` and what the manifest has no fields for.

use anyhow::{Context, bail};
use berth_pod::manifest::Quantity;
use berth_pod::plan::{Extras, Ulimit};
use serde_json::{Map, Value, json};

use super::Run;

/// Below this no program starts; docker refuses it too.
const MIN_MEMORY: u64 = 6 << 20;

impl Run {
    pub(super) fn resources(&self) -> anyhow::Result<Value> {
        let mut limits = Map::new();
        if let Some(memory) = &self.memory {
            if size(memory, "--memory")? < MIN_MEMORY {
                bail!("--memory {memory:?}: at least 6m is needed, since a program must be started in it");
            }
            limits.insert("memory".to_owned(), json!(quantity(memory)));
        }
        if let Some(cpus) = &self.cpus {
            let parsed = cpus.parse::<f64>().ok().filter(|cpus| cpus.is_finite() && *cpus > 0.0);
            parsed.with_context(|| format!("invalid --cpus {cpus:?}: expected a number such as 0.5"))?;
            limits.insert("cpu".to_owned(), json!(cpus));
        }
        for option in &self.storage_opt {
            let Some(text) = option.strip_prefix("size=") else {
                bail!("--storage-opt {option:?}: the only option is size=SIZE");
            };
            size(text, "--storage-opt")?;
            limits.insert("ephemeral-storage".to_owned(), json!(quantity(text)));
        }
        Ok(json!({ "limits": limits }))
    }

    /// Those that only [`Extras`] has.
    pub(super) fn limits(&self) -> anyhow::Result<Extras> {
        let memory_swap = match self.memory_swap.as_deref() {
            None => None,
            Some("-1") => Some(-1),
            Some(text) => Some(i64::try_from(size(text, "--memory-swap")?).unwrap_or(i64::MAX)),
        };
        if memory_swap.is_some() && self.memory.is_none() {
            bail!("--memory-swap needs --memory: it is the limit of both together");
        }
        Ok(Extras {
            // docker's word for no limit is 0, too.
            pids_limit: self.pids_limit.map(|most| if most == 0 { -1 } else { most }),
            cpuset_cpus: self.cpuset_cpus.clone().unwrap_or_default(),
            cpuset_mems: self.cpuset_mems.clone().unwrap_or_default(),
            cpu_shares: self.cpu_shares.filter(|shares| *shares > 0),
            memory_swap,
            oom_score_adj: self.oom_score_adj,
            ulimits: self.ulimit.iter().map(|text| ulimit(text)).collect::<anyhow::Result<_>>()?,
            ..Extras::default()
        })
    }
}

/// The limits of processes that the kernel has, as docker names them.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `nofile=1024:2048`
fn ulimit(text: &str) -> anyhow::Result<Ulimit> {
    let wrong = || {
        format!("invalid --ulimit {text:?}: expected NAME=SOFT or NAME=SOFT:HARD, such as nofile=1024:2048")
    };
    let (kind, values) = text.split_once('=').with_context(wrong)?;
    if !ULIMITS.contains(&kind) {
        bail!("--ulimit {text:?}: {kind:?} is none of {}", ULIMITS.join(", "));
    }
    let number = |text: &str| text.parse::<i64>().ok().filter(|limit| *limit >= -1).with_context(wrong);
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        bail!("--ulimit {text:?}: the soft limit is above the hard limit");
    }
    Ok(Ulimit { kind: kind.to_owned(), soft, hard })
}

/// The bytes of a size.
pub(super) fn size(text: &str, flag: &str) -> anyhow::Result<u64> {
    let parsed: Option<Quantity> = quantity(text).parse().ok();
    let parsed =
        parsed.with_context(|| format!("invalid {flag} {text:?}: expected a size such as 64m or 1g"))?;
    Ok(parsed.units())
}

/// A size as docker counts it: `64m`, `64M`, `64MB` and `64MiB` are all 64 times 1024 times 1024.
pub(super) fn quantity(text: &str) -> String {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let unit = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => "",
        "k" | "kb" | "ki" | "kib" => "Ki",
        "m" | "mb" | "mi" | "mib" => "Mi",
        "g" | "gb" | "gi" | "gib" => "Gi",
        "t" | "tb" | "ti" | "tib" => "Ti",
        // Refused unchanged.
        _ => suffix,
    };
    format!("{number}{unit}")
}
