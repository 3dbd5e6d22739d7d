//! The same commands for laptop and CI: `cargo xtask` prints it.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks to its terminal")]

mod bench;
mod check;
mod conformance;
mod demo;
mod docs;
mod huge_pages;
mod kubelet;
mod package;
mod pinned;
mod run;
mod setup;
mod test;
mod tidy;
mod tools;
mod upgrade;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", about = "The commands of the project, for laptop and CI")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build Berth and run a first pod with it: play, ps, a page, its log, down
    Demo(demo::Options),
    /// Install the Debian packages that the tests need, as far as they are missing
    Setup,
    /// Everything that needs no root: formatting, clippy, tidy, documentation, licences
    Check,
    /// The whole test suite, in one line of counts at its end
    Test(test::Options),
    /// The tests that meet the kernel on Debian's own, with cgroup v2 alone, in a virtual machine; slow
    Vm(vm::Options),
    /// Pods under other versions of Berth than the one that made them, and under daemons and shims that are killed
    Upgrade(upgrade::Options),
    /// A real kubelet over Berth: static pods of every kind, and both killed under each other
    Kubelet(kubelet::Options),
    /// The CRI's own conformance suite against a Berth of its own, or any socket
    Conformance(conformance::Options),
    /// Speed and memory of a CRI runtime, beside others when told
    Bench(bench::Options),
    /// A Debian package: program, unit, manual, completions, configuration
    Package(package::Options),
    /// Write the documents that are made from code
    Docs,
    /// The rules of the project
    Tidy,
    /// What is on the machine now and was not when the snapshot was taken
    Leaks(tools::LeakOptions),
}

fn main() -> ExitCode {
    // Without a verb clap prints the table of verbs on stderr and fails; asking for it is not an error.
    if std::env::args_os().len() == 1 {
        print!("{}", <Arguments as clap::CommandFactory>::command().render_help());
        return ExitCode::SUCCESS;
    }
    let outcome = match Arguments::parse().verb {
        Verb::Demo(options) => demo::run(&options),
        Verb::Setup => setup::run(),
        Verb::Check => check::run(),
        Verb::Test(options) => return test::run(&options),
        Verb::Upgrade(options) => return upgrade::run(&options),
        Verb::Kubelet(options) => return kubelet::run(&options),
        Verb::Vm(options) => return vm::run(&options),
        Verb::Conformance(options) => conformance::run(&options).and_then(|r| r.verdict()),
        Verb::Bench(options) => bench::run(&options),
        Verb::Package(options) => package::run(&options),
        Verb::Docs => docs::write(),
        Verb::Tidy => tidy::run(),
        Verb::Leaks(options) => tools::leaks(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
