use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::model::{Network, Owner, PidMode};

/// A record of a version that landed, as the program of that version wrote it.
fn fixture<T: DeserializeOwned>(version: u32, name: &str) -> T {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/records");
    let path = dir.join(format!("v{version}")).join(name);
    read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).expect("the fixture is there")
}

#[test]
fn records_of_every_version_are_read() {
    for version in 1..=VERSION {
        let sandbox: SandboxRecord = fixture(version, "sandbox.json");
        assert_eq!((sandbox.version, sandbox.phase), (version, Phase::Made), "v{version}");
        let config = &sandbox.config;
        assert_eq!((config.metadata.name.as_str(), config.owner), ("fixture", Owner::Local), "v{version}");
        assert_eq!(config.namespaces.network, Network::Pod, "v{version}");
        assert!(!sandbox.cgroup.is_empty() && sandbox.created_at > 0, "v{version}");
        let container: ContainerRecord = fixture(version, "container.json");
        assert_eq!((container.version, container.phase), (version, Phase::Made), "v{version}");
        assert_eq!(container.config.pid, PidMode::Container, "v{version}");
        assert_eq!(container.resources.memory_limit, Some(64 << 20), "v{version}");
        assert!(container.config.envs.iter().any(|var| var.name == "GREETING" && var.value == b"hello"));
        // Since version 3.
        assert_eq!(config.namespaces.user.is_some(), version >= 3, "v{version}");
        let mapped =
            container.config.mounts.iter().any(|mount| !mount.uids.is_empty() && !mount.options.is_empty());
        assert_eq!(mapped, version >= 3, "v{version}");
        let process: oci_spec::runtime::Process =
            serde_json::from_value(container.process.expect("it was made")).expect("it is a process");
        assert!(process.args().as_ref().is_some_and(|args| !args.is_empty()), "v{version}");
    }
}

#[test]
fn what_a_later_version_adds_is_ignored_and_what_an_earlier_one_lacks_has_a_default() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("container.json");
    let mut value: serde_json::Value = fixture(VERSION, "container.json");
    value["version"] = (VERSION + 7).into();
    value["tomorrow"] = serde_json::json!([1, 2]);
    value["config"]["tomorrow"] = "more".into();
    // Of a library that knows more of a process than ours.
    value["process"]["execCPUAffinity"] = serde_json::json!({ "initial": "0", "later": {} });
    for field in ["user", "log_path", "resources", "raw_env", "end"] {
        value.as_object_mut().unwrap().remove(field);
    }
    std::fs::write(&path, value.to_string()).unwrap();
    let record: ContainerRecord = read(&path).unwrap().unwrap();
    assert_eq!((record.user, record.end), (UserRecord::default(), None));
}

#[test]
fn a_record_that_cannot_be_read_has_its_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("sandbox.json"), dir.path().join("copy/sandbox.copy.json"));
    std::fs::create_dir(dir.path().join("copy")).unwrap();
    let record: SandboxRecord = fixture(VERSION, "sandbox.json");
    write_both(&path, &copy, &record).unwrap();
    let read = || read_either::<SandboxRecord>(&path, &copy);
    assert_eq!(read().unwrap().as_ref(), Some(&record));
    for damage in ["", "{", "[]", "\0\0"] {
        std::fs::write(&path, damage).unwrap();
        assert_eq!(read().unwrap().as_ref(), Some(&record), "{damage:?}");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(read().unwrap().as_ref(), Some(&record), "it is missing");
    std::fs::write(&path, "{").unwrap();
    std::fs::write(&copy, "").unwrap();
    assert_eq!(read().unwrap_err().kind(), io::ErrorKind::InvalidData, "neither can be read");
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_file(&copy).unwrap();
    assert_eq!(read().unwrap(), None);
}

#[test]
fn records_are_for_root_alone_and_what_cannot_be_written_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    write_bytes(&path, b"one").unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // A directory is not replaced by a file.
    let taken = dir.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("file"), "").unwrap();
    write_bytes(&taken, b"two").unwrap_err();
    let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["record", "taken"]);
}
