//! How long a hardened container takes, without daemon and shim: `cargo run --release -p
//! berth-container --example bench [ROUNDS]`. As root; needs /bin/busybox.
//!
//! Prints medians and 99th percentiles in microseconds.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use berth_container::plan::{Inputs, Plan, parse, plan};
use berth_container::run::{self, Given, Stdio};
use berth_container::seccomp;
use berth_sys::cgroup::{Cgroup, CgroupPath, Host, Resources};

const CONFIG: &str = r#"{
  "ociVersion": "1.2.0",
  "process": { "user": {"uid": 0, "gid": 0}, "args": ["/bin/busybox", "true"], "env": ["PATH=/bin"], "cwd": "/",
    "noNewPrivileges": true, "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}] },
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "bench",
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["rbind", "rprivate", "ro"]}
  ],
  "linux": {
    "namespaces": [{"type": "pid"}, {"type": "network", "path": "/proc/self/ns/net"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
    "maskedPaths": ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
    "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
  }
}"#;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let rounds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(300);
    let dir = std::env::temp_dir().join(format!("berth-bench-{}", std::process::id()));
    let rootfs = dir.join("rootfs");
    for name in ["bin", "proc", "dev", "sys", "etc"] {
        std::fs::create_dir_all(rootfs.join(name))?;
    }
    std::fs::copy("/bin/busybox", rootfs.join("bin/busybox"))?;
    std::fs::write(rootfs.join("etc/hosts"), "")?;
    let outcome = measure(&dir, rounds);
    std::fs::remove_dir_all(&dir)?;
    outcome
}

fn measure(dir: &Path, rounds: usize) -> Outcome<()> {
    let spec = parse(CONFIG.as_bytes())?;
    let native = seccomp::Arch::native().ok_or("no seccomp for this machine")?;
    let filter = seccomp::compile(&seccomp::default_profile(0, native), native)?.encode();
    let inputs = Inputs { bundle: Some(dir), seccomp: Some(filter), ..Inputs::default() };
    let plan = plan(&spec, &inputs)?;
    let path = CgroupPath::new(&format!("berth-bench-{}", std::process::id()))?;
    let cgroup = Host::detect()?.create(&path, &Resources::default())?;
    let outcome = rounds_in(&plan, &cgroup, rounds);
    cgroup.remove()?;
    outcome
}

/// No streams: each is the container's null device.
fn silent() -> Stdio {
    Stdio::Fds { stdin: None, stdout: None, stderr: None }
}

fn rounds_in(plan: &Plan, cgroup: &Cgroup, rounds: usize) -> Outcome<()> {
    let mut times: [Vec<Duration>; 4] = Default::default();
    for _ in 0..rounds {
        let begin = Instant::now();
        let prepared = run::create(plan, &Given::default(), silent(), &cgroup.join()?)?;
        let created = Instant::now();
        let running = prepared.start()?;
        let started = Instant::now();
        berth_sys::process::reap(running.pidfd.as_fd());
        times[0].push(created - begin);
        times[1].push(started - created);
        times[2].push(begin.elapsed());
    }
    let mut sleeper = plan.clone();
    sleeper.process.args = ["/bin/busybox", "sleep", "1000"].map(|a| a.as_bytes().to_vec()).to_vec();
    let main = run::create(&sleeper, &Given::default(), silent(), &cgroup.join()?)?.start()?;
    for _ in 0..rounds {
        let begin = Instant::now();
        let other = run::exec(&plan.process, main.pidfd.as_fd(), silent(), &cgroup.join()?)?;
        berth_sys::process::reap(other.pidfd.as_fd());
        times[3].push(begin.elapsed());
    }
    rustix::process::pidfd_send_signal(&main.pidfd, rustix::process::Signal::KILL)?;
    berth_sys::process::reap(main.pidfd.as_fd());
    for (name, mut list) in ["create", "start", "create+start+exit", "exec+exit"].into_iter().zip(times) {
        report(name, &mut list);
    }
    Ok(())
}

#[allow(clippy::print_stdout, reason = "this is what the example is for")]
fn report(name: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).map_or(0, Duration::as_micros);
    println!("{name:>18}  median {:>6} us  p99 {:>6} us", at(50), at(99));
}
