//! Whether the host's mounts can give the propagation that is asked for.

use std::os::fd::AsRawFd;
use std::path::Path;

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
            None => table.insert(std::fs::read_to_string("/proc/self/mountinfo").map_err(failed)?),
        };
        let id = mount_id(&mount.host_path).map_err(failed)?;
        // One that is not in the table was mounted a moment ago, and the next attempt finds it.
        let given = id.and_then(|id| given(table, &id)).unwrap_or_default();
        let (ok, word) = match mount.propagation {
            Propagation::Private => (true, ""),
            Propagation::HostToContainer => {
                (given.shared || given.slave, "HostToContainer needs a shared or slave")
            }
            Propagation::Bidirectional => (given.shared, "Bidirectional needs a shared"),
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
fn mount_id(path: &Path) -> std::io::Result<Option<String>> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    Ok(text.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(|id| id.trim().to_owned()))
}

/// How a mount of the host gives and takes later mounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Given {
    shared: bool,
    slave: bool,
}

/// What proc_pid_mountinfo(5) says of the mount with this id: its optional fields end with a dash.
fn given(table: &str, id: &str) -> Option<Given> {
    let mut fields = table.lines().map(|line| line.split(' ')).find_map(|mut fields| {
        let found = fields.next() == Some(id);
        found.then_some(fields)
    })?;
    let optional: Vec<&str> = fields.by_ref().skip(5).take_while(|field| *field != "-").collect();
    let has = |tag: &str| optional.iter().any(|field| field.starts_with(tag));
    Some(Given { shared: has("shared:"), slave: has("master:") })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:5 / /dev rw - tmpfs shared:9 rw
210 21 0:6 / /a\\040b rw,nosuid master:3 - tmpfs x rw
23 21 0:7 / /both rw shared:4 master:1 - tmpfs x rw
";

    #[test]
    fn the_optional_fields_of_the_mount_itself_count() {
        let both = |shared, slave| Some(Given { shared, slave });
        assert_eq!(given(TABLE, "21"), both(true, false));
        assert_eq!(given(TABLE, "22"), both(false, false), "what follows the dash is not the mount's");
        assert_eq!(given(TABLE, "210"), both(false, true));
        assert_eq!(given(TABLE, "23"), both(true, true));
        assert_eq!(given(TABLE, "2"), None);
    }

    #[test]
    fn a_path_has_the_mount_that_it_lies_on() {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let id = mount_id(Path::new("/proc")).unwrap().unwrap();
        assert!(table.lines().any(|l| l.starts_with(&format!("{id} ")) && l.contains(" /proc ")));
    }
}
