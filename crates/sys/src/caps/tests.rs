use super::*;

#[test]
fn the_kernel_says_what_it_has() {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:")).expect("CapEff");
    assert_eq!(Ok(effective().expect("capget")), u64::from_str_radix(line.trim(), 16));
}

#[test]
fn what_was_dropped_does_not_come_back() {
    // In a thread of its own, whose sets these are.
    std::thread::spawn(|| {
        let before = effective().expect("capget");
        set(0, before, 0).expect("drop effective");
        assert_eq!(effective(), Ok(0));
        set(before, before, 0).expect("raise again");
        set(0, 0, 0).expect("drop all");
        if before != 0 {
            assert_eq!(set(before, before, 0), Err(Errno::PERM));
        }
    })
    .join()
    .expect("thread");
}
