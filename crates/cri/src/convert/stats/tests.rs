use super::*;

fn usage() -> Usage {
    let memory = MemoryStats {
        usage: 100,
        limit: Some(150),
        working_set: 70,
        rss: 50,
        swap: Some(8),
        swap_limit: Some(20),
        ..MemoryStats::default()
    };
    let stall = Stall { avg10: 1234, avg60: 5, avg300: 0, total_us: 77 };
    let mut usage = Usage::default();
    (usage.at, usage.cpu_usage_ns, usage.memory) = (9, Some(5000), Some(memory));
    usage.cpu_pressure = Some(Pressure { some: stall, full: Stall::default() });
    usage
}

/// contract 43: a rate that is not known is absent, and never 0.
#[test]
fn a_rate_is_absent_before_there_are_two_samples() {
    let mut usage = usage();
    assert_eq!(cpu(&usage).unwrap().usage_nano_cores, None);
    usage.cpu_nano_cores = Some(0);
    assert_eq!(cpu(&usage).unwrap().usage_nano_cores, value(0));
    assert_eq!(cpu(&Usage::default()), None);
}

/// contract 44
#[test]
fn what_is_available_is_the_limit_less_the_working_set_and_absent_without_a_limit() {
    let mut usage = usage();
    let told = memory(&usage).unwrap();
    assert_eq!(
        (told.available_bytes, told.working_set_bytes, told.rss_bytes),
        (value(80), value(70), value(50))
    );
    let stats = usage.memory.as_mut().unwrap();
    stats.limit = Some(10);
    assert_eq!(memory(&usage).unwrap().available_bytes, value(0), "never below zero");
    usage.memory.as_mut().unwrap().limit = None;
    assert_eq!(memory(&usage).unwrap().available_bytes, None);
    assert_eq!(swap(&usage).unwrap().swap_available_bytes, value(12));
}

/// contract 45
#[test]
fn pressure_is_in_nanoseconds_and_percent() {
    let some = cpu(&usage()).unwrap().psi.unwrap().some.unwrap();
    assert_eq!((some.total, some.avg10, some.avg60), (77_000, 12.34, 0.05));
}

#[test]
fn the_default_interface_is_the_first_and_the_others_follow() {
    let named = |name: &str| InterfaceCounters { name: name.into(), rx_bytes: 3, ..Default::default() };
    let told = network(&Network { at: 7, interfaces: vec![named("eth0"), named("net1")] });
    assert_eq!((told.timestamp, told.default_interface.unwrap().name), (7, "eth0".to_owned()));
    assert_eq!(told.interfaces.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["net1"]);
    assert_eq!(network(&Network::default()).default_interface, None);
}
