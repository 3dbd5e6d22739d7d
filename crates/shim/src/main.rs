//! One small process per pod: parent of the containers, holds stdio, writes the logs, keeps exit codes.
//!
//! ```text
//! main        descriptors, subreaper, signals      init        the first process of a shared PID namespace
//! server      the event loop: daemons, children    stage       how far a container is (pure table)
//!   request, create, start, ending, session, ...    outcome     how a process ended, in the protocol's types
//! connection  one daemon                           pump        one thread per container: log, attach, stdin
//! exec        a further process                    making      what that thread does first: the container
//! driver      the seam to what others make         pause       a process that keeps a pod's cgroup
//!   runtime   a container that an OCI runtime makes   waiter   stands for a container in a sandbox
//!   foreign   a container by a shim that others wrote
//!   hooked    a container of its own with hooks
//! ```
//!
//! The daemon starts it from a sealed memfd with a listening socket as descriptor 3 and its own
//! connection as 4 (`berth_types::shim`), and the base of its containers' mount namespaces as 5. It outlives every daemon: what it knows is in its memory and
//! in its records, and a daemon that connects and says Hello is told all of it. It ends with its pod, or at once when
//! the daemon goes away before it configured the pod. See docs/adr/0040.

#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::process::ExitCode;

use berth_container::hook;
use berth_sys::memory::{self, Keep};
use berth_sys::signal::{SignalFd, ignore};
use berth_types::shim::LISTEN_FD;
use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Signal};

mod connection;
mod container;
mod driver;
mod exec;
mod foreign;
mod hooked;
mod init;
mod making;
mod outcome;
mod pause;
mod pump;
mod records;
mod runtime;
mod server;
mod stage;
mod waiter;

fn main() -> ExitCode {
    memory::keep(Keep::LEAST);
    let name = std::env::args_os().next().unwrap_or_default();
    let is = |other: &CStr| name.as_encoded_bytes() == other.to_bytes();
    let (name, run): (&CStr, fn() -> std::io::Result<()>) = match () {
        () if is(init::NAME) => (init::NAME, init::run),
        () if is(pause::NAME) => (pause::NAME, pause::run),
        () if is(waiter::NAME) => (waiter::NAME, waiter::run),
        () if is(hook::NAME) => (hook::NAME, hook),
        () if is(foreign::trial::NAME) => (foreign::trial::NAME, foreign::trial::run),
        () => (c"berth-shim", serve),
    };
    // Else it would be that of the memfd.
    let _ = rustix::thread::set_name(name);
    let done = run();
    // Nothing can be reported: stderr is the null device, and the daemon sees the end.
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Between the shim and a hook in a container's namespaces, whose status this has.
fn hook() -> std::io::Result<()> {
    match hook::main(std::env::args_os().skip(1)) {
        Ok(status) => berth_sys::process::exit_now(status),
        Err(e) => {
            // What the shim listens to.
            eprintln!("{e}");
            Err(e)
        }
    }
}

fn serve() -> std::io::Result<()> {
    let mut given = berth_sys::spawn::inherited(LISTEN_FD)?.into_iter();
    let (Some(listener), Some(first), Some(base), None) =
        (given.next(), given.next(), given.next(), given.next())
    else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    ignore(&[Signal::HUP, Signal::PIPE, Signal::INT, Signal::TERM, Signal::XFSZ].map(Signal::as_raw));
    let signals = SignalFd::new(&[Signal::CHILD.as_raw()])?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    server::Server::new(listener, first, base, signals, protect())?.run()
}

/// Asks the out-of-memory killer to spare the shim. Where that is allowed, the score from before
/// is returned: the containers' own, unless their plans say another.
fn protect() -> Option<i32> {
    const FILE: &str = "/proc/self/oom_score_adj";
    let before = std::fs::read_to_string(FILE).ok()?.trim().parse().ok()?;
    std::fs::write(FILE, "-998").ok()?;
    Some(before)
}
