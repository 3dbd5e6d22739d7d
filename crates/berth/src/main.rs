//! Berth runs containers the Kubernetes way: this is the daemon and the command line.

#![forbid(unsafe_code)]

mod api;
mod cli;
mod client;
mod command;
mod credentials;
mod output;
mod serve;
mod service;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The same program, executed under another name, unpacks layers in a process of its own.
    if std::env::args_os().next().is_some_and(|name| name == berth_image::unpack::PROGRAM) {
        return berth_image::unpack::worker_main();
    }
    match cli::run() {
        Ok(code) => code,
        // `| head` has ended: no message, and the status that a shell expects then.
        Err(error) if output::is_closed(&error) => ExitCode::from(output::CLOSED),
        Err(error) => {
            output::error(&error);
            ExitCode::from(command::FAILED)
        }
    }
}
