//! The capability sets of a container's process.

use std::collections::{BTreeSet, HashSet};
use std::str::FromStr;

use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxCapabilitiesBuilder};

use crate::error::EngineError;
use crate::model::ContainerSecurity;

/// The default set of a container: the usual fourteen of container runtimes.
pub(crate) const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// Every capability, by its number in the kernel.
pub(crate) const ALL: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// The sets asked for, within what the daemon itself has (`held`, a bit per capability number).
///
/// `ALL` is applied before single names, adding before dropping: `drop ALL, add KILL` leaves KILL.
pub(crate) fn sets(security: &ContainerSecurity, held: u64) -> Result<LinuxCapabilities, EngineError> {
    let mut set: BTreeSet<u32> = BTreeSet::new();
    let everything = || ALL.iter().map(|c| number(*c)).filter(|n| held & (1 << n) != 0);
    let add = names("add_capabilities", &security.add_capabilities)?;
    let drop = names("drop_capabilities", &security.drop_capabilities)?;
    let ambient = names("add_ambient_capabilities", &security.ambient_capabilities)?;
    if security.privileged {
        set.extend(everything());
    } else {
        set.extend(DEFAULT.iter().map(|c| number(*c)));
        if add.all {
            set.extend(everything());
        }
        if drop.all {
            set.clear();
        }
        set.extend(&add.names);
        set.extend(&ambient.names);
        if ambient.all {
            set.extend(everything());
        }
        set.retain(|n| !drop.names.contains(n));
    }
    let whole: HashSet<Capability> = set.iter().map(|n| ALL[*n as usize]).collect();
    let mut raised: HashSet<Capability> = ambient.names.iter().map(|n| ALL[*n as usize]).collect();
    if ambient.all {
        raised.clone_from(&whole);
    }
    raised.retain(|c| whole.contains(c));
    let sets = LinuxCapabilitiesBuilder::default()
        .bounding(whole.clone())
        .effective(whole.clone())
        .permitted(whole)
        .inheritable(raised.clone())
        .ambient(raised)
        .build();
    Ok(sets.expect("every set is given"))
}

/// The capability's number in the kernel.
pub(crate) fn number(capability: Capability) -> u32 {
    let place = ALL.iter().position(|c| *c == capability).expect("the table has every capability");
    u32::try_from(place).expect("the table is short")
}

struct Names {
    all: bool,
    names: BTreeSet<u32>,
}

fn names(field: &'static str, list: &[String]) -> Result<Names, EngineError> {
    let mut names = Names { all: false, names: BTreeSet::new() };
    for text in list {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name == "ALL" {
            names.all = true;
            continue;
        }
        let capability = Capability::from_str(name)
            .map_err(|_| EngineError::invalid(field, format!("{text:?} is not a capability")))?;
        names.names.insert(number(capability));
    }
    Ok(names)
}

#[cfg(test)]
#[path = "capabilities/tests.rs"]
mod tests;
