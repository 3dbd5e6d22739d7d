use proptest::prelude::*;
use serde_json::json;

use super::*;

fn of(value: &Value, version: Version) -> Result<AddResult, ResultError> {
    AddResult::parse(value.to_string().as_bytes(), version)
}

fn got(value: &Value, version: Version) -> Got {
    of(value, version).unwrap().got().unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn bridge() -> Value {
    json!({
        "cniVersion": "1.0.0",
        "interfaces": [
            { "name": "cni0", "mac": "00:11:22:33:44:55" },
            { "name": "veth3243" },
            { "name": "eth0", "sandbox": "/run/netns/blue" },
        ],
        "ips": [
            { "address": "fd00::5/64", "gateway": "fd00::1", "interface": 2 },
            { "address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 2 },
        ],
        "routes": [{ "dst": "0.0.0.0/0" }],
        "dns": { "nameservers": ["10.1.0.1"], "domain": "example.org" },
    })
}

#[test]
fn addresses_come_in_the_order_of_the_result() {
    let got = got(&bridge(), Version::V1_0_0);
    assert_eq!(got.interface.as_deref(), Some("eth0"));
    assert_eq!(
        got.addresses,
        ips(&["fd00::5", "10.1.0.5"]),
        "contract 12: the first is the pod's primary one"
    );
    let dns = got.dns.unwrap();
    assert_eq!((dns.servers, dns.searches), (vec!["10.1.0.1".to_owned()], vec!["example.org".to_owned()]));
}

#[test]
fn addresses_of_interfaces_in_the_pod_are_its_own() {
    let mut result = bridge();
    result["interfaces"][2]["name"] = "net1".into();
    result["ips"][0]["interface"] = 0.into();
    let of_pod = got(&result, Version::V1_0_0);
    assert_eq!((of_pod.interface.as_deref(), of_pod.addresses), (Some("net1"), ips(&["10.1.0.5"])));
    // Where all of them are said to be of the host's end of the interface, they are the pod's all the same.
    for ip in result["ips"].as_array_mut().unwrap() {
        ip["interface"] = 1.into();
    }
    assert_eq!(got(&result, Version::V1_0_0).addresses, ips(&["fd00::5", "10.1.0.5"]));
    // Nothing is said of interfaces at all, an index is out of range, an address is there twice.
    let bare = json!({ "ips": [{ "address": "10.0.0.2/24", "interface": 9 }, { "address": "10.0.0.2/24" }] });
    let bare = got(&bare, Version::V1_0_0);
    assert_eq!((bare.interface, bare.addresses), (None, ips(&["10.0.0.2"])));
    assert_eq!(got(&json!({}), Version::V1_1_0).addresses, ips(&[]));
    assert_eq!(got(&json!({ "ips": null, "interfaces": null, "dns": {} }), Version::V1_1_0).dns, None);
}

#[test]
fn a_result_without_a_version_is_of_the_version_that_was_asked_for() {
    let mut result = bridge();
    for absent in [json!(null), json!("")] {
        result["cniVersion"] = absent;
        let object = of(&result, Version::V1_1_0).unwrap().object();
        assert_eq!(object["cniVersion"], "1.1.0");
    }
    result["cniVersion"] = "9.0.0".into();
    assert_eq!(of(&result, Version::V1_0_0), Err(ResultError::Version("9.0.0".to_owned())));
}

#[test]
fn what_is_unknown_is_kept_as_long_as_the_layout_is_the_same() {
    let mut result = bridge();
    result["ips"][0]["tomorrow"] = json!({ "x": 1 });
    result["more"] = json!([1]);
    for version in [Version::V1_0_0, Version::V1_1_0] {
        let mut want = result.clone();
        want["cniVersion"] = version.text().into();
        assert_eq!(Value::Object(of(&result, version).unwrap().object()), want);
    }
}

#[test]
fn results_of_old_plugins_are_read_and_passed_on_to_new_ones() {
    let old = json!({
        "cniVersion": "0.2.0",
        "ip4": { "ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{ "dst": "0.0.0.0/0" }] },
        "ip6": { "ip": "fd00::5/64", "routes": [{ "dst": "::/0", "gw": "fd00::9" }] },
        "dns": { "nameservers": ["10.1.0.1"] },
    });
    assert_eq!(got(&old, Version::V0_2_0).addresses, ips(&["10.1.0.5", "fd00::5"]));
    let new = of(&old, Version::V0_4_0).unwrap().object();
    let want = json!({
        "cniVersion": "0.4.0",
        "ips": [
            { "version": "4", "address": "10.1.0.5/16", "gateway": "10.1.0.1" },
            { "version": "6", "address": "fd00::5/64" },
        ],
        "routes": [{ "dst": "0.0.0.0/0", "gw": "10.1.0.1" }, { "dst": "::/0", "gw": "fd00::9" }],
        "dns": { "nameservers": ["10.1.0.1"] },
    });
    assert_eq!(Value::Object(new), want);
    let plain = of(&want, Version::V1_1_0).unwrap().object();
    assert!(plain["ips"][0].get("version").is_none());
    let back = of(&bridge(), Version::V0_1_0).unwrap().object();
    let want = json!({
        "cniVersion": "0.1.0",
        "ip4": { "ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{ "dst": "0.0.0.0/0" }] },
        "ip6": { "ip": "fd00::5/64", "gateway": "fd00::1" },
        "dns": { "nameservers": ["10.1.0.1"], "domain": "example.org" },
    });
    assert_eq!(Value::Object(back), want);
}

#[test]
fn what_is_no_result_is_refused() {
    let cases = [
        ("", "EOF while parsing"),
        ("{\"ips\": [{\"addr", "EOF while parsing"),
        ("starting up...\n{}", "expected value"),
        ("[]", "it is not an object"),
        ("null", "it is not an object"),
        (r#"{ "ips": {} }"#, "ips is not a list of objects"),
        (r#"{ "ips": [1] }"#, "ips is not a list of objects"),
        (r#"{ "ips": [{}] }"#, "address \"\" is not an address"),
        (r#"{ "ips": [{ "address": "10.0.0.256/8" }] }"#, "address \"10.0.0.256/8\" is not an address"),
        (r#"{ "interfaces": "eth0" }"#, "interfaces is not a list of objects"),
        (r#"{ "cniVersion": 1 }"#, "cniVersion is not a string"),
    ];
    for (text, want) in cases {
        let error = AddResult::parse(text.as_bytes(), Version::V1_0_0).unwrap_err().to_string();
        assert!(error.starts_with(want), "{text}: {error}");
    }
}

fn version() -> impl Strategy<Value = Version> {
    proptest::sample::select(Version::ALL.to_vec())
}

proptest! {
    #[test]
    fn the_first_address_of_each_family_survives_any_way_through_the_versions(
        path in proptest::collection::vec(version(), 1..6),
        v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>(),
    ) {
        let (v4, v6) = (IpAddr::from(v4), IpAddr::from(v6));
        let first = json!({
            "cniVersion": "1.1.0",
            "ips": [{ "address": format!("{v4}/24") }, { "address": format!("{v6}/64") }],
        });
        let mut result = of(&first, Version::NEWEST).unwrap();
        for version in path {
            result = AddResult::of(result.object(), version).unwrap();
            prop_assert_eq!(&result.object()["cniVersion"], version.text());
            prop_assert_eq!(result.got().unwrap().addresses, vec![v4, v6]);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in version()) {
        drop(AddResult::parse(&bytes, version));
    }
}
