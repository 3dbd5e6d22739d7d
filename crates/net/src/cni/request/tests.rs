use serde_json::json;

use super::*;
use crate::cni::list::List;

fn network(version: Version) -> Network {
    let list = json!({ "name": "pods", "cniVersion": version.text(), "plugins": [
        { "type": "bridge", "mtu": 1400 },
        { "type": "portmap", "capabilities": { "portMappings": true, "bandwidth": true }, "runtimeConfig": { "mac": 1 } },
    ] });
    List::parse(list.to_string().as_bytes()).unwrap().with(version)
}

fn capabilities() -> Map<String, Value> {
    let all = json!({ "portMappings": [{ "hostPort": 80 }], "dns": { "servers": [] } });
    all.as_object().unwrap().clone()
}

fn told(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn a_plugin_reads_its_configuration_and_what_it_has_capabilities_for() {
    let (network, capabilities) = (network(Version::V1_0_0), capabilities());
    let attachment = Attachment {
        container: "id",
        netns: Some(Path::new("/run/ns")),
        interface: "eth0",
        args: "A=b",
        capabilities: &capabilities,
    };
    let first = for_pod(&network, &network.plugins[0], &attachment, None);
    let want = json!({ "cniVersion": "1.0.0", "name": "pods", "type": "bridge", "mtu": 1400 });
    assert_eq!(told(&first), want);
    let result = json!({ "cniVersion": "1.0.0", "ips": [{ "address": "10.0.0.2/24" }], "more": 1 });
    let before = AddResult::of(result.as_object().unwrap().clone(), Version::V1_0_0).unwrap();
    let second = for_pod(&network, &network.plugins[1], &attachment, Some(&before));
    let want = json!({
        "cniVersion": "1.0.0", "name": "pods", "type": "portmap", "prevResult": result,
        "runtimeConfig": { "portMappings": [{ "hostPort": 80 }] },
    });
    assert_eq!(told(&second), want);
    let variables = attachment.environment();
    let want =
        [("CNI_CONTAINERID", "id"), ("CNI_NETNS", "/run/ns"), ("CNI_IFNAME", "eth0"), ("CNI_ARGS", "A=b")];
    assert_eq!(variables, want.map(|(key, value)| (key, value.to_owned())));
    let gone = Attachment { netns: None, ..attachment };
    assert_eq!(gone.environment()[1], ("CNI_NETNS", String::new()));
}

#[test]
fn gc_and_status_know_no_pod() {
    let network = network(Version::V1_1_0);
    let plugin = &network.plugins[0];
    let base = json!({ "cniVersion": "1.1.0", "name": "pods", "type": "bridge", "mtu": 1400 });
    assert_eq!(told(&for_status(&network, plugin)), base);
    let mut want = base;
    let valid = json!([{ "containerID": "a", "ifname": "eth0" }]);
    want["cni.dev/valid-attachments"] = valid.clone();
    want["cni.dev/attachments"] = valid;
    assert_eq!(told(&for_gc(&network, plugin, &[("a".to_owned(), "eth0".to_owned())])), want);
    assert_eq!(told(&for_version()), json!({ "cniVersion": "1.1.0" }));
}

#[test]
fn removal_goes_backwards_and_those_never_called_come_last() {
    use Failing::{IsPassed, Stops};
    assert_eq!(removal(3, 3), [(2, Stops), (1, Stops), (0, Stops)]);
    assert_eq!(removal(3, 2), [(1, Stops), (0, Stops), (2, IsPassed)]);
    assert_eq!(removal(3, 1), [(0, Stops), (2, IsPassed), (1, IsPassed)]);
    assert_eq!(removal(2, 9), [(1, Stops), (0, Stops)], "whatever a record says");
    assert_eq!(removal(0, 0), []);
}

#[test]
fn the_version_is_the_newest_that_all_support() {
    use Version::{V0_4_0, V1_0_0, V1_1_0};
    let says = |versions: &[&str]| Some(versions.iter().map(|&v| v.to_owned()).collect::<Vec<_>>());
    let old = says(&["0.4.0", "1.0.0"]);
    let new = says(&["0.4.0", "1.0.0", "1.1.0"]);
    let all = [V1_1_0, V1_0_0, V0_4_0];
    assert_eq!(common_version(&all, &[new.clone(), old.clone()]), Some(V1_0_0));
    assert_eq!(common_version(&all, &[new, None]), Some(V1_1_0));
    assert_eq!(common_version(&[V1_1_0], std::slice::from_ref(&old)), None);
    assert_eq!(common_version(&all, &[old, says(&[])]), None);
    assert_eq!(common_version(&all, &[]), Some(V1_1_0));
}
