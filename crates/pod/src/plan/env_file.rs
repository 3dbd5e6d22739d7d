//! Variables from files that containers of the pod write: `fileKeyRef`, as Kubernetes 1.35 reads it. A file is read when a
//! container that asks for it is made, so that init containers can write it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::facts::Facts;
use super::projected::inside;
use super::{Fault, wrong};
use crate::manifest::{Container, FileKeySelector, Volume};

/// The most bytes of a file.
pub(crate) const MAX_BYTES: u64 = 64 << 10;

/// The text of each file by its volume and its path there; None of one that is missing.
pub type EnvFiles = BTreeMap<(String, PathBuf), Option<String>>;

/// The files that a container reads: volume and path.
pub(crate) fn of(container: &Container) -> Vec<(String, PathBuf)> {
    let all = container.env.iter().filter_map(|env| env.value_from.as_ref()?.file_key_ref.as_ref());
    all.map(|from| (from.volume_name.clone(), PathBuf::from(&from.path))).collect()
}

/// The value of a variable, whose source is at the path `at`; nothing where it is missing and may be. An empty one as long as
/// the file was not read.
pub(super) fn value(facts: &Facts<'_>, from: &FileKeySelector, at: &str) -> Result<Option<String>, Fault> {
    let FileKeySelector { volume_name, path, key, optional } = from;
    let place = inside(path, &format!("{at}.path"))?;
    if key.is_empty() {
        return Err(wrong(format!("{at}.key"), "Required value"));
    }
    let volume = facts.pod.spec.volumes.iter().find(|volume| volume.name == *volume_name);
    match volume {
        None if volume_name.is_empty() => return Err(wrong(format!("{at}.volumeName"), "Required value")),
        None => return Err(wrong(format!("{at}.volumeName"), format!("Not found: {volume_name:?}"))),
        Some(volume) if !is_empty_dir(volume) => {
            let message = format!("Invalid value: {volume_name:?}: it is no emptyDir volume");
            return Err(wrong(format!("{at}.volumeName"), message));
        }
        Some(_) => {}
    }
    let value = match facts.place.env_files.get(&(volume_name.clone(), place)) {
        None => return Ok(Some(String::new())),
        Some(None) if *optional => return Ok(None),
        Some(None) => {
            return Err(wrong(
                format!("{at}.path"),
                format!("there is no file {path:?} in volume {volume_name}"),
            ));
        }
        Some(Some(text)) => {
            parse(text, key).map_err(|why| wrong(format!("{at}.path"), format!("file {path:?}: {why}")))?
        }
    };
    match value.filter(|value| !value.is_empty()) {
        None if *optional => Ok(None),
        None => Err(wrong(
            format!("{at}.key"),
            format!("environment variable key {key:?} not found in file {path:?}"),
        )),
        found => Ok(found),
    }
}

fn is_empty_dir(volume: &Volume) -> bool {
    let Volume {
        host_path, config_map, secret, downward_api, projected, persistent_volume_claim, image, ..
    } = volume;
    let others = [
        host_path.is_some(),
        config_map.is_some(),
        secret.is_some(),
        downward_api.is_some(),
        projected.is_some(),
        persistent_volume_claim.is_some(),
        image.is_some(),
    ];
    !others.contains(&true)
}

/// The value of the first variable of this name. Lines are `NAME='value'`: the value is what is between the quotes, over
/// several lines too, and a comment may follow. Lines before that one must be right, those after it are not looked at.
fn parse(text: &str, key: &str) -> Result<Option<String>, String> {
    const BLANK: [char; 2] = [' ', '\t'];
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let at = index + 1;
        let line = line.trim_start_matches(BLANK);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| format!("line {at} has no '='"))?;
        if name.trim_end_matches(BLANK).is_empty() {
            return Err(format!("line {at} has no name"));
        }
        if name.ends_with(BLANK) {
            return Err(format!("line {at} has a space before '='"));
        }
        // As a shell reads it: nothing, and then a word that means nothing.
        if value.starts_with(BLANK) {
            if name == key {
                return Ok(None);
            }
            continue;
        }
        let unquoted = || format!("line {at}: a value is in single quotes");
        let mut rest = value.strip_prefix('\'').ok_or_else(unquoted)?;
        let mut whole = String::new();
        let after = loop {
            if let Some((last, after)) = rest.split_once('\'') {
                whole.push_str(last);
                break after;
            }
            whole.push_str(rest);
            whole.push('\n');
            rest = lines.next().ok_or_else(|| format!("line {at}: the quote is not closed"))?.1;
        };
        let after = after.trim_start_matches(BLANK);
        if !after.is_empty() && !after.starts_with('#') {
            return Err(format!("line {at}: only a comment may follow the value"));
        }
        if name == key {
            return Ok(Some(whole));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
