use serde_json::json;

use super::*;

fn parse(value: &Value) -> Result<List, ListError> {
    List::parse(value.to_string().as_bytes())
}

fn bridge() -> Value {
    json!({ "cniVersion": "1.0.0", "name": "pods", "plugins": [
        { "type": "bridge", "bridge": "cni0", "ipam": { "type": "host-local" } },
        { "type": "portmap", "capabilities": { "portMappings": true, "other": false } },
    ] })
}

#[test]
fn a_list_has_its_plugins_as_they_are() {
    let list = parse(&bridge()).unwrap();
    assert_eq!((list.name.as_str(), list.versions.as_slice()), ("pods", [Version::V1_0_0].as_slice()));
    assert!(!list.disable_check && !list.disable_gc && !list.only_inlined);
    let [bridge, portmap] = list.plugins.as_slice() else { panic!("{list:?}") };
    assert_eq!(bridge.kind, "bridge");
    let config = json!({ "type": "bridge", "bridge": "cni0", "ipam": { "type": "host-local" } });
    assert_eq!(Value::Object(bridge.config.clone()), config);
    assert_eq!(portmap.capabilities, BTreeSet::from(["portMappings".to_owned()]));
    assert_eq!(list.check(), Ok(()));
}

#[test]
fn what_the_runtime_fills_in_does_not_come_from_the_file() {
    let plugin = json!({
        "type": "x", "name": "mine", "cniVersion": "0.1.0", "capabilities": { "a": true }, "prevResult": {},
        "cni.dev/valid-attachments": [], "args": { "kept": 1 }, "dns": null,
    });
    let plugin = Plugin::parse(plugin.to_string().as_bytes()).unwrap();
    assert_eq!(Value::Object(plugin.config), json!({ "type": "x", "args": { "kept": 1 }, "dns": null }));
}

#[test]
fn the_newest_version_that_is_known_comes_first() {
    let cases = [
        (json!({}), Ok(vec![Version::V0_1_0])),
        (json!({ "cniVersion": "" }), Ok(vec![Version::V0_1_0])),
        (json!({ "cniVersion": null, "cniVersions": null }), Ok(vec![Version::V0_1_0])),
        (json!({ "cniVersion": "0.3.1" }), Ok(vec![Version::V0_3_1])),
        (
            json!({ "cniVersion": "1.0.0", "cniVersions": ["0.4.0", "1.1.0", "1.0.0", "7.0.0"] }),
            Ok(vec![Version::V1_1_0, Version::V1_0_0, Version::V0_4_0]),
        ),
        (
            json!({ "cniVersion": "1.2.0", "cniVersions": ["2.0.0"] }),
            Err("it needs version 1.2.0, 2.0.0 of CNI, Berth speaks 0.1.0 to 1.1.0"),
        ),
        (json!({ "cniVersion": 1 }), Err("cniVersion is not a string")),
        (json!({ "cniVersions": "1.0.0" }), Err("cniVersions is not a list of strings")),
        (json!({ "cniVersions": [1] }), Err("cniVersions is not a list of strings")),
    ];
    for (said, want) in cases {
        let mut list = bridge();
        list.as_object_mut().unwrap().remove("cniVersion");
        list.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
        let got = parse(&list).map(|list| list.versions).map_err(|error| error.to_string());
        assert_eq!(got, want.map_err(str::to_owned), "{said}");
    }
}

#[test]
fn flags_may_be_words() {
    for (value, want) in [
        (json!(true), Some(true)),
        (json!("True"), Some(true)),
        (json!("false"), Some(false)),
        (json!(null), Some(false)),
        (json!(1), None),
        (json!("yes"), None),
    ] {
        for key in ["disableCheck", "disableGC", "loadOnlyInlinedPlugins"] {
            let mut list = bridge();
            list[key] = value.clone();
            let got = parse(&list).ok().map(|list| match key {
                "disableCheck" => list.disable_check,
                "disableGC" => list.disable_gc,
                _ => list.only_inlined,
            });
            assert_eq!(got, want, "{key}: {value}");
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    let with = |key: &str, value: Value| {
        let mut list = bridge();
        list[key] = value;
        list
    };
    let without = |key: &str| {
        let mut list = bridge();
        list.as_object_mut().unwrap().remove(key);
        list
    };
    let cases = [
        (without("name"), "name is missing"),
        (with("name", json!(null)), "name is missing"),
        (with("name", json!(7)), "name is not a string"),
        (with("name", json!("../x")), "name \"../x\" is not allowed"),
        (with("name", json!("-x")), "name \"-x\" is not allowed"),
        (with("name", json!("")), "name \"\" is not allowed"),
        (with("plugins", json!([])), "plugins is empty"),
        (with("plugins", json!({})), "plugins is not a list"),
        (with("plugins", json!([null])), "plugins[0] is not an object"),
        (with("plugins", json!([{ "type": "a" }, { "name": "x" }])), "plugins[1].type is missing"),
        (with("plugins", json!([{ "type": null }])), "plugins[0].type is missing"),
        (with("plugins", json!([{ "type": "../bridge" }])), "plugins[0].type \"../bridge\" is not allowed"),
        (with("plugins", json!([{ "type": ".." }])), "plugins[0].type \"..\" is not allowed"),
        (
            with("plugins", json!([{ "type": "a", "capabilities": [] }])),
            "plugins[0].capabilities is not an object",
        ),
        (json!([]), "it is not a JSON object"),
        (json!(null), "it is not a JSON object"),
        (json!({ "name": "n", "type": "bridge" }), "it is a single plugin: rename it to end in .conf"),
        (json!({ "name": "n", "loadOnlyInlinedPlugins": true }), "plugins is missing"),
    ];
    for (list, want) in cases {
        let error = parse(&list).unwrap_err().to_string();
        assert!(error.starts_with(want), "{list}: {error}");
    }
    for half in ["", "{", "{\"name\": \"x\", \"plug", "\u{feff}{}", "\0\0\0"] {
        assert!(matches!(List::parse(half.as_bytes()), Err(ListError::Json(_))), "{half:?}");
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(List::parse(deep.as_bytes()), Err(ListError::Json(_))));
}

#[test]
fn null_says_nothing() {
    let mut list = bridge();
    list["plugins"][0]["capabilities"] = Value::Null;
    list["plugins"][0]["ipam"] = Value::Null;
    list["disableCheck"] = Value::Null;
    let list = parse(&list).unwrap();
    assert!(list.plugins[0].capabilities.is_empty());
    assert_eq!(list.plugins[0].config["ipam"], Value::Null, "plugins get it as it is");
}

#[test]
fn a_single_plugin_is_a_list_of_one() {
    let single = json!({ "cniVersion": "0.3.1", "name": "one", "type": "ptp", "mtu": 1400 });
    let list = List::parse_single(single.to_string().as_bytes()).unwrap();
    assert_eq!((list.name.as_str(), list.versions[0]), ("one", Version::V0_3_1));
    assert_eq!(Value::Object(list.plugins[0].config.clone()), json!({ "type": "ptp", "mtu": 1400 }));
    let error = List::parse_single(bridge().to_string().as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "it is a list of plugins: rename it to end in .conflist");
    assert!(List::parse_single(br#"{ "name": "x" }"#).is_err());
}

#[test]
fn a_network_that_connects_nothing_is_none() {
    let with = |plugins: Value| parse(&json!({ "name": "n", "plugins": plugins })).unwrap().check();
    assert_eq!(with(json!([{ "type": "loopback" }])), Err(ListError::OnlyLoopback));
    assert_eq!(with(json!([{ "type": "loopback" }, { "type": "ptp" }])), Ok(()));
    assert_eq!(parse(&json!({ "name": "n" })).unwrap().check(), Err(ListError::NoPlugins));
    let many = vec![json!({ "type": "ptp" }); MAX_PLUGINS + 1];
    assert_eq!(with(many.into()), Err(ListError::TooManyPlugins));
}
