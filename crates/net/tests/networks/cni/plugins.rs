//! Debian's plugins in chains as clusters have them.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use berth_net::resolv::Dns;
use berth_net::{NetError, NetworkStatus, PodNetwork};
use serde_json::{Value, json};

use super::world::{CniWorld, Wishes, require_plugins};
use crate::world::{HOST4, HOST6, Ns, ip, tcp, udp, wait_until};

const DUAL: [&str; 2] = ["10.9.0.0/24", "fd00:9::/64"];

fn family(addresses: &[IpAddr], v4: bool) -> IpAddr {
    *addresses.iter().find(|ip| ip.is_ipv4() == v4).unwrap()
}

#[test]
fn pods_on_a_bridge_have_both_families_and_host_ports() {
    require_plugins!("pods_on_a_bridge_have_both_families_and_host_ports");
    let cni = CniWorld::new();
    cni.bridge("1.0.0", &DUAL);
    let net = cni.open();
    assert_eq!(net.status(), NetworkStatus::Ready);
    let (first, second) = (Ns::pod(), Ns::pod());
    let ports = vec![tcp(8080, 80), udp(8053, 53)];
    let attached = cni.attach_with(&net, 1, &first, &Wishes { ports, ..Wishes::default() }).unwrap();
    assert_eq!(attached.interface.as_deref(), Some("eth0"));
    // Contract 12: the order of the result, which is that of the ranges.
    assert_eq!(attached.addresses.iter().map(IpAddr::is_ipv4).collect::<Vec<_>>(), [true, false]);
    let other = cni.attach(&net, 2, &second).unwrap();
    assert_ne!(other.addresses, attached.addresses);
    let (web, dns) = (first.listen(80), first.udp(53));
    for address in &attached.addresses {
        assert_eq!(second.talk((*address, 80), &web), family(&other.addresses, address.is_ipv4()));
    }
    for host in [ip(HOST4), ip(HOST6)] {
        cni.world.outside.talk((host, 8080), &web);
        cni.world.outside.talk_udp((host, 8053), &dns);
    }
    let details = net.details(&cni.id(1)).unwrap();
    assert_eq!(details["network"], "pods");
    assert_eq!(details["result"]["ips"][0]["address"], format!("{}/24", attached.addresses[0]));
    // The one without host ports: CHECK of Debian's portmap finds fault with those that it made itself.
    cni.world.host.run(|| {
        net.check(&cni.id(2)).unwrap();
        net.examine(&cni.id(2)).unwrap();
    });
    // What CHECK finds is said by its plugin.
    second.sh("ip addr flush dev eth0 scope global");
    let error = cni.world.host.run(|| net.examine(&cni.id(2)).unwrap_err());
    assert!(super::world::words(&error).starts_with("CHECK of plugin bridge of network pods: "), "{error:?}");
    cni.world.host.run(|| net.check(&cni.id(2)).unwrap());
    assert_eq!(cni.leased("pods").len(), 4);
    for id in [1, 2] {
        cni.detach(&net, id).unwrap();
    }
    assert_eq!((cni.leased("pods"), cni.records()), (vec![], vec![]));
    let error = cni.world.host.run(|| net.check(&cni.id(1)).unwrap_err());
    assert!(matches!(error, NetError::NotAttached { .. }), "{error:?}");
    assert!(
        !cni.world.host.sh("iptables -t nat -S").contains("8080"),
        "contract 14: nothing of the pod is left"
    );
    wait_until("the pods' interfaces are gone", || !cni.world.host.sh("ip -o link").contains("veth"));
}

#[test]
fn a_detach_after_a_restart_of_the_machine_gives_addresses_back() {
    require_plugins!("a_detach_after_a_restart_of_the_machine_gives_addresses_back");
    let cni = CniWorld::new();
    cni.bridge("1.0.0", &DUAL);
    let net = cni.open();
    let ns = Ns::pod();
    let wishes = Wishes { ports: vec![tcp(8080, 80)], ..Wishes::default() };
    cni.attach_with(&net, 1, &ns, &wishes).unwrap();
    // The namespace is gone and its path names a plain file; the configuration is another one, too.
    drop((net, ns));
    let record =
        std::fs::read_to_string(cni.path("records/pods").join(format!("{}.json", cni.id(1)))).unwrap();
    let mut record: Value = serde_json::from_str(&record).unwrap();
    let plain = cni.path("plain");
    std::fs::write(&plain, "").unwrap();
    record["netns"] = json!(plain);
    std::fs::write(cni.path("records/pods").join(format!("{}.json", cni.id(1))), record.to_string()).unwrap();
    std::fs::remove_dir_all(cni.path("net.d")).unwrap();
    let net = cni.open();
    assert!(matches!(net.status(), NetworkStatus::NotReady { .. }));
    assert_eq!(net.inventory().unwrap().sandboxes, [cni.id(1)]);
    cni.detach(&net, 1).unwrap();
    assert_eq!((cni.leased("pods"), cni.records()), (vec![], vec![]), "contract 14");
    assert!(!cni.world.host.sh("iptables -t nat -S").contains("8080"));
}

#[test]
fn each_plugin_of_debian_does_its_part_in_a_chain() {
    require_plugins!("each_plugin_of_debian_does_its_part_in_a_chain");
    let cni = CniWorld::new();
    let plugins = json!([
        { "type": "ptp", "ipMasq": true, "mtu": 1300, "ipam": cni.host_local(&["10.9.0.0/24"]) },
        { "type": "tuning", "sysctl": { "net.core.somaxconn": "321" } },
        { "type": "firewall", "backend": "iptables" },
        { "type": "bandwidth", "capabilities": { "bandwidth": true } },
        { "type": "portmap", "capabilities": { "portMappings": true } },
    ]);
    cni.configure("10.conflist", &json!({ "cniVersion": "1.0.0", "name": "ptp", "plugins": plugins }));
    let net = cni.open();
    let ns = Ns::pod();
    let annotations = BTreeMap::from([
        ("kubernetes.io/ingress-bandwidth".to_owned(), "8M".to_owned()),
        ("kubernetes.io/egress-bandwidth".to_owned(), "4M".to_owned()),
    ]);
    let dns = Some(Dns { servers: vec!["10.0.0.10".to_owned()], ..Dns::default() });
    let attached =
        cni.attach_with(&net, 1, &ns, &Wishes { annotations, dns, ports: vec![tcp(80, 80)] }).unwrap();
    let links = ns.sh("ip -o link show eth0");
    assert!(links.contains("mtu 1300"), "{links}");
    assert_eq!(ns.sh("cat /proc/sys/net/core/somaxconn").trim(), "321");
    let limits = cni.world.host.sh("tc qdisc show");
    assert!(limits.contains("tbf") && limits.contains("8Mbit") && limits.contains("4Mbit"), "{limits}");
    let rules = cni.world.host.sh("iptables -S");
    assert!(rules.contains(&format!("{}/32", attached.addresses[0])), "{rules}");
    cni.detach(&net, 1).unwrap();
    assert!(!cni.world.host.sh("tc qdisc show").contains("tbf"));
    assert!(!cni.world.host.sh("iptables -S").contains("10.9.0."));
    assert!(cni.leased("ptp").is_empty());
}

#[test]
fn a_macvlan_of_the_hosts_interface_moves_into_the_pod() {
    require_plugins!("a_macvlan_of_the_hosts_interface_moves_into_the_pod");
    let cni = CniWorld::new();
    let mut ipam = cni.host_local(&["192.0.2.0/24"]);
    ipam["ranges"][0][0]["rangeStart"] = "192.0.2.128".into();
    let single =
        json!({ "cniVersion": "0.3.1", "name": "lan", "type": "macvlan", "master": "up0", "ipam": ipam });
    cni.configure("10.conf", &single);
    let net = cni.open();
    let ns = Ns::pod();
    let attached = cni.attach(&net, 1, &ns).unwrap();
    assert!(ns.sh("ip -d -o link show eth0").contains("macvlan"));
    let web = ns.listen(80);
    cni.world.outside.talk((attached.addresses[0], 80), &web);
    cni.detach(&net, 1).unwrap();
    assert!(!ns.can("ip link show eth0") && cni.leased("lan").is_empty());
}

#[test]
fn every_version_of_the_specification_is_spoken() {
    require_plugins!("every_version_of_the_specification_is_spoken");
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
        let cni = CniWorld::new();
        let mut list = json!({ "cniVersion": version, "name": "pods", "plugins": [
            { "type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": cni.host_local(&["10.9.0.0/24"]) },
        ] });
        if version >= "0.3.0" {
            list["plugins"].as_array_mut().unwrap().push(json!({ "type": "tuning", "sysctl": {} }));
        }
        cni.configure("10.conflist", &list);
        let net = cni.open();
        let ns = Ns::pod();
        let attached =
            cni.attach(&net, 1, &ns).unwrap_or_else(|e| panic!("{version}: {}", super::world::words(&e)));
        assert_eq!(attached.addresses.len(), 1, "{version}");
        assert!(ns.sh("ip -o addr show eth0").contains(&attached.addresses[0].to_string()), "{version}");
        cni.world.host.run(|| net.examine(&cni.id(1)).unwrap());
        cni.detach(&net, 1).unwrap();
        assert!(cni.leased("pods").is_empty(), "{version}");
    }
}

#[test]
fn the_version_is_one_that_the_plugins_support() {
    require_plugins!("the_version_is_one_that_the_plugins_support");
    let cni = CniWorld::new();
    cni.bridge("1.1.0", &["10.9.0.0/24"]);
    // Debian's plugins of this version know nothing newer than 1.0.0.
    let old = cni.world.host.sh(&format!("{}/bridge --version 2>&1 || true", super::world::PLUGINS));
    if !old.contains("1.1.0") {
        let NetworkStatus::NotReady { message, .. } = cni.open().status() else { panic!("ready") };
        assert!(message.contains("needs version 1.1.0 of CNI, but bridge supports 0.1.0, "), "{message}");
    }
    let file = cni.path("net.d/10.conflist");
    let mut list: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    list["cniVersions"] = json!(["0.4.0", "1.0.0", "1.1.0"]);
    std::fs::write(&file, list.to_string()).unwrap();
    let net = cni.open();
    assert_eq!(net.status(), NetworkStatus::Ready);
    cni.attach(&net, 1, &Ns::pod()).unwrap();
    cni.detach(&net, 1).unwrap();
}

#[test]
fn two_pods_cannot_have_one_host_port() {
    require_plugins!("two_pods_cannot_have_one_host_port");
    let cni = CniWorld::new();
    cni.bridge("1.0.0", &["10.9.0.0/24"]);
    let net = cni.open();
    let wishes = |host_ip: Option<&str>| {
        let mut port = tcp(8080, 80);
        port.host_ip = host_ip.map(ip);
        Wishes { ports: vec![port], ..Wishes::default() }
    };
    let (first, second) = (Ns::pod(), Ns::pod());
    cni.attach_with(&net, 1, &first, &wishes(Some(HOST4))).unwrap();
    let error = cni.attach_with(&net, 2, &second, &wishes(None)).unwrap_err();
    assert_eq!(error.to_string(), format!("host port 8080/tcp is used by sandbox {}", cni.id(1).short()));
    // Also for a later daemon, and no longer when the first pod is gone.
    drop(net);
    let net = cni.open();
    cni.attach_with(&net, 2, &second, &wishes(None)).unwrap_err();
    cni.detach(&net, 1).unwrap();
    cni.attach_with(&net, 2, &second, &wishes(None)).unwrap();
    let error = cni.attach(&net, 2, &second).unwrap_err();
    assert!(error.to_string().ends_with("is already connected"), "{error}");
    cni.world.host.run(|| net.sweep(&HashSet::new()).unwrap());
    assert!(cni.leased("pods").is_empty());
}

#[test]
fn pods_come_and_go_side_by_side() {
    require_plugins!("pods_come_and_go_side_by_side");
    let cni = CniWorld::new();
    cni.bridge("1.0.0", &DUAL);
    let net = cni.open();
    let addresses = std::sync::Mutex::new(HashSet::new());
    std::thread::scope(|scope| {
        for id in 0..12 {
            let (cni, net, addresses) = (&cni, &net, &addresses);
            scope.spawn(move || {
                let ns = Ns::pod();
                for _ in 0..2 {
                    let address = cni.attach(net, id, &ns).unwrap().addresses[0];
                    assert!(addresses.lock().unwrap().insert(address), "{address} is another pod's");
                    addresses.lock().unwrap().remove(&address);
                    cni.detach(net, id).unwrap();
                }
            });
        }
    });
    assert_eq!((cni.leased("pods"), cni.records()), (vec![], vec![]));
}
