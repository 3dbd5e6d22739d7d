//! The CRI's own conformance suite, against a Berth of its own or any socket.
//!
//! Two lists in `tests/conformance/` say what is expected of every spec. `must-pass.txt` only
//! grows: one of it that fails fails the run. `not-yet.txt` gives the reason for each of the rest;
//! one of it that passes is named, so that it can be moved.

mod lists;
mod report;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::huge_pages::HugePages;
use crate::pinned;
use crate::run::{go, has, headline, must, root, target};
use crate::tools::{Profile, berth, testkit};
use lists::Lists;
use report::{Outcome, Spec};

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Test the runtime behind this socket instead of a Berth started for it
    #[arg(long, requires = "listen")]
    socket: Option<String>,
    /// Where the registry is to listen; a runtime behind --socket must have it as its mirror
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Only the specs whose name matches this regular expression
    #[arg(long)]
    focus: Option<String>,
    /// Test a Berth built with optimisation
    #[arg(long)]
    release: bool,
    /// AppArmor is in force: the specs that wait for it must pass
    #[arg(long)]
    confined: bool,
    /// In random order, by this seed; 0 chooses one
    #[arg(long, value_name = "SEED")]
    random: Option<u32>,
    /// In so many processes at once
    #[arg(long, value_name = "N")]
    parallel: Option<u32>,
    /// So many times instead of once, one after the other; every run must pass
    #[arg(long, value_name = "N")]
    runs: Option<u32>,
    /// The pods' network is made by the CNI plugins bridge, host-local and portmap of this directory
    #[arg(long, value_name = "DIR", conflicts_with = "socket")]
    cni: Option<PathBuf>,
    /// The pods are run by this handler: native, runc, crun, runsc, shim (containerd's own for runc), or another that is on the machine
    #[arg(long, value_name = "NAME", conflicts_with = "socket")]
    handler: Option<String>,
    /// Evaluate an existing report
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Further flags for critest
    #[arg(last = true)]
    flags: Vec<String>,
}

/// The results, by the lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Specs that passed.
    pub(crate) passed: usize,
    /// Specs that had to pass and did not, with what they said.
    pub(crate) failed: Vec<(String, String)>,
    /// Specs that need not pass yet and did not, with the reason on the list.
    pub(crate) skipped: Vec<(String, String)>,
    /// Specs that need not pass yet and did.
    pub(crate) gained: Vec<String>,
}

impl Judged {
    /// An error when a spec failed that had to pass.
    pub(crate) fn verdict(&self) -> Result<()> {
        self.print();
        println!(
            "conformance: {} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped.len()
        );
        if self.failed.is_empty() {
            Ok(())
        } else {
            bail!("{} specs that must pass have failed", self.failed.len())
        }
    }

    /// With those of a further run.
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
        self.gained.extend(other.gained);
    }

    /// Names everything that is not a plain pass.
    pub(crate) fn print(&self) {
        for (name, reason) in &self.skipped {
            println!("skipped: conformance: {name}: {reason}");
        }
        for name in &self.gained {
            println!("newly passing: {name}: move it to must-pass.txt");
        }
        for (name, said) in &self.failed {
            println!("failed: conformance: {name}: {said}");
        }
    }
}

/// The specs of exec, attach and port forwarding, which the suite runs over SPDY unless it is told otherwise.
const STREAMING: &str = "Streaming";
/// What tells it otherwise.
const OVER_WEBSOCKET: [&str; 3] = ["-websocket-exec", "-websocket-attach", "-websocket-portforward"];

/// Builds the suite, runs it, and evaluates the report. Specs of streaming run a second time over WebSocket.
pub(crate) fn run(options: &Options) -> Result<Judged> {
    let mut lists = Lists::read(&root().join("tests/conformance"), options.handler.as_deref())?;
    if options.confined {
        lists.require("needs AppArmor");
    }
    if let Some(file) = &options.report {
        return judge(&ran(report::read(file)?, options.focus.as_deref()), &lists);
    }
    let apart = HugePages::apart()?;
    let judged = runs(options, &lists);
    apart.back()?;
    judged
}

fn runs(options: &Options, lists: &Lists) -> Result<Judged> {
    let critest = build_suite()?;
    let mut judged = once(options, &critest, lists)?;
    let runs = options.runs.unwrap_or(1);
    for number in 2..=runs {
        headline(&format!("conformance: run {number} of {runs}"));
        judged.add(once(options, &critest, lists)?);
    }
    Ok(judged)
}

fn once(options: &Options, critest: &Path, lists: &Lists) -> Result<Judged> {
    let mut flags = options.flags.clone();
    if let Some(seed) = options.random {
        let seed = if seed == 0 { std::process::id() ^ now() } else { seed };
        headline(&format!("conformance: in random order, --random {seed}"));
        flags.extend(["-ginkgo.randomize-all".to_owned(), format!("-ginkgo.seed={seed}")]);
    }
    if let Some(handler) = &options.handler {
        flags.push(format!("-runtime-handler={handler}"));
    }
    let report = execute(options, options.focus.as_deref(), &flags, critest, "conformance")?;
    let mut specs = ran(report::read(&report)?, options.focus.as_deref());
    if specs.iter().any(|spec| spec.name.contains(STREAMING)) && options.flags.is_empty() {
        flags.extend(OVER_WEBSOCKET.map(str::to_owned));
        let report = execute(options, Some(STREAMING), &flags, critest, "conformance-websocket")?;
        specs.extend(ran(report::read(&report)?, Some(STREAMING)));
    }
    judge(&specs, lists)
}

fn now() -> u32 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    since.subsec_nanos()
}

/// Under a focus most specs do not run, and what did not run says nothing.
fn ran(specs: Vec<Spec>, focus: Option<&str>) -> Vec<Spec> {
    specs.into_iter().filter(|spec| focus.is_none() || spec.outcome != Outcome::Skipped).collect()
}

fn execute(
    options: &Options,
    focus: Option<&str>,
    flags: &[String],
    critest: &Path,
    name: &str,
) -> Result<PathBuf> {
    let out = target().join(name);
    std::fs::create_dir_all(&out)?;
    let old = out.join("report.json");
    if old.exists() {
        std::fs::remove_file(&old)?;
    }
    let mut command = Command::new(testkit(Profile::Dev)?);
    command.arg("conformance").arg("--critest").arg(critest).arg("--out").arg(&out);
    match &options.socket {
        Some(socket) => command.args(["--socket", socket]),
        None => {
            let profile = if options.release { Profile::Release } else { Profile::Dev };
            command.arg("--berth").arg(berth(profile)?)
        }
    };
    if let Some(dir) = &options.cni {
        command.arg("--cni").arg(dir);
    }
    match options.handler.as_deref() {
        Some("runsc") => command.arg("--handler").arg(pinned::runsc_handler()?),
        // By its own name it would be hidden by the runtime.
        Some("shim") => command.args(["--handler", "shim=io.containerd.runc.v2"]),
        _ => &mut command,
    };
    if let Some(parallel) = options.parallel {
        command.arg("--ginkgo").arg(build_ginkgo()?).args(["--parallel", &parallel.to_string()]);
    }
    if let Some(address) = options.listen {
        command.args(["--listen", &address.to_string()]);
    }
    command.arg("--");
    if let Some(focus) = focus {
        command.arg(format!("-ginkgo.focus={focus}"));
    }
    command.args(flags);
    headline(&format!("{name}: running the suite; its log is {}", out.join("critest.log").display()));
    must(&mut command)?;
    Ok(old)
}

/// crictl, for the tests that use it.
pub(crate) fn crictl() -> PathBuf {
    root().join("tests/conformance/bin/crictl")
}

/// Builds critest and crictl at the version that `tests/conformance/go.mod` pins.
pub(crate) fn build_suite() -> Result<PathBuf> {
    if !has("go") {
        bail!("the conformance suite is built with Go 1.26, which is not on the PATH");
    }
    let dir = root().join("tests/conformance");
    let bin = dir.join("bin");
    std::fs::create_dir_all(&bin)?;
    let critest = bin.join("critest");
    headline("conformance: building critest and crictl");
    must(go(&dir).args(["test", "-c", "-o"]).arg(&critest).arg("sigs.k8s.io/cri-tools/cmd/critest"))?;
    must(go(&dir).args(["build", "-o"]).arg(crictl()).arg("sigs.k8s.io/cri-tools/cmd/crictl"))?;
    Ok(critest)
}

/// Builds the program that runs a suite in several processes.
fn build_ginkgo() -> Result<PathBuf> {
    let dir = root().join("tests/conformance");
    let ginkgo = dir.join("bin/ginkgo");
    must(go(&dir).args(["build", "-o"]).arg(&ginkgo).arg("github.com/onsi/ginkgo/v2/ginkgo"))?;
    Ok(ginkgo)
}

/// Compares what happened with what is expected.
fn judge(specs: &[Spec], lists: &Lists) -> Result<Judged> {
    let mut judged = Judged::default();
    let mut unknown = Vec::new();
    for spec in specs {
        let name = &spec.name;
        let must = lists.must_pass.contains(name);
        let reason = lists.not_yet.get(name);
        match (must, reason, spec.outcome) {
            (false, None, _) => unknown.push(name.clone()),
            (true, _, Outcome::Passed) => judged.passed += 1,
            (true, _, Outcome::Failed | Outcome::Skipped) => {
                judged.failed.push((name.clone(), spec.said.clone()));
            }
            (false, Some(_), Outcome::Passed) => {
                judged.passed += 1;
                judged.gained.push(name.clone());
            }
            (false, Some(reason), Outcome::Failed | Outcome::Skipped) => {
                judged.skipped.push((name.clone(), reason.clone()));
            }
        }
    }
    if !unknown.is_empty() {
        bail!("specs on neither list of tests/conformance:\n{}", unknown.join("\n"));
    }
    if judged.passed + judged.failed.len() + judged.skipped.len() == 0 {
        return Err(anyhow::anyhow!("no spec ran")).context("conformance");
    }
    Ok(judged)
}

#[cfg(test)]
mod tests;
