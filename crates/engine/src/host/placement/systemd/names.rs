//! How slices and scopes are called, and where they lie. Pure.
//!
//! A slice's name has the slices above it in it, divided by dashes: `a-b.slice` lies in `a.slice` (systemd.slice(5)).

use berth_sys::cgroup::CgroupPath;
use berth_types::SandboxId;

/// The longest name that is taken. systemd's limit is 255 bytes, and an instance's slice is in the names of its pods' and shims'
/// scopes, with an id; a path has all of a name's parents.
const MAX_NAME: usize = 180;
/// Names below a slice, at most as long as these: a scope, in it the pod's own group, in it a container's; or the shims' slice and a
/// scope in it.
const BELOW: [usize; 3] = [255, 255, 64];
/// Around the id of a pod in the name of its scope, behind the name of the instance's slice.
const POD: &str = "-pod";
/// The same for its shim.
const SHIM: &str = "-shim";
const SCOPE: &str = ".scope";
const SLICE: &str = ".slice";

/// A slice other than the one at the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Without `.slice`.
    stem: String,
}

impl Slice {
    /// From a name (`kubepods-pod7.slice`) or its whole path (`/kubepods.slice/kubepods-pod7.slice`), as kubelets give either.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inner = text.trim_matches('/');
        let name = inner.rsplit('/').next().unwrap_or_default();
        let Some(stem) = name.strip_suffix(SLICE) else {
            return Err(format!(
                "{text:?} is not a slice, as cgroups are named where systemd manages them (kubelet and Berth need the same cgroup driver)"
            ));
        };
        let refuse = |why: &str| Err(format!("{text:?} {why}"));
        if name.len() > MAX_NAME {
            return refuse("is longer than 180 bytes");
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_' | b'.' | b'\\');
        if !stem.bytes().all(plain) {
            return refuse("has a character in it that the name of a slice cannot have");
        }
        if stem.split('-').any(str::is_empty) {
            return refuse("has no name before or after a dash, or is the slice at the root");
        }
        let slice = Self { stem: stem.to_owned() };
        let below = BELOW.map(|length| "x".repeat(length)).join("/");
        if CgroupPath::new(&format!("{}/{below}", slice.expanded())).is_err() {
            return refuse("lies too deep for a pod: all of the path may have 32 levels and 2,048 bytes");
        }
        if inner != name && inner != slice.expanded() {
            return Err(format!("{text:?}: the slice {name} lies at /{}", slice.expanded()));
        }
        Ok(slice)
    }

    /// With `.slice`.
    pub fn name(&self) -> String {
        format!("{}{SLICE}", self.stem)
    }

    fn expanded(&self) -> String {
        let ends = self.stem.match_indices('-').map(|(at, _)| at).chain([self.stem.len()]);
        ends.map(|end| format!("{}{SLICE}", &self.stem[..end])).collect::<Vec<_>>().join("/")
    }

    /// Its group.
    pub fn path(&self) -> CgroupPath {
        CgroupPath::new(&self.expanded()).expect("it was checked when the slice was named")
    }

    /// A scope in it.
    pub(super) fn scope(&self, unit: &str) -> CgroupPath {
        self.path().child(unit).expect("a scope named by an id is short and plain")
    }
}

/// The slice of an instance's shims.
pub(in super::super) fn shims(root: &Slice) -> Slice {
    Slice { stem: format!("{}-shims", root.stem) }
}

/// The scope of a pod of the instance with this slice.
pub(super) fn pod_unit(root: &Slice, sandbox: &SandboxId) -> String {
    format!("{}{POD}{sandbox}{SCOPE}", root.stem)
}

/// The scope of its shim.
pub(super) fn shim_unit(root: &Slice, sandbox: &SandboxId) -> String {
    format!("{}{SHIM}{sandbox}{SCOPE}", root.stem)
}

/// What all scopes of an instance are called.
pub(super) fn patterns(root: &Slice) -> [String; 2] {
    [POD, SHIM].map(|kind| format!("{}{kind}*{SCOPE}", root.stem))
}

/// The pod in the name of its scope, of any instance.
pub(in super::super) fn pod_of(unit: &str) -> Option<SandboxId> {
    id_in(unit, POD)
}

/// The pod in the name of its own or its shim's scope.
pub(super) fn any_pod_of(unit: &str) -> Option<SandboxId> {
    pod_of(unit).or_else(|| id_in(unit, SHIM))
}

/// The same, only of the instance with this slice.
pub(in super::super) fn own(root: &Slice, unit: &str) -> Option<SandboxId> {
    let sandbox = any_pod_of(unit)?;
    let own = unit == pod_unit(root, &sandbox) || unit == shim_unit(root, &sandbox);
    own.then_some(sandbox)
}

/// Whether a group's name is that of a slice.
pub(super) fn is_slice(name: &str) -> bool {
    name.ends_with(SLICE)
}

fn id_in(unit: &str, kind: &str) -> Option<SandboxId> {
    let (_, id) = unit.strip_suffix(SCOPE)?.rsplit_once(kind)?;
    id.parse().ok()
}

/// The scope of the pod that a group belongs to, with what the group is called in it.
pub(super) fn scope_of(path: &CgroupPath) -> Option<(CgroupPath, &str)> {
    let text = path.as_str();
    let mut end = 0;
    for name in text.split('/') {
        end += name.len();
        if pod_of(name).is_some() {
            let scope = CgroupPath::new(&text[..end]).ok()?;
            return Some((scope, text[end..].trim_start_matches('/')));
        }
        end += 1;
    }
    None
}

/// The name of a group and of the one that it lies in.
pub(super) fn split(path: &CgroupPath) -> (&str, &str) {
    let (above, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
    (above.rsplit('/').next().unwrap_or_default(), name)
}

#[cfg(test)]
mod tests;
