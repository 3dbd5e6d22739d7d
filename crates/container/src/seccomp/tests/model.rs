//! What a profile means, said as plainly as possible: every rule is looked at for every call.

use super::super::arch::Arch;
use super::super::profile::{Action, Arg, Op, Profile, Rule};

/// The result for a call of `arch` on a kernel of `native`.
pub(super) fn expect(profile: &Profile, native: Arch, arch: Arch, number: u32, args: [u64; 6]) -> u32 {
    if arch != native && !(profile.architectures.contains(&arch) && native.family().contains(&arch)) {
        return Action::KillProcess.code();
    }
    let mut decided: Option<Action> = None;
    for rule in &profile.rules {
        let hit = rule.names.iter().any(|name| {
            let direct = arch.number(name) == Some(number) && holds(rule, arch, args);
            direct || through_another(rule, profile, arch, name, number, args)
        });
        if hit && decided.is_none_or(|known| rule.action.strictness() > known.strictness()) {
            decided = Some(rule.action);
        }
    }
    let newest = profile.rules.iter().flat_map(|r| &r.names).filter_map(|n| arch.number(n)).max();
    match decided {
        Some(action) => action.code(),
        None if !profile.default.permits() && newest.is_some_and(|newest| number > newest) => {
            Action::Errno(38).code()
        }
        None => profile.default.code(),
    }
}

fn through_another(
    rule: &Rule,
    profile: &Profile,
    arch: Arch,
    name: &str,
    number: u32,
    args: [u64; 6],
) -> bool {
    let denies = rule.action.strictness() > profile.default.strictness();
    arch.carried(name).is_some_and(|carried| {
        carried.by == number && args[0] & carried.mask == carried.call && (rule.args.is_empty() || denies)
    })
}

fn holds(rule: &Rule, arch: Arch, args: [u64; 6]) -> bool {
    let hits: Vec<bool> = rule.args.iter().map(|arg| compare(arg, arch, args)).collect();
    let mut indexes: Vec<u8> = rule.args.iter().map(|a| a.index).collect();
    indexes.sort_unstable();
    indexes.dedup();
    if indexes.len() < rule.args.len() { hits.contains(&true) } else { !hits.contains(&false) }
}

fn compare(arg: &Arg, arch: Arch, args: [u64; 6]) -> bool {
    let width = if matches!(arch, Arch::X86 | Arch::X32 | Arch::Arm) { 0xffff_ffff } else { u64::MAX };
    let (have, want) = (args[usize::from(arg.index)] & width, arg.value & width);
    match arg.op {
        Op::Ne => have != want,
        Op::Lt => have < want,
        Op::Le => have <= want,
        Op::Eq => have == want,
        Op::Ge => have >= want,
        Op::Gt => have > want,
        Op::MaskedEq(mask) => have & mask & width == want & mask,
    }
}
