//! Capabilities by name.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxCapabilities};
use rustix::thread::CapabilitySet;

use super::{Capabilities, PlanError};

/// The bit of a capability; `CAP_` in front and the case do not matter.
pub fn capability(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    CapabilitySet::from_name(bare).map(|one| one.bits())
}

/// The names, with `CAP_`, of the capabilities in a mask.
pub fn capability_names(mask: u64) -> Vec<String> {
    CapabilitySet::from_bits_retain(mask).iter_names().map(|(name, _)| format!("CAP_{name}")).collect()
}

fn mask(set: Option<&HashSet<Capability>>, field: &str) -> Result<u64, PlanError> {
    let mut mask = 0;
    for item in set.into_iter().flatten() {
        let name = item.to_string();
        mask |= capability(&name).ok_or_else(|| PlanError::invalid(field, format!("{name} is not known")))?;
    }
    Ok(mask)
}

/// The five sets. No list is an empty set.
pub(super) fn sets(spec: Option<&LinuxCapabilities>) -> Result<Capabilities, PlanError> {
    let Some(spec) = spec else {
        return Ok(Capabilities::default());
    };
    let mut sets = Capabilities {
        bounding: mask(spec.bounding().as_ref(), "process.capabilities.bounding")?,
        effective: mask(spec.effective().as_ref(), "process.capabilities.effective")?,
        permitted: mask(spec.permitted().as_ref(), "process.capabilities.permitted")?,
        inheritable: mask(spec.inheritable().as_ref(), "process.capabilities.inheritable")?,
        ambient: mask(spec.ambient().as_ref(), "process.capabilities.ambient")?,
    };
    let within = |field: &str, set: u64, of: &str, limit: u64| match set & !limit {
        0 => Ok(()),
        more => {
            let names = capability_names(more).join(", ");
            Err(PlanError::invalid(field, format!("{names} is not in process.capabilities.{of}")))
        }
    };
    within("process.capabilities.effective", sets.effective, "permitted", sets.permitted)?;
    // What is not permitted and inheritable is never ambient, capabilities(7) says: asking for it
    // changes nothing. `runc spec` writes such lists, so they are not refused.
    sets.ambient &= sets.permitted & sets.inheritable;
    within("process.capabilities.inheritable", sets.inheritable, "bounding", sets.bounding)?;
    Ok(sets)
}
