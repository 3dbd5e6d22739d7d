//! The devices of all files in some directories, and what those change that a container asks for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::name::Name;
use crate::spec::{Edits, Spec, SpecError};

/// Where files are: what is in a later directory takes the place of the same device in an earlier one.
pub const DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// The most files of one directory.
const MAX_FILES: usize = 1_000;
/// The most devices that one container can ask for.
pub const MAX_NAMES: usize = 1_000;

/// All devices.
#[derive(Debug, Default)]
pub struct Devices {
    specs: Vec<(PathBuf, Spec)>,
    found: BTreeMap<Name, Found>,
    faults: Vec<SpecError>,
}

/// Which file a device is in.
#[derive(Debug)]
enum Found {
    /// The file and the device, by their numbers.
    In { dir: usize, spec: usize, device: usize },
    /// Files of one directory have the same device.
    Twice { dir: usize, files: [PathBuf; 2] },
}

/// Why a container does not get its devices.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No file has it.
    #[error("there is no device {name}{others}{faults}")]
    Unknown {
        /// Which.
        name: Name,
        /// In a message ` (there are ...)`, or nothing.
        others: String,
        /// In a message `; FILE: what is wrong with it`, or nothing.
        faults: String,
    },
    /// Files have the same device, and none counts more.
    #[error("device {name} is both in {} and in {}: remove it from one", files[0].display(), files[1].display())]
    Twice {
        /// Which.
        name: Name,
        /// The files.
        files: [PathBuf; 2],
    },
    /// More than [`MAX_NAMES`].
    #[error("{0} devices are asked for, {MAX_NAMES} are allowed")]
    TooMany(usize),
}

impl Devices {
    /// Reads all files of these directories; those that are not there have none. What is wrong with a file is told by
    /// [`faults`](Self::faults), and where its devices are asked for.
    pub fn read(dirs: &[PathBuf]) -> Self {
        let mut devices = Self::default();
        for (number, dir) in dirs.iter().enumerate() {
            match files(dir) {
                Ok(files) => files.into_iter().for_each(|file| devices.add(number, file)),
                Err(source) => devices.faults.push(SpecError::Read { path: dir.clone(), source }),
            }
        }
        devices
    }

    fn add(&mut self, dir: usize, path: PathBuf) {
        let spec = match Spec::read(&path) {
            Ok(spec) => spec,
            Err(fault) => return self.faults.push(fault),
        };
        for (number, device) in spec.devices.iter().enumerate() {
            let name = Name { kind: spec.kind.clone(), device: device.name.clone() };
            let new = Found::In { dir, spec: self.specs.len(), device: number };
            let found = match self.found.remove(&name) {
                Some(Found::In { dir: before, spec, .. }) if before == dir => {
                    let first = self.specs.get(spec).map(|(path, _)| path.clone()).unwrap_or_default();
                    Found::Twice { dir, files: [first, path.clone()] }
                }
                Some(twice @ Found::Twice { dir: before, .. }) if before == dir => twice,
                Some(_) | None => new,
            };
            self.found.insert(name, found);
        }
        self.specs.push((path, spec));
    }

    /// The files that are not used.
    pub fn faults(&self) -> &[SpecError] {
        &self.faults
    }

    /// What these devices change, in the order in which they are asked for: with the first of a file also what changes with all of
    /// its devices. One that is named again changes nothing more.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub fn resolve(&self, names: &[Name]) -> Result<Edits, ResolveError> {
        if names.len() > MAX_NAMES {
            return Err(ResolveError::TooMany(names.len()));
        }
        let mut edits = Edits::default();
        let (mut files, mut seen) = (Vec::new(), Vec::new());
        for name in names {
            let (number, spec, device) = self.find(name)?;
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            if !files.contains(&number) {
                files.push(number);
                edits.append(&spec.container_edits);
            }
            edits.append(&device.container_edits);
        }
        Ok(edits)
    }

    fn find(&self, name: &Name) -> Result<(usize, &Spec, &crate::spec::Device), ResolveError> {
        match self.found.get(name) {
            Some(Found::In { spec, device, .. }) => {
                let found =
                    self.specs.get(*spec).and_then(|(_, of)| Some((*spec, of, of.devices.get(*device)?)));
                found.ok_or_else(|| self.unknown(name))
            }
            Some(Found::Twice { files, .. }) => {
                Err(ResolveError::Twice { name: name.clone(), files: files.clone() })
            }
            None => Err(self.unknown(name)),
        }
    }

    fn unknown(&self, name: &Name) -> ResolveError {
        let same = self.found.keys().filter(|other| other.kind == name.kind).map(ToString::to_string);
        let mut others: Vec<String> = same.take(4).collect();
        if others.len() == 4 {
            others[3] = "...".to_owned();
        }
        let others =
            if others.is_empty() { String::new() } else { format!(" (there are {})", others.join(", ")) };
        let faults = self.faults.iter().take(3).map(|fault| format!("; {fault}")).collect();
        ResolveError::Unknown { name: name.clone(), others, faults }
    }
}

/// The files of a directory, by name.
fn files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if Spec::is_file(&path) {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(std::io::Error::other(format!("more than {MAX_FILES} files of devices")));
        }
    }
    files.sort();
    Ok(files)
}

impl Edits {
    /// These, and then the others.
    pub fn append(&mut self, others: &Edits) {
        self.env.extend_from_slice(&others.env);
        self.device_nodes.extend_from_slice(&others.device_nodes);
        self.net_devices.extend_from_slice(&others.net_devices);
        self.mounts.extend_from_slice(&others.mounts);
        self.hooks.extend_from_slice(&others.hooks);
        if others.intel_rdt.is_some() {
            self.intel_rdt.clone_from(&others.intel_rdt);
        }
        self.additional_gids.extend(others.additional_gids.iter().filter(|gid| **gid != 0));
    }
}

#[cfg(test)]
mod tests;
