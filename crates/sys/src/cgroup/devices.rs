//! Which devices a group may use.
//!
//! v1 keeps a default and a list of exceptions, v2 asks an eBPF program. Both get the same
//! [`Policy`], so that the same rules mean the same on every host (docs/adr/0010). The program is assembled by hand:
//! it needs neither libbpf nor a compiler.

use std::path::Path;

use super::{Access, CgroupError, DeviceKind, DeviceRule};
use crate::bpf::{self, Insn, Program};

const SETTING: &str = "linux.resources.devices";
/// The most rules of one container.
pub(super) const MAX_RULES: usize = 1024;

/// A default and what is excepted from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) allow: bool,
    pub(super) exceptions: Vec<Exception>,
}

/// One device, or all with a major number, or all of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exception {
    block: bool,
    major: Option<u32>,
    minor: Option<u32>,
    access: Access,
}

impl Policy {
    /// The policy that results from the rules, applied in order. A group without rules may do everything.
    ///
    /// A rule that revokes part of a wider exception (`allow c *:*`, then `deny c 1:3`) has no
    /// form on v1 and is refused on both versions.
    pub(super) fn from_rules(rules: &[DeviceRule]) -> Result<Policy, CgroupError> {
        let mut policy = Policy { allow: true, exceptions: Vec::new() };
        if rules.len() > MAX_RULES {
            return Err(CgroupError::Invalid {
                setting: SETTING.to_owned(),
                value: format!("{} rules", rules.len()),
                why: "are more than 1024",
            });
        }
        for (index, rule) in rules.iter().enumerate() {
            policy.apply(index, rule)?;
        }
        Ok(policy)
    }

    fn apply(&mut self, index: usize, rule: &DeviceRule) -> Result<(), CgroupError> {
        let whole = rule.major.is_none() && rule.minor.is_none() && rule.access == Access::ALL;
        if rule.kind == DeviceKind::All && whole {
            *self = Policy { allow: rule.allow, exceptions: Vec::new() };
            return Ok(());
        }
        let kinds: &[bool] = match rule.kind {
            DeviceKind::All => &[false, true],
            DeviceKind::Char => &[false],
            DeviceKind::Block => &[true],
        };
        for block in kinds {
            let exception =
                Exception { block: *block, major: rule.major, minor: rule.minor, access: rule.access };
            if rule.allow == self.allow {
                self.take_back(index, exception)?;
            } else {
                self.except(exception);
            }
        }
        Ok(())
    }

    fn except(&mut self, new: Exception) {
        match self.exceptions.iter_mut().find(|e| e.same_devices(&new)) {
            Some(known) => known.access = union(known.access, new.access),
            None => self.exceptions.push(new),
        }
    }

    fn take_back(&mut self, index: usize, rule: Exception) -> Result<(), CgroupError> {
        for known in &mut self.exceptions {
            if rule.covers(known) {
                known.access = minus(known.access, rule.access);
            } else if known.overlaps(&rule) && overlap(known.access, rule.access) {
                return Err(CgroupError::Unsupported {
                    setting: format!("{SETTING}[{index}]"),
                    why: "it revokes part of what an earlier, wider rule allows".to_owned(),
                });
            }
        }
        self.exceptions.retain(|e| e.access != Access::default());
        Ok(())
    }

    /// The writes for v1: first the default, which also clears the list.
    pub(super) fn v1_writes(&self) -> Vec<(&'static str, String)> {
        let (all, one) =
            if self.allow { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
        let mut writes = vec![(all, "a".to_owned())];
        writes.extend(self.exceptions.iter().map(|e| (one, e.to_string())));
        writes
    }

    /// The program for v2: returns 1 to allow. The exceptions do not depend on their order.
    pub(super) fn program(&self) -> Vec<Insn> {
        use bpf::Reg::{R0, R1, R2, R3, R4, R5};
        let mut code = vec![
            // struct bpf_cgroup_dev_ctx: access << 16 | kind, major, minor.
            bpf::load_word(R2, R1, 0),
            bpf::load_word(R3, R1, 0),
            bpf::and(R2, 0xffff),
            bpf::shift_right(R3, 16),
            bpf::load_word(R4, R1, 4),
            bpf::load_word(R5, R1, 8),
        ];
        for exception in &self.exceptions {
            let mut test = Vec::with_capacity(8);
            let mut jumps = Vec::with_capacity(4);
            jumps.push(test.len());
            test.push(bpf::jump_not_equal(R2, if exception.block { 1 } else { 2 }));
            if exception.access != Access::ALL {
                test.push(bpf::copy(R1, R3));
                test.push(bpf::and(R1, exception.bits()));
                jumps.push(test.len());
                // An allowed access must be excepted as a whole, a denied one in any part.
                test.push(if self.allow { bpf::jump_equal(R1, 0) } else { bpf::jump_not_equal_reg(R1, R3) });
            }
            for (register, number) in [(R4, exception.major), (R5, exception.minor)] {
                if let Some(number) = number {
                    jumps.push(test.len());
                    test.push(bpf::jump_not_equal(register, number.cast_signed()));
                }
            }
            test.push(bpf::set(R0, i32::from(!self.allow)));
            test.push(bpf::exit());
            for at in jumps {
                test[at] = test[at].jumping_over(test.len() - at - 1);
            }
            code.extend(test);
        }
        code.extend([bpf::set(R0, i32::from(self.allow)), bpf::exit()]);
        code
    }
}

impl Exception {
    fn same_devices(&self, other: &Exception) -> bool {
        (self.block, self.major, self.minor) == (other.block, other.major, other.minor)
    }

    /// Whether every device of `other` is one of this.
    fn covers(&self, other: &Exception) -> bool {
        let within = |outer: Option<u32>, inner| outer.is_none() || outer == inner;
        self.block == other.block && within(self.major, other.major) && within(self.minor, other.minor)
    }

    fn overlaps(&self, other: &Exception) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.block == other.block && meet(self.major, other.major) && meet(self.minor, other.minor)
    }

    /// As `BPF_DEVCG_ACC_*`.
    fn bits(&self) -> i32 {
        i32::from(self.access.make) | i32::from(self.access.read) << 1 | i32::from(self.access.write) << 2
    }
}

impl std::fmt::Display for Exception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let kind = if self.block { 'b' } else { 'c' };
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        for (set, letter) in [(self.access.read, "r"), (self.access.write, "w"), (self.access.make, "m")] {
            f.write_str(if set { letter } else { "" })?;
        }
        Ok(())
    }
}

fn union(a: Access, b: Access) -> Access {
    Access { read: a.read || b.read, write: a.write || b.write, make: a.make || b.make }
}

fn minus(a: Access, b: Access) -> Access {
    Access { read: a.read && !b.read, write: a.write && !b.write, make: a.make && !b.make }
}

fn overlap(a: Access, b: Access) -> bool {
    minus(a, b) != a
}

/// Attaches the program of `policy` to the v2 group in `dir`, in the place of one attached earlier.
pub(super) fn attach(dir: &Path, policy: &Policy) -> Result<(), CgroupError> {
    let failed = |source| CgroupError::Devices { path: dir.to_owned(), source };
    let group = super::group::open(dir, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY)?;
    let old = bpf::attached_devices(&group).map_err(failed)?;
    let program = Program::load_device(&policy.program()).map_err(failed)?;
    // With both attached an access needs the consent of both: nothing more is allowed at any time.
    program.attach_device(&group).map_err(failed)?;
    old.iter().try_for_each(|program| program.detach_device(&group)).map_err(failed)
}

#[cfg(test)]
mod tests;
