use super::*;

/// As version 1 was written; to be read forever.
const FIRST: &str = r#"{"version":1,"id":"c","ociVersion":"1.0.2","bundle":"/b","rootfs":"/b/rootfs",
"created":"2026-11-25T01:02:03.000000004Z","phase":"created","process":{"pid":7,"start":8},"cgroups":["/sys/fs/cgroup/c"],
"command":"sh","annotations":{"a":"b"},"hooks":{"startContainer":[],"poststart":[],"poststop":[{"path":"/bin/true","timeout":1}]}}"#;

#[test]
fn records_of_every_version_are_read_and_newer_ones_refused() {
    let record = decode(FIRST.as_bytes()).unwrap();
    assert_eq!((record.id.as_str(), record.phase, record.pid()), ("c", Phase::Created, 7));
    assert_eq!(record.hooks.poststop[0].timeout(), Some(1));
    let written = serde_json::to_vec(&record).unwrap();
    assert_eq!(decode(&written).unwrap(), record);
    let newer = FIRST.replace("\"version\":1", "\"version\":2");
    assert_eq!(decode(newer.as_bytes()).unwrap_err(), "a record of version 2, this program knows 1");
    assert!(decode(b"{}").is_err());
}

#[test]
fn a_name_is_a_plain_name() {
    for good in ["a", "A-b_c.d+e", "..a", &"x".repeat(255)] {
        assert!(check_id(good).is_ok(), "{good}");
    }
    for bad in ["", ".", "..", "a/b", "a b", "a\0", "é", &"x".repeat(256)] {
        assert!(check_id(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_name_is_taken_once_and_free_again() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(root.path().join("deep/root"));
    assert!(store.list().unwrap().is_empty());
    let locked = store.claim("a").unwrap();
    assert!(matches!(store.claim("a"), Err(OciError::Exists { .. })));
    assert!(matches!(store.open("a").unwrap().load(), Err(OciError::NotFound { .. })));
    let other = store.open("a").unwrap();
    assert!(!other.try_lock().unwrap());
    locked.container.remove().unwrap();
    drop(locked);
    // The lock of what was removed is worth nothing.
    assert!(matches!(other.lock(), Err(OciError::NotFound { .. })));
    assert!(matches!(store.open("a"), Err(OciError::NotFound { .. })));
}

#[test]
fn who_has_the_lock_keeps_it_while_it_looks_at_a_killed_create() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(root.path().to_owned());
    let locked = store.claim("a").unwrap();
    let record = decode(FIRST.replace("\"created\",\"process", "\"creating\",\"process").as_bytes()).unwrap();
    assert_eq!(record.phase, Phase::Creating);
    let other = store.open("a").unwrap();
    assert!(matches!(other.status(&record), Ok(Status::Creating)));
    assert!(matches!(locked.status(&record), Ok(Status::Stopped)));
    assert!(!other.try_lock().unwrap());
    drop(locked);
    assert!(matches!(other.status(&record), Ok(Status::Stopped)));
}

#[test]
fn a_door_leads_to_who_listens() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(root.path().join("x".repeat(120)));
    let locked = store.claim("a").unwrap();
    assert!(matches!(locked.container.knock().unwrap(), Knock::Nobody));
    let door = locked.container.make_door().unwrap();
    assert!(matches!(locked.container.knock().unwrap(), Knock::Admitted(_)));
    // Nobody lets anybody in: a connection that was given up waits too.
    let full = (0..100).any(|_| matches!(locked.container.knock().unwrap(), Knock::Crowded));
    assert!(full);
    drop(door);
    assert!(matches!(locked.container.knock().unwrap(), Knock::Nobody));
}

#[test]
fn a_directory_without_a_record_is_taken_over() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(root.path().to_owned());
    drop(store.claim("a").unwrap());
    std::fs::write(root.path().join("a/config.json"), "{}").unwrap();
    let locked = store.claim("a").unwrap();
    assert_eq!(std::fs::read_dir(root.path().join("a")).unwrap().count(), 0);
    assert!(matches!(store.claim("a"), Err(OciError::Exists { .. })));
    locked.container.save(&decode(FIRST.as_bytes()).unwrap()).unwrap();
    drop(locked);
    assert!(matches!(store.claim("a"), Err(OciError::Exists { .. })));
}

#[test]
fn who_looks_at_a_killed_create_does_not_see_others_that_look() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(root.path().to_owned());
    drop(store.claim("a").unwrap());
    let record = decode(FIRST.replace("\"created\",\"process", "\"creating\",\"process").as_bytes()).unwrap();
    let other = store.open("a").unwrap();
    rustix::fs::flock(&other.fd, FlockOperation::NonBlockingLockShared).unwrap();
    assert!(matches!(store.open("a").unwrap().status(&record), Ok(Status::Stopped)));
}
