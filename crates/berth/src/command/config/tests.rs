use super::*;

#[test]
fn the_configuration_of_a_package_changes_nothing() {
    let keys: toml::Table = toml::from_str(&commented()).unwrap();
    assert!(keys.is_empty(), "{keys:?}");
}

#[test]
fn the_configuration_of_a_package_has_every_key_with_its_default() {
    // Keys begin right after their #, sentences after a space.
    let text: String = commented()
        .lines()
        .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')))
        .map(|line| format!("{line}\n"))
        .collect();
    let shown: toml::Table = toml::from_str(&text).unwrap();
    for key in KEYS {
        assert!(shown.contains_key(key.name), "{}", key.name);
    }
    drop::<Given>(toml::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}")));
}

#[test]
fn every_setting_is_shown_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    std::fs::write(&path, "\nbridge = 'b'").unwrap();
    let flags = Given { root: Some("/r".into()), ..Given::default() };
    let variable = |name: &str| (name == "BERTH_LOG_LEVEL").then(|| "debug".to_owned());
    let layers = Layers::read_with(&flags, variable, Some(&path)).unwrap();
    let shown = |name: &str| row(&layers, Key::find(name).unwrap())[1..].join(" ");
    assert_eq!(shown("bridge"), format!("\"b\" {}:2", path.display()));
    assert_eq!(shown("root"), "\"/r\" --root");
    assert_eq!(shown("log-level"), "\"debug\" BERTH_LOG_LEVEL");
    assert_eq!(shown("network"), "\"cni\" default");
    assert_eq!(shown("short-name-host"), "(none, short names are refused) default");
    assert_eq!(shown("pid-file"), "- default");
    assert_eq!(
        object(&layers, Key::find("bridge").unwrap()),
        json!({
            "key": "bridge", "value": "b",
            "from": { "kind": "file", "path": path.display().to_string(), "line": 2, "column": 1 },
        })
    );
}
