use std::path::PathBuf;

use super::*;
use crate::config::Ipv6;

fn link(index: u32, name: &str, mtu: u32) -> Link {
    Link {
        index,
        name: name.into(),
        kind: String::new(),
        alias: String::new(),
        mtu,
        master: 0,
        group: 0,
        up: true,
    }
}

fn route(network: &str, index: u32, gateway: bool) -> Route {
    let (network, prefix) = network.split_once('/').unwrap();
    Route {
        network: network.parse().unwrap(),
        prefix: prefix.parse().unwrap(),
        index,
        gateway,
        table: MAIN_TABLE,
        protocol: 3,
    }
}

fn host(routes4: Vec<Route>) -> Host {
    let links = vec![link(1, "lo", 65_536), link(2, "lan0", 1400), link(3, "berth0", 1500)];
    Host { links, routes4, routes6: vec![] }
}

fn config(cidr4: Option<&str>) -> Config {
    let cidr4 = cidr4.map(|text| text.parse().unwrap());
    Config { cidr4, ..Config::for_instance("", "machine", PathBuf::from("/dir")) }
}

#[test]
fn packets_are_as_large_as_on_the_default_route() {
    assert_eq!(host(vec![route("0.0.0.0/0", 2, true)]).mtu(), 1400);
    assert_eq!(host(vec![route("10.0.0.0/8", 2, true)]).mtu(), 1500);
}

#[test]
fn a_block_that_was_asked_for_must_not_overlap() {
    let cases = [
        (vec![route("0.0.0.0/0", 2, true)], true),
        (vec![route("10.9.0.0/16", 3, false)], true), // the bridge's own
        (vec![route("10.9.0.0/16", 2, false)], false),
        (vec![route("10.9.5.0/24", 2, true)], false),
        (vec![route("10.0.0.0/8", 2, true)], true), // behind a gateway and larger
        (vec![route("10.0.0.0/8", 2, false)], false),
    ];
    for (routes, free) in cases {
        let result = choose(&config(Some("10.9.0.0/16")), None, &host(routes.clone()));
        assert_eq!(result.is_ok(), free, "{routes:?}");
    }
    let routes = vec![route("10.9.5.0/24", 2, true)];
    let error = choose(&config(Some("10.9.0.0/16")), None, &host(routes)).unwrap_err();
    assert_eq!(error.to_string(), "pod addresses 10.9.0.0/16 overlap 10.9.5.0/24 on interface lan0");
}

#[test]
fn a_free_block_is_chosen_and_kept_while_it_is_free() {
    let chosen = |routes: Vec<Route>, earlier: Option<&str>| {
        let earlier = earlier.map(|text| text.parse().unwrap());
        choose(&config(None), earlier, &host(routes)).map(|cidr| cidr.to_string())
    };
    assert_eq!(chosen(vec![], None).unwrap(), "10.208.0.0/20");
    assert_eq!(chosen(vec![], Some("10.208.32.0/20")).unwrap(), "10.208.32.0/20");
    let lan = route("10.208.0.0/24", 2, false);
    assert_eq!(chosen(vec![lan], None).unwrap(), "10.208.16.0/20");
    assert_eq!(chosen(vec![lan], Some("10.208.0.0/20")).unwrap(), "10.208.16.0/20");
    let company = route("10.0.0.0/8", 2, true);
    assert_eq!(chosen(vec![company], None).unwrap(), "172.28.0.0/20");
    let docker = route("172.16.0.0/12", 2, false);
    assert_eq!(chosen(vec![company, docker], None).unwrap(), "192.168.255.0/24");
    let home = route("192.168.0.0/16", 2, false);
    assert!(matches!(chosen(vec![company, docker, home], None), Err(OpenError::NoFreeBlock)));
    // A VPN for everything, with a gateway and without.
    for gateway in [true, false] {
        let halves = vec![route("0.0.0.0/1", 2, gateway), route("128.0.0.0/1", 2, gateway)];
        assert_eq!(chosen(halves, None).unwrap(), "10.208.0.0/20");
    }
}

#[test]
fn unusable_configurations_are_refused() {
    let good = config(Some("10.0.0.0/30"));
    assert!(check(&good).is_ok());
    for bridge in ["", "a-name-of-sixteen", "a/b", "a b", "..", "brücke"] {
        assert!(check(&Config { bridge: bridge.into(), ..good.clone() }).is_err(), "{bridge}");
    }
    for table in ["", "a b", "a\"b"] {
        assert!(check(&Config { table: table.into(), ..good.clone() }).is_err(), "{table}");
    }
    for cidr in ["10.0.0.0/31", "10.0.0.0/32", "0.0.0.0/0", "10.0.0.0/7", "127.0.0.0/8", "224.0.0.0/16"] {
        assert!(check(&config(Some(cidr))).is_err(), "{cidr}");
    }
    let cidr6 = Ipv6::IfAvailable("fd00::/112".parse().unwrap());
    assert!(check(&Config { cidr6, ..good }).is_err());
}
