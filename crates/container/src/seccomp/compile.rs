//! From a profile to a filter.
//!
//! ```text
//! architecture? --> its section: a binary search over ranges of call numbers that share a decision
//!                   a decision: a result, or conditions on arguments one after the other
//! ```
//!
//! Ranges make the search short: the four hundred calls that a default profile allows are some
//! eighty ranges, so that a call is decided within eight comparisons.

use std::collections::BTreeMap;

use super::arch::{Carried, X32_BIT, is_known};
use super::emit::{Backwards, Goto, Label, op};
use super::profile::{Action, Arg, MAX_ERRNO, MAX_NAMES, MAX_RULES, Op, Profile, Rule};
use super::{Arch, MAX_PROGRAM, Program, SeccompError};

/// What happens to a call number.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decision {
    Result(u32),
    /// The first whose conditions hold; the result when none does.
    Chain(Vec<Case>, u32),
}

/// A result under conditions that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Case {
    action: Action,
    tests: Vec<Test>,
}

/// A comparison of an argument, or of its low word alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Test {
    arg: Arg,
    wide: bool,
}

/// `ENOSYS`, for calls that are newer than the profile.
const NO_SUCH_CALL: Action = Action::Errno(38);

/// Compiles a profile for a kernel of the architecture `native`.
///
/// # Errors
/// [`SeccompError`] names the place in the profile.
pub fn compile(profile: &Profile, native: Arch) -> Result<Program, SeccompError> {
    check(profile)?;
    let mut architectures = vec![native];
    architectures
        .extend(native.family().iter().filter(|a| **a != native && profile.architectures.contains(*a)));

    let mut out = Backwards::default();
    let mut sections: Vec<(u32, Label)> = Vec::new();
    for audit in audits(&architectures).into_iter().rev() {
        let ranges = ranges(profile, audit, &architectures);
        // The search, when there is one, is what was written last.
        if let Goto::Return(result) = search(&mut out, &ranges) {
            out.push(op::RETURN, result);
        }
        sections.push((audit, out.push(op::LOAD, NUMBER)));
    }
    let mut next = Goto::Return(Action::KillProcess.code());
    for (audit, section) in sections {
        next = Goto::At(out.branch(op::JUMP_EQ, audit, Goto::At(section), next));
    }
    out.push(op::LOAD, ARCHITECTURE);
    let instructions = out.finish();
    if instructions.len() > MAX_PROGRAM {
        return Err(SeccompError::TooLong(instructions.len()));
    }
    Ok(Program { instructions, flags: profile.flags.bits() })
}

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

fn audits(architectures: &[Arch]) -> Vec<u32> {
    let mut audits: Vec<u32> = Vec::new();
    for arch in architectures {
        if !audits.contains(&arch.audit()) {
            audits.push(arch.audit());
        }
    }
    audits
}

fn check(profile: &Profile) -> Result<(), SeccompError> {
    if profile.rules.len() > MAX_RULES {
        return Err(SeccompError::invalid("syscalls", format!("more than {MAX_RULES} rules")));
    }
    if profile.rules.iter().map(|r| r.names.len()).sum::<usize>() > MAX_NAMES {
        return Err(SeccompError::invalid("syscalls", format!("more than {MAX_NAMES} names")));
    }
    check_errno("defaultErrnoRet", profile.default)?;
    for (at, rule) in profile.rules.iter().enumerate() {
        check_errno(&format!("syscalls[{at}].errnoRet"), rule.action)?;
        if let Some(arg) = rule.args.iter().position(|a| a.index > 5) {
            let index = rule.args[arg].index;
            let place = format!("syscalls[{at}].args[{arg}].index");
            return Err(SeccompError::invalid(place, format!("{index} is more than 5")));
        }
        check_names(profile, at, rule)?;
    }
    Ok(())
}

fn check_errno(place: &str, action: Action) -> Result<(), SeccompError> {
    match action {
        Action::Errno(number) if u32::from(number) > MAX_ERRNO => {
            Err(SeccompError::invalid(place, format!("{number} is more than {MAX_ERRNO}")))
        }
        _ => Ok(()),
    }
}

/// A call that is not known by name cannot be denied: there is no number to compare with. Leaving
/// out a rule is harmless only where it is not more strict than what the call gets without it.
fn check_names(profile: &Profile, at: usize, rule: &Rule) -> Result<(), SeccompError> {
    let weaker = rule.action.strictness() > profile.default.strictness();
    for (index, name) in rule.names.iter().enumerate() {
        let place = || format!("syscalls[{at}].names[{index}]");
        if name.is_empty() {
            return Err(SeccompError::invalid(place(), "is empty"));
        }
        if weaker && !is_known(name) {
            let name: String = name.chars().take(64).collect();
            let why = format!("the system call {name:?} is unknown, so it cannot be denied");
            return Err(SeccompError::unsupported(place(), why));
        }
    }
    Ok(())
}

/// The decisions for all call numbers under one `AUDIT_ARCH_*`: each from its number up to the next.
fn ranges(profile: &Profile, audit: u32, architectures: &[Arch]) -> Vec<(u32, Decision)> {
    let mut ranges = Vec::new();
    for arch in architectures.iter().filter(|a| a.audit() == audit) {
        let first = if *arch == Arch::X32 { X32_BIT } else { 0 };
        region(&mut ranges, profile, *arch, first);
    }
    if audit == Arch::X86_64.audit() && !architectures.contains(&Arch::X32) {
        put(&mut ranges, X32_BIT, Decision::Result(Action::KillProcess.code()));
        // A tracer skips a call by making its number -1.
        put(&mut ranges, u32::MAX, Decision::Result(profile.default.code()));
    }
    ranges
}

fn put(ranges: &mut Vec<(u32, Decision)>, from: u32, decision: Decision) {
    if let Some((start, last)) = ranges.last_mut()
        && *start == from
    {
        *last = decision;
        // What it was before may be what the range below has.
        if let [.., (_, below), (_, new)] = ranges.as_slice()
            && below == new
        {
            ranges.pop();
        }
    } else if ranges.last().is_none_or(|(_, last)| *last != decision) {
        ranges.push((from, decision));
    }
}

/// The calls of one architecture, whose numbers begin at `first`.
fn region(ranges: &mut Vec<(u32, Decision)>, profile: &Profile, arch: Arch, first: u32) {
    let default = Decision::Result(profile.default.code());
    put(ranges, first, default.clone());
    for (number, cases) in cases(profile, arch) {
        put(ranges, number, decide(cases, profile.default));
        put(ranges, number + 1, default.clone());
    }
    // Calls beyond all that the profile names are newer than it: a program is to take them as
    // missing and fall back, where a plain denial would end it.
    let named = profile.rules.iter().flat_map(|r| &r.names).filter_map(|name| arch.number(name)).max();
    if let Some(last) = named.filter(|_| !profile.default.permits()) {
        put(ranges, last + 1, Decision::Result(NO_SUCH_CALL.code()));
    }
}

/// Every case for each call number of the architecture.
fn cases(profile: &Profile, arch: Arch) -> BTreeMap<u32, Vec<Case>> {
    let mut cases: BTreeMap<u32, Vec<Case>> = BTreeMap::new();
    for rule in &profile.rules {
        let alternatives = alternatives(rule, arch);
        for name in &rule.names {
            if let Some(number) = arch.number(name) {
                cases.entry(number).or_default().extend(alternatives.iter().cloned());
            }
            if let Some(carried) = arch.carried(name) {
                carry(cases.entry(carried.by).or_default(), rule, carried, profile.default);
            }
        }
    }
    cases.retain(|_, list| !list.is_empty());
    cases
}

/// A rule's conditions; as many cases as conditions when two are about the same argument.
fn alternatives(rule: &Rule, arch: Arch) -> Vec<Case> {
    let tests: Vec<Test> = rule.args.iter().map(|arg| narrow(*arg, arch)).collect();
    let repeated =
        (1..tests.len()).any(|at| tests[..at].iter().any(|before| before.arg.index == tests[at].arg.index));
    if repeated {
        tests.into_iter().map(|test| Case { action: rule.action, tests: vec![test] }).collect()
    } else {
        vec![Case { action: rule.action, tests }]
    }
}

/// What a register of the architecture can hold of the value.
fn narrow(arg: Arg, arch: Arch) -> Test {
    let wide = !arch.is_32_bit();
    let width = if wide { u64::MAX } else { u64::from(u32::MAX) };
    let op = if let Op::MaskedEq(mask) = arg.op { Op::MaskedEq(mask & width) } else { arg.op };
    let mask = if let Op::MaskedEq(mask) = op { mask } else { u64::MAX };
    Test { arg: Arg { index: arg.index, value: arg.value & width & mask, op }, wide }
}

/// A call that goes through another has its arguments in memory, where no filter sees them. A rule
/// with conditions that denies then denies always, and one that permits permits nothing.
fn carry(cases: &mut Vec<Case>, rule: &Rule, carried: Carried, default: Action) {
    let stricter = rule.action.strictness() > default.strictness();
    if rule.args.is_empty() || stricter {
        let arg = Arg { index: 0, value: carried.call, op: Op::MaskedEq(carried.mask) };
        cases.push(Case { action: rule.action, tests: vec![Test { arg, wide: false }] });
    }
}

/// The most strict case first; what comes after one without conditions is never reached.
fn decide(mut cases: Vec<Case>, default: Action) -> Decision {
    cases.sort_by_key(|case| std::cmp::Reverse(case.action.strictness()));
    let mut last = default.code();
    if let Some(at) = cases.iter().position(|case| case.tests.is_empty()) {
        last = cases[at].action.code();
        cases.truncate(at);
    }
    while cases.last().is_some_and(|case| case.action.code() == last) {
        cases.pop();
    }
    if cases.is_empty() { Decision::Result(last) } else { Decision::Chain(cases, last) }
}

/// Writes the search; says where it begins, or the result when no search is needed.
fn search(out: &mut Backwards, ranges: &[(u32, Decision)]) -> Goto {
    match ranges {
        [] => Goto::Return(Action::KillProcess.code()),
        [(_, Decision::Result(result))] => Goto::Return(*result),
        [(_, Decision::Chain(cases, last))] => chain(out, cases, *last),
        _ => {
            let middle = ranges.len() / 2;
            let above = search(out, &ranges[middle..]);
            let below = search(out, &ranges[..middle]);
            Goto::At(out.branch(op::JUMP_GE, ranges[middle].0, above, below))
        }
    }
}

fn chain(out: &mut Backwards, cases: &[Case], last: u32) -> Goto {
    let mut next = Goto::Return(last);
    for case in cases.iter().rev() {
        let mut yes = Goto::Return(case.action.code());
        for test in case.tests.iter().rev() {
            yes = Goto::At(condition(out, *test, yes, next));
        }
        next = yes;
    }
    next
}

/// Writes the comparison of one argument, the low word before the high one as it is written
/// backwards.
fn condition(out: &mut Backwards, test: Test, yes: Goto, no: Goto) -> Label {
    let Test { arg, wide } = test;
    let offset = ARGUMENTS + 8 * u32::from(arg.index);
    let (high, low) = ((arg.value >> 32) as u32, (arg.value & 0xffff_ffff) as u32);
    // Less is not greater-or-equal.
    let (jump, equal_decides, yes, no) = match arg.op {
        Op::Eq | Op::MaskedEq(_) => (op::JUMP_EQ, true, yes, no),
        Op::Ne => (op::JUMP_EQ, true, no, yes),
        Op::Ge => (op::JUMP_GE, false, yes, no),
        Op::Gt => (op::JUMP_GT, false, yes, no),
        Op::Lt => (op::JUMP_GE, false, no, yes),
        Op::Le => (op::JUMP_GT, false, no, yes),
    };
    let mask = if let Op::MaskedEq(mask) = arg.op { mask } else { u64::MAX };
    let (mask_high, mask_low) = ((mask >> 32) as u32, (mask & 0xffff_ffff) as u32);
    out.branch(jump, low, yes, no);
    if mask_low != u32::MAX {
        out.push(op::AND, mask_low);
    }
    let compare_low = out.push(op::LOAD, offset);
    if !wide || mask_high == 0 {
        return compare_low;
    }
    let first = out.branch(op::JUMP_EQ, high, Goto::At(compare_low), no);
    if !equal_decides {
        out.branch(op::JUMP_GT, high, yes, Goto::At(first));
    }
    if mask_high != u32::MAX {
        out.push(op::AND, mask_high);
    }
    out.push(op::LOAD, offset + 4)
}
