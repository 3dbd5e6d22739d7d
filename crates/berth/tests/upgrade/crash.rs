//! Daemons and shims killed at any moment while pods are made and removed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use berth_cri::api::{self, NamespaceMode};
use berth_testkit::Rng;
use berth_testkit::guard::wait_until;
use berth_testkit::{leak, require_root};
use rustix::process::{Pid, Signal};
use tonic::Status;

use crate::cri::{self, Cri};
use crate::home::{BUSYBOX, Home, LIMIT, program};
use crate::programs;

const CLIENTS: usize = 16;
/// The most calls between the start of a round and the end of its daemon.
const CALLS: usize = 120;
/// The most shims killed in a round.
const SHIMS: usize = 4;
/// The most pods that run on from round to round: enough to outlive many daemons, and no more work in a late
/// round than in an early one.
const KEPT: usize = 24;

#[test]
fn nothing_is_stuck_or_left_after_daemons_and_shims_were_killed() {
    require_root!();
    let _turn = programs::turn();
    // Downgrading is supported from the next version to this one, not to an earlier one.
    let daemons: Vec<PathBuf> = std::iter::once(program().to_owned()).chain(programs::raised()).collect();
    let before = leak::Snapshot::take(&[]);
    let mut home = Home::start();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    // The first round begins where an upgrade does.
    if let Some(landed) = programs::landed().last() {
        home.daemon.stop().unwrap();
        home.daemon.set_program(landed);
        home.daemon.start().unwrap();
    }
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let mut rng = Rng::new(u64::try_from(seed & u128::from(u64::MAX)).unwrap());
    for round in 0..programs::rounds() {
        let program = &daemons[round as usize % daemons.len()];
        crash(&mut home, &mut rng);
        home.daemon.set_program(program);
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
    home.clean();
    home.daemon.purge().unwrap();
    let instance = home.daemon.instance();
    let left = leak::Snapshot::take(&[]).since(&before);
    let dir = home.daemon.dir().display().to_string();
    let ours: Vec<_> = left.found().iter().filter(|(_, name)| !name.starts_with(&dir)).collect();
    let ours: Vec<_> = ours.iter().filter(|(_, n)| n.contains(instance) || n.contains(&dir)).collect();
    assert!(ours.is_empty(), "seed {seed}: {ours:?}");
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

/// Clients at work, shims and then the daemon killed under them.
fn crash(home: &mut Home, rng: &mut Rng) {
    let (calls, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (socket, logs) = (home.daemon.socket(), home.dir.path().join("logs"));
    let (calls, over) = (&calls, &over);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (socket, logs) = (&socket, &logs);
            scope.spawn(move || works(client, socket, logs, calls, over));
        }
        let reached = |count: usize| wait_until(LIMIT, || calls.load(Ordering::Relaxed) >= count);
        let mut moments: Vec<_> = (0..rng.below(SHIMS) + 1).map(|_| rng.below(CALLS)).collect();
        moments.sort_unstable();
        let mut reached_all = true;
        for moment in moments {
            reached_all &= reached(moment);
            kill_a_shim(home, rng);
        }
        reached_all &= reached(CALLS + rng.below(CALLS));
        let killed = home.daemon.kill();
        over.store(true, Ordering::Relaxed);
        killed.unwrap();
        assert!(reached_all, "calls take too long: {}\n{}", calls.load(Ordering::Relaxed), home.daemon.log());
    });
}

/// Pods from beginning to end, as long as there is a daemon. Any call may fail: what it was about was killed.
fn works(client: usize, socket: &Path, logs: &Path, calls: &AtomicUsize, over: &AtomicBool) {
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
            let pod = cri.run(&config)?;
            counted(());
            let id =
                cri.create(&pod, &config, cri::shell("c", &config, "while :; do echo x; sleep 1; done"))?;
            counted(());
            cri.start(&id).map(counted)?;
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

/// Kills a shim of this instance, if it has one: also one that an earlier daemon started.
fn kill_a_shim(home: &Home, rng: &mut Rng) {
    let shims = shims(home);
    if !shims.is_empty() {
        let pid = Pid::from_raw(shims[rng.below(shims.len())]).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).ok();
    }
}

/// The shims of the pods that have a directory of this instance, by their command lines: `berth-shim <sandbox>`.
fn shims(home: &Home) -> Vec<i32> {
    let pods = home.daemon.dir().join("state/pods");
    let shim = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let (name, rest) = line.split_once('\0')?;
        let sandbox = rest.split('\0').next().filter(|sandbox| !sandbox.is_empty())?;
        let ours = name.ends_with("berth-shim") && pods.join(sandbox).is_dir();
        entry.file_name().to_str()?.parse().ok().filter(|_| ours)
    };
    std::fs::read_dir("/proc").unwrap().filter_map(shim).collect()
}
