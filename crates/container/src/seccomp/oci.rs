//! The profile of a bundle's `config.json`, as it was parsed with the rest of it, and the other way round.

use std::borrow::Cow;

use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};

use super::json::{action, architecture, argument, flags};
use super::profile::{Action, Arg, Flags, Op, Profile, Rule};
use super::{Arch, SeccompError};

impl TryFrom<&LinuxSeccomp> for Profile {
    type Error = SeccompError;

    fn try_from(spec: &LinuxSeccomp) -> Result<Profile, SeccompError> {
        let mut architectures = Vec::new();
        for (at, arch) in spec.architectures().iter().flatten().enumerate() {
            architectures.extend(architecture(&format!("architectures[{at}]"), &arch.to_string())?);
        }
        let mut rules = Vec::new();
        for (at, call) in spec.syscalls().iter().flatten().enumerate() {
            let place = format!("syscalls[{at}]");
            let mut args = Vec::new();
            for (at, arg) in call.args().iter().flatten().enumerate() {
                let place = format!("{place}.args[{at}]");
                let index = u64::try_from(arg.index()).unwrap_or(u64::MAX);
                args.push(argument(&place, index, arg.value(), arg.value_two(), &arg.op().to_string())?);
            }
            let (name, errno) = (call.action().to_string(), call.errno_ret());
            rules.push(Rule {
                names: call.names().iter().cloned().map(Cow::Owned).collect(),
                action: action(&format!("{place}.action"), &format!("{place}.errnoRet"), &name, errno)?,
                args,
            });
        }
        let names: Option<Vec<String>> =
            spec.flags().as_ref().map(|list| list.iter().map(ToString::to_string).collect());
        let default = spec.default_action().to_string();
        Ok(Profile {
            default: action("defaultAction", "defaultErrnoRet", &default, spec.default_errno_ret())?,
            architectures,
            flags: flags(names.as_deref())?,
            rules,
        })
    }
}

/// For a runtime that makes its own filter: the same profile, for this host's programs.
impl From<&Profile> for LinuxSeccomp {
    fn from(profile: &Profile) -> Self {
        let (default, errno) = action_of(profile.default);
        let mut spec = LinuxSeccomp::default();
        spec.set_default_action(default).set_default_errno_ret(errno);
        spec.set_architectures(Some(
            Arch::native().into_iter().chain(profile.architectures.iter().copied()).map(arch).collect(),
        ));
        // What a profile without flags says, and runc before 1.2 knows no other.
        let usual = Flags { log: false, spec_allow: true };
        let mut set = Vec::new();
        if profile.flags.log {
            set.push(LinuxSeccompFilterFlag::SeccompFilterFlagLog);
        }
        if profile.flags.spec_allow {
            set.push(LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow);
        }
        spec.set_flags(Some(set).filter(|_| profile.flags != usual));
        spec.set_syscalls(Some(profile.rules.iter().map(syscall).collect()));
        spec
    }
}

fn syscall(rule: &Rule) -> LinuxSyscall {
    let (action, errno) = action_of(rule.action);
    let mut call = LinuxSyscall::default();
    call.set_names(rule.names.iter().map(|name| name.clone().into_owned()).collect());
    call.set_action(action).set_errno_ret(errno);
    call.set_args(Some(rule.args.iter().map(condition).collect::<Vec<_>>()).filter(|args| !args.is_empty()));
    call
}

fn condition(arg: &Arg) -> LinuxSeccompArg {
    let (op, value, value_two) = match arg.op {
        Op::Ne => (LinuxSeccompOperator::ScmpCmpNe, arg.value, None),
        Op::Lt => (LinuxSeccompOperator::ScmpCmpLt, arg.value, None),
        Op::Le => (LinuxSeccompOperator::ScmpCmpLe, arg.value, None),
        Op::Eq => (LinuxSeccompOperator::ScmpCmpEq, arg.value, None),
        Op::Ge => (LinuxSeccompOperator::ScmpCmpGe, arg.value, None),
        Op::Gt => (LinuxSeccompOperator::ScmpCmpGt, arg.value, None),
        // Here the first value is the mask.
        Op::MaskedEq(mask) => (LinuxSeccompOperator::ScmpCmpMaskedEq, mask, Some(arg.value)),
    };
    let made = LinuxSeccompArgBuilder::default().index(usize::from(arg.index)).value(value).op(op);
    let made = match value_two {
        Some(second) => made.value_two(second),
        None => made,
    };
    made.build().expect("every part is given")
}

fn action_of(action: Action) -> (LinuxSeccompAction, Option<u32>) {
    match action {
        Action::KillProcess => (LinuxSeccompAction::ScmpActKillProcess, None),
        Action::KillThread => (LinuxSeccompAction::ScmpActKillThread, None),
        Action::Trap => (LinuxSeccompAction::ScmpActTrap, None),
        Action::Errno(number) => (LinuxSeccompAction::ScmpActErrno, Some(number.into())),
        Action::Trace(number) => (LinuxSeccompAction::ScmpActTrace, Some(number.into())),
        Action::Log => (LinuxSeccompAction::ScmpActLog, None),
        Action::Allow => (LinuxSeccompAction::ScmpActAllow, None),
    }
}

fn arch(arch: Arch) -> OciArch {
    match arch {
        Arch::X86_64 => OciArch::ScmpArchX86_64,
        Arch::X86 => OciArch::ScmpArchX86,
        Arch::X32 => OciArch::ScmpArchX32,
        Arch::Aarch64 => OciArch::ScmpArchAarch64,
        Arch::Arm => OciArch::ScmpArchArm,
    }
}
