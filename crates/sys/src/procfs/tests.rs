use super::*;

#[test]
fn a_private_procfs_takes_writes_within_it_only() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: a_private_procfs_takes_writes_within_it_only: needs root");
        return;
    }
    let proc = Private::new().expect("procfs");
    let own = std::fs::read("/proc/self/comm").expect("read");
    proc.write(c"self/comm", own.trim_ascii_end()).expect("write");
    assert_eq!(proc.write(c"../etc/hostname", b"x"), Err(Errno::XDEV));
    assert_eq!(proc.write(c"self/cwd/x", b"x"), Err(Errno::LOOP));
    assert_eq!(proc.write(c"none", b"x"), Err(Errno::NOENT));
}
