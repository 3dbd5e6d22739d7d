use super::*;

/// In a thread that ends with what was set.
fn apart<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(what).join().unwrap()
}

#[test]
fn the_policy_of_a_thread_is_seen_in_proc() {
    const BATCH: u32 = 3;
    let stat = apart(|| {
        set_policy(&Policy { number: BATCH, nice: 7, ..Policy::default() }).unwrap();
        std::fs::read_to_string("/proc/thread-self/stat").unwrap()
    });
    // Behind the name: see proc_pid_stat(5), whose numbers begin two before.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    assert_eq!((fields[19 - 3], fields[41 - 3]), ("7", "3"));
    assert_eq!(
        apart(|| set_policy(&Policy { number: BATCH, priority: 1, ..Policy::default() })),
        Err(Errno::INVAL)
    );
}

#[test]
fn an_io_priority_is_a_class_and_a_level() {
    let read = apart(|| {
        set_io_priority(2 << 13 | 5).unwrap();
        // SAFETY: integers.
        unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) }
    });
    assert_eq!(read, 2 << 13 | 5);
    assert_eq!(apart(|| set_io_priority(5 << 13)), Err(Errno::INVAL));
}

#[test]
fn the_nodes_of_memory_are_those_of_the_machine() {
    const BIND: u32 = 2;
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        println!("skipped: the_nodes_of_memory_are_those_of_the_machine: the kernel has no NUMA");
        return;
    }
    let maps = apart(|| {
        set_memory_policy(BIND, &[1]).unwrap();
        std::fs::read_to_string("/proc/thread-self/numa_maps").unwrap()
    });
    assert!(maps.lines().any(|line| line.contains(" bind:0 ")), "{maps}");
    assert_eq!(apart(|| set_memory_policy(BIND, &[])), Err(Errno::INVAL));
    assert_eq!(apart(|| set_memory_policy(BIND, &[0, 0, 1 << 63])), Err(Errno::INVAL));
}
