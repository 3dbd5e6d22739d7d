//! Which hosts and pods reach each other.

use berth_sys::netlink;

use crate::world::{HOST4, HOST6, Ns, OUTSIDE4, OUTSIDE6, World, ip, require_root, sandbox, tcp, wait_until};

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
fn a_pod_has_what_was_configured() {
    require_root!("a_pod_has_what_was_configured");
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
    // The pod's own addresses are usable at once; the kernel gives the link-local one in the background.
    assert!(!addresses.contains("tentative"), "{addresses}");
    wait_until("the link-local address is usable", || {
        let own = pod.ns.sh("ip -o addr show dev eth0");
        assert!(!own.contains("dadfailed"), "{own}");
        own.contains("fe80:") && !own.contains("tentative")
    });
    assert_eq!(pod.ns.sh("ip -4 route show default").trim(), "default via 10.208.0.1 dev eth0");
    assert!(pod.ns.sh("ip -6 route show default").contains("dev eth0"));
    assert_eq!(pod.ns.sh("cat /proc/sys/net/ipv6/conf/eth0/accept_ra").trim(), "0");
    // The port has none of its own, and no route: pods that come would pay for each.
    assert_eq!(
        world.host.sh("ip -o -6 addr show dev veth0ad00002; ip -6 route show table all dev veth0ad00002"),
        ""
    );
}

#[test]
fn packets_are_as_large_as_on_each_of_several_ways_out() {
    require_root!("packets_are_as_large_as_on_each_of_several_ways_out");
    let world = World::new();
    world.host.sh("ip route replace default nexthop via 192.0.2.2 nexthop via 192.0.2.3");
    let net = world.open();
    assert_eq!(world.pod(&net, 1, &[]).attachment.mtu, 1400);
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
fn a_pod_cannot_pass_for_the_host_itself() {
    require_root!("a_pod_cannot_pass_for_the_host_itself");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[]);
    let server = world.host.udp(81);
    // Not 127.0.0.1, which the kernel looks for among its addresses.
    let send = "ip addr add 127.0.0.5/32 dev eth0; echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet";
    pod.ns.sh(send);
    let gateway = pod.attachment.gateways[0];
    let from = |address: &str| {
        pod.ns
            .run(|| std::net::UdpSocket::bind((address, 0)).unwrap().send_to(b"ping", (gateway, 81)).unwrap())
    };
    from("127.0.0.5");
    from("0.0.0.0");
    assert_eq!(crate::world::receive(&server).ip().to_canonical(), pod.ip4(), "the other one was dropped");
    // Without the guard it could: the test is able to tell.
    world.host.sh("nft delete table inet berth; nft delete table bridge berth");
    from("127.0.0.5");
    assert_eq!(crate::world::receive(&server).ip().to_canonical(), ip("127.0.0.5"));
}

#[test]
fn a_neighbour_with_a_route_reaches_published_ports_alone() {
    require_root!("a_neighbour_with_a_route_reaches_published_ports_alone");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[tcp(8080, 80)]);
    let server = pod.ns.listen(80);
    let cidr6 = net.cidr6().unwrap();
    world.outside.sh(&format!("ip route add {} via {HOST4}; ip route add {cidr6} via {HOST6}", net.cidr4()));
    let direct = |expected| {
        for address in pod.attachment.addresses.clone() {
            assert_eq!(world.outside.connects((address, 80)), expected, "{address}");
        }
    };
    direct(false);
    // What was published, what the pod asks for, and the host itself.
    world.outside.talk((ip(HOST4), 8080), &server);
    world.outside.talk((ip(HOST6), 8080), &server);
    let elsewhere = world.outside.listen(81);
    pod.ns.talk((ip(OUTSIDE4), 81), &elsewhere);
    pod.ns.talk((ip(OUTSIDE6), 81), &elsewhere);
    world.host.talk((pod.ip4(), 80), &server);
    world.host.talk((pod.ip6(), 80), &server);
    world.host.sh("nft flush ruleset");
    direct(true);
    world.host.run(|| net.verify().unwrap());
    direct(false);
}

#[test]
fn packets_of_no_connection_do_not_leave() {
    require_root!("packets_of_no_connection_do_not_leave");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[]);
    let server = world.outside.listen(80);
    world.outside.sh(
        "nft add table ip watch; nft 'add chain ip watch in { type filter hook prerouting priority -300; }'
         nft add rule ip watch in ip saddr 10.208.0.0/20 counter",
    );
    world.host.sh("echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose");
    let mut client = pod.ns.run(|| std::net::TcpStream::connect((ip(OUTSIDE4), 80)).unwrap());
    let (accepted, _) = server.accept().unwrap();
    // The host forgets the connection, as it does for lack of memory; the pod goes on.
    let forgotten = world.host.run(|| {
        let mut socket = netlink::Socket::open(netlink::Family::Netfilter).unwrap();
        netlink::conntrack::forget(&mut socket, 6, &[80], |_| true).unwrap()
    });
    assert_eq!(forgotten, 1);
    std::io::Write::write_all(&mut client, b"late").unwrap();
    let other = world.outside.udp(81);
    pod.ns.talk_udp((ip(OUTSIDE4), 81), &other);
    let seen = world.outside.sh("nft list chain ip watch in");
    assert!(seen.contains("counter packets 0 "), "{seen}");
    drop(accepted);
}

#[test]
fn a_host_that_accepts_router_advertisements_keeps_accepting_them() {
    require_root!("a_host_that_accepts_router_advertisements_keeps_accepting_them");
    let world = World::new();
    world.host.sh("ip link add deaf0 type bridge; echo 0 > /proc/sys/net/ipv6/conf/deaf0/accept_ra
        ip link add late0 type bridge");
    let value = |name: &str| world.host.sh(&format!("cat /proc/sys/net/ipv6/conf/{name}/accept_ra"));
    assert_eq!((value("late0").trim(), value("deaf0").trim()), ("1", "0"));
    let _net = world.open();
    assert_eq!(world.host.sh("cat /proc/sys/net/ipv6/conf/all/forwarding").trim(), "1");
    assert_eq!((value("late0").trim(), value("deaf0").trim(), value("berth0").trim()), ("2", "0", "0"));
}

#[test]
fn pods_get_out_where_new_interfaces_do_not_forward() {
    require_root!("pods_get_out_where_new_interfaces_do_not_forward");
    let world = World::new();
    world.host.sh(
        "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
         echo 0 > /proc/sys/net/ipv4/conf/default/forwarding; echo 0 > /proc/sys/net/ipv6/conf/default/forwarding",
    );
    let net = world.open();
    let pod = world.pod(&net, 1, &[]);
    let server = world.outside.listen(80);
    pod.ns.talk((ip(OUTSIDE4), 80), &server);
    pod.ns.talk((ip(OUTSIDE6), 80), &server);
}

#[test]
fn udev_finds_no_hardware_address_to_change() {
    require_root!("udev_finds_no_hardware_address_to_change");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[]);
    // 3: set by the one that made the interface (udev changes those of 1, random).
    for name in ["berth0", &pod.attachment.host_interface] {
        let file = format!("/sys/class/net/{name}/addr_assign_type");
        let read = format!("unshare -m sh -c 'mount -t sysfs none /sys && cat {file}'");
        assert_eq!(world.host.sh(&read).trim(), "3", "{name}");
    }
    let before = world.host.sh("ip -o link show berth0");
    world.host.run(|| net.detach(&pod.id).unwrap());
    drop(pod);
    world.pod(&net, 2, &[]);
    let address = |text: &str| text.split("link/ether ").nth(1).map(|rest| rest[..17].to_owned());
    assert_eq!(address(&before), address(&world.host.sh("ip -o link show berth0")));
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
