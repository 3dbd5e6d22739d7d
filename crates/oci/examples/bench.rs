//! How long `create`, `start` and `delete` of busybox take, beside other runtimes, in turn:
//! `cargo run --release -p berth-oci --example bench [ROUNDS [PROGRAM...]]`. As root; needs /bin/busybox.
//!
//! Prints medians in milliseconds, and the sum as a part of the last program's. The programs are `berth-oci` as `cargo xtask package`
//! builds it, runc and crun unless others are named.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const VERBS: [&str; 3] = ["create", "start", "delete"];
const CONFIG: &str = r#"{
  "ociVersion": "1.0.2",
  "process": { "user": {"uid": 0, "gid": 0}, "args": ["/bin/busybox", "true"], "env": ["PATH=/bin"], "cwd": "/",
    "noNewPrivileges": true },
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "bench",
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
  ],
  "linux": {
    "cgroupsPath": "/berth-bench-oci",
    "resources": {"devices": [{"allow": false, "access": "rwm"}]},
    "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
    "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"],
    "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
  }
}"#;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut words = std::env::args().skip(1);
    let rounds: usize = words.next().map_or(Ok(50), |n| n.parse())?;
    let mut programs: Vec<String> = words.collect();
    if programs.is_empty() {
        programs =
            ["target/x86_64-unknown-linux-gnu/small/berth-oci", "runc", "crun"].map(str::to_owned).into();
    }
    let dir = tempfile::tempdir()?;
    std::fs::create_dir_all(dir.path().join("rootfs/bin"))?;
    for name in ["proc", "dev", "sys"] {
        std::fs::create_dir(dir.path().join("rootfs").join(name))?;
    }
    std::fs::copy("/bin/busybox", dir.path().join("rootfs/bin/busybox"))?;
    std::fs::write(dir.path().join("config.json"), CONFIG)?;
    // A tmpfs, as /run is.
    let state = tempfile::tempdir_in("/dev/shm")?;
    let mut times = vec![[(); VERBS.len()].map(|()| Vec::new()); programs.len()];
    for _ in 0..rounds {
        for (program, times) in programs.iter().zip(&mut times) {
            for (verb, times) in VERBS.iter().zip(times) {
                times.push(run(program, verb, (dir.path(), state.path()))?);
            }
        }
    }
    let medians: Vec<[f64; VERBS.len()]> =
        times.into_iter().map(|verbs| verbs.map(|times| median(times).as_secs_f64() * 1e3)).collect();
    let sum = |of: &[f64; VERBS.len()]| of.iter().sum::<f64>();
    let last = medians.last().map_or(0.0, sum);
    for (program, of) in programs.iter().zip(&medians) {
        let cells = VERBS.iter().zip(of).map(|(verb, ms)| format!("{verb} {ms:.2}")).collect::<Vec<_>>();
        print(&format!(
            "{program}: {} = {:.2} ms, {:.2} of the last",
            cells.join(" + "),
            sum(of),
            sum(of) / last
        ));
    }
    Ok(())
}

fn run(program: &str, verb: &str, (bundle, state): (&Path, &Path)) -> Outcome<Duration> {
    let mut command = Command::new(program);
    command.arg("--root").arg(state).arg(verb);
    match verb {
        "create" => command.arg("--bundle").arg(bundle),
        "delete" => command.arg("--force"),
        _ => &mut command,
    };
    command.arg("bench").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status().map_err(|e| format!("{program}: {e}"))?;
    let took = begun.elapsed();
    if status.success() { Ok(took) } else { Err(format!("{program} {verb}: {status}").into()) }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[allow(clippy::print_stdout, reason = "this is a tool")]
fn print(line: &str) {
    println!("{line}");
}
