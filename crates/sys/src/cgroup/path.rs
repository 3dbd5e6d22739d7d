//! The place of a group below the root of each hierarchy.

use std::fmt;

use super::CgroupError;

/// The longest path, in bytes. The kernel's own limit for a path is 4096 with the mount point.
pub const MAX_PATH: usize = 2048;
/// The most levels below the root.
pub const MAX_DEPTH: usize = 32;
/// The longest name of one level, in bytes.
const MAX_NAME: usize = 255;

/// A group's path below the root of its hierarchies: relative, without `.` and `..`, bounded.
///
/// ```
/// use berth_sys::cgroup::CgroupPath;
/// let pod = CgroupPath::new("/kubepods/burstable/pod7").unwrap();
/// assert_eq!(pod.child("c1").unwrap().as_str(), "kubepods/burstable/pod7/c1");
/// assert!(CgroupPath::new("kubepods/../../etc").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CgroupPath(String);

impl CgroupPath {
    /// Checks a path. Leading, trailing and doubled slashes mean nothing: `cgroup_parent` of the
    /// CRI is written with a leading one.
    pub fn new(path: &str) -> Result<Self, CgroupError> {
        let refuse = |why| Err(CgroupError::Path { path: CgroupError::short(path), why });
        if path.len() > MAX_PATH {
            return refuse("longer than 2048 bytes");
        }
        let mut clean = String::with_capacity(path.len());
        for (depth, name) in path.split('/').filter(|n| !n.is_empty()).enumerate() {
            if depth >= MAX_DEPTH {
                return refuse("more than 32 levels");
            }
            if name == "." || name == ".." {
                return refuse("has a . or .. in it");
            }
            if name.len() > MAX_NAME {
                return refuse("has a name longer than 255 bytes");
            }
            if name.chars().any(char::is_control) {
                return refuse("has a control character in it");
            }
            if depth > 0 {
                clean.push('/');
            }
            clean.push_str(name);
        }
        if clean.is_empty() { refuse("names the root itself") } else { Ok(Self(clean)) }
    }

    /// The group of that name in this one.
    pub fn child(&self, name: &str) -> Result<Self, CgroupError> {
        if name.is_empty() || name.contains('/') {
            return Err(CgroupError::Path { path: CgroupError::short(name), why: "not a single name" });
        }
        Self::new(&format!("{}/{name}", self.0))
    }

    /// The path without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
