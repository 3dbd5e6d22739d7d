use super::*;

const BRIDGE: &str = r#"{ "cniVersion": "1.0.0", "name": "a", "plugins": [{ "type": "bridge" }] }"#;
const SINGLE: &str = r#"{ "name": "b", "type": "ptp" }"#;

fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn chosen(dir: &tempfile::TempDir) -> Option<(String, String, Vec<String>)> {
    let (path, list) = read(dir.path()).network?;
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    Some((name, list.name, list.plugins.into_iter().map(|plugin| plugin.kind).collect()))
}

fn network(file: &str, name: &str, plugins: &[&str]) -> Option<(String, String, Vec<String>)> {
    Some((file.to_owned(), name.to_owned(), plugins.iter().map(|&p| p.to_owned()).collect()))
}

#[test]
fn the_first_file_by_name_that_holds_a_network_is_taken() {
    let files = [
        ("20-b.conf", SINGLE),
        ("10-a.conflist", BRIDGE),
        ("00-notes.txt", BRIDGE),
        (".10.conflist.swp", ""),
    ];
    assert_eq!(chosen(&dir(&files)), network("10-a.conflist", "a", &["bridge"]));
    let files = [("20-b.json", SINGLE), ("30-a.conflist", BRIDGE), ("10-x.conflist/inner.conf", SINGLE)];
    assert_eq!(chosen(&dir(&files)), network("20-b.json", "b", &["ptp"]));
}

#[test]
fn files_that_hold_none_are_passed_over_and_named() {
    let loopback = r#"{ "name": "lo", "type": "loopback" }"#;
    let half = &BRIDGE[..BRIDGE.len() / 2];
    let files = [
        ("05.conflist", "null"),
        ("10.conflist", half),
        ("11.conf", BRIDGE),
        ("12.conflist", SINGLE),
        ("13.conflist", r#"{ "name": "x", "plugins": null }"#),
        ("14.conf", ""),
        ("50-a.conflist", BRIDGE),
        ("99-loopback.conf", loopback),
    ];
    let dir = dir(&files);
    assert_eq!(chosen(&dir), network("50-a.conflist", "a", &["bridge"]));
    let refused: Vec<_> = read(dir.path())
        .refused
        .into_iter()
        .map(|(path, why)| format!("{}: {why}", path.file_name().unwrap().to_string_lossy()))
        .collect();
    let want = [
        "05.conflist: it is not a JSON object",
        "10.conflist: it is not JSON: ",
        "11.conf: it is a list of plugins: rename it to end in .conflist",
        "12.conflist: it is a single plugin: rename it to end in .conf",
        "13.conflist: plugins is empty",
        "14.conf: it is not JSON: ",
    ];
    assert_eq!(refused.len(), want.len(), "{refused:?}");
    for (refused, want) in refused.iter().zip(want) {
        assert!(refused.starts_with(want), "{refused}");
    }
    fs::remove_file(dir.path().join("50-a.conflist")).unwrap();
    let found = read(dir.path());
    assert_eq!(found.network, None, "the loopback plugin alone connects nothing");
    assert_eq!(found.refused.len(), 7);
}

#[test]
fn a_directory_that_is_missing_or_none_holds_nothing() {
    assert_eq!(read("/nonexistent/net.d".as_ref()), Found::default());
    let found = read("/dev/null".as_ref());
    assert_eq!((found.network, found.refused.len()), (None, 1));
}

#[test]
fn what_cannot_be_read_at_once_is_not_waited_for() {
    let dir = dir(&[("20.conf", SINGLE)]);
    let pipe = dir.path().join("10.conf");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    fs::write(dir.path().join("11.conf"), " ".repeat(2 << 20)).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("12.conf")).unwrap();
    assert_eq!(chosen(&dir), network("20.conf", "b", &["ptp"]));
    assert_eq!(read(dir.path()).refused.len(), 3);
}

#[test]
fn plugins_of_the_networks_directory_come_last() {
    let files = [
        ("10-a.conflist", BRIDGE),
        ("a/20-y.conf", r#"{ "type": "tuning" }"#),
        ("a/10-x.conf", r#"{ "type": "portmap", "capabilities": { "portMappings": true } }"#),
        ("a/30-z.txt", "ignored"),
        ("b/10.conf", r#"{ "type": "other" }"#),
    ];
    let with = dir(&files);
    assert_eq!(chosen(&with), network("10-a.conflist", "a", &["bridge", "portmap", "tuning"]));
    let only = BRIDGE.replace("\"name\"", "\"loadOnlyInlinedPlugins\": true, \"name\"");
    fs::write(with.path().join("10-a.conflist"), only).unwrap();
    assert_eq!(chosen(&with), network("10-a.conflist", "a", &["bridge"]));
    // The whole chain may be there; one that is damaged spoils the network.
    fs::write(with.path().join("10-a.conflist"), r#"{ "name": "a" }"#).unwrap();
    assert_eq!(chosen(&with), network("10-a.conflist", "a", &["portmap", "tuning"]));
    fs::write(with.path().join("a/20-y.conf"), "{").unwrap();
    let found = read(with.path());
    assert_eq!(found.network, None);
    assert!(found.refused[0].1.contains("a/20-y.conf: it is not JSON"), "{:?}", found.refused);
}
