use berth_dns::message::kind;
use berth_dns::zone::Found as Answer;

use super::super::endpoints::{Pod, find};
use super::super::keep::Lease;
use super::*;
use crate::manifest::parse_files;

fn network() -> ServiceNetwork {
    ServiceNetwork {
        cidr4: "10.212.0.0/20".parse().unwrap(),
        cidr6: None,
        pods4: "10.208.0.0/20".parse().unwrap(),
        pods6: None,
        gateway4: "10.208.0.1".parse().unwrap(),
        gateway6: None,
    }
}

fn zone_of(spec: &str, pods: &[Pod], address: Option<&str>) -> Zone {
    let text = format!("{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {spec}}}");
    let service = parse_files(&[("", text.as_bytes())]).unwrap().services.remove(0);
    let key = Key::of(&service);
    let found = BTreeMap::from([(key.clone(), find(&service, pods))]);
    let lease = Lease { address4: address.map(|ip| ip.parse().unwrap()), ..Lease::default() };
    let record = Record { uid: "u".to_owned(), created_at: 1, service, lease };
    zone(&BTreeMap::from([(key, record)]), &found, &network())
}

fn pod(ip: &str, hostname: Option<&str>) -> Pod {
    Pod {
        namespace: "default".to_owned(),
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        addresses: vec![ip.parse().unwrap()],
        ready: true,
        hostname: hostname.map(str::to_owned),
        subdomain: hostname.map(|_| "web".to_owned()),
        ports: Vec::new(),
    }
}

/// All that is said of a name, as text.
fn said(zone: &Zone, name: &str, wanted: u16) -> Vec<String> {
    match zone.find(&name.parse().unwrap(), wanted) {
        Answer::Records(found) => {
            let mut all: Vec<_> = found.iter().map(|data| format!("{data:?}")).collect();
            all.sort();
            all
        }
        Answer::Alias(target) => vec![format!("alias {target}")],
        other => vec![format!("{other:?}")],
    }
}

#[test]
fn a_service_with_an_address_has_it_under_its_name() {
    let spec =
        "{selector: {app: web}, ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]}";
    let zone = zone_of(spec, &[pod("10.208.0.5", None)], Some("10.212.0.20"));
    let name = "web.default.svc.cluster.local";
    assert_eq!(said(&zone, name, kind::A), ["A(10.212.0.20)"]);
    assert_eq!(said(&zone, name, kind::AAAA), ["Nothing"]);
    assert_eq!(said(&zone, &format!("_http._tcp.{name}"), kind::SRV), [format!("Srv(80, {name}.)")]);
    assert_eq!(said(&zone, &format!("_dns._udp.{name}"), kind::SRV), [format!("Srv(53, {name}.)")]);
    assert_eq!(said(&zone, &format!("_dns._tcp.{name}"), kind::SRV), ["NoName"]);
    assert_eq!(said(&zone, "20.0.212.10.in-addr.arpa", kind::PTR), [format!("Ptr({name}.)")]);
    // The name of a pod is nobody else's business either.
    assert_eq!(said(&zone, "5.0.208.10.in-addr.arpa", kind::PTR), ["NoName"]);
    assert_eq!(said(&zone, "web.other.svc.cluster.local", kind::A), ["NoName"]);
}

#[test]
fn a_headless_service_is_its_pods() {
    let spec = "{clusterIP: None, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}";
    let zone = zone_of(spec, &[pod("10.208.0.5", Some("web-0")), pod("10.208.0.6", None)], None);
    let name = "web.default.svc.cluster.local";
    assert_eq!(said(&zone, name, kind::A), ["A(10.208.0.5)", "A(10.208.0.6)"]);
    assert_eq!(said(&zone, &format!("web-0.{name}"), kind::A), ["A(10.208.0.5)"]);
    assert_eq!(said(&zone, &format!("10-208-0-6.{name}"), kind::A), ["A(10.208.0.6)"]);
    assert_eq!(
        said(&zone, &format!("_http._tcp.{name}"), kind::SRV),
        [format!("Srv(8080, 10-208-0-6.{name}.)"), format!("Srv(8080, web-0.{name}.)")]
    );
    assert_eq!(said(&zone, "5.0.208.10.in-addr.arpa", kind::PTR), [format!("Ptr(web-0.{name}.)")]);
    // Without pods that are ready the name is not there, as the specification has it.
    let none = zone_of(spec, &[], None);
    assert_eq!(said(&none, name, kind::A), ["NoName"]);
}

#[test]
fn an_external_name_stands_for_another() {
    let zone = zone_of("{type: ExternalName, externalName: db.example.com}", &[], None);
    assert_eq!(said(&zone, "web.default.svc.cluster.local", kind::A), ["alias db.example.com."]);
}
