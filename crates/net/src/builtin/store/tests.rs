use super::*;
use crate::port::Protocol;

fn lease(n: u8) -> Lease {
    Lease {
        sandbox: SandboxId::from_random([n; 32]),
        address4: [10, 0, 0, n].into(),
        address6: Some("fd00::2".parse().unwrap()),
        ports: vec![PortMapping {
            protocol: Protocol::Sctp,
            host_ip: Some("::1".parse().unwrap()),
            host_port: 1,
            container_port: 2,
        }],
    }
}

#[test]
fn leases_outlive_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.write(&lease(3), 3).unwrap();
    store.write(&lease(2), 2).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.load().unwrap(), [lease(2), lease(3)]);
    assert_eq!(store.last(), 2);
    store.remove(&lease(2).sandbox).unwrap();
    store.remove(&lease(2).sandbox).unwrap();
    assert_eq!(store.load().unwrap(), [lease(3)]);
}

#[test]
fn one_daemon_per_directory() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Store::open(dir.path()).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(OpenError::Busy { .. })));
}

#[test]
fn damaged_files_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.write(&lease(2), 2).unwrap();
    let good = fs::read(store.path(&lease(2).sandbox)).unwrap();
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("truncated", &good[..good.len() - 1]),
        ("other-name", &good[..]),
        ("half.7.tmp", &good[..9]),
    ] {
        fs::write(dir.path().join("leases").join(name), bytes).unwrap();
    }
    assert_eq!(store.load().unwrap(), [lease(2)]);
    assert_eq!(fs::read_dir(dir.path().join("leases")).unwrap().count(), 1);
}

#[test]
fn leases_end_with_the_machine() {
    for before in ["11111111-2222-3333-4444-555555555555\n", ""] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.write(&lease(2), 2).unwrap();
        store.set_subnet("10.1.0.0/20".parse().unwrap()).unwrap();
        drop(store);
        fs::write(dir.path().join("boot"), before).unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.load().unwrap(), []);
        assert_eq!(store.subnet(), Some("10.1.0.0/20".parse().unwrap()), "the block stays");
        assert_eq!(store.last(), 2, "and the turn");
    }
}

#[test]
fn a_boot_that_cannot_be_noted_forgets_nothing_later() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    fs::write(dir.path().join("boot"), "another").unwrap();
    // Whatever number the new file has, it cannot be written, as on a full disk.
    for number in 0..1000 {
        fs::create_dir(dir.path().join(format!("boot.{number}.tmp"))).unwrap();
    }
    for _ in 0..2 {
        let store = Store::open(dir.path()).unwrap();
        store.write(&lease(2), 2).unwrap();
    }
    assert_eq!(Store::open(dir.path()).unwrap().load().unwrap(), [lease(2)]);
    assert!(!dir.path().join("boot").exists());
}

#[test]
fn the_chosen_block_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.subnet(), None);
    store.set_subnet("10.1.0.0/20".parse().unwrap()).unwrap();
    assert_eq!(store.subnet(), Some("10.1.0.0/20".parse().unwrap()));
    store.purge().unwrap();
    assert!(!dir.path().exists());
}
