//! The self-check against real runtimes and faulty ones, each in cgroups of the test's own.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use berth_sys::cgroup::Host;
use berth_testkit::guard::{has_program, takes_crun};
use berth_testkit::{executable, require, require_root};

use super::*;
use crate::host::placement::Cgroupfs;

/// A check with a root among the cgroups that is removed in the end.
struct World {
    check: SelfCheck,
    root: CgroupPath,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let host = Host::detect().unwrap();
        let root = CgroupPath::new(&format!("/berth-tc{}-{number}", std::process::id())).unwrap();
        let placement = Arc::new(Cgroupfs::new(host, root.clone()).unwrap());
        let dir = tempfile::Builder::new().prefix("berth-").tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::create_dir(&state).unwrap();
        std::fs::write(state.join("secret"), "").unwrap();
        // Shims are tried where there is a real one of Berth's own: in the tests of pods.
        let shim = Arc::new(Program::new(&[]));
        Self { check: SelfCheck::new(placement, state, shim), root, dir }
    }

    /// A program of the test's own.
    fn program(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("fake");
        executable::script(&path, text);
        path
    }

    /// Checks it, and that nothing is left.
    fn check(&self, name: &str, program: &Path) -> Result<Report, String> {
        let kind = Kind::of(name, program);
        let before = traces(self);
        let subject = Subject { name: name.to_owned(), kind, program: program.to_owned() };
        let result = self.check.check(&subject);
        assert_eq!(traces(self), before, "{result:?}");
        assert!(self.check.running().is_empty());
        result
    }

    /// Why a faulty runtime is refused.
    fn refused(&self, text: &str) -> String {
        let why = self.check("fake", &self.program(text)).unwrap_err();
        assert!(why.len() < 600 && !why.contains('\n'), "{why:?}");
        why
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.check.placement.end(&self.root).ok();
    }
}

/// Mounts, groups and files.
fn traces(world: &World) -> BTreeSet<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let here = world.dir.path().to_str().unwrap();
    let mut all: BTreeSet<String> =
        mounts.lines().filter(|line| line.contains(here)).map(str::to_owned).collect();
    // Runtimes make groups in every hierarchy.
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    let groups = hierarchies.chain(["/sys/fs/cgroup".into()]).map(|dir| dir.join(world.root.as_str()));
    let own = [world.dir.path().to_owned(), world.dir.path().join("state")];
    for dir in groups.chain(own) {
        all.extend(dir.exists().then(|| dir.display().to_string()));
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let dirs = entries.filter(|entry| entry.path().is_dir() || entry.path().starts_with(here));
        all.extend(dirs.map(|entry| entry.path().display().to_string()));
    }
    all
}

/// Whether a process with this in its command line runs.
fn runs(mark: &str) -> bool {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).any(|line| line.contains(mark))
}

/// What a good runtime answers to the first two questions.
const POLITE: &str =
    "#!/bin/sh\ncase \"$*\" in --version) echo fake version 1; exit 0;; features) exit 1;; esac\n";

#[test]
fn real_runtimes_work() {
    require_root!();
    require!(takes_crun(), "crun needs a host whose cgroup2 has no controllers beside version 1");
    for name in ["runc", "crun"] {
        require!(has_program(name), "needs the packages runc and crun");
        let world = World::new();
        let places = ["/usr/bin", "/usr/sbin"].map(|dir| Path::new(dir).join(name));
        let program = places.iter().find(|path| path.exists()).unwrap();
        let report = world.check(name, program).unwrap();
        assert!(report.version.starts_with(&format!("{name} version 1.")), "{report:?}");
        assert_eq!(report.features.recursive_read_only, name == "runc", "{report:?}");
    }
}

#[test]
fn one_that_crashes_says_its_last_words() {
    require_root!();
    let world = World::new();
    let why = world.refused("#!/bin/sh\necho first >&2; echo it broke >&2; exit 3\n");
    assert_eq!(why, "`fake --version` failed with status 3: it broke");
    let why = world.refused(&format!("{POLITE}echo no memory cgroup >&2; exit 1\n"));
    assert_eq!(why, "`fake run` failed with status 1: no memory cgroup");
    // The first process of a PID namespace does not die of a signal that it sends itself.
    let why = world.refused("#!/bin/sh\nsh -c 'kill -SEGV $$'; exit $?\n");
    assert!(why.starts_with("`fake --version` failed with status 139"), "{why}");
}

#[test]
fn one_that_prints_garbage_is_refused() {
    require_root!();
    let world = World::new();
    let why = world.refused("#!/bin/sh\nprintf '\\377\\376\\033[2J'\n");
    assert!(why.starts_with("`fake --version` printed \""), "{why}");
    let why = world.refused("#!/bin/sh\nhead -c 100000000 /dev/zero; exit 0\n");
    assert!(why.contains("`fake --version` printed more than 1024 KiB"), "{why}");
}

#[test]
fn one_that_runs_nothing_is_found_out() {
    require_root!();
    let world = World::new();
    let why = world.refused(&format!("{POLITE}exit 0\n"));
    assert!(why.contains("but the container's program was not executed"), "{why}");
    // Nor does it help to print what the container was asked for.
    let print = "while [ $# -gt 1 ]; do case $1 in --bundle) cat \"$2/config.json\";; esac; shift; done\n";
    let why = world.refused(&format!("{POLITE}{print}"));
    assert!(why.contains("but the container's program was not executed"), "{why}");
}

#[test]
fn what_it_leaves_goes() {
    require_root!();
    let world = World::new();
    let mark = format!("{}.75", 40_000 + std::process::id());
    let state = world.dir.path().join("state");
    let leave = format!(
        "setsid sh -c 'sleep {mark}' >/dev/null 2>&1 &\n\
         mkdir -p {0}/left; mount -t tmpfs left {0}/left || exit 9\n\
         test ! -e {0}/secret || exit 8\n\
         for tasks in /sys/fs/cgroup/*{1}/*/runtime /sys/fs/cgroup{1}/*/runtime; do \
         test ! -d $tasks || mkdir $tasks/../container $tasks/below; done\n\
         echo bye >&2; exit 7\n",
        state.display(),
        format_args!("/{}", world.root.as_str().trim_matches('/')),
    );
    let why = world.refused(&format!("{POLITE}{leave}"));
    assert_eq!(why, "`fake run` failed with status 7: bye");
    assert!(!runs(&mark), "the process that it left has ended");
}

#[test]
fn one_that_hangs_is_given_up_with_all_that_it_started() {
    require_root!();
    let world = World::new();
    let mark = format!("{}.25", 50_000 + std::process::id());
    let why = world.refused(&format!("#!/bin/sh\necho waiting >&2; sleep {mark} & sleep {mark}\n"));
    assert_eq!(why, "`fake --version` did not end within 10 s: waiting");
    assert!(!runs(&mark), "what it started has ended");
}

#[test]
fn what_cannot_be_executed_is_explained() {
    require_root!();
    let world = World::new();
    assert!(world.refused("hello").ends_with("it is not a program"), "{}", world.refused("hello"));
    assert!(world.refused("#!/no/such/interpreter\n").contains("interpreter"));
    let other = ["x86_64", "aarch64"].into_iter().find(|arch| *arch != std::env::consts::ARCH).unwrap();
    let path = world.program("");
    std::fs::write(&path, program::elf_for(other, "x").unwrap()).unwrap();
    let why = world.check("fake", &path).unwrap_err();
    // Where an emulator is registered for it, it runs, and prints its word for a version.
    assert!(why.contains(&format!("it is made for {other}")) || why.contains("no version"), "{why}");
}

#[test]
fn an_old_gvisor_is_told_so_before_it_is_tried() {
    require_root!();
    let world = World::new();
    let program = world.program("#!/bin/sh\necho runsc version 0.0~20221219.0-2+b3\n");
    let why = world.check("runsc", &program).unwrap_err();
    assert!(why.contains("is too old: Berth needs one of June 2023 or later"), "{why}");
}
