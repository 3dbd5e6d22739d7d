use super::*;

fn host() -> HostFacts {
    crate::oci::resources::test_host(true)
}

fn with(memory: Option<i64>, quota: Option<(i64, u64)>) -> Resources {
    Resources {
        memory_limit: memory,
        cpu_quota: quota.map(|(quota, _)| quota),
        cpu_period: quota.map(|(_, period)| period),
        cpu_shares: Some(512),
        cpuset_cpus: "0".to_owned(),
        ..Resources::default()
    }
}

#[test]
fn limits_are_added_up_where_every_container_has_one() {
    let of = [with(Some(100), Some((20_000, 100_000))), with(Some(50), Some((5_000, 50_000)))];
    let sum = limits(&of.each_ref(), &host()).unwrap();
    assert_eq!((sum.memory.limit, sum.memory.swap), (Some(150), Some(150)));
    assert_eq!((sum.cpu.quota, sum.cpu.period, sum.cpu.shares), (Some(30_000), Some(100_000), Some(1024)));
    assert_eq!(sum.cpu.cpus.as_deref(), Some("0"));
    let none = [with(Some(100), None), with(None, Some((1_000, 100_000)))];
    let sum = limits(&none.each_ref(), &host()).unwrap();
    assert_eq!((sum.memory.limit, sum.memory.swap, sum.cpu.quota), (Some(-1), Some(-1), Some(-1)));
}

#[test]
fn what_has_no_sum_is_refused_by_name() {
    let unified = [("memory.high".to_owned(), "1".to_owned())].into();
    let refused = [
        (Resources { unified, ..Resources::default() }, "memory.high"),
        (Resources { pids_limit: Some(5), ..Resources::default() }, "pids_limit"),
    ];
    for (limits_of_it, name) in refused {
        let error = limits(&[&limits_of_it], &host()).unwrap_err();
        assert!(berth_types::error::chain(&error).contains(name), "{error:?}");
    }
    limits(&[&Resources { pids_limit: Some(-1), ..Resources::default() }], &host()).unwrap();
}

#[test]
fn what_an_earlier_creation_knows_is_not_written_after_a_later_one() {
    let creations = Creations::default();
    let (first, second, third) = (creations.next(), creations.next(), creations.next());
    let mut written = Vec::new();
    let mut write = |creation: &Creation, fails: bool| {
        creation.write(|| {
            written.push(creation.number);
            if fails { Err(()) } else { Ok(()) }
        })
    };
    assert_eq!(write(&second, false), Ok(()));
    assert_eq!(write(&first, false), Ok(()));
    assert_eq!(write(&third, true), Err(()));
    assert_eq!(write(&third, false), Ok(()));
    assert_eq!(written, [2, 3, 3]);
}

#[test]
fn real_time_signals_are_not_known_in_there() {
    assert_eq!(stop_signal(15).unwrap(), 15);
    assert_eq!(stop_signal(31).unwrap(), 31);
    let error = stop_signal(37).unwrap_err().to_string();
    assert!(error.contains("37 is a real-time signal"), "{error}");
}
