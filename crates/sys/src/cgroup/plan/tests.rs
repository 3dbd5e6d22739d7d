use std::collections::BTreeMap;

use super::super::{
    Blkio, CgroupError, Controllers, Cpu, DeviceKind, DeviceRule, Hugepage, Memory, Throttle, ThrottleKind,
    WeightDevice,
};
use super::*;

const EVERY: [Controller; 8] = [
    Controller::Cpu,
    Controller::Cpuacct,
    Controller::Cpuset,
    Controller::Memory,
    Controller::Pids,
    Controller::Blkio,
    Controller::Devices,
    Controller::Hugetlb,
];

fn v1() -> Shape {
    Shape { mode: Mode::V1, v1: EVERY.into_iter().collect(), v2: Controllers::NONE }
}

fn v2() -> Shape {
    let v2 = EVERY.into_iter().filter(|c| *c != Controller::Devices && *c != Controller::Cpuacct);
    Shape { mode: Mode::V2, v1: Controllers::NONE, v2: v2.collect() }
}

/// The test machine: everything on v1 but huge pages.
fn hybrid() -> Shape {
    let hugetlb = Controllers::NONE.with(Controller::Hugetlb);
    Shape { mode: Mode::Hybrid, v1: v1().v1.without(hugetlb), v2: hugetlb }
}

fn writes(shape: Shape, resources: &Resources) -> Vec<(String, String)> {
    writes_to(shape, resources, Current::default())
}

fn writes_to(shape: Shape, resources: &Resources, current: Current) -> Vec<(String, String)> {
    let plan = plan(shape, resources, current).unwrap();
    plan.writes.into_iter().map(|w| (w.file.into_owned(), w.value)).collect()
}

fn refusal(shape: Shape, resources: &Resources) -> String {
    plan(shape, resources, Current::default()).unwrap_err().to_string()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(f, v)| ((*f).to_owned(), (*v).to_owned())).collect()
}

fn cpu(cpu: Cpu) -> Resources {
    Resources { cpu, ..Resources::default() }
}

fn memory(limit: Option<i64>, swap: Option<i64>) -> Resources {
    Resources { memory: Memory { limit, swap, ..Memory::default() }, ..Resources::default() }
}

#[test]
fn nothing_asked_is_nothing_written() {
    for shape in [v1(), v2(), hybrid()] {
        assert_eq!(plan(shape, &Resources::default(), Current::default()).unwrap(), Plan::default());
    }
}

#[test]
fn processor_time_in_every_cell() {
    let cells = [
        (
            Cpu { shares: Some(1024), ..Cpu::default() },
            vec![("cpu.shares", "1024")],
            vec![("cpu.weight", "100")],
        ),
        (Cpu { shares: Some(0), ..Cpu::default() }, vec![], vec![]),
        (
            Cpu { quota: Some(50_000), ..Cpu::default() },
            vec![("cpu.cfs_quota_us", "50000")],
            vec![("cpu.max", "50000 100000")],
        ),
        (
            Cpu { quota: Some(-1), period: Some(200_000), ..Cpu::default() },
            vec![("cpu.cfs_period_us", "200000"), ("cpu.cfs_quota_us", "-1")],
            vec![("cpu.max", "max 200000")],
        ),
        (
            Cpu { quota: Some(20_000), period: Some(50_000), burst: Some(10_000), ..Cpu::default() },
            vec![
                ("cpu.cfs_period_us", "50000"),
                ("cpu.cfs_quota_us", "20000"),
                ("cpu.cfs_burst_us", "10000"),
            ],
            vec![("cpu.max", "20000 50000"), ("cpu.max.burst", "10000")],
        ),
        (
            Cpu { cpus: Some("0-1,3".into()), mems: Some("0".into()), ..Cpu::default() },
            vec![("cpuset.cpus", "0-1,3"), ("cpuset.mems", "0")],
            vec![("cpuset.cpus", "0-1,3"), ("cpuset.mems", "0")],
        ),
        (
            Cpu { idle: Some(true), shares: Some(2), ..Cpu::default() },
            vec![("cpu.idle", "1")],
            vec![("cpu.idle", "1")],
        ),
        (
            Cpu { idle: Some(false), shares: Some(2), ..Cpu::default() },
            vec![("cpu.idle", "0"), ("cpu.shares", "2")],
            vec![("cpu.idle", "0"), ("cpu.weight", "1")],
        ),
    ];
    for (asked, on_v1, on_v2) in cells {
        let resources = cpu(asked);
        assert_eq!(writes(v1(), &resources), pairs(&on_v1), "{resources:?} on v1");
        assert_eq!(writes(hybrid(), &resources), pairs(&on_v1), "{resources:?} on hybrid");
        assert_eq!(writes(v2(), &resources), pairs(&on_v2), "{resources:?} on v2");
    }
}

#[test]
fn realtime_is_for_v1() {
    let asked = cpu(Cpu { realtime_runtime: Some(500), realtime_period: Some(1000), ..Cpu::default() });
    assert_eq!(writes(v1(), &asked), pairs(&[("cpu.rt_period_us", "1000"), ("cpu.rt_runtime_us", "500")]));
    assert!(refusal(v2(), &asked).starts_with("linux.resources.cpu.realtimePeriod is not supported"));
}

#[test]
fn memory_of_a_new_group() {
    let cells = [
        ((Some(64), None), vec![("memory.limit_in_bytes", "64")], vec![("memory.max", "64")]),
        (
            (Some(64), Some(64)),
            vec![("memory.limit_in_bytes", "64"), ("memory.memsw.limit_in_bytes", "64")],
            vec![("memory.swap.max", "0"), ("memory.max", "64")],
        ),
        (
            (Some(64), Some(96)),
            vec![("memory.limit_in_bytes", "64"), ("memory.memsw.limit_in_bytes", "96")],
            vec![("memory.swap.max", "32"), ("memory.max", "64")],
        ),
        (
            (Some(64), Some(-1)),
            vec![("memory.limit_in_bytes", "64"), ("memory.memsw.limit_in_bytes", "-1")],
            vec![("memory.swap.max", "max"), ("memory.max", "64")],
        ),
        (
            (Some(-1), None),
            vec![("memory.limit_in_bytes", "-1")],
            vec![("memory.swap.max", "max"), ("memory.max", "max")],
        ),
        ((Some(0), Some(0)), vec![], vec![]),
    ];
    for ((limit, swap), on_v1, on_v2) in cells {
        let asked = memory(limit, swap);
        assert_eq!(writes(v1(), &asked), pairs(&on_v1), "{asked:?} on v1");
        assert_eq!(writes(v2(), &asked), pairs(&on_v2), "{asked:?} on v2");
    }
}

#[test]
fn memory_of_a_group_that_has_limits() {
    let now = |limit| Current { new: false, memory_limit: Some(limit), memory_usage: None };
    let (limit, both) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
    // Raised above what both may be now: both first. Lowered: memory first.
    assert_eq!(
        writes_to(v1(), &memory(Some(200), Some(300)), now(100)),
        pairs(&[(both, "300"), (limit, "200")])
    );
    assert_eq!(writes_to(v1(), &memory(Some(50), Some(60)), now(100)), pairs(&[(limit, "50"), (both, "60")]));
    assert_eq!(writes_to(v1(), &memory(Some(-1), None), now(100)), pairs(&[(both, "-1"), (limit, "-1")]));
    assert_eq!(writes_to(v1(), &memory(Some(50), Some(-1)), now(100)), pairs(&[(both, "-1"), (limit, "50")]));
    // On v2 an update of swap alone counts from the limit that is set.
    assert_eq!(writes_to(v2(), &memory(None, Some(150)), now(100)), pairs(&[("memory.swap.max", "50")]));
    // Checked against what is in use only when asked.
    let used = Current { new: false, memory_limit: None, memory_usage: Some(100) };
    let error = plan(v1(), &memory(Some(99), None), used).unwrap_err();
    assert_eq!(error.to_string(), format!("linux.resources.memory.limit \"99\": {TOO_SMALL}"));
    assert!(plan(v1(), &memory(Some(100), None), used).is_ok());
}

#[test]
fn invalid_memory_limits_are_refused() {
    assert!(refusal(v1(), &memory(Some(64), Some(32))).contains("linux.resources.memory.swap \"32\""));
    assert!(refusal(v2(), &memory(Some(64), Some(32))).contains("linux.resources.memory.swap \"32\""));
    assert!(refusal(v2(), &memory(None, Some(32))).contains("needs a memory limit"));
    assert!(
        refusal(v1(), &memory(Some(-2), None)).contains("linux.resources.memory.limit \"-2\": is negative")
    );
}

#[test]
fn the_rest_of_memory() {
    let asked = |memory| Resources { memory, ..Resources::default() };
    let reservation = asked(Memory { reservation: Some(7), ..Memory::default() });
    assert_eq!(writes(v1(), &reservation), pairs(&[("memory.soft_limit_in_bytes", "7")]));
    assert_eq!(writes(v2(), &reservation), pairs(&[("memory.low", "7")]));
    let swappiness = asked(Memory { swappiness: Some(0), ..Memory::default() });
    assert_eq!(writes(v1(), &swappiness), pairs(&[("memory.swappiness", "0")]));
    assert!(refusal(v2(), &swappiness).contains("linux.resources.memory.swappiness is not supported"));
    assert!(
        refusal(v1(), &asked(Memory { swappiness: Some(101), ..Memory::default() }))
            .contains("more than 100")
    );
    let oom = asked(Memory { disable_oom_killer: true, ..Memory::default() });
    assert_eq!(writes(v1(), &oom), pairs(&[("memory.oom_control", "1")]));
    assert!(refusal(v2(), &oom).contains("disableOOMKiller"));
}

#[test]
fn processes_and_huge_pages() {
    let asked = |limit| Resources { pids: Some(limit), ..Resources::default() };
    for shape in [v1(), v2(), hybrid()] {
        assert_eq!(writes(shape, &asked(10)), pairs(&[("pids.max", "10")]));
        assert_eq!(writes(shape, &asked(-1)), pairs(&[("pids.max", "max")]));
        assert_eq!(writes(shape, &asked(0)), pairs(&[("pids.max", "max")]));
    }
    let huge = |size: &str| Resources {
        hugepages: vec![Hugepage { page_size: size.into(), limit: 9 }],
        ..Resources::default()
    };
    let on_v1 = [("hugetlb.2MB.limit_in_bytes", "9"), ("hugetlb.2MB.rsvd.limit_in_bytes", "9")];
    let on_v2 = [("hugetlb.2MB.max", "9"), ("hugetlb.2MB.rsvd.max", "9")];
    assert_eq!(writes(v1(), &huge("2MB")), pairs(&on_v1));
    assert_eq!(writes(v2(), &huge("2MB")), pairs(&on_v2));
    assert_eq!(writes(hybrid(), &huge("2MB")), pairs(&on_v2));
    for bad in ["", "2", "B", "2MB/../x", "2mB", "-1MB"] {
        assert!(refusal(v1(), &huge(bad)).contains("linux.resources.hugepageLimits"), "{bad:?}");
    }
}

#[test]
fn block_devices() {
    let asked = Resources {
        blkio: Blkio {
            weight: Some(500),
            leaf_weight: None,
            weight_devices: vec![WeightDevice { major: 8, minor: 0, weight: 10 }],
            throttles: [
                (ThrottleKind::ReadBytes, 1),
                (ThrottleKind::WriteBytes, 2),
                (ThrottleKind::ReadOperations, 3),
                (ThrottleKind::WriteOperations, 0),
            ]
            .map(|(kind, rate)| Throttle { kind, major: 8, minor: 16, rate })
            .to_vec(),
        },
        ..Resources::default()
    };
    let on_v1 = [
        ("blkio.bfq.weight", "500"),
        ("blkio.bfq.weight_device", "8:0 10"),
        ("blkio.throttle.read_bps_device", "8:16 1"),
        ("blkio.throttle.write_bps_device", "8:16 2"),
        ("blkio.throttle.read_iops_device", "8:16 3"),
        ("blkio.throttle.write_iops_device", "8:16 0"),
    ];
    let on_v2 = [
        ("io.weight", "4950"),
        ("io.weight", "8:0 1"),
        ("io.max", "8:16 rbps=1"),
        ("io.max", "8:16 wbps=2"),
        ("io.max", "8:16 riops=3"),
        ("io.max", "8:16 wiops=max"),
    ];
    assert_eq!(writes(v1(), &asked), pairs(&on_v1));
    assert_eq!(writes(v2(), &asked), pairs(&on_v2));
    let bad = Resources { blkio: Blkio { weight: Some(9), ..Blkio::default() }, ..Resources::default() };
    assert!(refusal(v1(), &bad).contains("linux.resources.blockIO.weight \"9\""));
}

#[test]
fn a_missing_controller_is_named() {
    let none = Shape { mode: Mode::V2, v1: Controllers::NONE, v2: Controllers::NONE };
    let cells: [(Resources, &str); 5] = [
        (cpu(Cpu { shares: Some(2), ..Cpu::default() }), "linux.resources.cpu.shares is not supported"),
        (cpu(Cpu { cpus: Some("0".into()), ..Cpu::default() }), "linux.resources.cpu.cpus is not supported"),
        (memory(Some(1), None), "linux.resources.memory.limit is not supported"),
        (Resources { pids: Some(1), ..Resources::default() }, "linux.resources.pids.limit is not supported"),
        (
            Resources {
                hugepages: vec![Hugepage { page_size: "2MB".into(), limit: 0 }],
                ..Resources::default()
            },
            "linux.resources.hugepageLimits is not supported",
        ),
    ];
    for (asked, text) in cells {
        let error = refusal(none, &asked);
        assert!(error.starts_with(text) && error.contains("no cgroup controller"), "{error}");
    }
}

#[test]
fn devices_by_version() {
    let rule = |allow, kind, minor| DeviceRule {
        allow,
        kind,
        major: minor,
        minor,
        access: super::super::Access::ALL,
    };
    let asked = Resources {
        devices: vec![rule(false, DeviceKind::All, None), rule(true, DeviceKind::Char, Some(1))],
        ..Resources::default()
    };
    assert_eq!(writes(v1(), &asked), pairs(&[("devices.deny", "a"), ("devices.allow", "c 1:1 rwm")]));
    let on_v2 = plan(v2(), &asked, Current::default()).unwrap();
    assert!(on_v2.writes.is_empty() && on_v2.device_program.is_some());
    // A v1 host whose devices controller is off has no means to apply them.
    let bare = Shape { mode: Mode::V1, v1: Controllers::NONE, v2: Controllers::NONE };
    assert!(refusal(bare, &asked).contains("linux.resources.devices is not supported"));
}

#[test]
fn unified_is_for_v2_alone() {
    let asked = |file: &str| Resources {
        unified: BTreeMap::from([(file.to_owned(), "1".to_owned())]),
        ..Resources::default()
    };
    assert_eq!(writes(v2(), &asked("memory.high")), pairs(&[("memory.high", "1")]));
    for shape in [v1(), hybrid()] {
        let error = refusal(shape, &asked("memory.high"));
        assert!(error.contains("linux.resources.unified[\"memory.high\"] is not supported"), "{error}");
    }
    for bad in ["cgroup.procs", "cgroup.freeze", "../x.y", "memory", ".x", "a/b.c", ""] {
        let error = plan(v2(), &asked(bad), Current::default()).unwrap_err();
        assert!(matches!(error, CgroupError::Invalid { .. }), "{bad:?}: {error}");
    }
}

/// What the kernel would refuse with no more than "invalid argument" is refused with the rule.
#[test]
fn the_kernels_bounds_of_cpu_time_are_named() {
    let cpu =
        |quota, period| Resources { cpu: Cpu { quota, period, ..Cpu::default() }, ..Resources::default() };
    for shape in [v1(), v2()] {
        assert!(refusal(shape, &cpu(Some(999), None)).contains("1000 microseconds"));
        for period in [1, 999, 1_000_001] {
            assert!(
                refusal(shape, &cpu(None, Some(period))).contains("between 1000 and 1000000"),
                "{period}"
            );
        }
        for (quota, period) in [(-1, 1000), (1000, 1_000_000), (0, 0)] {
            assert!(
                plan(shape, &cpu(Some(quota), Some(period)), Current::default()).is_ok(),
                "{quota} {period}"
            );
        }
    }
}
