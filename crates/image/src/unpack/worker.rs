//! The unpacking process.

use std::fs::File;
use std::io::{BufReader, ErrorKind, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use berth_sys::confine::{self, Access, Calls};
use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::decompress::{Stopped, decompress};
use super::recipe::Recipe;
use super::tree::Tree;
use super::{Bounds, Budget, Cause, Job, Outcome, Refusal, Report, Task, UnpackError, extract};

/// The whole life of the unpacking process: call it first in `main` when `argv[0]` is [`super::PROGRAM`].
/// Standard input is the blob, standard output the socket to the parent.
pub fn worker_main() -> ExitCode {
    // What the daemon may have open without close-on-exec.
    let _older_kernel = berth_sys::process::close_range(3, u32::MAX);
    let Ok(mut socket) = rustix::io::dup(std::io::stdout().as_fd()).map(File::from) else {
        return ExitCode::FAILURE;
    };
    let (outcome, most) = match receive(&socket) {
        Ok((job, root, out)) => (run(&job, root, out), job.bounds.answer()),
        Err(reason) => {
            let source = std::io::Error::other(reason);
            (Err(UnpackError::Confine { step: "receive the job", source }), 1 << 16)
        }
    };
    let outcome = match outcome {
        Ok(report) => Outcome::Done(report),
        Err(error) => {
            Outcome::Refused(Refusal { reason: berth_types::error::chain(&error), cause: error.cause() })
        }
    };
    let sent = answer(&outcome, most).is_some_and(|bytes| socket.write_all(&bytes).is_ok());
    if sent { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The answer, in at most so many bytes.
fn answer(outcome: &Outcome, most: u64) -> Option<Vec<u8>> {
    let bytes = postcard::to_allocvec(outcome).ok()?;
    if bytes.len() as u64 <= most {
        return Some(bytes);
    }
    let reason = "the layer has more directories and links to report than its size explains".to_owned();
    postcard::to_allocvec(&Outcome::Refused(Refusal { reason, cause: Cause::Limit })).ok()
}

/// The job and its descriptors, sent in one message.
fn receive(socket: &File) -> Result<(Job, OwnedFd, File), String> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 256];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(|e| e.to_string())?;
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    let job = postcard::from_bytes(&bytes[..message.bytes]).map_err(|e| e.to_string())?;
    match <[OwnedFd; 2]>::try_from(fds) {
        Ok([dir, recipe]) => Ok((job, dir, recipe.into())),
        Err(fds) => Err(format!("{} descriptors came with the job", fds.len())),
    }
}

fn run(job: &Job, root: OwnedFd, out: File) -> Result<Report, UnpackError> {
    let failed = |step| move |source| UnpackError::Confine { step, source };
    let (access, keep, memory) = match job.task {
        Task::Unpack => (Access::ReadWrite, &KEEP[..], job.bounds.unpack_memory()),
        Task::Inflate => (Access::ReadOnly, &[][..], job.bounds.inflate_memory()),
    };
    let limits = confine::Limits { file_bytes: job.bounds.file_bytes, open_files: 1024, memory };
    confine::enter(root.as_fd(), access, keep, &limits)
        .map_err(|e| UnpackError::Confine { step: e.step, source: e.source })?;
    // The descriptor that came with the job still leads to the host's mounts; this one does not.
    drop(root);
    let input = rustix::io::dup(std::io::stdin().as_fd()).map_err(|e| failed("dup stdin")(e.into()))?;
    let input = File::from(input);
    match job.task {
        Task::Unpack => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open("/", flags, Mode::empty());
            let root = root.map_err(|e| failed("open the root")(e.into()))?;
            confine::system_calls(Calls::Files).map_err(failed("restrict system calls"))?;
            unpack(&job.bounds, input, root, out)
        }
        Task::Inflate => {
            confine::system_calls(Calls::Stream).map_err(failed("restrict system calls"))?;
            inflate(&job.bounds, input, out)
        }
    }
}

fn inflate(bounds: &Bounds, input: File, mut out: File) -> Result<Report, UnpackError> {
    match decompress(input, &mut out, bounds) {
        Ok(()) => Ok(Report::default()),
        Err(Stopped::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Err(UnpackError::Closed),
        Err(Stopped::Read(source) | Stopped::Write(source)) => {
            Err(UnpackError::Confine { step: "decompress", source })
        }
    }
}

fn unpack(bounds: &Bounds, input: File, root: OwnedFd, recipe: File) -> Result<Report, UnpackError> {
    let input = BufReader::with_capacity(INPUT, input);
    let mut tree = Tree::new(root, Budget::new(*bounds));
    let mut recipe = Recipe::new(recipe).map_err(UnpackError::Recipe)?;
    let file_bytes = extract::extract(input, &mut tree, &mut recipe)?;
    recipe.finish().map_err(UnpackError::Recipe)?;
    let mut changes = tree.changes;
    let links = changes.take_links();
    Ok(Report {
        file_bytes,
        inodes: changes.count,
        implied: changes.implied.iter().collect(),
        opaque: changes.opaque.iter().collect(),
        links: links.iter().flat_map(|(path, target)| [path, target]).collect(),
        devices: changes.devices.into_values().collect(),
        describes_root: changes.dirs.contains_key(&b""[..]),
        reproducible: !changes.lossy,
    })
}

/// Bytes read of the tar at a time.
const INPUT: usize = 256 << 10;

/// What it takes to make any file with any owner and mode, and no more. Not MKNOD: everyone may make a whiteout.
const KEEP: [confine::Capability; 5] = [
    confine::Capability::CHOWN,
    confine::Capability::DAC_OVERRIDE,
    confine::Capability::FOWNER,
    confine::Capability::FSETID,
    confine::Capability::SETFCAP,
];
