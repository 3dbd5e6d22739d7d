use super::*;

fn host(accounts_swap: bool) -> HostFacts {
    HostFacts {
        capabilities: 0,
        least_oom_score: 0,
        hostname: String::new(),
        unified: false,
        accounts_swap,
        apparmor: false,
        selinux: false,
    }
}

#[test]
fn there_is_no_swap_beyond_the_limit_unless_somebody_says_so() {
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
        let change = with(to, None);
        let now = merge(&before, &change);
        assert_eq!((now.memory_limit, now.memory_swap_limit), (Some(to), want), "{before:?} to {to}");
        let set = super::change(&now, &change, &host(true)).memory;
        assert_eq!((set.limit, set.swap), (Some(to), Some(want.unwrap_or(to))), "{before:?} to {to}");
    }
    // A change of something else leaves both alone.
    let cpu = Resources { cpu_quota: Some(10), ..Resources::default() };
    let now = merge(&with(100, Some(200)), &cpu);
    assert_eq!(super::change(&now, &cpu, &host(true)).memory.swap, None);
}
