//! The capability sets of a container's process.

use std::collections::HashSet;

use berth_container::plan::capability;
use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxCapabilitiesBuilder};
use rustix::thread::CapabilitySet;

use crate::error::EngineError;
use crate::model::ContainerSecurity;

/// The default set of a container: the usual fourteen of container runtimes.
pub(crate) const DEFAULT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// The sets asked for, within what the daemon itself has (`held`, a bit per capability number).
///
/// `ALL` is applied before single names, adding before dropping: `drop ALL, add KILL` leaves KILL.
pub(crate) fn sets(security: &ContainerSecurity, held: u64) -> Result<LinuxCapabilities, EngineError> {
    let everything = CapabilitySet::from_bits_retain(held);
    let add = names("add_capabilities", &security.add_capabilities)?;
    let drop = names("drop_capabilities", &security.drop_capabilities)?;
    let ambient = names("add_ambient_capabilities", &security.ambient_capabilities)?;
    let mut set = if security.privileged { everything } else { DEFAULT };
    if !security.privileged {
        if add.all {
            set |= everything;
        }
        if drop.all {
            set = CapabilitySet::empty();
        }
        set |= add.names | ambient.names;
        if ambient.all {
            set |= everything;
        }
        set -= drop.names;
    }
    let raised = if ambient.all { set } else { ambient.names & set };
    let sets = LinuxCapabilitiesBuilder::default()
        .bounding(named(set))
        .effective(named(set))
        .permitted(named(set))
        .inheritable(named(raised))
        .ambient(named(raised))
        .build();
    Ok(sets.expect("every set is given"))
}

/// Those of a set that have a name, as a specification has them.
fn named(set: CapabilitySet) -> HashSet<Capability> {
    set.iter_names().map(|(name, _)| name.parse().expect("a name of linux/capability.h")).collect()
}

/// A set of a specification as a bit mask.
pub(crate) fn mask(set: &HashSet<Capability>) -> u64 {
    set.iter().filter_map(|one| capability(&one.to_string())).fold(0, |mask, bit| mask | bit)
}

struct Names {
    all: bool,
    names: CapabilitySet,
}

fn names(field: &'static str, list: &[String]) -> Result<Names, EngineError> {
    let mut names = Names { all: false, names: CapabilitySet::empty() };
    for text in list {
        if ["ALL", "CAP_ALL"].iter().any(|all| text.eq_ignore_ascii_case(all)) {
            names.all = true;
            continue;
        }
        let bit = capability(text)
            .ok_or_else(|| EngineError::invalid(field, format!("{text:?} is not a capability")))?;
        names.names |= CapabilitySet::from_bits_retain(bit);
    }
    Ok(names)
}

#[cfg(test)]
#[path = "capabilities/tests.rs"]
mod tests;
