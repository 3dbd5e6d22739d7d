//! Who reaches whom.

use crate::world::{HOST4, HOST6, Ns, OUTSIDE4, OUTSIDE6, World, ip, require_root, sandbox, tcp};

#[test]
fn pods_reach_each_other_and_the_host() {
    require_root!("pods_reach_each_other_and_the_host");
    let world = World::new();
    let net = world.open();
    let (a, b) = (world.pod(&net, 1, &[]), world.pod(&net, 2, &[]));
    let server = b.ns.listen(80);
    assert_eq!(a.ns.talk((b.ip4(), 80), &server), a.ip4());
    assert_eq!(a.ns.talk((b.ip6(), 80), &server), a.ip6());
    assert_eq!(b.ns.talk((ip("127.0.0.1"), 80), &server), ip("127.0.0.1"));
    assert_eq!(b.ns.talk((b.ip4(), 80), &server), b.ip4());

    let [gateway4, gateway6] = b.attachment.gateways[..] else { panic!("two gateways") };
    assert_eq!(world.host.talk((b.ip4(), 80), &server), gateway4);
    assert_eq!(world.host.talk((b.ip6(), 80), &server), gateway6);

    let server = world.host.listen(81);
    for (host, from) in [(gateway4, a.ip4()), (ip(HOST4), a.ip4()), (gateway6, a.ip6()), (ip(HOST6), a.ip6())]
    {
        assert_eq!(a.ns.talk((host, 81), &server), from, "{host}");
    }
}

#[test]
fn the_outside_sees_the_host_for_a_pod() {
    require_root!("the_outside_sees_the_host_for_a_pod");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[]);
    let server = world.outside.listen(80);
    assert_eq!(pod.ns.talk((ip(OUTSIDE4), 80), &server), ip(HOST4));
    assert_eq!(pod.ns.talk((ip(OUTSIDE6), 80), &server), ip(HOST6));
    let server = world.outside.udp(80);
    assert_eq!(pod.ns.talk_udp((ip(OUTSIDE4), 80), &server), ip(HOST4));
}

#[test]
fn a_pod_has_what_it_was_told() {
    require_root!("a_pod_has_what_it_was_told");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[]);
    assert_eq!(pod.attachment.mtu, 1400, "that of the way out");
    assert_eq!(pod.attachment.interface, "eth0");
    let links = pod.ns.sh("ip -o link");
    assert!(links.contains("lo: <LOOPBACK,UP,LOWER_UP>"), "{links}");
    assert!(links.contains(" mtu 1400 ") && links.contains("link/ether 0a:58:0a:d0:00:02"), "{links}");
    let addresses = pod.ns.sh("ip -o addr show dev eth0 scope global");
    assert!(addresses.contains("10.208.0.2/20"), "{addresses}");
    assert!(addresses.contains(&format!("{}/64", pod.ip6())), "{addresses}");
    assert!(!addresses.contains("tentative"), "{addresses}");
    assert_eq!(pod.ns.sh("ip -4 route show default").trim(), "default via 10.208.0.1 dev eth0");
    assert!(pod.ns.sh("ip -6 route show default").contains("dev eth0"));
    assert_eq!(pod.ns.sh("cat /proc/sys/net/ipv6/conf/eth0/accept_ra").trim(), "0");
}

#[test]
fn a_host_without_ipv6_gives_pods_none() {
    require_root!("a_host_without_ipv6_gives_pods_none");
    let world = World::new();
    world.host.sh("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    let net = world.open();
    let (a, b) = (world.pod(&net, 1, &[]), world.pod(&net, 2, &[]));
    assert_eq!(a.attachment.addresses.len(), 1);
    assert_eq!(a.attachment.gateways.len(), 1);
    let server = b.ns.listen(80);
    a.ns.talk((b.ip4(), 80), &server);
}

#[test]
fn a_pod_that_switched_ipv6_off_gets_none() {
    require_root!("a_pod_that_switched_ipv6_off_gets_none");
    let world = World::new();
    let net = world.open();
    let ns = Ns::pod();
    ns.sh("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    let attachment = world.host.run(|| net.attach(&sandbox(1), ns.fd(), &[tcp(8080, 80)]).unwrap());
    assert_eq!(attachment.addresses.len(), 1);
    let server = ns.run(|| std::net::TcpListener::bind("0.0.0.0:80").unwrap());
    world.outside.talk((ip(HOST4), 8080), &server);
    assert!(!world.outside.connects((ip(HOST6), 8080)));
}

#[test]
fn a_pod_cannot_use_the_loopback_of_the_host() {
    require_root!("a_pod_cannot_use_the_loopback_of_the_host");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[]);
    let server = world.host.run(|| std::net::TcpListener::bind("127.0.0.1:81").unwrap());
    pod.ns.sh("ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via 10.208.0.1
        echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet");
    assert!(!pod.ns.connects((ip("127.0.0.1"), 81)));
    // Without the guard it could: the test is able to tell.
    world.host.sh("nft delete table inet berth");
    assert!(pod.ns.connects((ip("127.0.0.1"), 81)));
    drop(server);
}

#[test]
fn two_instances_do_not_disturb_each_other() {
    require_root!("two_instances_do_not_disturb_each_other");
    let world = World::new();
    let first = world.open();
    let config = berth_net::Config::for_instance("two", "machine", world.dir().join("two"));
    let second = world.open_with(config);
    assert!(!first.cidr4().overlaps(&second.cidr4()));
    let a = world.pod(&first, 1, &[tcp(8080, 80)]);
    let b = world.pod(&second, 1, &[tcp(8081, 80)]);
    let (server_a, server_b) = (a.ns.listen(80), b.ns.listen(80));
    world.outside.talk((ip(HOST4), 8080), &server_a);
    world.outside.talk((ip(HOST4), 8081), &server_b);
    let refused = world.host.run(|| {
        let ns = Ns::pod();
        second.attach(&sandbox(9), ns.fd(), &[tcp(8080, 80)])
    });
    assert!(matches!(refused, Err(berth_net::AttachError::PortInUse { .. })), "{refused:?}");
    world.host.run(|| first.purge().unwrap());
    world.outside.talk((ip(HOST4), 8081), &server_b);
    assert!(world.host.sh("nft list tables").contains("table inet berth-two"));
}
