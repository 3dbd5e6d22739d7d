//! A real kubelet over Berth: static pods, the kubelet's own words on what became of them, and both killed under each other.
//!
//! One node serves all tests, which run side by side, since they mostly wait for the kubelet. Then come those that change
//! the node itself, one after another. The kubelet is built by `cargo xtask kubelet` and `cargo xtask test`; without it all of
//! them are skipped.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test program"
)]

mod cases;
#[path = "../upgrade/cri.rs"]
#[allow(dead_code, reason = "shared with the tests of upgrades")]
mod cri;
#[path = "../cli/home.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod home;
mod http;
mod node;
mod view;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use node::{Node, Programs};

/// A test, by the name of what it shows.
type Case = (&'static str, fn(&Node));

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let all = || cases::SIDE_BY_SIDE.iter().chain(cases::ONE_BY_ONE);
    let wanted =
        all().any(|(name, _)| arguments.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str())));
    if arguments.list || !wanted {
        let none = || all().map(|(name, _)| Trial::test(*name, || Ok(()))).collect();
        return libtest_mimic::run(&arguments, none()).exit_code();
    }
    let programs = match programs() {
        Ok(programs) => programs,
        Err(reason) => return skip(&reason),
    };
    let node = node::enter().and_then(|()| Node::start(programs));
    let node = match node {
        Ok(node) => Arc::new(node),
        Err(error) => {
            eprintln!("the node does not come up: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    arguments.test_threads = Some(cases::SIDE_BY_SIDE.len());
    let first = libtest_mimic::run(&arguments, trials(&node, cases::SIDE_BY_SIDE));
    arguments.test_threads = Some(1);
    let second = libtest_mimic::run(&arguments, trials(&node, cases::ONE_BY_ONE));
    if first.has_failed() || second.has_failed() {
        node.keep_logs();
    }
    match first.has_failed() {
        true => first.exit_code(),
        false => second.exit_code(),
    }
}

fn trials(node: &Arc<Node>, cases: &[Case]) -> Vec<Trial> {
    let trial = |(name, case): &Case| {
        let (node, case) = (node.clone(), *case);
        Trial::test(*name, move || {
            case(&node);
            Ok(())
        })
    };
    cases.iter().map(trial).collect()
}

/// Where the programs are, or why there are none.
fn programs() -> Result<Programs, String> {
    if !berth_testkit::guard::is_root() {
        return Err("needs root".to_owned());
    }
    let Some(dir) = std::env::var_os("BERTH_KUBELET").map(PathBuf::from) else {
        return Err("no kubelet was built (cargo xtask kubelet builds it)".to_owned());
    };
    let berth = Path::new(env!("CARGO_BIN_EXE_berth")).to_owned();
    Ok(Programs { berth, kubelet: dir.join("kubelet"), agnhost: dir.join("agnhost") })
}

/// Says so for each test, as the runner counts it.
fn skip(reason: &str) -> ExitCode {
    let names: Vec<_> = cases::SIDE_BY_SIDE.iter().chain(cases::ONE_BY_ONE).map(|(name, _)| name).collect();
    for name in &names {
        println!("skipped: {name}: {reason}");
    }
    println!("test result: ok. {} passed; 0 failed; 0 ignored; 0 measured; 0 filtered out", names.len());
    ExitCode::SUCCESS
}
