use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::keep::Lease;
use super::*;
use crate::manifest::parse_files;

fn service(spec: &str) -> Service {
    let text = format!("{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {spec}}}");
    parse_files(&[("", text.as_bytes())]).unwrap().services.remove(0)
}

fn pod(ip: &str, app: &str, ready: bool) -> Pod {
    Pod {
        namespace: "default".to_owned(),
        labels: BTreeMap::from([("app".to_owned(), app.to_owned())]),
        addresses: vec![
            ip.parse().unwrap(),
            format!("fd00::{}", ip.rsplit('.').next().unwrap()).parse().unwrap(),
        ],
        ready,
        ..Pod::default()
    }
}

fn to(found: &Found, port: usize) -> Vec<String> {
    found.ports[port].to.iter().map(ToString::to_string).collect()
}

#[test]
fn pods_with_the_labels_that_are_ready_are_endpoints() {
    let web = service("{selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}");
    let pods = [
        pod("10.0.0.3", "web", true),
        pod("10.0.0.2", "web", true),
        pod("10.0.0.4", "web", false),
        pod("10.0.0.5", "db", true),
    ];
    let found = find(&web, &pods);
    assert_eq!(to(&found, 0), ["10.0.0.2:8080", "10.0.0.3:8080", "[fd00::2]:8080", "[fd00::3]:8080"]);
    assert_eq!(found.pods.len(), 2);
    let all = service("{selector: {app: web}, publishNotReadyAddresses: true, ports: [{port: 80}]}");
    assert_eq!(find(&all, &pods).pods.len(), 3);
    let more = service("{selector: {app: web, tier: front}, ports: [{port: 80}]}");
    assert_eq!(find(&more, &pods), Found { ports: vec![FoundPort::default()], pods: Vec::new() });
    let mut elsewhere = pod("10.0.0.9", "web", true);
    elsewhere.namespace = "other".to_owned();
    let mut gone = pod("10.0.0.9", "web", true);
    gone.addresses.clear();
    assert!(find(&web, &[elsewhere, gone]).pods.is_empty());
    let v4 = service("{selector: {app: web}, ipFamilies: [IPv4], ports: [{port: 80}]}");
    assert_eq!(to(&find(&v4, &pods), 0), ["10.0.0.2:80", "10.0.0.3:80"]);
}

#[test]
fn a_port_by_name_is_that_of_each_pod() {
    let web = service(
        "{selector: {app: web}, ports: [{name: a, port: 80, targetPort: http}, {name: b, port: 53, targetPort: http, protocol: UDP}]}",
    );
    let named = |ip: &str, number| {
        let port = NamedPort { name: "http".to_owned(), protocol: PortProtocol::Tcp, number };
        Pod { ports: vec![port], ..pod(ip, "web", true) }
    };
    let found = find(&web, &[named("10.0.0.2", 8080), named("10.0.0.3", 9090), pod("10.0.0.4", "web", true)]);
    assert_eq!(to(&found, 0)[..2], ["10.0.0.2:8080", "10.0.0.3:9090"]);
    assert!(to(&found, 1).is_empty());
    assert_eq!(found.pods[0].ports, [Some(8080), None]);
    assert_eq!(found.pods.len(), 3);
}

#[test]
fn a_pods_own_name_is_below_its_service_alone() {
    let web = service("{clusterIP: None, selector: {app: web}}");
    let named = |subdomain: &str| Pod {
        hostname: Some("web-0".to_owned()),
        subdomain: Some(subdomain.to_owned()),
        ..pod("10.0.0.2", "web", true)
    };
    assert_eq!(find(&web, &[named("web")]).pods[0].hostname.as_deref(), Some("web-0"));
    assert_eq!(find(&web, &[named("other")]).pods[0].hostname, None);
}

fn network() -> ServiceNetwork {
    ServiceNetwork {
        cidr4: "10.212.0.0/20".parse().unwrap(),
        cidr6: Some("fd00:0:0:1::/112".parse().unwrap()),
        pods4: "10.208.0.0/20".parse().unwrap(),
        pods6: Some("fd00::/64".parse().unwrap()),
        gateway4: "10.208.0.1".parse().unwrap(),
        gateway6: Some("fd00::1".parse().unwrap()),
    }
}

fn recorded(service: Service, lease: Lease) -> BTreeMap<Key, Record> {
    let key = Key::of(&service);
    BTreeMap::from([(key, Record { uid: "u".to_owned(), created_at: 1, service, lease })])
}

#[test]
fn rules_are_for_each_address_and_for_the_host() {
    let web = service(
        "{type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}",
    );
    let lease = Lease {
        address4: Some("10.212.0.20".parse().unwrap()),
        address6: Some("fd00:0:0:1::14".parse().unwrap()),
        node_ports: vec![Some(30_080)],
    };
    let found = BTreeMap::from([(Key::of(&web), find(&web, &[pod("10.0.0.2", "web", true)]))]);
    let rules = rules(&recorded(web, lease), &found, &network(), Some(5353));
    let shown: Vec<_> = rules
        .ports
        .iter()
        .map(|port| {
            let to: Vec<_> = port.to.iter().map(ToString::to_string).collect();
            format!("{:?} {} {} {}", port.front, port.protocol, port.port, to.join(","))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "Address(10.212.0.10) udp 53 10.208.0.1:5353",
            "Address(10.212.0.10) tcp 53 10.208.0.1:5353",
            "Address(10.212.0.20) tcp 80 10.0.0.2:8080",
            "Address(fd00:0:0:1::14) tcp 80 [fd00::2]:8080",
            "Host tcp 30080 10.0.0.2:8080,[fd00::2]:8080",
        ]
    );
    assert!(rules.active);
    assert!(!super::rules(&BTreeMap::new(), &BTreeMap::new(), &network(), None).active);
}

proptest! {
    /// Whatever pods there are: an endpoint is a pod of the namespace with the labels that is ready and up, and each of those is one.
    #[test]
    fn endpoints_are_exactly_the_pods_that_are_meant(
        pods in prop::collection::vec((0_u8..3, any::<bool>(), any::<bool>(), any::<bool>(), any::<u32>()), 0..60),
        all: bool,
    ) {
        let more = if all { ", publishNotReadyAddresses: true" } else { "" };
        let web = service(&format!("{{selector: {{app: web}}, ports: [{{port: 80}}]{more}}}"));
        let mut wanted = BTreeSet::new();
        let mut given = Vec::new();
        for (app, ready, up, here, ip) in pods {
            let ip = std::net::Ipv4Addr::from_bits(ip);
            let app = ["web", "db", "web2"][usize::from(app)];
            if app == "web" && (ready || all) && up && here {
                wanted.insert(SocketAddr::new(ip.into(), 80));
            }
            given.push(Pod {
                namespace: if here { "default" } else { "other" }.to_owned(),
                labels: BTreeMap::from([("app".to_owned(), app.to_owned()), ("x".to_owned(), "y".to_owned())]),
                addresses: if up { vec![ip.into()] } else { Vec::new() },
                ready,
                ..Pod::default()
            });
        }
        let found = find(&web, &given);
        prop_assert_eq!(found.ports[0].to.iter().copied().collect::<BTreeSet<_>>(), wanted.clone());
        prop_assert_eq!(found.ports[0].to.len(), wanted.len());
        // The order of pods means nothing: the same set is the same plan, and no rule changes.
        given.reverse();
        prop_assert_eq!(find(&web, &given).ports, found.ports);
    }
}
