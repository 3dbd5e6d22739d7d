use super::*;

#[test]
fn bytes_have_units() {
    for (text, wanted) in [
        ("0", Some(0)),
        ("1048576", Some(1 << 20)),
        ("1024k", Some(1 << 20)),
        ("1M", Some(1 << 20)),
        ("2GiB", Some(2 << 30)),
        ("1t", Some(1 << 40)),
        ("-1", Some(-1)),
        ("-2", None),
        ("-1k", None),
        ("", None),
        ("k", None),
        ("1x", None),
        ("9223372036854775807k", None),
    ] {
        assert_eq!(bytes(text), wanted, "{text}");
    }
}

#[test]
fn only_what_is_named_is_set() {
    let resources =
        converted(&json!({ "memory": { "limit": 4096 }, "cpu": {}, "pids": { "limit": 7 } })).unwrap();
    assert_eq!((resources.memory.limit, resources.pids), (Some(4096), Some(7)));
    assert!(resources.devices.is_empty() && resources.cpu.shares.is_none());
    // Those of the beginning, which callers send along.
    let devices = json!({ "devices": [{ "allow": false, "access": "rwm" }], "pids": { "limit": 7 } });
    assert!(converted(&devices).unwrap().devices.is_empty());
    let unknown = converted(&json!({ "memory": { "maximum": 1 } })).unwrap_err();
    assert!(berth_types::error::chain(&unknown).contains("linux.resources.memory.maximum"), "{unknown}");
}
