//! The whole test suite, ending in one line of counts.
//!
//! What runs, in this order: setup, the rules of the project, the builds of other versions, crictl and a kubelet for the tests, every cargo test (unit, integration,
//! those that need root, doc tests), the conformance suite, and at the end a look at what is left
//! on the machine. A stage that cannot run counts as a failure, never as nothing.

pub(crate) mod cargo_tests;
pub(crate) mod count;

use std::process::ExitCode;

use crate::conformance::{self, Judged};
use crate::huge_pages::HugePages;
use crate::run::{headline, target};
use crate::{kubelet, pinned, setup, tidy, tools, upgrade};
use count::Counts;

/// Where the tests find crictl.
const CRICTL: &str = "BERTH_CRICTL";
/// Where the tests find the directory with containerd's shim.
const SHIMS: &str = "BERTH_SHIMS";
/// Its package.
const SHIM: &str = "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2";
/// Where the tests find the directory with gVisor's program.
const GVISOR: &str = "BERTH_GVISOR";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave out the conformance suite
    #[arg(long)]
    no_conformance: bool,
    /// Install nothing
    #[arg(long)]
    no_setup: bool,
    /// Only the tests of these packages, and nothing but cargo's tests
    #[arg(long, short)]
    package: Vec<String>,
}

/// The verb: 0 when nothing failed.
pub(crate) fn run(options: &Options) -> ExitCode {
    let mut counts = Counts::default();
    let apart = HugePages::apart();
    if options.package.is_empty() {
        everything(options, &mut counts);
    } else {
        cargo_tests::run(&options.package, &upgrade::Programs::new(), &mut counts);
    }
    if let Err(error) = apart.and_then(HugePages::back) {
        counts.fail(format!("a hierarchy for huge pages: {error:#}"));
    }
    counts.close()
}

fn everything(options: &Options, counts: &mut Counts) {
    if !options.no_setup
        && let Err(error) = setup::run()
    {
        counts.fail(format!("setup: {error:#}"));
    }
    headline("test: the rules of the project");
    for rule in tidy::check() {
        match rule.problems[..] {
            [] => counts.passed += 1,
            _ => counts.fail(format!("tidy: {}: {}", rule.name, rule.problems.join("; "))),
        }
    }
    headline("test: building the testkit");
    let snapshot = target().join("before-tests.json");
    let testkit = tools::testkit(tools::Profile::Dev)
        .and_then(|testkit| tools::take_snapshot(&testkit, &snapshot).map(|()| testkit));

    let programs = programs(counts);
    cargo_tests::run(&[], &programs, counts);
    if options.no_conformance {
        counts.skip("conformance", "left out on request");
    } else {
        match conformance::run(&conformance::Options::default()) {
            Ok(judged) => count_specs(&judged, counts),
            Err(error) => counts.fail(format!("conformance: {error:#}")),
        }
    }

    headline("test: what is left on the machine");
    match testkit.and_then(|testkit| tools::compare_with(&testkit, &snapshot)) {
        Ok(()) => counts.passed += 1,
        Err(error) => counts.fail(format!("leak check: {error:#}")),
    }
}

/// Builds what cargo's tests use beside today's program; the environment that hands it to them.
fn programs(counts: &mut Counts) -> upgrade::Programs {
    let mut programs = upgrade::build(counts);
    match conformance::build_suite() {
        Ok(_) => programs.push((CRICTL, conformance::crictl().into())),
        Err(error) => counts.fail(format!("crictl: {error:#}")),
    }
    match kubelet::build() {
        Ok(kubelet) => programs.push(kubelet),
        Err(error) => counts.fail(format!("kubelet: {error:#}")),
    }
    match pinned::build("shims", &[SHIM]) {
        Ok(shims) => programs.push((SHIMS, shims.into())),
        Err(error) => counts.fail(format!("shims: {error:#}")),
    }
    match pinned::gvisor() {
        Ok(gvisor) => programs.push((GVISOR, gvisor.into())),
        Err(error) => counts.fail(format!("gvisor: {error:#}")),
    }
    programs
}

fn count_specs(judged: &Judged, counts: &mut Counts) {
    judged.print();
    counts.passed += judged.passed;
    counts.skipped += judged.skipped.len();
    for (name, said) in &judged.failed {
        counts.fail(format!("conformance: {name}: {said}"));
    }
}
