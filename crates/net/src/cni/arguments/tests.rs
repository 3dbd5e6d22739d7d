use std::os::fd::AsFd;

use super::*;
use crate::port::Protocol;

fn with<T>(change: impl FnOnce(&mut AttachRequest<'_>) -> T) -> T {
    let null = std::fs::File::open("/dev/null").unwrap();
    let sandbox = "a".repeat(64).parse().unwrap();
    let mut request = AttachRequest {
        sandbox: &sandbox,
        name: "web-0",
        namespace: "shop",
        uid: "u-1",
        annotations: &BTreeMap::new(),
        netns: null.as_fd(),
        netns_path: None,
        ports: &[],
        dns: None,
    };
    change(&mut request)
}

#[test]
fn plugins_learn_the_pods_names() {
    let id = "a".repeat(64);
    let want = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID={id};K8S_POD_UID=u-1"
    );
    assert_eq!(with(|request| args(request)).unwrap(), want);
    for name in ["a;K8S_POD_NAMESPACE=kube-system", "a=b", "a\0b"] {
        let error = with(|request| args(&AttachRequest { name, ..*request })).unwrap_err();
        assert!(error.to_string().starts_with("the pod's name"), "{error}");
    }
}

#[test]
fn a_pod_that_asks_for_nothing_has_no_arguments() {
    assert_eq!(with(|request| capabilities(request, &[])).unwrap(), Map::new());
}

#[test]
fn ports_bandwidth_and_dns_are_arguments() {
    let annotations = BTreeMap::from([
        ("kubernetes.io/ingress-bandwidth".to_owned(), "10M".to_owned()),
        ("kubernetes.io/egress-bandwidth".to_owned(), "1Gi".to_owned()),
        ("other".to_owned(), "x".to_owned()),
    ]);
    let port = |protocol, host_ip: Option<&str>| PortMapping {
        protocol,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_port: 8080,
        container_port: 80,
    };
    let ports = [
        port(Protocol::Tcp, None),
        port(Protocol::Udp, Some("127.0.0.1")),
        port(Protocol::Sctp, Some("2001:db8::1")),
    ];
    let dns = Dns {
        searches: vec!["svc.local".into()],
        servers: vec!["10.0.0.10".into()],
        options: vec!["ndots:5".into()],
    };
    let blocks = ["10.244.1.0/24", "fd00:244:1::/64"].map(|block| block.parse().unwrap());
    let got = with(|request| {
        capabilities(
            &AttachRequest { annotations: &annotations, ports: &ports, dns: Some(&dns), ..*request },
            &blocks,
        )
    });
    let want = json!({
        "portMappings": [
            { "hostPort": 8080, "containerPort": 80, "protocol": "tcp" },
            { "hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "127.0.0.1" },
            { "hostPort": 8080, "containerPort": 80, "protocol": "sctp", "hostIP": "2001:db8::1" },
        ],
        "bandwidth": {
            "ingressRate": 10_000_000, "ingressBurst": 2_147_483_647,
            "egressRate": 1_073_741_824, "egressBurst": 2_147_483_647,
        },
        "ipRanges": [[{ "subnet": "10.244.1.0/24" }], [{ "subnet": "fd00:244:1::/64" }]],
        "dns": { "searches": ["svc.local"], "servers": ["10.0.0.10"], "options": ["ndots:5"] },
    });
    assert_eq!(Value::Object(got.unwrap()), want);
}

#[test]
fn a_bandwidth_that_cannot_be_meant_is_refused_by_its_annotation() {
    for value in ["", "fast", "-1", "999", "0", "2P", "1e30"] {
        let annotations = BTreeMap::from([("kubernetes.io/egress-bandwidth".to_owned(), value.to_owned())]);
        let error =
            with(|request| capabilities(&AttachRequest { annotations: &annotations, ..*request }, &[]));
        let error = berth_types::error::chain(&error.unwrap_err());
        assert!(error.starts_with("annotation kubernetes.io/egress-bandwidth: "), "{value}: {error}");
    }
}
