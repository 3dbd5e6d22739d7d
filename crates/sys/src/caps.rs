//! Capability sets of the calling thread, as bit masks. Nothing here allocates: a child between clone and execve uses it.

use rustix::io::Errno;
use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// `CAP_SYS_ADMIN` as a bit.
pub const SYS_ADMIN: u64 = CapabilitySet::SYS_ADMIN.bits();
/// `CAP_SYS_RESOURCE` as a bit.
pub const SYS_RESOURCE: u64 = CapabilitySet::SYS_RESOURCE.bits();

/// The capabilities in force.
///
/// # Errors
/// Those of capget(2).
pub fn effective() -> Result<u64, Errno> {
    Ok(thread::capabilities(None)?.effective.bits())
}

/// Sets three of the sets.
///
/// # Errors
/// Those of capset(2): EPERM for what is not permitted already.
pub fn set(effective: u64, permitted: u64, inheritable: u64) -> Result<(), Errno> {
    let of = CapabilitySet::from_bits_retain;
    let sets =
        CapabilitySets { effective: of(effective), permitted: of(permitted), inheritable: of(inheritable) };
    thread::set_capabilities(None, sets)
}

/// Each capability of a mask alone, also those without a name.
fn each(mask: u64) -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS)
        .map(|number| 1 << number)
        .filter(move |bit| mask & bit != 0)
        .map(CapabilitySet::from_bits_retain)
}

/// Drops everything that is not in `keep` from the bounding set.
///
/// # Errors
/// EPERM without `CAP_SETPCAP`, unless nothing has to be removed.
pub fn bound(keep: u64) -> Result<(), Errno> {
    for one in each(!keep) {
        match thread::capability_is_in_bounding_set(one) {
            Ok(true) => thread::remove_capability_from_bounding_set(one)?,
            Ok(false) => {}
            // The kernel knows no more.
            Err(_) => break,
        }
    }
    Ok(())
}

/// Sets the ambient set; what is in it must be permitted and inheritable.
///
/// # Errors
/// Those of prctl(2).
pub fn set_ambient(mask: u64) -> Result<(), Errno> {
    thread::clear_ambient_capability_set()?;
    each(mask).try_for_each(|one| thread::configure_capability_in_ambient_set(one, true))
}

#[cfg(test)]
mod tests;
