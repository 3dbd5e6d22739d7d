use serde_json::json;

use super::*;
use crate::cni::list::List;
use crate::cni::version::Version;

fn record() -> Record {
    let list = json!({ "name": "pods", "cniVersion": "1.0.0", "plugins": [
        { "type": "bridge", "n": 1.5, "ipam": { "type": "host-local" } }, { "type": "portmap" },
    ] });
    Record {
        version: VERSION,
        sandbox: "a".repeat(64).parse().unwrap(),
        progress: Progress::Adding(1),
        network: List::parse(list.to_string().as_bytes()).unwrap().with(Version::V1_0_0),
        interface: "eth0".to_owned(),
        netns: "/run/berth/pods/a/netns".into(),
        args: "A=b".to_owned(),
        capabilities: json!({ "portMappings": [] }).as_object().unwrap().clone(),
        ports: Vec::new(),
        result: json!({ "ips": [] }).as_object().cloned(),
    }
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut record = record();
    for (progress, begun) in [(Progress::Adding(1), 1), (Progress::Added, 2), (Progress::Removing(1), 1)] {
        record.progress = progress;
        store.write(&record).unwrap();
        assert_eq!(store.read(&record.sandbox).unwrap().as_ref(), Some(&record));
        assert_eq!(record.begun(), begun, "{progress:?}");
    }
    assert_eq!(store.list().unwrap(), [record.sandbox.clone()]);
    for _ in 0..2 {
        store.remove(&record.sandbox).unwrap();
        assert_eq!(store.read(&record.sandbox).unwrap(), None);
    }
}

/// A fixture that is read forever, as the program of that version wrote it.
#[test]
fn records_of_every_version_are_read() {
    let fixture = include_bytes!("../../../tests/fixtures/cni/v1.json");
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let sandbox: SandboxId = "a".repeat(64).parse().unwrap();
    std::fs::write(store.path(&sandbox), fixture).unwrap();
    let read = store.read(&sandbox).unwrap().unwrap();
    assert_eq!(read, record());
    // A later version adds fields.
    let mut later: Value = serde_json::from_slice(fixture).unwrap();
    later["version"] = 2.into();
    later["network"]["tomorrow"] = 1.into();
    later["tomorrow"] = 1.into();
    std::fs::write(store.path(&sandbox), later.to_string()).unwrap();
    assert_eq!(store.read(&sandbox).unwrap().unwrap(), Record { version: 2, ..read });
}

#[test]
fn blocks_are_read_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.blocks().unwrap(), []);
    for texts in [vec!["10.244.1.0/24", "fd00:244:1::/64"], vec![], vec!["10.0.0.0/8"]] {
        let blocks: Vec<Cidr> = texts.iter().map(|text| text.parse().unwrap()).collect();
        store.write_blocks(&blocks).unwrap();
        assert_eq!(store.blocks().unwrap(), blocks);
    }
    std::fs::write(dir.path().join(BLOCKS), "10.0.0\0").unwrap();
    assert_eq!(store.blocks().unwrap(), []);
}

#[test]
fn a_damaged_record_is_listed_and_never_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let record = record();
    store.write(&record).unwrap();
    let path = store.path(&record.sandbox);
    let whole = std::fs::read_to_string(&path).unwrap();
    let other = whole.replace(&"a".repeat(64), &"b".repeat(64));
    for damage in ["", "{", &whole[..whole.len() / 2], "\0\0", &other] {
        std::fs::write(&path, damage).unwrap();
        let error = store.read(&record.sandbox).unwrap_err();
        let CniError::Record { source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(source.kind(), io::ErrorKind::InvalidData, "{damage}");
        assert_eq!(store.list().unwrap(), std::slice::from_ref(&record.sandbox));
    }
    // What a killed daemon had not renamed goes, what is none of ours stays.
    let pods = dir.path().join("pods");
    std::fs::write(pods.join("x.json.7.tmp"), "half").unwrap();
    std::fs::write(pods.join("README"), "mine").unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
    assert!(!pods.join("x.json.7.tmp").exists() && pods.join("README").exists());
    store.purge().unwrap();
    store.purge().unwrap();
    assert!(!dir.path().exists());
}
