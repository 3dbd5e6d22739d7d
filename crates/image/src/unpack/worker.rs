//! The life of the unpacking process.

use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use berth_sys::confine;
use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::decompress::Stream;
use super::recipe::Recipe;
use super::tree::Tree;
use super::{Job, Limits, Outcome, Refusal, Report, Task, UnpackError, extract};

/// The whole life of the unpacking process: call it first in `main` when `argv[0]` is [`super::PROGRAM`].
/// Standard input is the blob, standard output the socket to whoever started it.
pub fn worker_main() -> ExitCode {
    // Whatever the daemon had open without close-on-exec.
    let _older_kernel = berth_sys::process::close_range(3, u32::MAX);
    let Ok(mut socket) = rustix::io::dup(std::io::stdout().as_fd()).map(File::from) else {
        return ExitCode::FAILURE;
    };
    let outcome = match receive(&socket) {
        Ok((job, dir, file)) => match run(&job, dir, file) {
            Ok(report) => Outcome::Done(report),
            Err(error) => {
                Outcome::Refused(Refusal { reason: berth_types::error::chain(&error), cause: error.cause() })
            }
        },
        Err(error) => {
            Outcome::Refused(Refusal { reason: format!("no job: {error}"), cause: super::Cause::System })
        }
    };
    let sent = postcard::to_allocvec(&outcome).is_ok_and(|bytes| socket.write_all(&bytes).is_ok());
    if sent { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

fn run(job: &Job, dir: OwnedFd, mut file: File) -> Result<Report, UnpackError> {
    let failed = |step| move |source| UnpackError::Confine { step, source };
    let limits = confine::Limits { file_bytes: job.limits.bytes, open_files: 1024 };
    confine::enter(dir.as_fd(), &KEEP, &limits)
        .map_err(|e| UnpackError::Confine { step: e.step, source: e.source })?;
    // The descriptor that came with the job still leads to the host's mounts; this one does not.
    drop(dir);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open("/", flags, Mode::empty()).map_err(|e| failed("open the root")(e.into()))?;
    let input = rustix::io::dup(std::io::stdin().as_fd()).map_err(|e| failed("dup stdin")(e.into()))?;
    let mut stream = Stream::start(File::from(input), job.limits).map_err(failed("start threads"))?;
    confine::system_calls().map_err(failed("restrict system calls"))?;
    match job.task {
        Task::Unpack => unpack(&job.limits, stream, dir, file),
        Task::Inflate => {
            std::io::copy(&mut stream, &mut file).map_err(failed("decompress"))?;
            Ok(Report::default())
        }
    }
}

fn unpack(limits: &Limits, mut stream: Stream, dir: OwnedFd, recipe: File) -> Result<Report, UnpackError> {
    let failed = |step| move |source| UnpackError::Confine { step, source };
    let mut tree = Tree::new(dir);
    let mut recipe = Recipe::new(recipe).map_err(UnpackError::Recipe)?;
    let totals = extract::extract(&mut stream, &mut tree, &mut recipe, limits)?;
    recipe.finish().map_err(UnpackError::Recipe)?;
    let diff_id = stream.finish().map_err(failed("read the layer"))?;
    let mut changes = tree.changes;
    let links = changes.take_links();
    Ok(Report {
        diff_id,
        tar_bytes: totals.tar_bytes,
        file_bytes: totals.file_bytes,
        inodes: changes.count,
        implied: changes.implied.into_iter().collect(),
        opaque: changes.opaque.into_iter().collect(),
        links,
        describes_root: changes.dirs.contains_key(&b""[..]),
        reproducible: !changes.lossy,
    })
}

/// What it takes to make any file with any owner and mode, and no more.
const KEEP: [confine::Capability; 6] = [
    confine::Capability::CHOWN,
    confine::Capability::DAC_OVERRIDE,
    confine::Capability::FOWNER,
    confine::Capability::FSETID,
    confine::Capability::MKNOD,
    confine::Capability::SETFCAP,
];
