//! What containers of one of gVisor's kernels use, as that kernel tells it on its control socket: what `runsc events --stats` asks
//! (`runsc/boot/events.go`), without a program for each answer. The protocol is gVisor's own (`pkg/urpc`): JSON, one answer to each call.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use berth_types::{ContainerId, SandboxId};
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;

use super::super::Share;

/// The most bytes of an answer. One of a kernel with a hundred containers and as many interfaces has some 20 KB.
const MAX_ANSWER: u64 = 1 << 20;
/// The size from which a path is too long for an address.
const MAX_ADDRESS: usize = 108;

#[derive(Deserialize)]
struct Answer {
    success: bool,
    #[serde(default)]
    err: String,
    result: Option<Told>,
}

#[derive(Deserialize)]
struct Told {
    event: Event,
    /// Nanoseconds of processor time by container.
    #[serde(rename = "containerUsage", default)]
    cpu: HashMap<String, u64>,
}

#[derive(Deserialize)]
struct Event {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    memory: Memory,
}

#[derive(Deserialize, Default)]
struct Memory {
    #[serde(default)]
    usage: Entry,
}

#[derive(Deserialize, Default)]
struct Entry {
    #[serde(default)]
    usage: u64,
}

/// What these containers use. One that the kernel does not know has ended.
pub(super) fn shares(
    state: &Path,
    pod: &SandboxId,
    containers: &[&ContainerId],
    deadline: Instant,
) -> io::Result<HashMap<ContainerId, Share>> {
    let mut stream = connect(state, &format!("runsc-{pod}.sock"))?;
    let mut shares = HashMap::with_capacity(containers.len());
    for container in containers {
        if let Some(told) = ask(&mut stream, container.as_str(), deadline)? {
            let cpu_usage_ns = told.cpu.get(container.as_str()).copied().unwrap_or(0);
            let share = Share { cpu_usage_ns, memory: told.event.data.memory.usage.usage };
            shares.insert((*container).clone(), share);
        }
    }
    Ok(shares)
}

/// A directory's name may be too long for an address: the way to it is by a descriptor then.
fn connect(dir: &Path, name: &str) -> io::Result<UnixStream> {
    let path = dir.join(name);
    if path.as_os_str().len() < MAX_ADDRESS {
        return UnixStream::connect(path);
    }
    let socket = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&socket);
    UnixStream::connect(format!("/proc/self/fd/{number}"))
}

/// None when the kernel does not know the container.
fn ask(stream: &mut UnixStream, container: &str, deadline: Instant) -> io::Result<Option<Told>> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    stream.set_write_timeout(Some(left))?;
    stream.set_read_timeout(Some(left))?;
    let call = serde_json::json!({ "method": "containerManager.Event", "arg": container });
    stream.write_all(call.to_string().as_bytes())?;
    let mut answers = serde_json::Deserializer::from_reader(stream.take(MAX_ANSWER)).into_iter::<Answer>();
    match answers.next() {
        Some(Ok(Answer { success: true, result, .. })) => Ok(result),
        Some(Ok(Answer { err, .. })) => {
            tracing::debug!(container, error = err, "gVisor's kernel tells nothing of a container");
            Ok(None)
        }
        Some(Err(error)) => Err(error.into()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests;
