use proptest::prelude::*;

use super::super::parse_files;
use super::*;

fn text(spec: &str) -> String {
    format!("{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {spec}}}\n")
}

fn read(spec: &str) -> ServiceSpec {
    let mut manifest = parse_files(&[("", text(spec).as_bytes())]).unwrap();
    let service = manifest.services.remove(0);
    assert_eq!(resume_service(&service.source).unwrap(), service);
    service.spec
}

#[test]
fn a_service_is_defaulted() {
    let spec = read("{selector: {app: web}, ports: [{port: 80}]}");
    let port = ServicePort {
        name: String::new(),
        protocol: PortProtocol::Tcp,
        port: 80,
        target: TargetPort::Number(80),
        node_port: None,
    };
    assert_eq!(spec.ports, [port]);
    assert_eq!((spec.kind, spec.headless, spec.affinity), (ServiceType::ClusterIp, false, None));
    assert_eq!((spec.families, spec.publish_not_ready), (Families::OfNetwork, false));
}

#[test]
fn what_a_service_says_is_kept() {
    let spec = read(
        "{type: NodePort, selector: {app: web}, sessionAffinity: ClientIP, publishNotReadyAddresses: true, \
         ipFamilyPolicy: SingleStack, ipFamilies: [IPv6], externalTrafficPolicy: Local, internalTrafficPolicy: Cluster, \
         ports: [{name: http, port: 80, targetPort: web, nodePort: 30080, appProtocol: http}, {name: dns, port: 53, protocol: UDP, targetPort: 5353}]}",
    );
    assert_eq!(
        (spec.kind, spec.affinity, spec.families),
        (ServiceType::NodePort, Some(10_800), Families::V6)
    );
    assert_eq!(spec.ports[0].target, TargetPort::Name("web".to_owned()));
    assert_eq!((spec.ports[0].node_port, spec.ports[1].node_port), (Some(30_080), None));
    assert_eq!(
        (spec.ports[1].protocol, &spec.ports[1].target),
        (PortProtocol::Udp, &TargetPort::Number(5353))
    );
    let headless = read("{clusterIP: None, selector: {app: web}}");
    assert!(headless.headless && headless.ports.is_empty());
    let external = read("{type: ExternalName, externalName: db.example.com.}");
    assert_eq!(external.external_name.as_deref(), Some("db.example.com"));
    let asked = read("{clusterIP: 10.1.2.3, selector: {a: b}, ports: [{port: 1}]}");
    assert_eq!(asked.asked, Some("10.1.2.3".parse().unwrap()));
}

#[test]
fn a_list_of_services_and_a_service_beside_pods_are_read() {
    let list = "{apiVersion: v1, kind: ServiceList, items: [{metadata: {name: a}, spec: {selector: {a: b}, ports: [{port: 1}]}}]}";
    let read = parse_files(&[("", list.as_bytes())]).unwrap();
    assert_eq!((read.services[0].name.as_str(), read.services[0].namespace.as_str()), ("a", "default"));
    let twice = format!("{0}---\n{0}", text("{selector: {a: b}, ports: [{port: 1}]}"));
    let told = parse_files(&[("", twice.as_bytes())]).unwrap_err().to_string();
    assert!(told.contains("duplicate Service web"), "{told}");
}

#[test]
fn what_the_api_server_refuses_is_refused_in_its_words() {
    let ports = |ports: &str| format!("{{selector: {{a: b}}, ports: [{ports}]}}");
    let some = |more: &str| format!("{{selector: {{a: b}}, ports: [{{port: 80}}], {more}}}");
    for (spec, said) in [
        ("{selector: {a: b}}".to_owned(), "spec.ports: Required value"),
        ("{ports: [{port: 1}]}".to_owned(), "spec.selector: Required value"),
        (ports("{port: 0}"), "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        (ports("{}"), "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        (ports("{port: 70000}"), "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535"),
        (ports("{port: 1, targetPort: 70000}"), "spec.ports[0].targetPort: Invalid value: 70000: must be"),
        (
            ports("{port: 1, targetPort: '80'}"),
            "spec.ports[0].targetPort: Invalid value: \"80\": must contain at least one letter (a-z)",
        ),
        (ports("{port: 1, targetPort: a--b}"), "must not contain consecutive hyphens"),
        (
            ports("{port: 1, protocol: ICMP}"),
            "spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ),
        (ports("{port: 1, protocol: SCTP}"), "spec.ports[0].protocol is not supported yet"),
        (ports("{port: 1}, {name: b, port: 2}"), "spec.ports[0].name: Required value"),
        (ports("{name: a, port: 1}, {name: a, port: 2}"), "spec.ports[1].name: Duplicate value: \"a\""),
        (
            ports("{name: a, port: 1}, {name: b, port: 1}"),
            "spec.ports[1]: Duplicate value: {\"protocol\":\"TCP\",\"port\":1}",
        ),
        (
            ports("{name: A_B, port: 1}"),
            "spec.ports[0].name: Invalid value: \"A_B\": a lowercase RFC 1123 label",
        ),
        (
            ports("{port: 1, nodePort: 30000}"),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            some("type: Cluster"),
            "spec.type: Unsupported value: \"Cluster\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ),
        (
            "{type: NodePort, selector: {a: b}, ports: [{port: 1, nodePort: 80}]}".to_owned(),
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
        (
            some("type: NodePort, clusterIP: None"),
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
        ),
        (some("clusterIP: web"), "spec.clusterIPs[0]: Invalid value: \"web\": must be a valid IP address"),
        (
            some("sessionAffinity: Cookie"),
            "spec.sessionAffinity: Unsupported value: \"Cookie\": supported values: \"ClientIP\", \"None\"",
        ),
        (
            some("sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}"),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400",
        ),
        (
            some("sessionAffinityConfig: {}"),
            "spec.sessionAffinityConfig: Forbidden: must not be set when session affinity is None",
        ),
        (some("ipFamilyPolicy: Both"), "spec.ipFamilyPolicy: Unsupported value: \"Both\""),
        (some("ipFamilies: [IPv4, IPv4]"), "spec.ipFamilies[1]: Duplicate value: \"IPv4\""),
        (some("externalIPs: [1.2.3.4]"), "spec.externalIPs is not supported yet"),
        (some("loadBalancerSourceRanges: [1.2.3.4/8]"), "spec.loadBalancerSourceRanges is not supported yet"),
        (some("sessionAfinity: None"), "did you mean sessionAffinity?"),
        ("{type: ExternalName}".to_owned(), "spec.externalName: Required value"),
        (
            "{type: ExternalName, externalName: A_b}".to_owned(),
            "spec.externalName: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain",
        ),
        (
            "{type: ExternalName, externalName: a.b, clusterIP: 1.2.3.4}".to_owned(),
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
        ),
        (
            "{selector: {a: 'b c'}, ports: [{port: 1}]}".to_owned(),
            "spec.selector: Invalid value: \"b c\": a valid label",
        ),
    ] {
        let told = parse_files(&[("", text(&spec).as_bytes())]).expect_err(&spec).to_string();
        assert!(told.contains(said), "{spec}: {told}");
    }
    let named = text("{selector: {a: b}, ports: [{port: 1}]}").replace("name: web", "name: 1web");
    let told = parse_files(&[("", named.as_bytes())]).unwrap_err().to_string();
    assert!(told.contains("metadata.name: Invalid value: \"1web\": a DNS-1035 label"), "{told}");
}

proptest! {
    /// Whatever the numbers are: it is read as it is written, or refused.
    #[test]
    fn any_port_is_kept_or_refused(port in -70_000_i64..140_000, target in -70_000_i64..140_000) {
        let spec = format!("{{selector: {{a: b}}, ports: [{{port: {port}, targetPort: {target}}}]}}");
        let fits = |n: i64| (1..=65_535).contains(&n);
        match parse_files(&[("", text(&spec).as_bytes())]) {
            Ok(read) => {
                let kept = &read.services[0].spec.ports[0];
                prop_assert_eq!(i64::from(kept.port), port);
                let wanted = if target == 0 { port } else { target };
                let wanted = TargetPort::Number(u16::try_from(wanted).unwrap());
                prop_assert_eq!(&kept.target, &wanted);
            }
            Err(_) => prop_assert!(!fits(port) || (target != 0 && !fits(target))),
        }
    }
}
