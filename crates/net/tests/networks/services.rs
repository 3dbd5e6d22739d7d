//! Virtual addresses that lead to pods.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use berth_net::{Balanced, Builtin, Front, Protocol, ServiceError, Services};

use crate::world::{
    HOST4, HOST6, Ns, OUTSIDE4, Pod, World, ask_udp, ip, receive, require_root, tcp, wait_until,
};

fn served(ports: Vec<Balanced>) -> Services {
    Services { active: true, ports }
}

fn port(front: Front, protocol: Protocol, to: &[(IpAddr, u16)]) -> Balanced {
    Balanced { front, protocol, port: 80, to: to.iter().map(|to| SocketAddr::from(*to)).collect() }
}

fn set(world: &World, net: &Builtin, services: &Services) {
    world.host.run(|| net.set_services(services).unwrap());
}

/// Two addresses of services.
fn addresses(net: &Builtin) -> (IpAddr, IpAddr) {
    let network = net.service_network().unwrap();
    (network.cidr4.nth(20).unwrap().into(), network.cidr6.unwrap().nth(20).unwrap().into())
}

/// What a connection finds: the pod whose server has it afterwards.
fn who(from: &Ns, address: (IpAddr, u16), servers: &[&TcpListener]) -> usize {
    from.run(|| TcpStream::connect(SocketAddr::from(address)).unwrap());
    servers.iter().for_each(|server| server.set_nonblocking(true).unwrap());
    let mut found = None;
    wait_until("a server has the connection", || {
        found = servers.iter().position(|server| server.accept().is_ok());
        found.is_some()
    });
    servers.iter().for_each(|server| server.set_nonblocking(false).unwrap());
    found.unwrap()
}

fn refused(from: &Ns, address: (IpAddr, u16)) {
    let error = from.run(|| TcpStream::connect(SocketAddr::from(address))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address:?}: {error}");
}

fn pods(world: &World, net: &Builtin) -> [Pod; 3] {
    [1, 2, 3].map(|id| world.pod(net, id, &[]))
}

#[test]
fn connections_are_shared_between_pods_and_follow_their_number() {
    require_root!("connections_are_shared_between_pods_and_follow_their_number");
    let world = World::new();
    let net = world.open();
    let [a, b, client] = pods(&world, &net);
    let servers = [&a.ns.listen(8080), &b.ns.listen(8080)];
    let (v4, v6) = addresses(&net);
    let of = |pods: &[&Pod]| {
        let to4: Vec<_> = pods.iter().map(|pod| (pod.ip4(), 8080)).collect();
        let to6: Vec<_> = pods.iter().map(|pod| (pod.ip6(), 8080)).collect();
        let tcp = |ip, to: &[_]| port(Front::Address(ip), Protocol::Tcp, to);
        served(vec![tcp(v4, &to4), tcp(v6, &to6)])
    };
    set(&world, &net, &of(&[&a, &b]));
    for from in [&client.ns, &world.host, &a.ns] {
        for address in [v4, v6] {
            // A chance of one in 2^39 to see one of them alone.
            let seen: BTreeSet<_> = (0..40).map(|_| who(from, (address, 80), &servers)).collect();
            assert_eq!(seen, BTreeSet::from([0, 1]), "{address}");
        }
    }
    // What has been made stays; what is new goes to those that are left.
    let open = client.ns.run(|| TcpStream::connect((v4, 80)).unwrap());
    let old = [0, 1].map(|i| {
        servers[i].set_nonblocking(true).unwrap();
        servers[i].accept()
    });
    set(&world, &net, &of(&[&b]));
    for _ in 0..20 {
        assert_eq!(who(&client.ns, (v4, 80), &servers), 1);
        assert_eq!(who(&world.host, (v6, 80), &servers), 1);
    }
    let (kept, _) = old.into_iter().find_map(Result::ok).unwrap();
    std::io::Write::write_all(&mut &kept, b"x").unwrap();
    std::io::Read::read_exact(&mut &open, &mut [0]).unwrap();
    // None is left: refused at once, from everywhere.
    set(&world, &net, &of(&[]));
    for from in [&client.ns, &world.host] {
        let begun = std::time::Instant::now();
        refused(from, (v4, 80));
        assert!(begun.elapsed().as_millis() < 900, "{:?}", begun.elapsed());
        refused(from, (v6, 80));
        // So is what no service has.
        refused(from, (v4, 81));
    }
    let rules = world.host.sh("nft list ruleset");
    assert!(rules.contains("table inet berth-services"), "{rules}");
    set(&world, &net, &Services::default());
    let rules = world.host.sh("nft list ruleset; ip route; ip -6 route");
    assert!(!rules.contains("berth-services") && !rules.contains("10.212."), "{rules}");
}

#[test]
fn the_source_is_kept_but_between_pods() {
    require_root!("the_source_is_kept_but_between_pods");
    let world = World::new();
    let net = world.open();
    let [a, client, _] = pods(&world, &net);
    let server = a.ns.listen(8080);
    let (v4, v6) = addresses(&net);
    let [gateway4, gateway6] = a.attachment.gateways[..] else { panic!("two gateways") };
    let ports = vec![
        port(Front::Address(v4), Protocol::Tcp, &[(a.ip4(), 8080)]),
        port(Front::Address(v6), Protocol::Tcp, &[(a.ip6(), 8080)]),
        Balanced { port: 30_080, ..port(Front::Host, Protocol::Tcp, &[(a.ip4(), 8080), (a.ip6(), 8080)]) },
    ];
    set(&world, &net, &served(ports));
    // Answers would go straight to the other pod, and to the pod itself.
    for from in [&client, &a] {
        assert_eq!(from.ns.talk((v4, 80), &server), gateway4);
        assert_eq!(from.ns.talk((v6, 80), &server), gateway6);
    }
    assert_eq!(world.host.talk((v4, 80), &server), gateway4);
    assert_eq!(world.outside.talk((ip(HOST4), 30_080), &server), ip(OUTSIDE4));
    for address in [ip("127.0.0.1"), ip(HOST4), ip(HOST6)] {
        world.host.talk((address, 30_080), &server);
    }
    client.ns.talk((ip(HOST4), 30_080), &server);
    // Who sets a route to the block on another machine reaches nothing.
    world.outside.sh(&format!("ip route add {v4} via {HOST4}"));
    assert!(!world.outside.connects((v4, 80)));
    // The port is held, as those of pods are.
    let taken = world.host.run(|| TcpListener::bind("0.0.0.0:30080")).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    set(&world, &net, &Services::default());
    // A child that another test has just forked shares the socket until it executes.
    wait_until("the port is given back", || world.host.run(|| TcpListener::bind("0.0.0.0:30080").is_ok()));
    refused(&world.host, (ip(HOST4), 30_080));
}

#[test]
fn a_host_port_that_is_taken_is_refused() {
    require_root!("a_host_port_that_is_taken_is_refused");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[tcp(30_080, 80)]);
    let wanted = |number| {
        served(vec![Balanced { port: number, ..port(Front::Host, Protocol::Tcp, &[(pod.ip4(), 80)]) }])
    };
    let said = world.host.run(|| net.set_services(&wanted(30_080))).unwrap_err();
    assert!(matches!(said, ServiceError::Port(berth_net::AttachError::PortTaken { .. })), "{said}");
    let _listens = world.host.run(|| TcpListener::bind("0.0.0.0:30081").unwrap());
    let said = world.host.run(|| net.set_services(&wanted(30_081))).unwrap_err().to_string();
    assert!(said.contains("30081") && said.contains("in use by a process of the host"), "{said}");
    assert!(!world.host.sh("nft list ruleset").contains("berth-services"));
}

#[test]
fn flows_of_udp_leave_a_pod_that_is_no_longer_among_them() {
    require_root!("flows_of_udp_leave_a_pod_that_is_no_longer_among_them");
    let world = World::new();
    let net = world.open();
    let [a, b, client] = pods(&world, &net);
    let (of_a, of_b) = (a.ns.udp(5353), b.ns.udp(5353));
    let (v4, _) = addresses(&net);
    let to = |pod: &Pod| port(Front::Address(v4), Protocol::Udp, &[(pod.ip4(), 5353)]);
    let socket = client.ns.udp(0);
    let ask = || ask_udp(&socket, (v4, 80));
    set(&world, &net, &served(vec![to(&a)]));
    ask();
    let peer = receive(&of_a);
    of_a.send_to(b"pong", peer).unwrap();
    receive(&socket);
    // The same socket, which goes on sending.
    set(&world, &net, &served(vec![to(&b)]));
    ask();
    let peer = receive(&of_b);
    of_b.send_to(b"pong", peer).unwrap();
    receive(&socket);
    // One that stays keeps its flow, though others come.
    let both = Balanced { to: vec![(a.ip4(), 5353).into(), (b.ip4(), 5353).into()], ..to(&a) };
    set(&world, &net, &served(vec![both]));
    for _ in 0..10 {
        ask();
        receive(&of_b);
    }
}

#[test]
fn services_outlive_the_daemon_and_are_repaired() {
    require_root!("services_outlive_the_daemon_and_are_repaired");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[]);
    let server = pod.ns.listen(8080);
    let (v4, _) = addresses(&net);
    let wanted = served(vec![port(Front::Address(v4), Protocol::Tcp, &[(pod.ip4(), 8080)])]);
    set(&world, &net, &wanted);
    drop(net);
    world.host.talk((v4, 80), &server);
    let net = world.open();
    assert_eq!(addresses(&net).0, v4);
    // Before the new daemon says what there is.
    world.host.talk((v4, 80), &server);
    set(&world, &net, &wanted);
    world.host.sh("nft flush ruleset; ip link del berth0");
    world.host.run(|| net.verify().unwrap());
    world.host.talk((v4, 80), &server);
    world.host.sh("nft delete table inet berth-services");
    world.host.run(|| net.verify().unwrap());
    world.host.talk((v4, 80), &server);
    // What an administrator saves can be loaded again.
    world.host.sh("nft list ruleset > /dev/shm/berth-test-rules; nft flush ruleset; nft -f /dev/shm/berth-test-rules; rm /dev/shm/berth-test-rules");
    world.host.run(|| net.verify().unwrap());
    world.host.talk((v4, 80), &server);
    world.host.run(|| net.purge().unwrap());
    assert_eq!(world.host.sh("nft list ruleset").trim(), "");
    assert!(pod.ns.fd().as_fd().try_clone_to_owned().is_ok());
}

#[test]
fn routes_to_the_addresses_of_services_are_ours_alone() {
    require_root!("routes_to_the_addresses_of_services_are_ours_alone");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[]);
    let (v4, _) = addresses(&net);
    let wanted = served(vec![port(Front::Address(v4), Protocol::Tcp, &[(pod.ip4(), 8080)])]);
    let block = net.service_network().unwrap().cidr4;
    // One that somebody else made stays.
    world
        .host
        .sh(&format!("ip link add other type bridge; ip link set other up; ip route add {block} dev other"));
    let said = world.host.run(|| net.set_services(&wanted)).unwrap_err();
    assert!(matches!(said, ServiceError::RouteTaken { .. }), "{said}");
    assert!(world.host.sh(&format!("ip route show {block}")).contains("dev other"));
    world.host.sh(&format!("ip route del {block} dev other"));
    // Our own is found again.
    set(&world, &net, &wanted);
    set(&world, &net, &wanted);
    assert!(world.host.sh(&format!("ip route show {block}")).contains("dev berth0"));
    // The block belongs to the host by now: services get another one, and the way to this one is free.
    drop(net);
    world.host.sh(&format!("ip route add {block} dev other metric 7"));
    let net = world.open();
    let now = net.service_network().unwrap().cidr4;
    assert_ne!(now, block);
    let routes = world.host.sh(&format!("ip route show {block}"));
    assert!(routes.contains("dev other") && !routes.contains("dev berth0"), "{routes}");
}
