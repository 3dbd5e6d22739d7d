//! v2 on a host that is a tree of plain files: what is written where.

use std::fs;
use std::path::Path;

use super::super::*;

fn v2_host(root: &Path, controllers: &str) -> Host {
    let hierarchy = Hierarchy {
        mount: root.to_owned(),
        version: Version::V2,
        controllers: Controllers::parse(controllers.split(' ')),
        name: None,
    };
    Host::from_hierarchies(vec![hierarchy], false).unwrap()
}

fn group(dir: &Path, enabled: &str, files: &[&str]) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("cgroup.subtree_control"), enabled).unwrap();
    for file in files {
        fs::write(dir.join(file), "").unwrap();
    }
}

#[test]
fn controllers_are_enabled_down_the_path_where_they_are_missing() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    group(dir, "cpu memory pids", &[]);
    group(&dir.join("kubepods"), "cpu memory\n", &[]);
    group(&dir.join("kubepods/pod"), "", &["cpu.weight", "memory.max", "memory.swap.max", "pids.max"]);
    let resources = Resources {
        cpu: Cpu { shares: Some(1024), ..Cpu::default() },
        memory: Memory { limit: Some(100), swap: Some(150), ..Memory::default() },
        pids: Some(7),
        ..Resources::default()
    };
    let path = CgroupPath::new("kubepods/pod").unwrap();
    let made = v2_host(dir, "cpu memory pids").ensure(&path, &resources).unwrap();
    let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap();
    // Everything is enabled at the root: it is not written to.
    assert_eq!(read("cgroup.subtree_control"), "cpu memory pids");
    assert!(read("kubepods/cgroup.subtree_control").starts_with("+pids"));
    // Nothing is enabled below the group itself.
    assert_eq!(read("kubepods/pod/cgroup.subtree_control"), "");
    assert_eq!(read("kubepods/pod/cpu.weight"), "100");
    assert_eq!(read("kubepods/pod/memory.max"), "100");
    assert_eq!(read("kubepods/pod/memory.swap.max"), "50");
    assert_eq!(read("kubepods/pod/pids.max"), "7");
    assert_eq!(made.dirs(), [dir.join("kubepods/pod")]);
}

#[test]
fn a_failed_creation_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    group(root.path(), "", &[]);
    // A new directory here has no files, so that the first write fails.
    let path = CgroupPath::new("pod").unwrap();
    let resources = Resources { pids: Some(7), ..Resources::default() };
    let error = v2_host(root.path(), "pids").create(&path, &resources).unwrap_err();
    assert!(error.to_string().starts_with("linux.resources.pids.limit is not supported"), "{error}");
    assert!(!root.path().join("pod").exists());
}

#[test]
fn what_is_refused_makes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let path = CgroupPath::new("pod").unwrap();
    let resources = Resources { pids: Some(7), ..Resources::default() };
    v2_host(root.path(), "memory").create(&path, &resources).unwrap_err();
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn counters_and_stats_of_v2() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("c");
    group(&dir, "", &[]);
    let pressure =
        "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=12.34 total=5\n";
    for (file, text) in [
        ("cpu.stat", "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n"),
        ("memory.stat", "anon 10\nfile 20\ninactive_anon 3\ninactive_file 4\npgfault 50\npgmajfault 6\n"),
        ("memory.current", "30\n"),
        ("memory.max", "max\n"),
        ("memory.swap.current", "2\n"),
        ("memory.events", "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n"),
        ("pids.current", "4\n"),
        ("pids.max", "100\n"),
        ("memory.pressure", pressure),
    ] {
        fs::write(dir.join(file), text).unwrap();
    }
    let group = v2_host(root.path(), "cpu memory pids").open(&CgroupPath::new("c").unwrap());
    let mut reader = Reader::default();
    let stats = group.stats(&mut reader).unwrap().unwrap();
    assert_eq!(stats.cpu_usage_ns, Some(1_500_000));
    let memory = MemoryStats {
        usage: 30,
        limit: None,
        working_set: 26,
        rss: 10,
        inactive_file: 4,
        page_faults: 50,
        major_page_faults: 6,
        swap: Some(2),
        swap_limit: None,
    };
    assert_eq!(stats.memory, Some(memory));
    assert_eq!(group.process_count(&mut reader).unwrap(), Pids { current: Some(4), limit: Some(100) });
    let some = Stall { avg10: 150, avg60: 25, avg300: 0, total_us: 77 };
    let full = Stall { avg10: 0, avg60: 0, avg300: 1234, total_us: 5 };
    assert_eq!(stats.memory_pressure, Some(Pressure { some, full }));
    assert_eq!(stats.io_pressure, None);
    let details = group.details(&mut reader).unwrap();
    assert_eq!((details.cpu_user_ns, details.cpu_system_ns), (Some(1_000_000), Some(500_000)));
    let memory = details.memory.unwrap();
    assert_eq!((memory.cache, memory.limit_hits, memory.max_usage), (20, 9, None));
    assert_eq!(group.oom_kills().unwrap(), 2);
    fs::write(dir.join("memory.events"), "oom_kill many\n").unwrap();
    assert!(matches!(group.oom_kills().unwrap_err(), CgroupError::Content { .. }));
}
