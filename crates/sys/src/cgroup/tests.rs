//! Parsers, paths and conversions.

use std::path::PathBuf;

use super::convert::{blkio_weight_to_io, shares_to_weight, swap_to_v2};
use super::*;

mod fake;
mod live;

const V1: &str = "\
30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 30 0:30 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
35 30 0:31 / /sys/fs/cgroup/net_cls,net_prio rw - cgroup cgroup rw,net_cls,net_prio
36 30 0:32 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
";
const V2: &str =
    "35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
/// The test machine.
const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

fn mounts(host: &Host) -> Vec<String> {
    host.hierarchies().iter().map(|h| h.mount.display().to_string()).collect()
}

#[test]
fn a_v1_host_with_systemd() {
    let host = Host::from_hierarchies(parse_mounts(V1.as_bytes(), None), true).unwrap();
    assert_eq!(host.mode(), Mode::V1);
    let below = ["systemd", "cpu,cpuacct", "memory", "freezer", "pids"];
    assert_eq!(mounts(&host), below.map(|b| format!("/sys/fs/cgroup/{b}")));
    assert_eq!(host.controller(Controller::Cpuacct), Some(Version::V1));
    assert_eq!(host.controller(Controller::Cpuset), None);
    assert_eq!(host.controller(Controller::Devices), None);
}

#[test]
fn a_controller_that_is_disabled_is_not_there() {
    let enabled = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t0\t1\t0\n";
    let host = Host::from_hierarchies(parse_mounts(V1.as_bytes(), Some(enabled)), false).unwrap();
    assert_eq!(host.controller(Controller::Memory), None);
    assert!(mounts(&host).iter().all(|m| !m.ends_with("memory") && !m.ends_with("systemd")));
}

#[test]
fn a_hybrid_host_needs_no_freezer() {
    let mut found = parse_mounts(HYBRID.as_bytes(), None);
    found.last_mut().unwrap().controllers = Controllers::parse(["hugetlb"]);
    let host = Host::from_hierarchies(found, false).unwrap();
    assert_eq!(host.mode(), Mode::Hybrid);
    let below = ["cpu", "cpuacct", "cpuset", "memory", "devices", "blkio", "pids", "unified"];
    assert_eq!(mounts(&host), below.map(|b| format!("/sys/fs/cgroup/{b}")));
    assert_eq!(host.controller(Controller::Memory), Some(Version::V1));
    assert_eq!(host.controller(Controller::Hugetlb), Some(Version::V2));
    assert_eq!(host.controller(Controller::Freezer), Some(Version::V2));
    assert_eq!(host.controller(Controller::Rdma), None);
}

#[test]
fn a_v2_host() {
    let mut found = parse_mounts(V2.as_bytes(), None);
    found[0].controllers = Controllers::parse("cpuset cpu io memory hugetlb pids rdma misc dmem".split(' '));
    let host = Host::from_hierarchies(found, true).unwrap();
    assert_eq!((host.mode(), mounts(&host)), (Mode::V2, vec!["/sys/fs/cgroup".to_owned()]));
    for controller in [Controller::Cpu, Controller::Cpuacct, Controller::Blkio, Controller::Devices] {
        assert_eq!(host.controller(controller), Some(Version::V2), "{controller:?}");
    }
    assert_eq!(host.controller(Controller::NetCls), None);
}

#[test]
fn odd_mounts() {
    assert!(Host::from_hierarchies(parse_mounts(b"nonsense\n1 2 - x\n", None), true).is_err());
    // Mounted twice: the one of the whole tree counts. Escapes are undone.
    let twice = "1 0 0:9 /docker/x /a rw - cgroup2 c rw\n2 0 0:9 / /b\\040c rw - cgroup2 c rw\n3 0 0:9 / /d rw - cgroup2 c rw\n";
    let found = parse_mounts(twice.as_bytes(), None);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].mount, PathBuf::from("/b c"));
}

#[test]
fn paths_are_relative_plain_and_bounded() {
    for (given, clean) in
        [("/a/b", "a/b"), ("a//b/", "a/b"), ("a", "a"), ("kubepods.slice/x:y@z", "kubepods.slice/x:y@z")]
    {
        assert_eq!(CgroupPath::new(given).unwrap().as_str(), clean);
    }
    let long = "x".repeat(MAX_PATH + 1);
    let deep = "x/".repeat(MAX_DEPTH + 1);
    let name = "x".repeat(256);
    for bad in ["", "/", "..", "a/../b", "./a", "a/.", "a\nb", "a\0", &long, &deep, &name] {
        let error = CgroupPath::new(bad).unwrap_err();
        assert!(matches!(error, CgroupError::Path { .. }), "{bad:?}");
    }
    let pod = CgroupPath::new("a/b").unwrap();
    assert!(pod.child("..").is_err() && pod.child("x/y").is_err() && pod.child("").is_err());
}

#[test]
fn weights_as_runc_and_crun_count_them() {
    let shares =
        [(0, 0), (1, 1), (2, 1), (3, 2), (256, 35), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000)];
    for (shares, weight) in shares {
        assert_eq!(shares_to_weight(shares), weight, "{shares} shares");
    }
    assert_eq!(shares_to_weight(u64::MAX), 10_000);
    let mut last = 0;
    for shares in 0..=262_144 {
        let weight = shares_to_weight(shares);
        assert!(weight >= last && weight <= 10_000, "{shares} shares");
        last = weight;
    }
    for (blkio, io) in [(0, 0), (10, 1), (100, 910), (500, 4950), (1000, 10_000)] {
        assert_eq!(blkio_weight_to_io(blkio), io);
    }
}

#[test]
fn swap_alone() {
    for ((swap, limit), alone) in [
        ((None, None), None),
        ((Some(0), Some(5)), None),
        ((None, Some(-1)), Some(-1)),
        ((Some(-1), Some(5)), Some(-1)),
        ((Some(9), Some(-1)), Some(9)),
        ((Some(9), Some(5)), Some(4)),
        ((Some(5), Some(5)), Some(0)),
    ] {
        assert_eq!(swap_to_v2(swap, limit), Ok(alone), "{swap:?} {limit:?}");
    }
    assert!(swap_to_v2(Some(4), Some(5)).is_err() && swap_to_v2(Some(4), None).is_err());
    assert!(swap_to_v2(Some(-2), Some(5)).is_err());
}
