//! A pod's files: its directory, its volumes, its uid.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{PodError, atomic, give};
use crate::manifest::{HostPathType, Pod};
use crate::plan::{Place, Plan, Volume, VolumeKind};
use crate::volumes;

/// A random uid in the form of a UUID of version 4.
pub(crate) fn fresh_uid() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("the kernel gives random uuids");
    text.trim().to_owned()
}

/// Makes and checks what the pod's containers mount, and the directories of their logs.
pub(super) fn prepare(pod: &Pod, plan: &Plan, place: &Place) -> Result<(), PodError> {
    let objects = place.dir.join(OBJECTS);
    keep_objects(pod, place).map_err(|e| fault("its objects", &objects, e.to_string()))?;
    for planned in plan.init.iter().chain(&plan.main) {
        let dir = place.dir.join("logs").join(&planned.config.metadata.name);
        private_dir(&dir).map_err(|e| fault("logs", &dir, e.to_string()))?;
    }
    plan.volumes.iter().try_for_each(|one| volume(one, place))
}

/// The ConfigMaps and Secrets that a pod uses, in its directory, so that a new daemon can go on with it.
const OBJECTS: &str = "objects";

/// For root alone, as the directory is: not among the annotations, which `berth inspect` shows.
fn keep_objects(pod: &Pod, place: &Place) -> io::Result<()> {
    let source = pod.objects.source();
    if source.is_empty() {
        return Ok(());
    }
    private_dir(&place.dir)?;
    let open = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(place.dir.join(OBJECTS));
    open?.write_all(source.as_bytes())
}

/// What [`prepare`] kept of the pod's objects.
pub(super) fn objects(place: &Place) -> io::Result<String> {
    match fs::read_to_string(place.dir.join(OBJECTS)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

/// Removes the pod's directory, with its volumes in memory. What is mounted elsewhere is not in it.
pub(super) fn remove(place: &Place) -> io::Result<()> {
    remove_dir(&place.dir)
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    let unmounted = berth_engine::unmount_below(dir);
    match berth_engine::remove_tree(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => unmounted.and(Err(e)),
        Ok(()) | Err(_) => unmounted,
    }
}

/// The prefix of directories whose pod no longer exists.
const DEAD: &str = ".dead-";

/// Renames the directories of pods that no longer exist, as all are after a reboot, and returns them: a new pod may have one of
/// their uids.
pub(super) fn set_aside(dir: &Path, living: &BTreeSet<&str>) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut dead = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if living.contains(name.as_str()) {
            continue;
        }
        let aside = if name.starts_with(DEAD) { entry.path() } else { dir.join(format!("{DEAD}{name}")) };
        fs::rename(entry.path(), &aside)?;
        dead.push(aside);
    }
    Ok(dead)
}

/// Removes what was set aside.
pub(super) fn remove_dead(dead: Vec<PathBuf>) {
    for dir in dead {
        match remove_dir(&dir) {
            Ok(()) => tracing::info!(dir = %dir.display(), "removed what a pod left behind"),
            Err(e) => {
                tracing::warn!(dir = %dir.display(), error = %e, "failed to remove what a pod left behind")
            }
        }
    }
}

pub(super) fn fault(volume: &str, path: &Path, reason: impl Into<String>) -> PodError {
    PodError::Volume { volume: volume.to_owned(), path: path.to_owned(), reason: reason.into() }
}

/// A directory that only root may enter, with those above it: a pod may put programs there that are setuid.
fn private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A directory of the host that the manifest asks for.
fn host_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn volume(volume: &Volume, place: &Place) -> Result<(), PodError> {
    let path = &volume.path;
    let failed = |e: io::Error| fault(&volume.name, path, e.to_string());
    match &volume.kind {
        VolumeKind::Empty | VolumeKind::Memory(_) => {
            private_dir(path).map_err(failed)?;
            if let VolumeKind::Memory(bytes) = volume.kind {
                berth_engine::mount_memory(path, bytes).map_err(failed)?;
            }
            // As the kubelet makes it: every user in the pod may write. The directories above it keep others out.
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).map_err(failed)?;
            give::dir(path, 0o777, give::WRITE, volume.group).map_err(failed)
        }
        VolumeKind::Files(files) => {
            private_dir(path).map_err(failed)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
            give::dir(path, 0o755, give::READ, volume.group).map_err(failed)?;
            atomic::write(path, files, volume.group).map_err(failed)
        }
        VolumeKind::Host(HostPathType::DirectoryOrCreate) if !path.exists() => host_dir(path).map_err(failed),
        VolumeKind::Host(HostPathType::FileOrCreate) if !path.exists() => fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)
            .map(drop)
            .map_err(failed),
        VolumeKind::Host(kind) => check(volume, *kind),
        VolumeKind::Named(named) => {
            let document = volumes::Document {
                created_at: berth_engine::now(),
                anonymous: named.anonymous,
                ..volumes::Document::default()
            };
            volumes::make(&place.volumes(), &named.name, &document).map(drop).map_err(PodError::volume)
        }
        // It is made for each container.
        VolumeKind::Image { .. } => Ok(()),
        VolumeKind::Claim { name, .. } => {
            if !path.is_dir() {
                let reason = format!("persistentvolumeclaim {name:?} not found");
                return Err(fault(&volume.name, path, reason));
            }
            give::dir(path, 0o777, give::WRITE, volume.group).map_err(failed)
        }
    }
}

fn check(volume: &Volume, kind: HostPathType) -> Result<(), PodError> {
    let found = fs::metadata(&volume.path).map_err(|e| fault(&volume.name, &volume.path, e.to_string()))?;
    let found = found.file_type();
    let (ok, wanted) = match kind {
        HostPathType::Unchecked => return Ok(()),
        HostPathType::Directory | HostPathType::DirectoryOrCreate => (found.is_dir(), "a directory"),
        HostPathType::File | HostPathType::FileOrCreate => (found.is_file(), "a file"),
        HostPathType::Socket => (found.is_socket(), "a socket"),
        HostPathType::CharDevice => (found.is_char_device(), "a character device"),
        HostPathType::BlockDevice => (found.is_block_device(), "a block device"),
    };
    let reason = || format!("hostPath type check failed: it is not {wanted}");
    if ok { Ok(()) } else { Err(fault(&volume.name, &volume.path, reason())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pod_uses_is_kept_for_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place {
            uid: "u".into(),
            dir: dir.path().join("u"),
            claims: dir.path().join("claims"),
            addresses: Vec::new(),
            user: None,
            node: crate::plan::Node::default(),
            cluster: None,
            env_files: Default::default(),
        };
        assert_eq!(objects(&place).unwrap(), "");
        let text = "{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {p: w}}\n---\n
            {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: i, envFrom: [{secretRef: {name: s}}]}]}}";
        let pod = crate::manifest::parse(text.as_bytes()).unwrap().remove(0);
        keep_objects(&pod, &place).unwrap();
        for (path, mode) in [(place.dir.clone(), 0o700), (place.dir.join(OBJECTS), 0o600)] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{path:?}");
        }
        let again = crate::manifest::resume(&pod.source, &objects(&place).unwrap()).unwrap();
        assert_eq!(again.objects, pod.objects);
    }

    #[test]
    fn what_dead_pods_left_is_set_aside_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(set_aside(&dir.path().join("none"), &BTreeSet::new()).unwrap().is_empty());
        for name in ["a", "b", ".dead-c"] {
            fs::create_dir_all(dir.path().join(name).join("logs")).unwrap();
        }
        let mut dead = set_aside(dir.path(), &BTreeSet::from(["a"])).unwrap();
        dead.sort();
        assert_eq!(dead, [".dead-b", ".dead-c"].map(|name| dir.path().join(name)));
        // Again before they are removed, as after a crash.
        assert_eq!(set_aside(dir.path(), &BTreeSet::from(["a"])).unwrap().len(), 2);
        remove_dead(dead);
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["a"]);
    }
}
