use proptest::prelude::*;

use super::*;
use crate::manifest::parse_files;

fn network(v6: bool) -> ServiceNetwork {
    ServiceNetwork {
        cidr4: "10.212.0.0/24".parse().unwrap(),
        cidr6: v6.then(|| "fd00:0:0:1::/112".parse().unwrap()),
        pods4: "10.208.0.0/20".parse().unwrap(),
        pods6: v6.then(|| "fd00::/64".parse().unwrap()),
        gateway4: "10.208.0.1".parse().unwrap(),
        gateway6: v6.then(|| "fd00::1".parse().unwrap()),
    }
}

fn service(name: &str, more: &str) -> Service {
    let text = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{selector: {{a: b}}, {more}}}}}"
    );
    parse_files(&[("", text.as_bytes())]).unwrap().services.remove(0)
}

/// As it is for a service that asked for the same before.
fn lease<'a>(
    service: &Service,
    had: Option<&Lease>,
    others: impl Iterator<Item = &'a Lease>,
    network: &ServiceNetwork,
) -> Result<Lease, ServiceError> {
    super::lease(service, had.map(|lease| (service, lease)), others, network)
}

const PORT: &str = "ports: [{port: 80}]";

fn told(service: &Service, had: Option<&Lease>, others: &[&Lease]) -> String {
    lease(service, had, others.iter().copied(), &network(false)).unwrap_err().to_string()
}

#[test]
fn a_service_keeps_what_it_has() {
    for v6 in [false, true] {
        let network = network(v6);
        let web = service("web", PORT);
        let first = lease(&web, None, [].into_iter(), &network).unwrap();
        assert_eq!((first.address4.is_some(), first.address6.is_some()), (true, v6));
        assert_eq!(lease(&web, Some(&first), [].into_iter(), &network).unwrap(), first);
        // Another name has another address, which does not change for the first.
        let other = lease(&service("db", PORT), None, [&first].into_iter(), &network).unwrap();
        assert!(other.address4 != first.address4 && (!v6 || other.address6 != first.address6));
        assert_eq!(lease(&web, Some(&first), [&other].into_iter(), &network).unwrap(), first);
        // It becomes a NodePort and is one no longer.
        let node = service("web", &format!("type: NodePort, {PORT}"));
        let opened = lease(&node, Some(&first), [&other].into_iter(), &network).unwrap();
        assert_eq!(opened.address4, first.address4);
        assert!(NODE_PORTS.contains(&opened.node_ports[0].unwrap()));
        assert_eq!(lease(&node, Some(&opened), [&other].into_iter(), &network).unwrap(), opened);
        assert_eq!(lease(&web, Some(&opened), [&other].into_iter(), &network).unwrap(), first);
    }
}

#[test]
fn ports_of_the_machine_stay_those_of_their_ports() {
    let of = |ports: &str| service("web", &format!("type: NodePort, ports: [{ports}]"));
    let before = of("{name: a, port: 80}, {name: b, port: 443}, {name: c, port: 443, protocol: UDP}");
    let had = lease(&before, None, [].into_iter(), &network(false)).unwrap();
    let after = |ports: &str| {
        let lease = super::lease(&of(ports), Some((&before, &had)), [].into_iter(), &network(false));
        lease.unwrap().node_ports
    };
    let [a, b, c] = had.node_ports[..] else { panic!("{had:?}") };
    // In another order, with one before them, and without the first.
    assert_eq!(
        after("{name: c, port: 443, protocol: UDP}, {name: b, port: 443}, {name: a, port: 80}"),
        [c, b, a]
    );
    let more = after("{name: new, port: 79}, {name: a, port: 80}, {name: b, port: 443}");
    assert_eq!(more[1..], [a, b]);
    assert!(![a, b].contains(&more[0]) && more[0].is_some());
    assert_eq!(after("{name: b, port: 443}"), [b]);
    // Another number under the same name, and another name of the same number, which counts more.
    assert_eq!(after("{name: a, port: 8080}, {name: b, port: 443}"), [a, b]);
    let swapped = after("{name: b, port: 8443}, {name: a, port: 443}");
    assert_eq!(swapped[1], b);
    assert!(swapped[0].is_some() && swapped[0] != b);
}

#[test]
fn families_are_those_that_are_asked_for() {
    let of = |more: &str, v6| {
        lease(&service("web", &format!("{more}, {PORT}")), None, [].into_iter(), &network(v6))
    };
    let both = |lease: Lease| (lease.address4.is_some(), lease.address6.is_some());
    assert_eq!(both(of("ipFamilyPolicy: SingleStack", true).unwrap()), (true, false));
    assert_eq!(both(of("ipFamilies: [IPv6]", true).unwrap()), (false, true));
    assert_eq!(both(of("ipFamilyPolicy: RequireDualStack", true).unwrap()), (true, true));
    assert_eq!(both(of("ipFamilyPolicy: PreferDualStack", false).unwrap()), (true, false));
    let said = of("ipFamilyPolicy: RequireDualStack", false).unwrap_err().to_string();
    assert_eq!(said, "Service web: spec.ipFamilies: Invalid value: \"IPv6\": not configured on this machine");
    assert_eq!(both(of("clusterIP: None", true).unwrap()), (false, false));
}

#[test]
fn what_is_asked_for_is_given_or_refused() {
    let asked = |ip: &str| service("web", &format!("clusterIP: {ip}, {PORT}"));
    let given = lease(&asked("10.212.0.77"), None, [].into_iter(), &network(false)).unwrap();
    assert_eq!(given.address4, Some("10.212.0.77".parse().unwrap()));
    assert!(told(&asked("10.213.0.1"), None, &[]).contains(
        "spec.clusterIPs[0]: Invalid value: \"10.213.0.1\": the provided IP (10.213.0.1) is not in the valid range. The range of valid IPs is 10.212.0.0/24"
    ));
    assert!(told(&asked("10.212.0.77"), None, &[&given]).contains("provided IP is already allocated"));
    assert!(told(&asked("10.212.0.10"), None, &[]).contains("provided IP is already allocated"));
    assert!(told(&asked("10.212.0.78"), Some(&given), &[]).contains("field is immutable"));
    let node = service("web", "type: NodePort, ports: [{port: 80, nodePort: 30080}]");
    let opened = lease(&node, None, [].into_iter(), &network(false)).unwrap();
    assert_eq!(opened.node_ports, [Some(30_080)]);
    let said = told(&node, None, &[&opened]);
    assert!(
        said.contains("spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"),
        "{said}"
    );
    // A block that is full.
    let all: Vec<Lease> = (0..256)
        .map(|n| Lease {
            address4: Some(Ipv4Addr::new(10, 212, 0, u8::try_from(n).unwrap())),
            ..Lease::default()
        })
        .collect();
    let all: Vec<&Lease> = all.iter().collect();
    assert!(told(&service("web", PORT), None, &all).contains("every address"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However services come and go: no two have the same, none has the server's address, and each keeps its own.
    #[test]
    fn nothing_is_given_twice(steps in prop::collection::vec((0_u8..60, any::<bool>(), any::<bool>()), 1..150)) {
        let network = network(true);
        let mut all: std::collections::BTreeMap<u8, Lease> = std::collections::BTreeMap::new();
        for (id, node, goes) in steps {
            if goes {
                all.remove(&id);
                continue;
            }
            let more = if node { format!("type: NodePort, {PORT}") } else { PORT.to_owned() };
            let had = all.get(&id).cloned();
            let others = all.iter().filter(|(other, _)| **other != id).map(|(_, lease)| lease);
            let given = lease(&service(&format!("s{id}"), &more), had.as_ref(), others, &network).unwrap();
            if let Some(had) = had {
                prop_assert_eq!((had.address4, had.address6), (given.address4, given.address6));
            }
            all.insert(id, given);
            let count = all.len();
            let four: BTreeSet<_> = all.values().filter_map(|lease| lease.address4).collect();
            let six: BTreeSet<_> = all.values().filter_map(|lease| lease.address6).collect();
            prop_assert_eq!((four.len(), six.len()), (count, count));
            prop_assert!(four.iter().all(|ip| network.cidr4.contains(*ip) && IpAddr::from(*ip) != dns(&network)));
            let ports: Vec<_> = all.values().flat_map(|lease| lease.node_ports.iter().flatten()).collect();
            prop_assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
        }
    }
}
