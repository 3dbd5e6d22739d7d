//! Containers of Berth's own runtime that have hooks: those find the container by a bundle on the disk and its root at a path, as they
//! do under other runtimes. Nothing is made of the bundle. See docs/adr/0102.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use berth_container::hook::{self, Course, Place};
use berth_sys::fs::read_bounded;
use berth_types::ContainerId;
use berth_types::hook::{At, Hooks};
use berth_types::shim::bundle::{Bundle, POSTSTOP, Poststop};
use berth_types::shim::record;
use oci_spec::runtime::Spec;

use super::bundle::{Rest, complete, pieces};
use super::runtime::{own_score, unmount};
use super::{Places, Preparing};
use crate::error::EngineError;
use crate::host::random;
use crate::oci;
use crate::profile;

/// The time for all hooks of a container that is gone.
const END_LIMIT: Duration = Duration::from_secs(10);
/// The longest record of them.
const MAX_RECORD: u64 = 8 << 20;

/// The hooks of a specification, and that without them; None where there are none.
pub(super) fn take(spec: &Spec) -> Result<Option<(Spec, Hooks)>, EngineError> {
    if spec.hooks().is_none() {
        return Ok(None);
    }
    let mut spec = spec.clone();
    let hooks = hook::take(&mut spec).map_err(|e| profile::refused(&e))?;
    Ok((!hooks.is_empty()).then_some((spec, hooks)))
}

/// The directory of a container's bundle: beside its root, where the root of a user namespace is let in.
fn dir(places: Places<'_>) -> PathBuf {
    places.root.with_extension("bundle")
}

/// The bundle that hooks read, of which there is the directory.
pub(super) fn bundle(container: &Preparing<'_>) -> Result<Bundle, EngineError> {
    let dir = dir(container.places);
    std::fs::create_dir(&dir)
        .and_then(|()| std::fs::set_permissions(&dir, Permissions::from_mode(0o755)))
        .map_err(|e| EngineError::system("make the container's bundle", e))?;
    let rest = Rest {
        root: container.places.root,
        devices: container.devices,
        seccomp: None,
        oom_score: own_score(),
    };
    let given = oci::given_namespaces(container.spec, container.pid);
    let token = ContainerId::from_random(random::bytes());
    let config = pieces(complete(container.spec.clone(), rest), &given, token.as_str())
        .map_err(|e| EngineError::system("write the container's specification", e))?;
    Ok(Bundle { runtime: String::new(), dir: dir.to_string_lossy().into_owned(), config })
}

/// Gives back what a container with hooks has on the disk, and does what its shim would have done at its end if that was killed.
pub(super) fn forget(places: Places<'_>) -> Result<(), EngineError> {
    let dir = dir(places);
    if !dir.exists() {
        return Ok(());
    }
    run_left(&dir);
    unmount(places)?;
    std::fs::remove_dir_all(&dir).map_err(|e| EngineError::system(format!("remove {}", dir.display()), e))
}

/// Runs the hooks that are written down for the container's end. What fails is told, and not tried again.
fn run_left(dir: &Path) {
    let file = dir.join(POSTSTOP);
    let Ok(bytes) = read_bounded(&file, MAX_RECORD) else { return };
    match record::decode::<Poststop>(&bytes) {
        Ok(Poststop { hooks, state }) => {
            let until = Some(Instant::now() + END_LIMIT);
            let course =
                Course { state: &state, bundle: dir, default: Some(END_LIMIT), until, interrupt: None };
            for error in hook::run_all(At::Poststop, &hooks, Place::Here, &course) {
                tracing::warn!(%error, "a hook failed after the shim of its container was lost");
            }
        }
        Err(error) => {
            let file = file.display().to_string();
            tracing::warn!(file, %error, "the hooks for a container's end cannot be read");
        }
    }
    drop(std::fs::remove_file(&file));
}
