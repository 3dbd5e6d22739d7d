//! What people wait for on one machine: `berth play`, `berth ps`, and what probes of many pods cost. Only of daemons that this run
//! started.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::SETTLE;
use crate::Daemon;
use crate::bench::pod::IMAGE;
use crate::bench::samples::{Samples, Unit};
use crate::bench::{Options, Target, machine};

/// Pods with probes.
const PROBED: usize = 100;
/// How long their probes are watched.
const WATCHED: Duration = Duration::from_secs(20);
/// Calls of `berth ps`.
const CALLS: usize = 20;
/// Pods that are played before the first that counts.
const WARM_UP: usize = 2;

/// A pod of a program that is ready when it runs.
fn manifest(name: &str, probe: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: main, image: {IMAGE}, imagePullPolicy: IfNotPresent, command: [sleep, '100000']{probe}}}]}}}}\n---\n"
    )
}

/// All of it.
pub(super) fn run(target: &Target, options: &Options, samples: &mut Samples) -> Result<()> {
    let Some(daemon) = &target.daemon else { return Ok(()) };
    let file = daemon.dir().join("bench.yaml");
    let done = play(daemon, &file, options, samples).and_then(|()| probes(daemon, &file, samples));
    if done.is_err() {
        // The next step must not find these pods; the first error is the one to report.
        for name in names().chain(["bench".to_owned()]) {
            call(daemon, &["rm", "-f", &name]).ok();
        }
    }
    std::fs::remove_file(&file).ok();
    done
}

fn names() -> impl Iterator<Item = String> {
    (0..PROBED).map(|number| format!("probed-{number}"))
}

fn call(daemon: &Daemon, arguments: &[&str]) -> Result<Duration> {
    let begin = Instant::now();
    let output = daemon.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    let took = begin.elapsed();
    if !output.status.success() {
        bail!("berth {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(took)
}

fn played(daemon: &Daemon, file: &PathBuf, text: &str) -> Result<Duration> {
    std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    call(daemon, &["play", "-q", &file.display().to_string()])
}

/// One pod after the other: the call ends when the pod is ready.
fn play(daemon: &Daemon, file: &PathBuf, options: &Options, samples: &mut Samples) -> Result<()> {
    for number in 0..WARM_UP + options.pods {
        let up = played(daemon, file, &manifest("bench", ""))?;
        let down = call(daemon, &["down", "-t", "0", "bench"])?;
        if number >= WARM_UP {
            samples.time("play, one container", up);
            samples.time("down, one container", down);
        }
    }
    Ok(())
}

/// A probe each second in each of many pods, and lists beside them.
fn probes(daemon: &Daemon, file: &PathBuf, samples: &mut Samples) -> Result<()> {
    let probe = ", readinessProbe: {periodSeconds: 1, exec: {command: ['true']}}";
    let names: Vec<String> = names().collect();
    let text: String = names.iter().map(|name| manifest(name, probe)).collect();
    played(daemon, file, &text)?;
    let processes = machine::runtime_processes();
    let spent = || -> Duration { processes.keys().filter_map(|pid| machine::processor_time(*pid)).sum() };
    std::thread::sleep(SETTLE);
    let (begin, before) = (Instant::now(), spent());
    std::thread::sleep(WATCHED);
    let share = spent().saturating_sub(before).as_secs_f64() / begin.elapsed().as_secs_f64();
    samples.value(&format!("a core for exec probes of {PROBED} pods"), Unit::Percent, share * 100.0);
    for _ in 0..CALLS {
        samples.time(&format!("ps, {PROBED} pods"), call(daemon, &["ps"])?);
    }
    let words: Vec<&str> = ["down", "-t", "0"].into_iter().chain(names.iter().map(String::as_str)).collect();
    call(daemon, &words).map(drop)
}
