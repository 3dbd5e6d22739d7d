//! Profiles as files: the OCI form (`linux.seccomp` of a bundle) and Docker's, which adds `archMap` and
//! conditions on rules. Unknown keys are refused: an ignored one could have been what denies.

use std::borrow::Cow;

use berth_sys::kernel;
use serde::Deserialize;

use super::profile::{Action, Arg, Flags, Op, Profile, Rule};
use super::{Arch, SeccompError};

/// The longest text of a profile, in bytes.
pub const MAX_PROFILE: usize = 1 << 20;

/// What the conditions of a profile's rules are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conditions {
    /// The container's bounding set, a bit for each capability.
    pub bounding: u64,
    /// The kernel's architecture.
    pub native: Arch,
    /// The kernel's version, major and minor.
    pub kernel: (u32, u32),
}

impl Conditions {
    /// Those of this host for a container with that bounding set.
    ///
    /// # Errors
    /// [`SeccompError::Unsupported`] on an architecture without a table.
    pub fn of_host(bounding: u64) -> Result<Conditions, SeccompError> {
        let native = Arch::native().ok_or_else(|| {
            SeccompError::unsupported(
                "a filter",
                format!("no system call table for {}", std::env::consts::ARCH),
            )
        })?;
        Ok(Conditions { bounding, native, kernel: kernel::version() })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    default_action: String,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchMap>>,
    flags: Option<Vec<String>>,
    #[serde(rename = "listenerPath")]
    _listener_path: Option<String>,
    #[serde(rename = "listenerMetadata")]
    _listener_metadata: Option<String>,
    syscalls: Option<Vec<Call>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Call {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<Condition>>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Condition {
    index: u64,
    value: u64,
    value_two: Option<u64>,
    op: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// The profile in a text, for a container and host with these conditions.
///
/// # Errors
/// [`SeccompError`] says where in the text.
pub fn parse(text: &[u8], conditions: Conditions) -> Result<Profile, SeccompError> {
    if text.len() > MAX_PROFILE {
        return Err(SeccompError::TooLarge(text.len()));
    }
    let file: File = serde_json::from_slice(text).map_err(SeccompError::Json)?;
    let architectures = architectures(&file, conditions.native)?;
    let mut rules = Vec::new();
    for (at, call) in file.syscalls.unwrap_or_default().into_iter().enumerate() {
        let place = format!("syscalls[{at}]");
        if holds(&place, call.includes.as_ref(), call.excludes.as_ref(), conditions)? {
            rules.push(rule(&place, call)?);
        }
    }
    Ok(Profile {
        default: action("defaultAction", "defaultErrnoRet", &file.default_action, file.default_errno_ret)?,
        architectures,
        flags: flags(file.flags.as_deref())?,
        rules,
    })
}

fn architectures(file: &File, native: Arch) -> Result<Vec<Arch>, SeccompError> {
    let listed = file.architectures.as_deref().unwrap_or_default();
    let map = file.arch_map.as_deref().unwrap_or_default();
    if !listed.is_empty() && !map.is_empty() {
        return Err(SeccompError::invalid("archMap", "cannot be combined with architectures"));
    }
    let mut found = Vec::new();
    for (at, name) in listed.iter().enumerate() {
        found.extend(architecture(&format!("architectures[{at}]"), name)?);
    }
    for (at, entry) in map.iter().enumerate() {
        let main = architecture(&format!("archMap[{at}].architecture"), &entry.architecture)?;
        found.extend(main.filter(|main| *main == native));
        for (sub, name) in entry.sub_architectures.iter().flatten().enumerate() {
            let arch = architecture(&format!("archMap[{at}].subArchitectures[{sub}]"), name)?;
            found.extend(arch.filter(|_| main == Some(native)));
        }
    }
    Ok(found)
}

/// An architecture by name: none for those of Linux whose programs never run on the kernels that
/// Berth supports, so that what a profile says of them has no effect.
pub(super) fn architecture(place: &str, name: &str) -> Result<Option<Arch>, SeccompError> {
    const OTHERS: &[&str] = &[
        "LOONGARCH64",
        "M68K",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PARISC",
        "PARISC64",
        "PPC",
        "PPC64",
        "PPC64LE",
        "RISCV64",
        "S390",
        "S390X",
        "SH",
        "SHEB",
    ];
    let other = name.strip_prefix("SCMP_ARCH_").is_some_and(|n| OTHERS.contains(&n));
    match Arch::parse(name) {
        None if !other => {
            Err(SeccompError::invalid(place, format!("unknown architecture {:?}", short(name))))
        }
        arch => Ok(arch),
    }
}

pub(super) fn flags(names: Option<&[String]>) -> Result<Flags, SeccompError> {
    // As runc does when a profile has no list of flags, not even an empty one.
    let Some(names) = names else { return Ok(Flags { log: false, spec_allow: true }) };
    let mut flags = Flags::default();
    for (at, name) in names.iter().enumerate() {
        match name.as_str() {
            "SECCOMP_FILTER_FLAG_LOG" => flags.log = true,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => flags.spec_allow = true,
            // The filter is loaded while there is one thread.
            "SECCOMP_FILTER_FLAG_TSYNC" => {}
            // It says how to wait for a supervisor, and there is none.
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => {
                return Err(SeccompError::unsupported(
                    format!("flags[{at}] {name}"),
                    "notifications to a supervisor are not supported",
                ));
            }
            other => {
                return Err(SeccompError::invalid(
                    format!("flags[{at}]"),
                    format!("unknown flag {:?}", short(other)),
                ));
            }
        }
    }
    Ok(flags)
}

/// An action by name. `errno` may only be given for those that use it.
pub(super) fn action(
    place: &str,
    errno_place: &str,
    name: &str,
    errno: Option<u32>,
) -> Result<Action, SeccompError> {
    let number = || {
        let number = errno.unwrap_or(1);
        u16::try_from(number)
            .map_err(|_| SeccompError::invalid(errno_place, format!("{number} is more than 65535")))
    };
    let action = match name {
        "SCMP_ACT_ERRNO" => return Ok(Action::Errno(number()?)),
        "SCMP_ACT_TRACE" => return Ok(Action::Trace(number()?)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_NOTIFY" => {
            return Err(SeccompError::unsupported(
                format!("{place} {name}"),
                "notifications to a supervisor are not supported",
            ));
        }
        other => return Err(SeccompError::invalid(place, format!("unknown action {:?}", short(other)))),
    };
    match errno {
        None => Ok(action),
        Some(_) => Err(SeccompError::invalid(errno_place, format!("{name} returns no error number"))),
    }
}

fn rule(place: &str, call: Call) -> Result<Rule, SeccompError> {
    let action =
        action(&format!("{place}.action"), &format!("{place}.errnoRet"), &call.action, call.errno_ret)?;
    let names = match (call.name, call.names) {
        (Some(_), Some(_)) => return Err(SeccompError::invalid(place, "has both name and names")),
        (Some(name), None) => vec![name],
        (None, names) => names.unwrap_or_default(),
    };
    if names.is_empty() {
        return Err(SeccompError::invalid(format!("{place}.names"), "is empty"));
    }
    let mut args = Vec::new();
    for (at, condition) in call.args.unwrap_or_default().into_iter().enumerate() {
        let Condition { index, value, value_two, op } = condition;
        args.push(argument(&format!("{place}.args[{at}]"), index, value, value_two, &op)?);
    }
    Ok(Rule { names: names.into_iter().map(Cow::Owned).collect(), action, args })
}

pub(super) fn argument(
    place: &str,
    index: u64,
    value: u64,
    value_two: Option<u64>,
    op: &str,
) -> Result<Arg, SeccompError> {
    let index = u8::try_from(index)
        .ok()
        .filter(|index| *index <= 5)
        .ok_or_else(|| SeccompError::invalid(format!("{place}.index"), format!("{index} is more than 5")))?;
    let op = match op {
        "SCMP_CMP_NE" => Op::Ne,
        "SCMP_CMP_LT" => Op::Lt,
        "SCMP_CMP_LE" => Op::Le,
        "SCMP_CMP_EQ" => Op::Eq,
        "SCMP_CMP_GE" => Op::Ge,
        "SCMP_CMP_GT" => Op::Gt,
        // Here the first value is the mask.
        "SCMP_CMP_MASKED_EQ" => {
            return Ok(Arg { index, value: value_two.unwrap_or(0), op: Op::MaskedEq(value) });
        }
        other => {
            return Err(SeccompError::invalid(
                format!("{place}.op"),
                format!("unknown operator {:?}", short(other)),
            ));
        }
    };
    Ok(Arg { index, value, op })
}

/// Whether a rule is in force: nothing of `excludes` holds, and everything of `includes` (any one of
/// several architectures).
fn holds(
    place: &str,
    includes: Option<&Filter>,
    excludes: Option<&Filter>,
    conditions: Conditions,
) -> Result<bool, SeccompError> {
    let (none, arch) = (Filter::default(), conditions.native.go_name());
    let has_arch = |filter: &Filter| filter.arches.iter().flatten().any(|a| a == arch);
    let within = |name: &str, filter: &Filter| -> Result<Vec<bool>, SeccompError> {
        let caps = filter.caps.iter().flatten().enumerate();
        caps.map(|(at, cap)| {
            let bit = capability(cap).ok_or_else(|| {
                let place = format!("{place}.{name}.caps[{at}]");
                SeccompError::invalid(place, format!("unknown capability {:?}", short(cap)))
            })?;
            Ok(conditions.bounding >> bit & 1 == 1)
        })
        .collect()
    };
    let reached = |name: &str, filter: &Filter| -> Result<Option<bool>, SeccompError> {
        let Some(wanted) = filter.min_kernel.as_deref().filter(|v| !v.is_empty()) else { return Ok(None) };
        let version = kernel::parse_version(wanted).ok_or_else(|| {
            let place = format!("{place}.{name}.minKernel");
            SeccompError::invalid(place, format!("{:?} is not a version such as 4.8", short(wanted)))
        })?;
        Ok(Some(conditions.kernel >= version))
    };
    let (includes, excludes) = (includes.unwrap_or(&none), excludes.unwrap_or(&none));
    let excluded = has_arch(excludes)
        || within("excludes", excludes)?.contains(&true)
        || reached("excludes", excludes)? == Some(true);
    let some_arch = includes.arches.as_ref().is_none_or(Vec::is_empty) || has_arch(includes);
    let included = some_arch
        && !within("includes", includes)?.contains(&false)
        && reached("includes", includes)? != Some(false);
    Ok(included && !excluded)
}

/// The number of a capability, which profiles write in capitals and with `CAP_` in front.
fn capability(name: &str) -> Option<u32> {
    let written = name.starts_with("CAP_") && !name.bytes().any(|b| b.is_ascii_lowercase());
    crate::plan::capability(name).filter(|_| written).map(u64::trailing_zeros)
}

pub(super) fn short(text: &str) -> String {
    text.chars().take(64).collect()
}
