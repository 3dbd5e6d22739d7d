//! Whether the host's mounts can give the propagation that is asked for.

use std::os::fd::AsRawFd;
use std::path::Path;

use berth_sys::mount::mounted;
use rustix::fs::{Mode, OFlags};

use crate::error::EngineError;
use crate::model::{Mount, Propagation};

/// Refuses propagation that the mount below a mount's source cannot give: it would silently have no effect.
pub(crate) fn check(mounts: &[Mount]) -> Result<(), EngineError> {
    let mut table = None;
    for mount in mounts.iter().filter(|mount| mount.propagation != Propagation::Private) {
        let failed = |e| EngineError::system(format!("look at {}", mount.host_path.display()), e);
        let table = match &table {
            Some(table) => table,
            None => table.insert(mounted().map_err(failed)?),
        };
        let id = mount_id(&mount.host_path).map_err(failed)?;
        // One that is not in the table was mounted a moment ago, and the next attempt finds it.
        let below = table.iter().find(|mount| Some(mount.id) == id);
        let (shared, slave) = below.map_or((false, false), |mount| (mount.shared, mount.slave));
        let (ok, word) = match mount.propagation {
            Propagation::Private => (true, ""),
            Propagation::HostToContainer => (shared || slave, "HostToContainer needs a shared or slave"),
            Propagation::Bidirectional => (shared, "Bidirectional needs a shared"),
        };
        if !ok {
            let message = format!(
                "{}: {word} mount of the host below {}, and this one is private (mount --make-rshared)",
                mount.container_path.display(),
                mount.host_path.display()
            );
            return Err(EngineError::invalid("mounts", message));
        }
    }
    Ok(())
}

/// The id of the mount that a path lies on, its links followed.
fn mount_id(path: &Path) -> std::io::Result<Option<u64>> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    Ok(text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_mount_that_it_lies_on() {
        let id = mount_id(Path::new("/proc")).unwrap().unwrap();
        assert!(mounted().unwrap().iter().any(|mount| mount.id == id && mount.point == Path::new("/proc")));
    }
}
