//! What the kernel does with a container's calls, its time and its memory: filter and policies.

use oci_spec::runtime::{LinuxIOPriority, LinuxMemoryPolicy, LinuxSeccomp, Process, Scheduler, Spec};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Refused, unsupported};
use crate::api::{
    self, IoPrioClass, LinuxContainerAdjustment, LinuxSchedulerFlag, LinuxSchedulerPolicy, MpolFlag, MpolMode,
};

/// Puts them into the specification; the engine and the handler say what of it works.
pub(super) fn apply(
    wanted: &LinuxContainerAdjustment,
    spec: &mut Spec,
    process: &mut Process,
) -> Result<(), Refused> {
    if let Some(scheduler) = wanted.scheduler.as_ref().map(scheduler).transpose()? {
        process.set_scheduler(scheduler);
    }
    if let Some(priority) = wanted.io_priority.as_ref().map(io_priority).transpose()? {
        process.set_io_priority(priority);
    }
    let Some(linux) = spec.linux_mut().as_mut() else { return Ok(()) };
    if let Some(policy) = wanted.memory_policy.as_ref().map(memory_policy).transpose()? {
        linux.set_memory_policy(Some(policy));
    }
    if let Some(policy) = wanted.seccomp_policy.as_ref().map(seccomp).transpose()? {
        linux.set_seccomp(Some(policy));
    }
    Ok(())
}

/// A part of the specification in its own words: what it does not know is refused with them.
fn read<T: DeserializeOwned>(field: &'static str, value: Value) -> Result<T, Refused> {
    serde_json::from_value(value).map_err(|e| Refused::Invalid(field, e.to_string()))
}

fn unknown(field: &'static str, number: i32) -> Refused {
    Refused::Invalid(field, format!("there is no number {number}"))
}

/// None takes back what was said before.
fn scheduler(wanted: &api::LinuxScheduler) -> Result<Option<Scheduler>, Refused> {
    const FIELD: &str = "scheduler";
    let policy = LinuxSchedulerPolicy::try_from(wanted.policy).map_err(|_| unknown(FIELD, wanted.policy))?;
    if policy == LinuxSchedulerPolicy::SchedNone {
        return Ok(None);
    }
    let flag = |flag: &i32| LinuxSchedulerFlag::try_from(*flag).map_err(|_| unknown(FIELD, *flag));
    let flags = wanted.flags.iter().map(flag).collect::<Result<Vec<_>, _>>()?;
    let made = json!({
        "policy": policy.as_str_name(), "nice": wanted.nice, "priority": wanted.priority,
        "runtime": wanted.runtime, "deadline": wanted.deadline, "period": wanted.period,
    });
    let mut made: Scheduler = read(FIELD, made)?;
    if !flags.is_empty() {
        made.set_flags(Some(flags.into_iter().map(scheduler_flag).collect()));
    }
    Ok(Some(made))
}

fn scheduler_flag(flag: LinuxSchedulerFlag) -> oci_spec::runtime::LinuxSchedulerFlag {
    use oci_spec::runtime::LinuxSchedulerFlag as Made;
    match flag {
        LinuxSchedulerFlag::SchedFlagResetOnFork => Made::SchedResetOnFork,
        LinuxSchedulerFlag::SchedFlagReclaim => Made::SchedFlagReclaim,
        LinuxSchedulerFlag::SchedFlagDlOverrun => Made::SchedFlagDLOverrun,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => Made::SchedFlagKeepPolicy,
        LinuxSchedulerFlag::SchedFlagKeepParams => Made::SchedFlagKeepParams,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => Made::SchedFlagUtilClampMin,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => Made::SchedFlagUtilClampMax,
    }
}

/// None takes back what was said before.
fn io_priority(wanted: &api::LinuxIoPriority) -> Result<Option<LinuxIOPriority>, Refused> {
    const FIELD: &str = "io_priority";
    let class = IoPrioClass::try_from(wanted.class).map_err(|_| unknown(FIELD, wanted.class))?;
    if class == IoPrioClass::IoprioClassNone {
        return Ok(None);
    }
    read(FIELD, json!({ "class": class.as_str_name(), "priority": wanted.priority })).map(Some)
}

fn memory_policy(wanted: &api::LinuxMemoryPolicy) -> Result<LinuxMemoryPolicy, Refused> {
    const FIELD: &str = "memory_policy";
    let mode = MpolMode::try_from(wanted.mode).map_err(|_| unknown(FIELD, wanted.mode))?;
    let flag = |flag: &i32| {
        MpolFlag::try_from(*flag).map(|flag| flag.as_str_name()).map_err(|_| unknown(FIELD, *flag))
    };
    let flags = wanted.flags.iter().map(flag).collect::<Result<Vec<_>, _>>()?;
    read(FIELD, json!({ "mode": mode.as_str_name(), "nodes": wanted.nodes, "flags": flags }))
}

fn seccomp(wanted: &api::LinuxSeccomp) -> Result<LinuxSeccomp, Refused> {
    const FIELD: &str = "seccomp_policy";
    if !wanted.listener_path.is_empty() || !wanted.listener_metadata.is_empty() {
        return unsupported(FIELD, "calls cannot be passed to a listener");
    }
    let errno = |errno: &Option<api::OptionalUInt32>| errno.as_ref().map(|errno| errno.value);
    let argument = |of: &api::LinuxSeccompArg| json!({ "index": of.index, "value": of.value, "valueTwo": of.value_two, "op": of.op });
    let call = |of: &api::LinuxSyscall| {
        let mut call = Map::new();
        call.insert("names".to_owned(), json!(of.names));
        call.insert("action".to_owned(), json!(of.action));
        call.extend(errno(&of.errno_ret).map(|errno| ("errnoRet".to_owned(), json!(errno))));
        call.insert("args".to_owned(), of.args.iter().map(argument).collect());
        Value::Object(call)
    };
    let mut made = Map::new();
    made.insert("defaultAction".to_owned(), json!(wanted.default_action));
    made.extend(errno(&wanted.default_errno).map(|errno| ("defaultErrnoRet".to_owned(), json!(errno))));
    made.insert("architectures".to_owned(), json!(wanted.architectures));
    made.insert("flags".to_owned(), json!(wanted.flags));
    made.insert("syscalls".to_owned(), wanted.syscalls.iter().map(call).collect());
    read(FIELD, Value::Object(made))
}

#[cfg(test)]
mod tests;
