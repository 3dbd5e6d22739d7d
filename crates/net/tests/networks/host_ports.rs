//! Ports of the host that lead to pods.

use std::net::{SocketAddr, UdpSocket};

use berth_net::{AttachError, PortMapping, Protocol};

use crate::world::{HOST4, HOST6, Ns, World, ask_udp, ip, receive, require_root, sandbox, tcp, udp};

fn on(address: &str, port: PortMapping) -> PortMapping {
    PortMapping { host_ip: Some(ip(address)), ..port }
}

/// The two ways in which packets cross a bridge: with the hooks of iptables and without.
const BRIDGE_HOOKS: [&str; 2] = ["1", "0"];

fn set_bridge_hooks(world: &World, value: &str) {
    world.host.sh(&format!(
        "for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do [ ! -e $f ] || echo {value} > $f; done"
    ));
}

#[test]
fn a_host_port_works_from_everywhere() {
    require_root!("a_host_port_works_from_everywhere");
    for hooks in BRIDGE_HOOKS {
        let world = World::new();
        set_bridge_hooks(&world, hooks);
        let net = world.open();
        let pod = world.pod(&net, 1, &[tcp(8080, 80)]);
        let other = world.pod(&net, 2, &[]);
        let server = pod.ns.listen(80);
        let [gateway4, gateway6] = pod.attachment.gateways[..] else { panic!("two gateways") };

        assert_eq!(world.outside.talk((ip(HOST4), 8080), &server), ip(crate::world::OUTSIDE4));
        assert_eq!(world.outside.talk((ip(HOST6), 8080), &server), ip(crate::world::OUTSIDE6));
        for (address, from) in [
            (ip("127.0.0.1"), gateway4),
            (ip(HOST4), ip(HOST4)),
            (gateway4, gateway4),
            (ip(HOST6), ip(HOST6)),
            (gateway6, gateway6),
        ] {
            assert_eq!(world.host.talk((address, 8080), &server), from, "host to {address}");
        }
        // Refused at once, so that a client of `localhost` goes on to 127.0.0.1.
        let refused = world.host.run(|| std::net::TcpStream::connect("[::1]:8080")).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        for address in [ip(HOST4), gateway4] {
            assert_eq!(other.ns.talk((address, 8080), &server), gateway4, "pod to {address}");
            assert_eq!(pod.ns.talk((address, 8080), &server), gateway4, "itself by {address}");
        }
        for address in [ip(HOST6), gateway6] {
            assert_eq!(other.ns.talk((address, 8080), &server), gateway6, "pod to {address}");
            assert_eq!(pod.ns.talk((address, 8080), &server), gateway6, "itself by {address}");
        }
    }
}

#[test]
fn a_port_is_reached_from_any_address_of_the_host() {
    require_root!("a_port_is_reached_from_any_address_of_the_host");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[on("127.0.0.1", tcp(8080, 80)), on(HOST4, tcp(8080, 81))]);
    let (loopback, other) = (pod.ns.listen(80), pod.ns.listen(81));
    // As curl --interface does.
    for (from, to, server) in
        [(HOST4, "127.0.0.1", &loopback), ("127.0.0.1", HOST4, &other), ("127.0.0.1", "127.0.0.1", &loopback)]
    {
        let address = |text: &str, port| SocketAddr::new(ip(text), port);
        world.host.run(|| {
            use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
            let client = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            bind(&client, &address(from, 0)).unwrap();
            connect(&client, &address(to, 8080)).unwrap_or_else(|e| panic!("{from} to {to}: {e}"));
        });
        server.accept().unwrap();
    }
}

#[test]
fn a_port_may_be_asked_for_in_two_ways() {
    require_root!("a_port_may_be_asked_for_in_two_ways");
    let world = World::new();
    let net = world.open();
    let ports = [tcp(8080, 80), on("::", tcp(8080, 80)), on("127.0.0.1", tcp(8080, 80)), tcp(8080, 80)];
    let pod = world.pod(&net, 1, &ports);
    let server = pod.ns.listen(80);
    world.outside.talk((ip(HOST6), 8080), &server);
    world.host.talk((ip("127.0.0.1"), 8080), &server);
    assert_eq!(net.leases()[0].ports, [tcp(8080, 80)]);
    world.host.run(|| net.detach(&pod.id).unwrap());
    assert!(!world.host.sh("nft list table inet berth").contains("8080"));
}

#[test]
fn udp_ports_work_from_everywhere() {
    require_root!("udp_ports_work_from_everywhere");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[udp(5353, 53)]);
    let server = pod.ns.udp(53);
    for address in [HOST4, HOST6] {
        world.outside.talk_udp((ip(address), 5353), &server);
        pod.ns.talk_udp((ip(address), 5353), &server);
    }
    for address in ["127.0.0.1", HOST4, HOST6] {
        world.host.talk_udp((ip(address), 5353), &server);
    }
}

#[test]
fn udp_to_the_other_localhost_is_refused_at_once() {
    require_root!("udp_to_the_other_localhost_is_refused_at_once");
    let world = World::new();
    let net = world.open();
    let _pod = world.pod(&net, 1, &[udp(5353, 53)]);
    let own = world.host.run(|| UdpSocket::bind("[::1]:5354").unwrap());
    own.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let client = world.host.run(|| UdpSocket::bind("[::1]:0").unwrap());
    client.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    client.connect("[::1]:5353").unwrap();
    client.send(b"ping").unwrap();
    let refused = client.recv(&mut [0; 4]).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{refused}");
    // What is not mapped is not changed.
    client.connect("[::1]:5354").unwrap();
    client.send(b"ping").unwrap();
    receive(&own);
}

#[test]
fn a_flow_that_began_before_the_mapping_finds_the_pod() {
    require_root!("a_flow_that_began_before_the_mapping_finds_the_pod");
    let world = World::new();
    let net = world.open();
    let client: UdpSocket = world.outside.udp(4000);
    // The kernel now remembers this flow as one of the host itself, and for minutes so.
    ask_udp(&client, (ip(HOST4), 5353));
    let first = world.pod(&net, 1, &[udp(5353, 53)]);
    let server = first.ns.udp(53);
    ask_udp(&client, (ip(HOST4), 5353));
    receive(&server);
    // And then as one of the first pod.
    world.host.run(|| net.detach(&first.id).unwrap());
    let second = world.pod(&net, 2, &[udp(5353, 53)]);
    let server = second.ns.udp(53);
    ask_udp(&client, (ip(HOST4), 5353));
    receive(&server);
}

#[test]
fn flows_to_the_same_port_elsewhere_go_on() {
    require_root!("flows_to_the_same_port_elsewhere_go_on");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[]);
    let server = world.outside.udp(53);
    pod.ns.talk_udp((ip(crate::world::OUTSIDE4), 53), &server);
    let flows = || world.host.sh("cat /proc/net/nf_conntrack").matches("dst=192.0.2.2 ").count();
    let before = flows();
    assert!(before > 0);
    let resolver = world.pod(&net, 2, &[udp(53, 53)]);
    world.host.run(|| net.detach(&resolver.id).unwrap());
    assert_eq!(flows(), before);
}

#[test]
fn a_port_on_one_address_is_open_there_alone() {
    require_root!("a_port_on_one_address_is_open_there_alone");
    let world = World::new();
    world.host.sh("ip addr add 192.0.2.9/24 dev up0");
    let net = world.open();
    let pod = world.pod(&net, 1, &[on(HOST4, tcp(8080, 80)), on("127.0.0.1", tcp(8081, 80))]);
    let other = world.pod(&net, 2, &[on("192.0.2.9", tcp(8080, 80)), on("::", tcp(8080, 80))]);
    let (server, other_server) = (pod.ns.listen(80), other.ns.listen(80));
    world.outside.talk((ip(HOST4), 8080), &server);
    world.outside.talk((ip("192.0.2.9"), 8080), &other_server);
    world.outside.talk((ip(HOST6), 8080), &other_server);
    world.host.talk((ip("127.0.0.1"), 8081), &server);
    assert!(!world.outside.connects((ip(HOST4), 8081)));
}

#[test]
fn a_port_on_the_loopback_is_closed_to_neighbours() {
    require_root!("a_port_on_the_loopback_is_closed_to_neighbours");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[on("127.0.0.1", tcp(8080, 80)), tcp(8081, 80)]);
    let server = pod.ns.listen(80);
    // A machine on the same wire may send anything.
    world.outside.sh(&format!(
        "ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via {HOST4}
         echo 1 > /proc/sys/net/ipv4/conf/up0/route_localnet"
    ));
    for port in [8080, 8081] {
        assert!(!world.outside.connects((ip("127.0.0.1"), port)), "{port}");
        world.host.talk((ip("127.0.0.1"), port), &server);
    }
    world.outside.talk((ip(HOST4), 8081), &server);
}

#[test]
fn a_taken_port_is_refused_by_name() {
    require_root!("a_taken_port_is_refused_by_name");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[tcp(8080, 80)]);
    let spare = Ns::pod();
    let attach = |ports: &[PortMapping]| world.host.run(|| net.attach(&sandbox(2), spare.fd(), ports));

    let error = attach(&[tcp(8080, 81)]).unwrap_err();
    assert_eq!(error.to_string(), format!("host port 8080/tcp is used by sandbox {}", pod.id));
    assert!(matches!(attach(&[on(HOST4, tcp(8080, 81))]), Err(AttachError::PortTaken { .. })));
    for bad in [tcp(0, 80), tcp(80, 0), on("198.51.100.1", tcp(80, 80)), on("::1", tcp(80, 80))] {
        assert!(matches!(attach(&[bad]), Err(AttachError::BadPort { .. })), "{bad}");
    }
    assert!(matches!(attach(&[tcp(90, 80), on(HOST4, tcp(90, 81))]), Err(AttachError::BadPort { .. })));

    let server = world.host.run(|| std::net::TcpListener::bind("127.0.0.1:8082").unwrap());
    let error = attach(&[tcp(8082, 80)]).unwrap_err();
    assert_eq!(error.to_string(), "host port 8082/tcp is in use by a process of the host");
    drop(server);
    let later = world.host.run(|| std::net::TcpListener::bind("0.0.0.0:8080"));
    assert!(later.is_err(), "the port is held");

    assert_eq!(net.leases().len(), 1, "nothing was left of what was refused");
    attach(&[tcp(8082, 80), udp(8080, 80), PortMapping { protocol: Protocol::Sctp, ..tcp(8080, 80) }])
        .unwrap();
}

#[test]
fn a_port_of_a_server_that_has_just_ended_is_held_like_others() {
    require_root!("a_port_of_a_server_that_has_just_ended_is_held_like_others");
    let world = World::new();
    let net = world.open();
    let server = world.host.run(|| std::net::TcpListener::bind("0.0.0.0:8080").unwrap());
    world.host.talk((ip("127.0.0.1"), 8080), &server);
    drop(server);
    crate::world::wait_until("connections of the server linger", || {
        world.host.sh("ss -tan state time-wait").contains(":8080")
    });
    let _pod = world.pod(&net, 1, &[tcp(8080, 80)]);
    let later = world.host.run(|| std::net::TcpListener::bind("0.0.0.0:8080"));
    assert!(later.is_err(), "the port is held");
}

#[test]
fn a_pod_may_have_many_ports_but_not_any_number() {
    require_root!("a_pod_may_have_many_ports_but_not_any_number");
    let world = World::new();
    let net = world.open();
    let ports = |count| (0..count).map(|n| tcp(10_000 + n, 80)).collect::<Vec<_>>();
    let spare = Ns::pod();
    let refused = world.host.run(|| net.attach(&sandbox(1), spare.fd(), &ports(1001)));
    assert!(matches!(refused, Err(AttachError::BadPort { .. })), "{refused:?}");
    let pod = world.pod(&net, 1, &ports(1000));
    let server = pod.ns.listen(80);
    world.outside.talk((ip(HOST6), 10_999), &server);
    drop(net);
    let net = world.open();
    world.outside.talk((ip(HOST4), 10_000), &server);
    world.host.run(|| net.detach(&pod.id).unwrap());
    assert!(!world.outside.connects((ip(HOST4), 10_500)));
}

#[test]
fn a_port_is_free_again_after_the_pod() {
    require_root!("a_port_is_free_again_after_the_pod");
    let world = World::new();
    let net = world.open();
    for id in 1..4 {
        let pod = world.pod(&net, id, &[tcp(8080, 80), udp(8080, 80)]);
        let server = pod.ns.listen(80);
        world.outside.talk((ip(HOST4), 8080), &server);
        world.host.run(|| net.detach(&pod.id).unwrap());
        assert!(!world.outside.connects((ip(HOST4), 8080)));
    }
    // A test beside this one may be starting a program, which holds all descriptors for a moment.
    crate::world::wait_until("the port is free", || {
        world.host.run(|| std::net::TcpListener::bind("0.0.0.0:8080")).is_ok()
    });
}
