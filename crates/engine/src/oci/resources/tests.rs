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
