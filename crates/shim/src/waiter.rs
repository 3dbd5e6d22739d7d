//! The process that stands for a container of a sandbox with a kernel of its own, where the host has none: it lives from the
//! container's creation on and ends when and as the container does, which it asks the runtime for (`wait`). So the shim has a
//! child as of any other container. It is in the container's cgroup, and what kills it there ends the container too.
//!
//! It hears the shim on a socket: a byte of 0 says that the container was started, any other is a signal for it. With the
//! end of the socket the shim has ended, and this does.

use std::ffi::CStr;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use berth_sys::process::{self, Exit};
use berth_sys::spawn::Child;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal, getpid, kill_process};
use serde::Deserialize;

use crate::runtime::command::{Command, Given};

/// The argument that makes this binary one; behind it the runtime's program, what it is given before a verb, and the
/// container's id.
pub(crate) const NAME: &CStr = c"berth-wait";
/// Says that the container was started.
pub(crate) const STARTED: u8 = 0;
/// Its end of the socket.
const SOCKET: i32 = 3;
/// The time for one signal.
const SIGNAL_LIMIT: Duration = Duration::from_secs(10);
/// The longest answer to `wait`.
const MAX_ANSWER: u64 = 4 << 10;

/// The answer of gVisor's `wait`.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "exitStatus")]
    status: i32,
}

/// A `wait` under way.
struct Waiting {
    child: Child,
    answer: std::io::PipeReader,
}

/// Runs as one, to the container's end.
pub(crate) fn run() -> std::io::Result<()> {
    let mut socket = UnixStream::from(berth_sys::spawn::inherited(SOCKET)?.remove(0));
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let words: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    let [program, options @ .., id] = words.as_slice() else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    let command = |verb: &str| {
        let program = Command::new(Path::new(program));
        options.iter().fold(program, Command::arg).arg(verb).arg(id)
    };
    let mut waiting: Option<Waiting> = None;
    loop {
        let mut polled = vec![PollFd::new(&socket, PollFlags::IN)];
        polled.extend(waiting.as_ref().map(|waiting| PollFd::new(&waiting.child.pidfd, PollFlags::IN)));
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready.get(1) == Some(&true)
            && let Some(waiting) = waiting.take()
        {
            end_as(waiting);
        }
        let mut heard = [0];
        match ready.first() {
            Some(true) if socket.read(&mut heard)? == 0 => return Ok(()),
            Some(true) if heard == [STARTED] && waiting.is_none() => {
                let (answer, to) = std::io::pipe()?;
                let child = command("wait").spawn([None, Some(to.as_fd()), None])?;
                waiting = Some(Waiting { child, answer });
            }
            Some(true) if heard != [STARTED] => {
                // One that has ended cannot be signalled, which its `wait` tells.
                let kill = command("kill").arg(heard[0].to_string());
                drop(kill.run(SIGNAL_LIMIT, &Given::default()));
            }
            _ => {}
        }
    }
}

/// Ends this process as the container did: by its status, or killed with its sandbox, which then says nothing.
fn end_as(waiting: Waiting) -> ! {
    let told = process::reap(waiting.child.pidfd.as_fd()) == Some(Exit::Code(0));
    let mut text = Vec::new();
    // The other end is the ended program's alone.
    let read = told && waiting.answer.take(MAX_ANSWER).read_to_end(&mut text).is_ok();
    let answer = read.then(|| serde_json::from_slice::<Answer>(&text).ok()).flatten();
    if let Some(Answer { status }) = answer {
        process::exit_now(status)
    }
    let _ = kill_process(getpid(), Signal::KILL);
    process::exit_now(128 + Signal::KILL.as_raw())
}

/// The arguments of one.
pub(crate) fn arguments<'a>(
    program: &'a Path,
    options: impl IntoIterator<Item = &'a std::ffi::OsStr>,
    id: &'a str,
) -> Vec<std::ffi::CString> {
    let words = std::iter::once(program.as_os_str()).chain(options).map(OsStrExt::as_bytes);
    // None has a zero: they are paths and words of ours.
    let words = words.chain([id.as_bytes()]).filter_map(|word| std::ffi::CString::new(word).ok());
    std::iter::once(NAME.to_owned()).chain(words).collect()
}
