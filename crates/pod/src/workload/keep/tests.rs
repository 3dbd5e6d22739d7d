use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn record(uid: &str) -> Record {
    let document = "{\"kind\":\"Job\"}".to_owned();
    Record { document, objects: "x\ny".into(), ..Record::new(uid.into(), 5, Some("cron".into())) }
}

#[test]
fn what_was_kept_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("workloads");
    assert_eq!(all(&root), (vec![], vec![]));
    let status = Status { last: Some(7), ..Status::default() };
    save(&root, &record("a")).unwrap();
    save(&root, &Record { removing: true, ..record("b") }).unwrap();
    save_status(&root, "b", &status).unwrap();
    let (mut found, faults) = all(&root);
    found.sort_by(|a, b| a.0.uid.cmp(&b.0.uid));
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(found[0], (record("a"), Status::default()));
    assert_eq!(found[1], (Record { removing: true, ..record("b") }, status));
    for (path, mode) in [("a", 0o700), ("a/record", 0o600), ("b/status", 0o600)] {
        assert_eq!(fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
    }
    remove(&root, "a").unwrap();
    remove(&root, "a").unwrap();
    assert_eq!(all(&root).0.len(), 1);
}

#[test]
fn what_cannot_be_read_stays_and_what_was_half_made_goes() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in
        [("a", "no JSON"), ("b", "{\"version\":2,\"uid\":\"b\",\"createdAt\":0,\"document\":\"\"}")]
    {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join(RECORD), text).unwrap();
    }
    fs::create_dir(dir.path().join("c")).unwrap();
    let (found, faults) = all(dir.path());
    assert_eq!((found.len(), faults.len()), (0, 2), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("version 2 is newer than 1")), "{faults:?}");
    assert!(dir.path().join("a/record").exists() && !dir.path().join("c").exists());
}

/// Of the first version, which is read for ever.
#[test]
fn a_record_of_version_1_is_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("u")).unwrap();
    let record = r#"{"version":1,"uid":"u","createdAt":12,"owner":null,"removing":false,"document":"{}","objects":""}"#;
    fs::write(dir.path().join("u").join(RECORD), record).unwrap();
    let status = r#"{"started_at":3,"outcomes":{"p":{"succeeded":true,"index":null,"at":4}},"end":{"reason":"","at":5},"last":null}"#;
    fs::write(dir.path().join("u").join(STATUS), status).unwrap();
    let (found, faults) = all(dir.path());
    assert!(faults.is_empty(), "{faults:?}");
    let (record, status) = &found[0];
    assert_eq!((record.uid.as_str(), record.created_at, status.started_at), ("u", 12, Some(3)));
    assert!(status.outcomes["p"].succeeded && status.end.is_some());
}
