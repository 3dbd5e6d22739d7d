//! Daemons and shims killed at any moment while pods are made and removed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use berth_cri::api::{self, NamespaceMode};
use berth_testkit::Rng;
use berth_testkit::guard::{has_program, wait_until};
use berth_testkit::{leak, require, require_root};
use rustix::process::{Pid, Signal};
use tonic::Status;

use crate::cri::{self, Cri};
use crate::home::{BUSYBOX, Home, LIMIT, program};
use crate::programs;

/// What is at work, and what is killed.
struct Rounds<'a> {
    /// The handlers of the pods, in turn; the empty name is the default.
    handlers: &'a [&'a str],
    clients: usize,
    /// The calls between the start of a round and the end of its daemon: from so many on, and no more than twice as many.
    calls: usize,
    /// The programs of the daemons, in turn.
    daemons: Vec<PathBuf>,
    /// How many pods of each handler have run.
    ran: Vec<AtomicUsize>,
}

/// The most shims killed in a round.
const SHIMS: usize = 4;
/// The most pods that run on from round to round: enough to outlive many daemons, and no more work in a late
/// round than in an early one.
const KEPT: usize = 24;

#[test]
fn nothing_is_stuck_or_left_after_daemons_and_shims_were_killed() {
    require_root!();
    // Downgrading is supported from the next version to this one, not to an earlier one.
    let daemons = std::iter::once(program().to_owned()).chain(programs::raised()).collect();
    let rounds = Rounds::of(&[""], (16, 120), daemons);
    // The first round begins where an upgrade does.
    rounds.go(Home::start(), programs::landed().last());
}

/// The runtimes themselves, and shims of others, are killed as well.
#[test]
fn nothing_is_stuck_or_left_of_pods_by_other_runtimes() {
    require_root!();
    let shim = has_program("containerd-shim-runc-v2");
    require!(has_program("runc") && shim, "needs the packages runc and containerd");
    let daemons = vec![program().to_owned()];
    let rounds = Rounds::of(&["runc", "shim", ""], (8, 60), daemons);
    rounds.go(Home::start_with(program(), &["--handler", "shim=io.containerd.runc.v2"]), None);
}

/// The same with kernels of gVisor's.
#[test]
fn nothing_is_stuck_or_left_of_pods_by_gvisor() {
    require_root!();
    let runsc = std::env::var("BERTH_GVISOR").map(|dir| format!("runsc={dir}/runsc"));
    require!(runsc.is_ok(), "needs gVisor's runsc in BERTH_GVISOR");
    let daemons = vec![program().to_owned()];
    let rounds = Rounds::of(&["runsc"], (4, 24), daemons);
    rounds.go(Home::start_with(program(), &["--handler", &runsc.unwrap()]), None);
}

impl<'a> Rounds<'a> {
    fn of(handlers: &'a [&'a str], (clients, calls): (usize, usize), daemons: Vec<PathBuf>) -> Self {
        let ran = handlers.iter().map(|_| AtomicUsize::new(0)).collect();
        Self { handlers, clients, calls, daemons, ran }
    }

    /// All of them; the first begins with pods of the daemon `from`.
    fn go(&self, mut home: Home, from: Option<&PathBuf>) {
        let _turn = programs::turn();
        let before = leak::Snapshot::take(&[]);
        home.berth(&["pull", "-q", BUSYBOX]).fine();
        if let Some(from) = from {
            home.daemon.stop().unwrap();
            home.daemon.set_program(from);
            home.daemon.start().unwrap();
        }
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let mut rng = Rng::new(u64::try_from(seed & u128::from(u64::MAX)).unwrap());
        for round in 0..programs::rounds() {
            self.crash(&mut home, &mut rng);
            home.daemon.set_program(&self.daemons[round as usize % self.daemons.len()]);
            home.daemon.start().unwrap();
            let clean = || {
                remove(&home, api::PodSandboxState::SandboxReady, KEPT);
                remove(&home, api::PodSandboxState::SandboxNotready, 0);
                home.berth(&["doctor"]).code == 0
            };
            let tidy = wait_until(LIMIT, clean);
            assert!(tidy, "round {round}, seed {seed}: {:?}\n{}", home.berth(&["doctor"]), home.daemon.log());
        }
        remove(&home, api::PodSandboxState::SandboxReady, 0);
        remove(&home, api::PodSandboxState::SandboxNotready, 0);
        let ran: Vec<_> = self.ran.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        assert!(ran.iter().all(|&count| count > 0), "{:?}: {ran:?}\n{}", self.handlers, home.daemon.log());
        home.clean();
        home.daemon.purge().unwrap();
        let instance = home.daemon.instance();
        let left = leak::Snapshot::take(&[]).since(&before);
        let dir = home.daemon.dir().display().to_string();
        let ours: Vec<_> = left.found().iter().filter(|(_, name)| !name.starts_with(&dir)).collect();
        let ours: Vec<_> = ours.iter().filter(|(_, n)| n.contains(instance) || n.contains(&dir)).collect();
        assert!(ours.is_empty(), "seed {seed}: {ours:?}");
    }

    /// Clients at work, shims and then the daemon killed under them.
    fn crash(&self, home: &mut Home, rng: &mut Rng) {
        let (calls, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (socket, logs) = (home.daemon.socket(), home.dir.path().join("logs"));
        let (calls, over) = (&calls, &over);
        std::thread::scope(|scope| {
            for client in 0..self.clients {
                let (socket, logs) = (&socket, &logs);
                scope.spawn(move || self.works(client, socket, logs, calls, over));
            }
            let reached = |count: usize| wait_until(LIMIT, || calls.load(Ordering::Relaxed) >= count);
            let mut moments: Vec<_> = (0..rng.below(SHIMS) + 1).map(|_| rng.below(self.calls)).collect();
            moments.sort_unstable();
            let mut reached_all = true;
            for moment in moments {
                reached_all &= reached(moment);
                kill_a_shim(home, rng);
            }
            reached_all &= reached(self.calls + rng.below(self.calls));
            let killed = home.daemon.kill();
            over.store(true, Ordering::Relaxed);
            killed.unwrap();
            assert!(
                reached_all,
                "calls take too long: {}\n{}",
                calls.load(Ordering::Relaxed),
                home.daemon.log()
            );
        });
    }

    /// Pods from beginning to end, as long as there is a daemon. Any call may fail: what it was about was killed.
    fn works(&self, client: usize, socket: &Path, logs: &Path, calls: &AtomicUsize, over: &AtomicBool) {
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let Ok(cri) = Cri::connect(socket) else { return };
        while !over.load(Ordering::Relaxed) {
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            let network = if serial.is_multiple_of(2) { NamespaceMode::Pod } else { NamespaceMode::Node };
            let config = cri::pod(&format!("c{client}-{serial}"), logs, network, NamespaceMode::Container);
            std::fs::create_dir_all(&config.log_directory).unwrap();
            let counted = |()| {
                calls.fetch_add(1, Ordering::Relaxed);
            };
            let life = || -> Result<(), Status> {
                let pod = cri.run_by(self.handlers[serial % self.handlers.len()], &config)?;
                counted(());
                let id =
                    cri.create(&pod, &config, cri::shell("c", &config, "while :; do echo x; sleep 1; done"))?;
                counted(());
                cri.start(&id).map(counted)?;
                self.ran[serial % self.ran.len()].fetch_add(1, Ordering::Relaxed);
                // Some stay for the next daemon.
                if serial.is_multiple_of(5) {
                    return Ok(());
                }
                cri.stop(&id, 0).map(counted)?;
                cri.remove(&id).map(counted)?;
                cri.stop_pod(&pod).map(counted)?;
                cri.remove_pod(&pod).map(counted)
            };
            if life().is_err() {
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Removes the pods in this state but for the oldest `kept`. The doctor reports a pod whose shim was killed until it
/// is removed, as a kubelet does.
fn remove(home: &Home, state: api::PodSandboxState, kept: usize) {
    let cri = Cri::connect(&home.daemon.socket()).unwrap();
    let mut pods: Vec<_> = cri.pods().unwrap().into_iter().filter(|pod| pod.state == state as i32).collect();
    pods.sort_by_key(|pod| pod.created_at);
    for pod in pods.into_iter().skip(kept) {
        let gone = cri.stop_pod(&pod.id).and_then(|()| cri.remove_pod(&pod.id));
        assert!(gone.is_ok(), "{gone:?}: {pod:?}\n{}", home.daemon.log());
    }
}

/// Kills a shim of this instance, if it has one, or what serves a pod beside it: also one that an earlier daemon started.
fn kill_a_shim(home: &Home, rng: &mut Rng) {
    let shims = shims(home);
    if !shims.is_empty() {
        let pid = Pid::from_raw(shims[rng.below(shims.len())]).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).ok();
    }
}

/// The shims of the pods that have a directory of this instance, by their command lines: `berth-shim <sandbox>`; and what is in the
/// groups of what serves these pods: shims of others, and kernels.
fn shims(home: &Home) -> Vec<i32> {
    let pods = home.daemon.dir().join("state/pods");
    let shim = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).ok();
        let line = read("cmdline")?;
        let (name, rest) = line.split_once('\0')?;
        let ours = |sandbox: &str| !sandbox.is_empty() && pods.join(sandbox).is_dir();
        let is_shim = name.ends_with("berth-shim") && rest.split('\0').next().is_some_and(ours);
        let serves = |line: &str| line.rsplit_once("/kernel-").is_some_and(|(_, sandbox)| ours(sandbox));
        let serves = || read("cgroup").is_some_and(|groups| groups.lines().any(serves));
        entry.file_name().to_str()?.parse().ok().filter(|_| is_shim || serves())
    };
    std::fs::read_dir("/proc").unwrap().filter_map(shim).collect()
}
