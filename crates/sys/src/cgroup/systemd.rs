//! Names of systemd's units for cgroup paths, and back: pure (systemd.slice(5), CGROUP_DELEGATION).
//!
//! Under the systemd driver the CRI names a parent as `a-b.slice`, which stands for the path
//! `a.slice/a-b.slice`. Making units over D-Bus is not done yet: see [`refuse`].

use super::{CgroupError, CgroupPath};

/// Where a container with this slice and unit name is: `system.slice`, `runc`, `id` become
/// `system.slice/runc-id.scope`, as other runtimes name it.
pub fn scope_path(slice: &str, prefix: &str, name: &str) -> Result<CgroupPath, CgroupError> {
    let parent = slice_path(slice)?;
    let unit = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
    parent.child(&unit)
}

/// The cgroup path of a slice: each dash is a level. `-.slice` is the root, which is not a group of ours.
pub fn slice_path(slice: &str) -> Result<CgroupPath, CgroupError> {
    let refuse = |why| Err(CgroupError::Path { path: CgroupError::short(slice), why });
    let Some(name) = slice.strip_suffix(".slice") else {
        return refuse("is not a slice: its name does not end in .slice");
    };
    if name.contains('/') {
        return refuse("is not the name of a single slice");
    }
    if name == "-" {
        return refuse("is the root slice");
    }
    if name.is_empty() || name.starts_with('-') || name.ends_with('-') || name.contains("--") {
        return refuse("has an empty part between dashes");
    }
    let levels = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    let path = levels.map(|end| format!("{}.slice", &name[..end])).collect::<Vec<_>>().join("/");
    CgroupPath::new(&path)
}

/// The slice of a cgroup path that consists of slices: the last of its levels, which must agree
/// with those above it.
pub fn slice_name(path: &CgroupPath) -> Result<String, CgroupError> {
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    match slice_path(name) {
        Ok(expanded) if expanded == *path => Ok(name.to_owned()),
        _ => Err(CgroupError::Path {
            path: CgroupError::short(path.as_str()),
            why: "is not the path of a slice",
        }),
    }
}

/// The refusal of what needs systemd's D-Bus interface.
pub fn refuse(what: &str) -> CgroupError {
    CgroupError::Unsupported {
        setting: what.to_owned(),
        why: "the systemd cgroup driver cannot make units yet; use the cgroupfs driver".to_owned(),
    }
}
