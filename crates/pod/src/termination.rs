//! What a container says of its end, as the kubelet reads it: in a file that it mounts, or else by the end of its log.
//!
//! ```text
//! plan: settings() in the annotations, mount() -> for each attempt: of_attempt(), make() -> after the end: message()
//! ```
//!
//! The container writes into a file of its own, which it can neither replace nor make longer than what is read.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use berth_engine::model::{ContainerConfig, ContainerView, ExitView, Mount};

use crate::manifest::TerminationMessagePolicy;

/// Where the file is in a container that does not say it.
pub(crate) const DEFAULT_PATH: &str = "/dev/termination-log";
/// The most bytes of a message.
const MAX_BYTES: u64 = 4096;
/// The same for all containers of a pod together.
const MAX_POD_BYTES: u64 = 12 << 10;
/// The most bytes and lines of a message from a log.
const MAX_LOG_BYTES: u64 = 2048;
const MAX_LOG_LINES: usize = 80;
/// What is read of a log for it: more than two lines of the longest kind.
const LOG_TAIL: u64 = 64 << 10;

/// The annotations of a container by which it is known where its message is; the first two are the kubelet's.
const PATH: &str = "io.kubernetes.container.terminationMessagePath";
const POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
const BYTES: &str = "berth.dev/termination-message-bytes";

/// The annotations of one of `containers` in a pod.
pub(crate) fn settings(
    path: &Path,
    policy: TerminationMessagePolicy,
    containers: usize,
) -> BTreeMap<String, String> {
    let policy = match policy {
        TerminationMessagePolicy::File => "File",
        TerminationMessagePolicy::FallbackToLogsOnError => "FallbackToLogsOnError",
    };
    let share = MAX_POD_BYTES / u64::try_from(containers.max(1)).unwrap_or(u64::MAX);
    let bytes = MAX_BYTES.min(share).to_string();
    let of = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    BTreeMap::from([of(PATH, &path.to_string_lossy()), of(POLICY, policy), of(BYTES, &bytes)])
}

/// The mount of the file of the first attempt, in the pod's directory.
pub(crate) fn mount(dir: &Path, container: &str, path: &Path) -> Mount {
    Mount::new(dir.join("messages").join(container).join("0"), path)
}

fn own(config: &ContainerConfig) -> Option<usize> {
    let path = Path::new(config.annotations.get(PATH).filter(|_| config.annotations.contains_key(BYTES))?);
    config.mounts.iter().position(|mount| mount.container_path == path)
}

/// Gives an attempt a file of its own.
pub(crate) fn of_attempt(config: &mut ContainerConfig, attempt: u32) {
    if let Some(index) = own(config) {
        let mount = &mut config.mounts[index];
        mount.host_path = mount.host_path.with_file_name(attempt.to_string());
    }
}

/// Makes the file of an attempt. Every user in the container may write it; the directories above it keep others out.
pub(crate) fn make(config: &ContainerConfig) -> io::Result<()> {
    let Some(path) = own(config).map(|index| &config.mounts[index].host_path) else { return Ok(()) };
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o666))
}

/// Removes the file of an attempt. What cannot be removed goes with the pod.
pub(crate) fn remove(config: &ContainerConfig) {
    if let Some(index) = own(config) {
        std::fs::remove_file(&config.mounts[index].host_path).ok();
    }
}

/// What is told of the end of a container: the engine's own message and the container's.
pub fn message(view: &ContainerView, exit: &ExitView) -> String {
    match said(view, exit) {
        Some(said) if exit.message.is_empty() => said,
        Some(said) => format!("{}: {said}", exit.message),
        None => exit.message.clone(),
    }
}

fn said(view: &ContainerView, exit: &ExitView) -> Option<String> {
    let config = &view.config;
    let file = &config.mounts[own(config)?].host_path;
    let bytes = config.annotations.get(BYTES)?.parse::<u64>().ok()?.min(MAX_BYTES);
    let text = match end_of(file, bytes) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Some(format!("cannot read its termination message {}: {e}", file.display())),
    };
    let fallback = config.annotations.get(POLICY).is_some_and(|policy| policy == "FallbackToLogsOnError");
    let text = match &view.log_path {
        Some(log) if text.is_empty() && fallback && exit.code != 0 => of_log(log, bytes.min(MAX_LOG_BYTES)),
        Some(_) | None => text,
    };
    (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
}

/// The last bytes of a file.
fn end_of(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    // Nothing is opened that could have an effect, or wait.
    let found = std::fs::symlink_metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(found.len().saturating_sub(bytes)))?;
    let mut text = Vec::new();
    file.take(bytes).read_to_end(&mut text)?;
    Ok(text)
}

/// What a container wrote last, without the times of the log's lines.
fn of_log(log: &Path, bytes: u64) -> Vec<u8> {
    // A log that is not there says nothing.
    let tail = end_of(log, LOG_TAIL).unwrap_or_default();
    let lines: Vec<&[u8]> = tail.split_inclusive(|byte| *byte == b'\n').collect();
    let whole = if tail.len() as u64 == LOG_TAIL { 1 } else { 0 };
    let first = lines.len().saturating_sub(MAX_LOG_LINES).max(whole);
    let mut text = Vec::new();
    for line in lines.get(first..).unwrap_or_default() {
        // time, stream, whether the line is whole, what was written
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (tag, content) = (parts.nth(2), parts.next());
        let (Some(tag), Some(content)) = (tag, content) else { continue };
        let content = if tag == b"P" { content.strip_suffix(b"\n").unwrap_or(content) } else { content };
        text.extend_from_slice(content);
    }
    let surplus = text.len().saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
    text.split_off(surplus)
}

#[cfg(test)]
mod tests;
