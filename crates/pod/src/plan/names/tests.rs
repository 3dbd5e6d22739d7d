use crate::plan::tests::{planned, refused};

fn spec(more: &str) -> String {
    format!("{{{more}, containers: [{{name: c, image: 'a.io/x:1'}}]}}")
}

#[test]
fn a_subdomain_is_in_the_whole_name() {
    let sandbox = planned(&spec("hostname: h, subdomain: sub")).sandbox;
    assert_eq!(sandbox.hostname, "h");
    assert_eq!(sandbox.names.own, ["h.sub.default.svc.cluster.local", "h"]);
    let sandbox = planned(&spec("hostname: h, subdomain: sub, setHostnameAsFQDN: true")).sandbox;
    assert_eq!(sandbox.hostname, "h.sub.default.svc.cluster.local");
    let sandbox = planned(&spec("setHostnameAsFQDN: true")).sandbox;
    assert_eq!((sandbox.hostname.as_str(), sandbox.names.own.len()), ("web.x", 0));
    let sandbox = planned(&spec("hostNetwork: true, subdomain: sub, setHostnameAsFQDN: true")).sandbox;
    assert_eq!((sandbox.hostname.as_str(), sandbox.names.own.len()), ("", 0));
    let long = spec(&format!("hostname: {}, subdomain: sub, setHostnameAsFQDN: true", "h".repeat(40)));
    assert!(refused(&long).contains("spec.setHostnameAsFQDN: Invalid value"), "{}", refused(&long));
}

#[test]
fn the_policy_says_whether_the_own_settings_are_all() {
    let config = "dnsConfig: {nameservers: [10.0.0.1], searches: [a.example, _x.b.], options: [{name: ndots, value: '5'}, {name: rotate}]}";
    for policy in
        ["", "dnsPolicy: Default, ", "dnsPolicy: ClusterFirst, ", "dnsPolicy: ClusterFirstWithHostNet, "]
    {
        let sandbox = planned(&spec(&format!("{policy}{config}"))).sandbox;
        assert_eq!(sandbox.dns, None);
        assert_eq!(sandbox.names.dns.options, ["ndots:5", "rotate"]);
    }
    let sandbox = planned(&spec(&format!("dnsPolicy: None, {config}"))).sandbox;
    assert_eq!(sandbox.names.dns, Default::default());
    assert_eq!(sandbox.dns.unwrap().searches, ["a.example", "_x.b."]);
}

#[test]
fn what_is_wrong_with_names_is_told() {
    for (more, said) in [
        ("dnsPolicy: None", "spec.dnsConfig: Required value"),
        ("dnsPolicy: None, dnsConfig: {searches: [a]}", "spec.dnsConfig.nameservers: Required value"),
        (
            "dnsConfig: {nameservers: [1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4]}",
            "spec.dnsConfig.nameservers: Invalid value",
        ),
        ("dnsConfig: {searches: ['a b']}", "spec.dnsConfig.searches[0]: Invalid value: \"a b\""),
        ("dnsConfig: {options: [{value: x}]}", "spec.dnsConfig.options[0]: Required value"),
        ("dnsConfig: {options: [{name: 'a b'}]}", "spec.dnsConfig.options[0]: Invalid value"),
        ("hostAliases: [{ip: 10.0.0.1, hostnames: [a, 'A b']}]", "spec.hostAliases[0].hostnames[1]:"),
        ("subdomain: 'a.b'", "spec.subdomain:"),
    ] {
        assert!(refused(&spec(more)).contains(said), "{more}: {}", refused(&spec(more)));
    }
    let many = format!("dnsConfig: {{searches: [{}]}}", ["a"; 33].join(", "));
    assert!(refused(&spec(&many)).contains("must not have more than 32 search paths"));
}

#[test]
fn the_dns_of_services_is_told_to_those_that_want_it() {
    use crate::manifest::parse;
    use crate::plan::{Cluster, plan, tests::place};

    let searches = vec!["example.com".to_owned()];
    let cluster = Some(Cluster { server: "10.212.0.10".parse().unwrap(), searches });
    let dns = |more: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: web, namespace: shop}}, spec: {}}}",
            spec(more)
        );
        let pod = parse(text.as_bytes()).unwrap().remove(0);
        plan(&pod, &crate::plan::Place { cluster: cluster.clone(), ..place() }).unwrap().sandbox.dns
    };
    for more in [
        "restartPolicy: Never",
        "dnsPolicy: ClusterFirst",
        "dnsPolicy: ClusterFirstWithHostNet, hostNetwork: true",
    ] {
        let told = dns(more).unwrap();
        assert_eq!(told.servers, ["10.212.0.10"], "{more}");
        assert_eq!(
            told.searches,
            ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com"]
        );
        assert_eq!(told.options, ["ndots:5"]);
    }
    for more in ["dnsPolicy: Default", "hostNetwork: true"] {
        assert_eq!(dns(more), None, "{more}");
    }
    let own = dns("dnsPolicy: None, dnsConfig: {nameservers: [10.0.0.1]}").unwrap();
    assert_eq!(own.servers, ["10.0.0.1"]);
}
