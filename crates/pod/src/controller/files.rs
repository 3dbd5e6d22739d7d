//! A pod's files: its directory, its volumes, its uid.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::PodError;
use crate::manifest::HostPathType;
use crate::plan::{Place, Plan, Volume, VolumeKind};

/// A random uid in the form of a UUID of version 4.
pub(super) fn fresh_uid() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("the kernel gives random uuids");
    text.trim().to_owned()
}

/// Makes and checks what the pod's containers mount, and the directories of their logs.
pub(super) fn prepare(plan: &Plan, place: &Place) -> Result<(), PodError> {
    for planned in plan.init.iter().chain(&plan.main) {
        let dir = place.dir.join("logs").join(&planned.config.metadata.name);
        make_dir(&dir, 0o755).map_err(|e| fault("logs", &dir, e.to_string()))?;
    }
    plan.volumes.iter().try_for_each(volume)
}

/// Takes the pod's directory away. What is mounted elsewhere is not in it.
pub(super) fn remove(place: &Place) -> std::io::Result<()> {
    match fs::remove_dir_all(&place.dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn fault(volume: &str, path: &Path, reason: impl Into<String>) -> PodError {
    PodError::Volume { volume: volume.to_owned(), path: path.to_owned(), reason: reason.into() }
}

fn make_dir(path: &Path, mode: u32) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path)
}

fn volume(volume: &Volume) -> Result<(), PodError> {
    let path = &volume.path;
    let failed = |e: std::io::Error| fault(&volume.name, path, e.to_string());
    match volume.kind {
        VolumeKind::Empty => {
            make_dir(path, 0o755).map_err(failed)?;
            // As the kubelet makes it: whoever runs in the pod may write.
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).map_err(failed)
        }
        VolumeKind::Host(HostPathType::DirectoryOrCreate) if !path.exists() => {
            make_dir(path, 0o755).map_err(failed)
        }
        VolumeKind::Host(HostPathType::FileOrCreate) if !path.exists() => fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)
            .map(drop)
            .map_err(failed),
        VolumeKind::Host(kind) => check(volume, kind),
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
    if ok { Ok(()) } else { Err(fault(&volume.name, &volume.path, format!("it is not {wanted}"))) }
}
