//! Running another's program so that nothing is left of it, whatever it does.
//!
//! ```text
//! PID namespace     it is the first process: when it has ended, all that it started has
//! mount namespace   its mounts end with it; a tmpfs covers the daemon's state, and takes what it writes there and prints
//! cgroup            its own, which the caller ends; where it makes others, below the same one
//! ```
//!
//! It is killed at its deadline, and when the daemon ends. What it prints goes to files, so that one that prints without
//! end fills a small file system and keeps nobody.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use berth_sys::cgroup::Join;
use berth_sys::mount::{Change, PRIVATE, change};
use berth_sys::namespace;
use berth_sys::process::{self, Exit, StringArray, place_fd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags};
use rustix::process::{Resource, Rlimit, Signal};

/// The most that it can write, to its state and to what it prints together.
const SPACE: &CStr = c"32m";
/// More is no answer.
pub(super) const MAX_PRINTED: u64 = 1 << 20;
/// What is kept of its standard error: the beginning and the end.
const MAX_ERRORS: u64 = 4 << 10;
/// The time for a killed program to be gone.
const KILLED: Duration = Duration::from_secs(5);
const SEARCH_PATH: &CStr = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A file system in memory, which only the program sees: at a directory of the host that it covers.
#[derive(Debug)]
pub(super) struct Space {
    mount: OwnedFd,
    at: PathBuf,
}

impl Space {
    /// One that will be at that directory, which must exist.
    pub(super) fn new(at: &Path) -> io::Result<Self> {
        let context = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in [(c"size", SPACE), (c"mode", c"0700")] {
            rustix::mount::fsconfig_set_string(context.as_fd(), key, value)?;
        }
        rustix::mount::fsconfig_create(context.as_fd())?;
        let attributes = MountAttrFlags::empty();
        let mount = rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        Ok(Self { mount, at: at.to_owned() })
    }

    /// A path in it, as the program sees it.
    pub(super) fn seen(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    /// The same, for this process.
    pub(super) fn own(&self, name: &str) -> PathBuf {
        Path::new("/proc/self/fd").join(self.mount.as_raw_fd().to_string()).join(name)
    }
}

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) end: End,
    /// What it printed, up to [`MAX_PRINTED`].
    pub(super) printed: Vec<u8>,
    pub(super) printed_too_much: bool,
    /// The end of its standard error.
    pub(super) errors: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Exited(Exit),
    /// It did not end in time, and was killed.
    Late,
    /// It could not be executed.
    NotExecuted(Errno),
}

/// What is executed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Executed<'a> {
    /// A program of the host.
    Program(&'a Path),
    /// Berth's own program in this file, by this name.
    Own(&'a CStr, BorrowedFd<'a>),
}

/// What the child needs, all of it made before.
struct Start<'a> {
    program: CString,
    own: Option<OwnedFd>,
    argv: StringArray,
    env: StringArray,
    space: &'a OwnedFd,
    at: CString,
    tasks: &'a [OwnedFd],
    null: File,
    out: &'a File,
    err: &'a File,
    report: OwnedFd,
}

/// Where a child failed.
const PREPARE: u8 = 0;
const EXECUTE: u8 = 1;
/// Where its report goes in the end.
const REPORT: RawFd = 3;
/// Where Berth's own program is then.
const OWN: RawFd = 4;
const OWN_PATH: &CStr = c"/proc/self/fd/4";

/// Runs a program in these groups until it ends or its time does.
///
/// # Errors
/// It could not be contained; it was not started.
pub(super) fn run(
    executed: Executed<'_>,
    args: &[String],
    space: &Space,
    groups: &Join,
    limit: Duration,
) -> io::Result<Ran> {
    let create = |name| File::options().read(true).write(true).create_new(true).open(space.own(name));
    let (mut out, mut err) = (create("out")?, create("err")?);
    let (reports, report) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (program, name, own) = executed.parts()?;
    let args = args.iter().map(|arg| CString::new(arg.as_str()));
    let argv = std::iter::once(Ok(name)).chain(args).collect::<Result<Vec<_>, _>>()?;
    let start = Start {
        program,
        own,
        argv: StringArray::new(argv),
        env: StringArray::new(vec![SEARCH_PATH.to_owned(), c"HOME=/".to_owned()]),
        space: &space.mount,
        at: CString::new(space.at.as_os_str().as_bytes())?,
        tasks: &groups.tasks,
        null: File::open("/dev/null")?,
        out: &out,
        err: &err,
        report,
    };
    let kinds = namespace::PID | namespace::MOUNT | namespace::IPC;
    let child =
        process::fork(kinds, groups.v2_dir.as_ref().map(|dir| dir.as_fd()), || start.become_program())?;
    drop(start);
    let end = wait(&child.pidfd, limit)?;
    let end = match failure(&reports)? {
        None => end,
        Some((EXECUTE, errno)) => End::NotExecuted(errno),
        Some((_, errno)) => return Err(errno.into()),
    };
    let printed_too_much = out.metadata()?.len() > MAX_PRINTED;
    let printed = excerpt(&mut out, 0, MAX_PRINTED)?;
    let errors = err.metadata()?.len();
    let mut words = excerpt(&mut err, 0, MAX_ERRORS)?;
    if errors > MAX_ERRORS {
        words.push(b'\n');
        words.extend(excerpt(&mut err, MAX_ERRORS.max(errors.saturating_sub(MAX_ERRORS)), MAX_ERRORS)?);
    }
    Ok(Ran { end, printed, printed_too_much, errors: words })
}

/// Waits for its end, with that of all that it started; kills it when its time is over.
fn wait(pidfd: &OwnedFd, limit: Duration) -> io::Result<End> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Timespec::try_from(left).ok().as_ref()) {
            Ok(0) => {
                process::end(pidfd.as_fd(), KILLED);
                return Ok(End::Late);
            }
            Ok(_) => {
                let exit = process::reap(pidfd.as_fd()).ok_or(io::ErrorKind::NotFound)?;
                return Ok(End::Exited(exit));
            }
            Err(Errno::INTR) => {}
            Err(error) => {
                process::end(pidfd.as_fd(), KILLED);
                return Err(error.into());
            }
        }
    }
}

/// What the child said before it became the program; nothing when it did become it.
fn failure(reports: &OwnedFd) -> io::Result<Option<(u8, Errno)>> {
    // Whoever could hold the other end has ended, unless the kernel does not end it.
    rustix::io::ioctl_fionbio(reports, true)?;
    let mut report = [0u8; 5];
    match rustix::io::read(reports, &mut report) {
        Ok(5) => {
            let [step, errno @ ..] = report;
            Ok(Some((step, Errno::from_raw_os_error(i32::from_le_bytes(errno)))))
        }
        Ok(_) | Err(_) => Ok(None),
    }
}

fn excerpt(file: &mut File, from: u64, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Executed<'_> {
    /// The path, the name, and the file of Berth's own, with a number that no other gets.
    fn parts(self) -> io::Result<(CString, CString, Option<OwnedFd>)> {
        match self {
            Executed::Program(path) => {
                let path = CString::new(path.as_os_str().as_bytes())?;
                Ok((path.clone(), path, None))
            }
            Executed::Own(name, file) => {
                let file = rustix::io::fcntl_dupfd_cloexec(file, OWN + 1)?;
                Ok((OWN_PATH.to_owned(), name.to_owned(), Some(file)))
            }
        }
    }
}

impl Start<'_> {
    /// In the child: neither allocates nor locks.
    fn become_program(&self) -> i32 {
        match self.contain() {
            Err(errno) => tell(self.report.as_fd(), PREPARE, errno),
            Ok(()) => {
                let errno = process::execve(&self.program, &self.argv, &self.env);
                tell(process::fd_at(REPORT), EXECUTE, errno);
            }
        }
        127
    }

    fn contain(&self) -> Result<(), Errno> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        for tasks in self.tasks {
            rustix::io::write(tasks, b"0")?;
        }
        rustix::process::setsid()?;
        change(CWD, c"/", Change { propagation: PRIVATE, recursive: true, ..Change::default() })?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount(c"proc", c"/proc", c"proc", flags, None::<&CStr>)?;
        let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(self.space, c"", CWD, self.at.as_c_str(), whole)?;
        rustix::process::chdir(c"/")?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        // One that crashes leaves no file of its memory.
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        rustix::process::setrlimit(Resource::Core, none)?;
        process::reset_signals();
        place_fd(self.null.as_fd(), 0, true)?;
        place_fd(self.out.as_fd(), 1, true)?;
        place_fd(self.err.as_fd(), 2, true)?;
        place_fd(self.report.as_fd(), REPORT, false)?;
        let last = match &self.own {
            None => REPORT,
            Some(own) => {
                place_fd(own.as_fd(), OWN, false)?;
                OWN
            }
        };
        process::close_range(last.cast_unsigned() + 1, u32::MAX)
    }
}

fn tell(report: BorrowedFd<'_>, step: u8, errno: Errno) {
    let [a, b, c, d] = errno.raw_os_error().to_le_bytes();
    let _ = rustix::io::write(report, &[step, a, b, c, d]);
}
