//! A daemon that is killed while plugins run, and what DEL is told then.

use std::collections::HashSet;

use berth_net::{Garbage, Inventory, PodNetwork};
use serde_json::{Value, json};

use super::world::{CniWorld, Wishes, netns_path};
use crate::world::{Ns, require_root, tcp, wait_until};

/// Notes what it is called with.
fn notes(cni: &CniWorld, name: &str) -> String {
    let file = cni.path(name);
    format!(
        "cat >{0}.$CNI_COMMAND; env | grep ^CNI_ | sort >{0}.$CNI_COMMAND.env; [ $CNI_COMMAND = ADD ] && echo \"$IP\"; exit 0",
        file.display()
    )
}

fn told(cni: &CniWorld, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(cni.path(name)).unwrap()).unwrap()
}

#[test]
fn del_is_told_what_add_was_whatever_became_of_the_configuration() {
    require_root!("del_is_told_what_add_was_whatever_became_of_the_configuration");
    let cni = CniWorld::new();
    cni.plugin("first", &notes(&cni, "first"));
    cni.plugin("second", &notes(&cni, "second"));
    let list = json!({ "cniVersion": "1.1.0", "name": "pods", "plugins": [
        { "type": "first", "custom": [1, null, { "a": 1.5 }] },
        { "type": "second", "capabilities": { "portMappings": true } },
    ] });
    cni.configure("10.conflist", &list);
    let net = cni.open();
    let ns = Ns::pod();
    let attached = cni.attach_with(&net, 1, &ns, &Wishes { ports: vec![tcp(8080, 80)], ..Wishes::default() });
    let attached = attached.unwrap();
    assert_eq!(attached.addresses, [crate::world::ip("10.9.0.2")]);
    assert!(ns.sh("ip -o link show lo").contains("LOOPBACK,UP"));
    drop(net);
    cni.configure("10.conflist", &json!({ "name": "other", "plugins": [{ "type": "first" }] }));
    let net = cni.open();
    cni.detach(&net, 1).unwrap();
    let add = told(&cni, "second.ADD");
    let result = add["prevResult"].clone();
    assert_eq!(result["ips"][0]["address"], "10.9.0.2/24");
    assert_eq!(told(&cni, "second.DEL"), add, "the second one's result is the first one's here");
    let mut first = told(&cni, "first.DEL");
    assert_eq!(first["prevResult"], result);
    first.as_object_mut().unwrap().remove("prevResult");
    assert_eq!(first, told(&cni, "first.ADD"));
    assert_eq!(
        add["runtimeConfig"],
        json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }] })
    );
    let environment = |name: &str| std::fs::read_to_string(cni.path(name)).unwrap();
    let add = environment("first.ADD.env");
    assert_eq!(add.replace("=ADD", "=DEL"), environment("first.DEL.env"));
    for want in [
        format!("CNI_CONTAINERID={}", cni.id(1)),
        format!("CNI_NETNS={}", netns_path(&ns).display()),
        "CNI_IFNAME=eth0".to_owned(),
        format!(
            "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID=u-1",
            cni.id(1)
        ),
    ] {
        assert!(add.lines().any(|line| line == want), "{want}: {add}");
    }
}

#[test]
fn without_its_namespace_a_pod_is_disconnected_with_an_empty_one() {
    require_root!("without_its_namespace_a_pod_is_disconnected_with_an_empty_one");
    let cni = CniWorld::new();
    cni.plugin("first", &notes(&cni, "first"));
    cni.chain("1.0.0", &["first"]);
    let net = cni.open();
    let ns = Ns::pod();
    cni.attach(&net, 1, &ns).unwrap();
    drop(ns);
    cni.detach(&net, 1).unwrap();
    let environment = std::fs::read_to_string(cni.path("first.DEL.env")).unwrap();
    assert!(environment.lines().any(|line| line == "CNI_NETNS="), "contract 14: {environment}");
}

#[test]
fn versions_without_a_result_in_del_get_none() {
    require_root!("versions_without_a_result_in_del_get_none");
    let cni = CniWorld::new();
    cni.plugin("first", &format!("V='{{}}'; {}", notes(&cni, "first")));
    let path = cni.path("bin/first");
    let script = std::fs::read_to_string(&path).unwrap().replace("supportedVersions", "other");
    std::fs::write(&path, script).unwrap();
    cni.chain("0.3.1", &["first"]);
    let net = cni.open();
    let ns = Ns::pod();
    cni.attach(&net, 1, &ns).unwrap();
    cni.world.host.run(|| net.examine(&cni.id(1)).unwrap());
    cni.detach(&net, 1).unwrap();
    assert_eq!(cni.calls(), ["first ADD", "first DEL"], "there is no CHECK either");
    assert_eq!(told(&cni, "first.DEL"), json!({ "cniVersion": "0.3.1", "name": "pods", "type": "first" }));
}

/// A daemon that is killed in the middle of ADD leaves a plugin that goes on: this process stands for it, and a second
/// network on the same directory for the next daemon.
#[test]
fn what_a_killed_daemon_had_begun_is_ended_and_undone() {
    require_root!("what_a_killed_daemon_had_begun_is_ended_and_undone");
    let cni = CniWorld::new();
    let (begun, late) = (cni.path("begun"), cni.path("late"));
    let good = "cat >/dev/null; [ $CNI_COMMAND = ADD ] && echo \"$IP\"; exit 0";
    cni.plugin("first", good);
    // It delegates, as bridge does to host-local, and what it delegates to would take an address later.
    let slow = format!(
        "[ $CNI_COMMAND = ADD ] && {{ touch {}; sh -c 'sleep 600; touch {}'; }}\n{good}",
        begun.display(),
        late.display()
    );
    cni.plugin("second", &slow);
    cni.chain("1.0.0", &["first", "second", "third"]);
    cni.plugin("third", good);
    let net = cni.open();
    let ns = Ns::pod();
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| cni.attach(&net, 1, &ns));
        wait_until("the second plugin is at work", || begun.exists());
        let next = cni.open();
        // Nothing of it runs any more, so that DEL cannot be overtaken.
        assert!(adding.join().unwrap().is_err());
        cni.calls();
        // What the first network does after that, a killed one would not; the next one knows of the pod all the same.
        assert_eq!(next.inventory().unwrap().sandboxes, [cni.id(1)]);
        cni.detach(&next, 1).unwrap();
        assert_eq!(next.inventory().unwrap(), Inventory::default());
    });
    assert!(!late.exists());
}

#[test]
fn a_record_of_half_an_add_is_undone() {
    require_root!("a_record_of_half_an_add_is_undone");
    let cni = CniWorld::new();
    for name in ["first", "second", "third"] {
        cni.plugin(name, &notes(&cni, name));
    }
    cni.chain("1.0.0", &["first", "second", "third"]);
    let net = cni.open();
    cni.attach(&net, 1, &Ns::pod()).unwrap();
    drop(net);
    let path = cni.path("records/pods").join(format!("{}.json", cni.id(1)));
    let whole: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (progress, result, want) in [
        (json!({ "adding": 1 }), Value::Null, ["first DEL", "third DEL", "second DEL"]),
        (json!({ "adding": 2 }), whole["result"].clone(), ["second DEL", "first DEL", "third DEL"]),
        (json!({ "adding": 3 }), whole["result"].clone(), ["third DEL", "second DEL", "first DEL"]),
        (json!({ "removing": 3 }), whole["result"].clone(), ["third DEL", "second DEL", "first DEL"]),
    ] {
        cni.calls();
        let mut record = whole.clone();
        (record["progress"], record["result"]) = (progress, result.clone());
        std::fs::write(&path, record.to_string()).unwrap();
        let net = cni.open();
        let swept = cni.world.host.run(|| net.sweep(&HashSet::new()).unwrap());
        assert_eq!(swept.sandboxes, [cni.id(1)]);
        assert_eq!(cni.calls(), want);
        assert_eq!(
            told(&cni, "first.DEL").get("prevResult"),
            Some(&result).filter(|result| !result.is_null())
        );
        assert!(cni.records().is_empty());
    }
}

#[test]
fn garbage_is_collected_with_those_that_are_valid() {
    require_root!("garbage_is_collected_with_those_that_are_valid");
    let mut cni = CniWorld::new();
    cni.plugin("first", &notes(&cni, "first"));
    cni.plugin("second", &notes(&cni, "second"));
    cni.chain("1.1.0", &["first", "second"]);
    let net = cni.open();
    for id in [1, 2, 3] {
        cni.attach(&net, id, &Ns::pod()).unwrap();
    }
    cni.calls();
    let sweep = |net: &berth_net::Cni| {
        cni.world.host.run(|| net.sweep(&HashSet::from([cni.id(1), cni.id(3)])).unwrap())
    };
    assert_eq!(sweep(&net).sandboxes, [cni.id(2)]);
    assert_eq!(cni.calls(), ["second DEL", "first DEL", "first GC", "second GC"]);
    let valid = json!([
        { "containerID": cni.id(1), "ifname": "eth0" }, { "containerID": cni.id(3), "ifname": "eth0" },
    ]);
    assert_eq!(told(&cni, "second.GC")["cni.dev/valid-attachments"], valid);
    // Not where the configuration does not want it, nor beside another daemon.
    let list =
        json!({ "cniVersion": "1.1.0", "name": "pods", "disableGC": true, "plugins": [{ "type": "first" }] });
    cni.configure("10.conflist", &list);
    cni.world.host.run(|| net.verify().unwrap());
    cni.calls();
    sweep(&net);
    assert!(cni.calls().is_empty());
    drop(net);
    cni.chain("1.1.0", &["first"]);
    cni.garbage = Garbage::Leave;
    let net = cni.open();
    cni.calls();
    cni.world.host.run(|| net.sweep(&HashSet::from([cni.id(1), cni.id(3)])).unwrap());
    assert!(cni.calls().is_empty());
}
