//! The files of volumes that are made from ConfigMaps, Secrets and what a pod is told of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::env::object;
use super::facts::Facts;
use super::{Fault, wrong};
use crate::manifest::{
    ConfigMapVolume, DownwardItem, DownwardVolume, KeyToPath, ObjectKind, ObjectProjection, ProjectedVolume,
    SecretVolume,
};

/// The mode of a file for which none is given.
const MODE: u32 = 0o644;

/// The content of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// Its permissions.
    pub mode: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Not the bytes: they may be a password.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, mode {:o}", self.bytes.len(), self.mode)
    }
}

/// Files by their paths in the volume.
pub type Files = BTreeMap<PathBuf, Content>;

pub(super) fn config_map(facts: &Facts<'_>, from: &ConfigMapVolume, at: &str) -> Result<Files, Fault> {
    let mut writer = Writer::new(from.default_mode, at)?;
    let named = (from.name.as_str(), "name");
    writer.object(facts, ObjectKind::ConfigMap, named, &from.items, from.optional, at)?;
    Ok(writer.files)
}

pub(super) fn secret(facts: &Facts<'_>, from: &SecretVolume, at: &str) -> Result<Files, Fault> {
    let mut writer = Writer::new(from.default_mode, at)?;
    let named = (from.secret_name.as_str(), "secretName");
    writer.object(facts, ObjectKind::Secret, named, &from.items, from.optional, at)?;
    Ok(writer.files)
}

pub(super) fn downward(facts: &Facts<'_>, from: &DownwardVolume, at: &str) -> Result<Files, Fault> {
    let mut writer = Writer::new(from.default_mode, at)?;
    writer.told(facts, &from.items, at)?;
    Ok(writer.files)
}

pub(super) fn projected(facts: &Facts<'_>, from: &ProjectedVolume, at: &str) -> Result<Files, Fault> {
    let mut writer = Writer::new(from.default_mode, at)?;
    for (index, source) in from.sources.iter().enumerate() {
        let at = format!("{at}.sources[{index}]");
        let mut object = |kind, from: &ObjectProjection, field: &str| {
            let at = format!("{at}.{field}");
            writer.object(facts, kind, (from.name.as_str(), "name"), &from.items, from.optional, &at)
        };
        match (&source.config_map, &source.secret, &source.downward_api) {
            (Some(from), None, None) => object(ObjectKind::ConfigMap, from, "configMap")?,
            (None, Some(from), None) => object(ObjectKind::Secret, from, "secret")?,
            (None, None, Some(from)) => writer.told(facts, &from.items, &format!("{at}.downwardAPI"))?,
            (None, None, None) => {
                return Err(wrong(at, "Required value: one of configMap, secret and downwardAPI"));
            }
            _ => return Err(wrong(at, "Forbidden: may not specify more than 1 volume type per source")),
        }
    }
    Ok(writer.files)
}

struct Writer {
    mode: u32,
    files: Files,
}

impl Writer {
    fn new(mode: Option<u32>, at: &str) -> Result<Self, Fault> {
        let mode = permissions(mode.unwrap_or(MODE), &format!("{at}.defaultMode"))?;
        Ok(Self { mode, files: Files::new() })
    }

    /// The keys of an object that are asked for, or all. `named` is its name, and the field that has it.
    fn object(
        &mut self,
        facts: &Facts<'_>,
        kind: ObjectKind,
        named: (&str, &str),
        items: &[KeyToPath],
        optional: bool,
        at: &str,
    ) -> Result<(), Fault> {
        let Some(object) = object(facts, kind, named.0, optional, &format!("{at}.{}", named.1))? else {
            return Ok(());
        };
        if items.is_empty() {
            for (key, entry) in &object.data {
                self.add(key, self.mode, entry.bytes.clone(), at)?;
            }
        }
        for (index, item) in items.iter().enumerate() {
            let at = format!("{at}.items[{index}]");
            let mode = permissions(item.mode.unwrap_or(self.mode), &format!("{at}.mode"))?;
            match object.data.get(&item.key) {
                Some(entry) => self.add(&item.path, mode, entry.bytes.clone(), &format!("{at}.path"))?,
                None if optional => {}
                None => {
                    let what = format!("{} {} has no such key", kind.word(), object.name);
                    return Err(wrong(format!("{at}.key"), format!("Not found: {:?}: {what}", item.key)));
                }
            }
        }
        Ok(())
    }

    fn told(&mut self, facts: &Facts<'_>, items: &[DownwardItem], at: &str) -> Result<(), Fault> {
        for (index, item) in items.iter().enumerate() {
            let at = format!("{at}.items[{index}]");
            let mode = permissions(item.mode.unwrap_or(self.mode), &format!("{at}.mode"))?;
            let text = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), None) => facts.metadata(field, &format!("{at}.fieldRef"), true)?,
                (None, Some(field)) => facts.resource(field, None, &format!("{at}.resourceFieldRef"))?,
                (None, None) => {
                    return Err(wrong(
                        at,
                        "Required value: one of fieldRef and resourceFieldRef is required",
                    ));
                }
                (Some(_), Some(_)) => {
                    return Err(wrong(
                        at,
                        "Invalid value: fieldRef and resourceFieldRef can not be specified simultaneously",
                    ));
                }
            };
            self.add(&item.path, mode, text.into_bytes(), &format!("{at}.path"))?;
        }
        Ok(())
    }

    fn add(&mut self, path: &str, mode: u32, bytes: Vec<u8>, at: &str) -> Result<(), Fault> {
        let path = inside(path, at)?;
        let clash = self.files.keys().find(|other| other.starts_with(&path) || path.starts_with(other));
        if let Some(other) = clash {
            let message =
                format!("Invalid value: {path:?}: conflict with another file of the volume, {other:?}");
            return Err(wrong(at, message));
        }
        self.files.insert(path, Content { mode, bytes });
        Ok(())
    }
}

fn permissions(mode: u32, at: &str) -> Result<u32, Fault> {
    let message =
        format!("Invalid value: {mode}: must be a number between 0 and 0777 (octal), both inclusive");
    (mode <= 0o777).then_some(mode).ok_or_else(|| wrong(at, message))
}

/// A relative path that stays inside its volume, and is none of the names that the volume is kept up to date by.
pub(super) fn inside(path: &str, at: &str) -> Result<PathBuf, Fault> {
    if path.is_empty() {
        return Err(wrong(at, "Required value"));
    }
    let parsed = Path::new(path);
    let climbs = parsed.components().any(|c| c == Component::ParentDir);
    let normal = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
    let reason = match () {
        () if parsed.is_absolute() => "must be a relative path",
        () if climbs => "must not contain '..'",
        () if path.starts_with("..") => "must not start with '..'",
        () if path.contains('\0') || path.len() > 1024 || !parsed.components().all(normal) => {
            "must be a path of at most 1024 bytes"
        }
        () => return Ok(parsed.components().filter(|c| *c != Component::CurDir).collect()),
    };
    Err(wrong(at, format!("Invalid value: {path:?}: {reason}")))
}

#[cfg(test)]
mod tests;
