use super::*;
use crate::manifest::parse_files;

fn record(uid: &str) -> Record {
    let text = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {a: b}, ports: [{port: 80}]}}";
    let service = parse_files(&[("", text.as_bytes())]).unwrap().services.remove(0);
    let lease = Lease {
        address4: Some("10.0.0.1".parse().unwrap()),
        address6: None,
        node_ports: vec![None, Some(30_000)],
    };
    Record { uid: uid.to_owned(), created_at: 7, service, lease }
}

#[test]
fn what_is_kept_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("services");
    assert_eq!(all(&dir), (Vec::new(), Vec::new()));
    save(&dir, &record("a")).unwrap();
    save(&dir, &record("b")).unwrap();
    remove(&dir, "b").unwrap();
    remove(&dir, "b").unwrap();
    let ready = BTreeSet::from(["c1".to_owned()]);
    save_ready(&dir, &ready).unwrap();
    assert_eq!(self::ready(&dir), ready);
    assert_eq!(all(&dir), (vec![record("a")], Vec::new()));
}

#[test]
fn what_cannot_be_read_is_told_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &record("a")).unwrap();
    let text = fs::read_to_string(dir.path().join("a")).unwrap();
    fs::write(dir.path().join("b"), text.replace("\"version\":1", "\"version\":2")).unwrap();
    fs::write(dir.path().join("c"), &text).unwrap();
    fs::write(dir.path().join("d"), "{").unwrap();
    fs::write(dir.path().join(".e.next"), "{").unwrap();
    let (found, mut faults) = all(dir.path());
    faults.sort();
    assert_eq!(found, [record("a")]);
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(
        faults[0].contains("version 2 is newer than 1") && faults[1].contains("another service"),
        "{faults:?}"
    );
    assert!(ready(dir.path()).is_empty());
}
