//! The daemon's side of unpacking a layer: two processes, and between them the thread that sums up the tar.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread::JoinHandle;

use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use sha2::{Digest as _, Sha256};

use berth_types::Digest;

use super::bounds::MAX_DEVICES;
use super::paths::{MAX_PATH, Malformed, Paths};
use super::process::{Process, pipe};
use super::{Bounds, Cause, Job, OverLimit, Refusal, Report, Task};

/// Bytes of the tar that are summed up at a time.
const BLOCK: usize = 128 << 10;
/// The stack of the thread that sums up.
const STACK: usize = 128 << 10;

/// A layer that is being unpacked. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Pipeline {
    inflater: Process,
    unpacker: Process,
    relay: JoinHandle<Result<Sum, Stopped>>,
    bounds: Bounds,
}

/// What the unpacked tar was.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    pub(crate) report: Report,
    /// Bytes of the tar.
    pub(crate) tar_bytes: u64,
}

/// What passed from one process to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sum {
    digest: Digest,
    bytes: u64,
}

/// Why not everything passed.
#[derive(Debug)]
enum Stopped {
    /// It is over a limit.
    Limit(String),
    /// The process that takes it is gone.
    Closed,
    System(Errno),
}

impl Pipeline {
    /// Starts the processes; the blob's bytes go into the returned pipe. `empty` is a directory with nothing in it, `dir`
    /// the one to unpack into, and `recipe` the file for the recipe.
    pub(crate) fn start(
        program: &Path,
        bounds: Bounds,
        empty: BorrowedFd<'_>,
        dir: BorrowedFd<'_>,
        recipe: BorrowedFd<'_>,
    ) -> std::io::Result<(Self, OwnedFd)> {
        let (input, blob) = pipe()?;
        let (inflated, out) = pipe()?;
        let (tar, onward) = pipe()?;
        let job = |task| Job { task, bounds };
        let inflater = Process::start(program, &job(Task::Inflate), input, empty, out.as_fd())?;
        drop(out);
        let unpacker = Process::start(program, &job(Task::Unpack), tar, dir, recipe)?;
        let thread = std::thread::Builder::new().name("layer-sum".into()).stack_size(STACK);
        let relay = thread.spawn(move || relay(&mut File::from(inflated), &onward, &bounds))?;
        Ok((Self { inflater, unpacker, relay, bounds }, blob))
    }

    #[cfg(test)]
    pub(crate) fn kill_unpacker(&mut self) {
        self.unpacker.kill();
    }

    /// Waits for the end. The pipe must be closed, or the processes wait as well. The tar must have this digest.
    pub(crate) fn wait(self, diff_id: &Digest) -> Result<Unpacked, Refusal> {
        let Self { inflater, unpacker, relay, bounds } = self;
        // Each of them ends when one of the others does, so none is waited for forever.
        let inflated = inflater.wait().map(drop);
        let unpacked = unpacker.wait();
        let passed = relay.join().map_err(|_| refusal(Cause::System, "the thread that sums up panicked"))?;
        let (sum, report) = outcome(passed, inflated, unpacked)?;
        if sum.digest != *diff_id {
            let reason =
                format!("its tar has the digest {}, the image's configuration says {diff_id}", sum.digest);
            return Err(refusal(Cause::Malformed, &reason));
        }
        check(&report, &bounds)?;
        Ok(Unpacked { report, tar_bytes: sum.bytes })
    }
}

fn refusal(cause: Cause, reason: &str) -> Refusal {
    Refusal { reason: reason.to_owned(), cause }
}

/// Which of the three failed first: the others failed since it was gone.
fn outcome(
    passed: Result<Sum, Stopped>,
    inflated: Result<(), Refusal>,
    unpacked: Result<Report, Refusal>,
) -> Result<(Sum, Report), Refusal> {
    if let Err(Stopped::Limit(reason)) = passed {
        return Err(refusal(Cause::Limit, &format!("the layer has {reason}")));
    }
    match inflated {
        Err(refusal) if refusal.cause != Cause::Closed => return Err(refusal),
        Ok(()) | Err(_) => {}
    }
    let report = unpacked?;
    match (passed, inflated) {
        (Ok(sum), Ok(())) => Ok((sum, report)),
        (Err(Stopped::System(e)), _) => {
            Err(refusal(Cause::System, &format!("relay the tar: {}", std::io::Error::from(e))))
        }
        // The process says that it is done, but left something unread.
        _ => Err(refusal(Cause::Malformed, "data after the archive's end")),
    }
}

/// Passes everything from one pipe to another, and sums it up. What the reader of `to` gets is what was summed up: the
/// pipe's pages are doubled, and who wrote them cannot change them (vmsplice, by which it could, is refused to it).
fn relay(from: &mut File, to: &OwnedFd, bounds: &Bounds) -> Result<Sum, Stopped> {
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK];
    let mut bytes = 0;
    loop {
        let length = match rustix::pipe::tee(&*from, to, BLOCK, SpliceFlags::empty()) {
            Ok(0) => break,
            Ok(length) => length,
            Err(Errno::INTR) => continue,
            Err(Errno::PIPE) => return Err(Stopped::Closed),
            Err(e) => return Err(Stopped::System(e)),
        };
        bytes += length as u64;
        if bytes > bounds.tar_bytes {
            return Err(Stopped::Limit(bounds.tar_reason()));
        }
        let read = from.read_exact(&mut block[..length]);
        read.map_err(|e| Stopped::System(Errno::from_io_error(&e).unwrap_or(Errno::IO)))?;
        hasher.update(&block[..length]);
    }
    Ok(Sum { digest: Digest::from_sha256(hasher.finalize().into()), bytes })
}

/// Checks what the process says: a layer may have taken it over.
fn check(report: &Report, bounds: &Bounds) -> Result<(), Refusal> {
    let malformed = |e: Malformed| refusal(Cause::System, &e.to_string());
    let mut total = 0;
    for paths in [&report.implied, &report.opaque, &report.links] {
        total += paths.check().map_err(malformed)?;
    }
    for device in report.devices.iter().filter(|device| device.path.len() <= MAX_PATH) {
        total += Paths::from_iter([&device.path]).check().map_err(malformed)?;
    }
    let too_long = report.devices.iter().any(|device| device.path.len() > MAX_PATH);
    if too_long
        || total > bounds.notes
        || report.devices.len() as u64 > MAX_DEVICES
        || report.inodes > bounds.entries + 1
    {
        let text = OverLimit("more than its limits allow".into()).to_string();
        return Err(refusal(Cause::Limit, &text));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
