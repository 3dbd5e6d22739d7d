//! What a pod of `berth play` finds by name.

use berth_testkit::require_root;

use crate::home::{BUSYBOX, Home};

fn pod(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n{spec}  containers:\n  - name: a\n    image: \
         {BUSYBOX}\n    command: [sh, -c, 'exec sleep 1000']\n"
    )
}

#[test]
fn the_files_of_the_network_say_what_the_manifest_adds() {
    require_root!();
    let home = Home::start();
    let spec = "  hostname: web\n  subdomain: sites\n  setHostnameAsFQDN: true\n  hostAliases:\n  \
                - {ip: 10.9.8.7, hostnames: [db, db.example]}\n  dnsPolicy: None\n  dnsConfig: {nameservers: [192.0.2.1], \
                searches: [a.example], options: [{name: ndots, value: '2'}]}\n";
    home.feed(&["play", "-q", "-"], pod("named", spec).as_bytes()).fine();
    let exec = |pod: &str, line: &str| home.berth(&["exec", pod, "sh", "-c", line]).fine();
    let address = home.berth(&["pods", "-o", "json"]).json()[0]["addresses"][0].as_str().unwrap().to_owned();
    let whole = "web.sites.default.svc.cluster.local";
    assert_eq!(exec("named", "hostname; cat /etc/hostname"), format!("{whole}\n{whole}\n"));
    let hosts = exec("named", "cat /etc/hosts");
    assert!(hosts.contains(&format!("{address}\t{whole} web\n")), "{hosts}");
    assert!(hosts.ends_with("10.9.8.7\tdb db.example\n"), "{hosts}");
    assert_eq!(
        exec("named", "cat /etc/resolv.conf"),
        "search a.example\nnameserver 192.0.2.1\noptions ndots:2\n"
    );
    home.berth(&["down", "-t", "0", "named"]).fine();

    let spec = "  hostNetwork: true\n  hostAliases: [{ip: 10.9.8.7, hostnames: [db]}]\n  dnsConfig: {options: [{name: edns0}]}\n";
    home.feed(&["play", "-q", "-"], pod("hosts", spec).as_bytes()).fine();
    let hosts = exec("hosts", "cat /etc/hosts");
    let own = std::fs::read_to_string("/etc/hosts").unwrap();
    assert!(hosts.starts_with(own.trim_end()) && hosts.ends_with("10.9.8.7\tdb\n"), "{hosts}");
    let resolv = exec("hosts", "cat /etc/resolv.conf");
    assert!(resolv.lines().last().unwrap().starts_with("options ") && resolv.contains("edns0"), "{resolv}");
    home.berth(&["down", "-t", "0", "hosts"]).fine();
    home.clean();
}
