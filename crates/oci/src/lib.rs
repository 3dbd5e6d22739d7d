//! Berth's isolation with the command line of runc: podman, docker, containerd and CRI-O can use it in place of runc or crun.
//!
//! ```text
//! create   config.json -> plan -> a process that waits at a door (a socket in the state directory)     ROOT/ID/state.json
//! start    connects to the door: execve
//! delete   cgroup killed and removed, state directory removed
//! ```
//!
//! No process of ours stays: the container's process is a child of whoever called `create` (conmon, a shim), and every command
//! finds it again by what `record` says of it. See docs/adr/0092.
//!
//! - `cli`: the command line. What is not obeyed is refused by its name.
//! - `store`, `record`: containers on disk, and the lock of each.
//! - `identity`: processes across commands, never signalled by their number alone.
//! - `copy_up`: tmpfs that begin with what an image has at their place.
//! - `verbs`: one module for each command.

mod accounts;
mod bundle;
pub mod cli;
mod console;
mod copy_up;
mod error;
mod foreground;
mod hooks;
mod identity;
mod log;
mod record;
mod seal;
mod stdio;
mod store;
mod verbs;

pub use error::OciError;

use std::process::ExitCode;

use berth_container::hook;
use clap::Parser as _;

/// The whole program: reads the command line, runs the command, reports what failed.
pub fn main() -> ExitCode {
    let mut words = std::env::args_os();
    if words.next().is_some_and(|name| name.as_encoded_bytes() == hook::NAME.to_bytes()) {
        return between(words);
    }
    let args = match cli::Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            // Nothing more can be done when it cannot be printed.
            let _printed = e.print();
            return ExitCode::from(u8::from(e.use_stderr()));
        }
    };
    run(args)
}

/// The process between this program and a hook in a container's namespaces.
fn between(words: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    match hook::main(words) {
        Ok(code) => ExitCode::from(u8::try_from(code & 0xff).unwrap_or(255)),
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command of a command line.
pub fn run(args: cli::Args) -> ExitCode {
    let args = args.without_empty_names();
    let log = log::Log::new(&args.globals);
    match verbs::run(args, &log) {
        Ok(code) => ExitCode::from(u8::try_from(code & 0xff).unwrap_or(255)),
        Err(error) => {
            log.failed(&error);
            ExitCode::from(u8::try_from(error.exit_code() & 0xff).unwrap_or(255))
        }
    }
}
