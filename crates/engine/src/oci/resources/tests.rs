use std::collections::BTreeMap;

use super::*;

pub(crate) fn host(accounts_swap: bool) -> HostFacts {
    HostFacts {
        capabilities: 0,
        least_oom_score: 0,
        hostname: String::new(),
        unified: false,
        accounts_swap,
        limits_hugepages: true,
        selinux: false,
    }
}

#[test]
fn there_is_no_swap_beyond_the_limit_unless_it_is_asked_for() {
    let limits =
        |limit, swap| Resources { memory_limit: limit, memory_swap_limit: swap, ..Resources::default() };
    let swap =
        |limit, swap, accounted| cgroup(&limits(limit, swap), Vec::new(), &host(accounted)).memory.swap;
    assert_eq!(swap(Some(10), None, true), Some(10));
    assert_eq!(swap(Some(10), Some(30), true), Some(30));
    assert_eq!(swap(None, None, true), None);
    assert_eq!(swap(Some(10), None, false), None);
    assert_eq!(swap(Some(10), Some(30), false), Some(30), "refused later, by name");
}

#[test]
fn limits_of_huge_pages_are_none_where_nothing_could_keep_them() {
    let pages = |limit| vec![HugepageLimit { page_size: "2MB".into(), limit }];
    let asked = |limit| Resources { hugepages: pages(limit), ..Resources::default() };
    let without = HostFacts { limits_hugepages: false, ..host(true) };
    for limit in [0, 4 << 20] {
        assert_eq!(cgroup(&asked(limit), Vec::new(), &host(true)).hugepages.len(), 1);
        assert_eq!(cgroup(&asked(limit), Vec::new(), &without).hugepages, []);
        let change = Change::of(&asked(0), &asked(limit), &without);
        assert_eq!((&change.set.hugepages, &change.undo.hugepages), (&vec![], &vec![]));
    }
}

#[test]
fn a_change_keeps_what_it_does_not_name() {
    let now = Resources {
        cpu_shares: Some(512),
        memory_limit: Some(10),
        cpuset_cpus: "0".into(),
        oom_score_adj: Some(5),
        ..Resources::default()
    };
    let change = Resources { memory_limit: Some(20), ..Resources::default() };
    assert_eq!(merge(&now, &change), Resources { memory_limit: Some(20), ..now });
}

#[test]
fn swap_that_was_granted_stays_when_memory_changes() {
    let with = |limit, swap| Resources {
        memory_limit: Some(limit),
        memory_swap_limit: swap,
        ..Resources::default()
    };
    for (before, to, want) in [
        (with(100, Some(200)), 150, Some(200)),
        (with(100, Some(200)), 300, Some(300)),
        (with(100, Some(200)), -1, Some(-1)),
        (with(100, Some(-1)), 300, Some(-1)),
        (with(100, None), 300, None),
    ] {
        let Change { now, set, .. } = Change::of(&before, &with(to, None), &host(true));
        assert_eq!((now.memory_limit, now.memory_swap_limit), (Some(to), want), "{before:?} to {to}");
        let set = set.memory;
        assert_eq!((set.limit, set.swap), (Some(to), Some(want.unwrap_or(to))), "{before:?} to {to}");
    }
    // A change of something else leaves both alone.
    let cpu = Resources { cpu_quota: Some(10), ..Resources::default() };
    assert_eq!(Change::of(&with(100, Some(200)), &cpu, &host(true)).set.memory.swap, None);
}

/// A group of cgroup v2 as the kernel keeps it: its files.
type Kernel = BTreeMap<String, String>;

fn fresh() -> Kernel {
    let files = [
        ("cpu.weight", "1024"),
        ("cpu.max", "max 100000"),
        ("memory.max", "max"),
        ("memory.swap.max", "max"),
        ("pids.max", "max"),
        ("hugetlb.2MB.max", "18446744073709551615"),
    ];
    files.map(|(file, value)| (file.to_owned(), value.to_owned())).into()
}

/// Writes as `berth_sys::cgroup` does for v2, weights still in shares.
fn write(kernel: &mut Kernel, limits: &cgroup::Resources) {
    let bytes = |value: i64| if value < 0 { "max".to_owned() } else { value.to_string() };
    let mut put = |file: &str, value: String| drop(kernel.insert(file.to_owned(), value));
    limits.cpu.shares.into_iter().for_each(|shares| put("cpu.weight", shares.to_string()));
    if limits.cpu.quota.is_some() || limits.cpu.period.is_some() {
        let period = limits.cpu.period.unwrap_or(100_000);
        put("cpu.max", format!("{} {period}", bytes(limits.cpu.quota.unwrap_or(-1))));
    }
    limits.pids.into_iter().for_each(|pids| put("pids.max", bytes(pids)));
    limits.hugepages.iter().for_each(|p| put(&format!("hugetlb.{}.max", p.page_size), p.limit.to_string()));
    let memory = &limits.memory;
    memory.limit.into_iter().for_each(|limit| put("memory.max", bytes(limit)));
    let base: i64 = kernel["memory.max"].parse().unwrap_or(-1);
    match memory.swap {
        Some(both) if both < 0 => drop(kernel.insert("memory.swap.max".into(), "max".into())),
        Some(both) => drop(kernel.insert("memory.swap.max".into(), (both - base).to_string())),
        None => {}
    }
    kernel.extend(limits.unified.clone());
}

fn created(limits: &Resources) -> Kernel {
    let mut kernel = fresh();
    write(&mut kernel, &cgroup(limits, Vec::new(), &host(true)));
    kernel
}

/// Every mixture of these settings that the kernel takes.
fn mixtures() -> Vec<Resources> {
    let mut all = Vec::new();
    let memories = [(None, None), (Some(100), None), (Some(100), Some(100)), (Some(200), Some(300))];
    let memories = [&memories[..], &[(Some(200), Some(-1)), (Some(-1), None), (None, Some(250))]].concat();
    for cpu_quota in [None, Some(50_000), Some(-1)] {
        for cpu_period in [None, Some(20_000)] {
            for cpu_shares in [None, Some(512)] {
                for &(memory_limit, memory_swap_limit) in &memories {
                    for file in [None, Some("cpu.max")] {
                        let one = Resources { cpu_quota, cpu_period, cpu_shares, ..Resources::default() };
                        let unified = file.map(|file| (file.to_owned(), "1000 2000".to_owned()));
                        let unified = unified.into_iter().collect();
                        all.push(Resources { memory_limit, memory_swap_limit, unified, ..one });
                    }
                }
            }
        }
    }
    all
}

/// Memory and swap as the kernel takes them together.
fn possible(limits: &Resources) -> bool {
    match (limits.memory_limit, limits.memory_swap_limit) {
        (_, None | Some(-1)) => true,
        (None | Some(-1), Some(_)) => false,
        (Some(limit), Some(both)) => limit <= both,
    }
}

#[test]
fn what_the_status_shows_after_a_change_is_what_is_in_force() {
    let all = mixtures();
    for before in all.iter().filter(|limits| possible(limits)) {
        for asked in &all {
            let change = Change::of(before, asked, &host(true));
            if !possible(&change.now) {
                continue;
            }
            let mut kernel = created(before);
            write(&mut kernel, &change.set);
            assert_eq!(kernel, created(&change.now), "{before:?} changed by {asked:?}");
            write(&mut kernel, &change.undo);
            assert_eq!(kernel, created(before), "{before:?} after {asked:?} was taken back");
        }
    }
}

#[test]
fn a_period_keeps_the_quota_and_a_quota_the_period() {
    let before = Resources { cpu_quota: Some(50_000), cpu_period: Some(20_000), ..Resources::default() };
    let period = Resources { cpu_period: Some(40_000), ..Resources::default() };
    let set = Change::of(&before, &period, &host(true)).set.cpu;
    assert_eq!((set.quota, set.period), (Some(50_000), Some(40_000)));
    let quota = Resources { cpu_quota: Some(10_000), ..Resources::default() };
    let set = Change::of(&before, &quota, &host(true)).set.cpu;
    assert_eq!((set.quota, set.period), (Some(10_000), Some(20_000)));
}

#[test]
fn other_limits_are_changed_and_taken_back() {
    let huge = |limit| vec![HugepageLimit { page_size: "2MB".into(), limit }];
    let asked = Resources {
        pids_limit: Some(7),
        hugepages: huge(5),
        cpuset_cpus: "1".into(),
        cpuset_mems: "0".into(),
        ..Resources::default()
    };
    let before = Resources {
        pids_limit: Some(3),
        hugepages: huge(4),
        cpuset_cpus: "0".into(),
        cpuset_mems: "0".into(),
        ..Resources::default()
    };
    let change = Change::of(&before, &asked, &host(true));
    assert_eq!(change.now, asked);
    for (written, want) in [(&change.set, &asked), (&change.undo, &before)] {
        let cpus = (written.cpu.cpus.as_ref(), written.cpu.mems.as_ref());
        assert_eq!(
            (written.pids, cpus),
            (want.pids_limit, (Some(&want.cpuset_cpus), Some(&want.cpuset_mems)))
        );
        assert_eq!(written.hugepages[0].limit, want.hugepages[0].limit);
    }
    let from_nothing = Change::of(&Resources::default(), &asked, &host(true)).undo;
    assert_eq!((from_nothing.pids, from_nothing.hugepages[0].limit), (Some(-1), u64::MAX));
    assert!(!change.undo.memory.check_before_update, "what was in force is put back in any case");
}

#[test]
fn a_score_changes_when_it_is_another_and_never_below_what_can_be_set() {
    let with = |oom_score_adj| Resources { oom_score_adj, ..Resources::default() };
    let change = |before, asked| {
        Change::of(&with(before), &with(asked), &HostFacts { least_oom_score: -500, ..host(true) })
    };
    assert_eq!(change(Some(5), None).score, None);
    assert_eq!(change(Some(5), Some(5)).score, None);
    assert_eq!(change(Some(5), Some(9)).score, Some(Score { before: 5, now: 9 }));
    assert_eq!(change(None, Some(-900)).score, Some(Score { before: 0, now: -500 }));
    assert_eq!(change(Some(5), Some(-900)).now.oom_score_adj, Some(-900));
}
