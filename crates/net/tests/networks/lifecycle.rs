//! Leases over the life of pods and daemons.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use berth_net::{AttachError, Builtin, Config, OpenError};

use crate::world::{HOST4, Ns, Pod, World, ip, require_root, sandbox, tcp, wait_until};

fn small(world: &World, cidr: &str) -> Config {
    Config { cidr4: Some(cidr.parse().unwrap()), ..world.config() }
}

fn ports_of_bridge(world: &World) -> usize {
    world.host.sh("ip -o link show master berth0").lines().count()
}

/// Detaches and ends the pod's namespace, as the engine does.
fn end(world: &World, net: &Builtin, pod: Pod) {
    world.host.run(|| net.detach(&pod.id).unwrap());
    drop(pod);
}

#[test]
fn an_address_is_used_again_when_the_kernel_is_done_with_it() {
    require_root!("an_address_is_used_again_when_the_kernel_is_done_with_it");
    let world = World::new();
    let net = world.open_with(small(&world, "10.9.0.0/30"));
    let pod = world.pod(&net, 1, &[]);
    let address = pod.ip4();
    world.host.run(|| net.detach(&pod.id).unwrap());

    let next = Ns::pod();
    let attach = |id| world.host.run(|| net.attach(&sandbox(id), next.fd(), &[]));
    let error = attach(2).unwrap_err();
    assert!(matches!(error, AttachError::Exhausted { leases: 0, draining: 1, .. }), "{error:?}");
    drop(pod);
    wait_until("the kernel removes the interface", || ports_of_bridge(&world) == 0);
    assert_eq!(attach(2).unwrap().addresses[0], address);
    let error = attach(3).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no free address in 10.9.0.0/30: 1 in use, 0 not yet released by the kernel"
    );
}

#[test]
fn detach_is_idempotent_and_needs_no_namespace() {
    require_root!("detach_is_idempotent_and_needs_no_namespace");
    let world = World::new();
    let net = world.open();
    let Pod { ns, id, .. } = world.pod(&net, 1, &[tcp(8080, 80)]);
    drop(ns);
    wait_until("the kernel removes the interface", || ports_of_bridge(&world) == 0);
    world.host.run(|| {
        net.detach(&id).unwrap();
        net.detach(&id).unwrap();
        net.detach(&sandbox(9)).unwrap();
    });
    assert!(net.leases().is_empty());
    assert!(net.orphans().unwrap().is_empty());
}

#[test]
fn a_new_daemon_goes_on_where_the_old_one_was() {
    require_root!("a_new_daemon_goes_on_where_the_old_one_was");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[tcp(8080, 80)]);
    let gone = world.pod(&net, 2, &[tcp(8081, 80)]);
    let before = net.leases();
    let server = pod.ns.listen(80);
    drop(net);
    world.outside.talk((ip(HOST4), 8080), &server);

    let net = world.open();
    assert_eq!(net.leases(), before);
    assert_eq!(net.find(&pod.id).unwrap(), pod.attachment);
    world.outside.talk((ip(HOST4), 8080), &server);
    let again = world.host.run(|| net.attach(&pod.id, pod.ns.fd(), &[]));
    assert!(matches!(again, Err(AttachError::AlreadyAttached { .. })), "{again:?}");
    let third = world.pod(&net, 3, &[]);
    assert_eq!(third.ip4(), ip("10.208.0.4"), "the turn goes on, too");

    let swept = world.host.run(|| net.sweep(&HashSet::from([pod.id.clone(), third.id.clone()])).unwrap());
    assert_eq!(swept.leases.iter().map(|lease| &lease.sandbox).collect::<Vec<_>>(), [&gone.id]);
    assert_eq!(swept.interfaces, std::slice::from_ref(&gone.attachment.host_interface));
    assert_eq!(net.leases().len(), 2);
    assert!(net.orphans().unwrap().is_empty());
    world.outside.talk((ip(HOST4), 8080), &server);
}

#[test]
fn an_address_rests_across_a_restart_while_its_interface_is_there() {
    require_root!("an_address_rests_across_a_restart_while_its_interface_is_there");
    let world = World::new();
    let net = world.open_with(small(&world, "10.9.0.0/29"));
    let pod = world.pod(&net, 1, &[]);
    world.host.run(|| net.detach(&pod.id).unwrap());
    drop(net);
    let net = world.open_with(small(&world, "10.9.0.0/29"));
    let others: Vec<_> = (2..6).map(|id| world.pod(&net, id, &[])).collect();
    assert!(others.iter().all(|other| other.ip4() != pod.ip4()));
    let full = world.host.run(|| net.attach(&sandbox(7), Ns::pod().fd(), &[]));
    assert!(matches!(full, Err(AttachError::Exhausted { leases: 4, draining: 1, .. })), "{full:?}");
}

#[test]
fn a_failed_attach_leaves_nothing() {
    require_root!("a_failed_attach_leaves_nothing");
    let world = World::new();
    let net = world.open();
    let ns = Ns::pod();
    ns.sh("ip link add eth0 type bridge");
    let table = world.host.sh("nft list table inet berth");
    let error = world.host.run(|| net.attach(&sandbox(1), ns.fd(), &[tcp(8080, 80)])).unwrap_err();
    assert_eq!(
        berth_types::error::chain(&error),
        format!(
            "connect sandbox {} to the network: create the pod's interfaces: File exists (os error 17)",
            sandbox(1).short()
        )
    );
    let file = std::fs::File::open("/dev/null").unwrap();
    let error = world.host.run(|| net.attach(&sandbox(1), std::os::fd::AsFd::as_fd(&file), &[])).unwrap_err();
    assert!(berth_types::error::chain(&error).contains("enter the network namespace"), "{error:?}");
    assert!(net.leases().is_empty());
    assert_eq!(ports_of_bridge(&world), 0);
    assert_eq!(world.host.sh("nft list table inet berth"), table);
    assert_eq!(std::fs::read_dir(world.dir().join("default/leases")).unwrap().count(), 0);
    wait_until("the port is free", || world.host.run(|| std::net::TcpListener::bind("0.0.0.0:8080")).is_ok());
}

#[test]
fn foreign_interfaces_are_not_touched() {
    require_root!("foreign_interfaces_are_not_touched");
    for (make, found) in [
        ("ip link add berth0 type bridge", "a bridge made by something else"),
        ("ip link add berth0 type veth peer name x0", "veth"),
    ] {
        let world = World::new();
        world.host.sh(make);
        let error = world.host.run(|| Builtin::open(world.config()).unwrap_err());
        let OpenError::ForeignInterface { found: said, .. } = &error else { panic!("{error:?}") };
        assert_eq!(said, found);
        assert!(!world.host.sh("nft list tables").contains("berth"));
    }
}

#[test]
fn what_others_connect_to_the_bridge_is_not_touched() {
    require_root!("what_others_connect_to_the_bridge_is_not_touched");
    let world = World::new();
    let net = world.open();
    world.host.sh(
        "ip link add vm0 type veth peer name x6; ip link set x6 master berth0; ip link add veth7 master berth0 type veth peer name x7
         ip link add veth0ad00909 master berth0 type veth peer name x8",
    );
    assert_eq!(net.orphans().unwrap(), ["veth0ad00909"]);
    let swept = world.host.run(|| net.sweep(&HashSet::new()).unwrap());
    assert_eq!(swept.interfaces, ["veth0ad00909"]);
    assert_eq!(ports_of_bridge(&world), 2);
}

#[test]
fn a_host_that_switched_ipv6_off_keeps_its_pods() {
    require_root!("a_host_that_switched_ipv6_off_keeps_its_pods");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[tcp(8080, 80)]);
    let server = pod.ns.listen(80);
    drop(net);
    world.host.sh("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    let net = world.open();
    world.outside.talk((ip(HOST4), 8080), &server);
    world.host.run(|| net.detach(&pod.id).unwrap());
    world.pod(&net, 2, &[tcp(8080, 80)]);
}

#[test]
fn a_block_in_use_is_kept_whatever_the_host_connects_to() {
    require_root!("a_block_in_use_is_kept_whatever_the_host_connects_to");
    let world = World::new();
    let net = world.open_with(small(&world, "10.9.0.0/24"));
    let pod = world.pod(&net, 1, &[]);
    drop(net);
    world.host.sh("ip link add vpn0 type bridge; ip link set vpn0 up; ip route add 10.9.0.128/25 dev vpn0");
    let net = world.open_with(small(&world, "10.9.0.0/24"));
    assert_eq!(net.find(&pod.id).unwrap(), pod.attachment);
    drop(net);
    let other = Config {
        cidr6: berth_net::Ipv6::IfAvailable("fd77::/64".parse().unwrap()),
        ..small(&world, "10.9.0.0/24")
    };
    let net = world.open_with(other.clone());
    assert_eq!(net.find(&pod.id).unwrap(), pod.attachment, "the IPv6 block stays, too");
    world.host.run(|| net.detach(&pod.id).unwrap());
    drop(net);
    world.host.sh("ip route del 10.9.0.128/25");
    assert_eq!(world.open_with(other).cidr6().unwrap().to_string(), "fd77::/64");
}

#[test]
fn overlapping_blocks_are_refused_or_avoided() {
    require_root!("overlapping_blocks_are_refused_or_avoided");
    let world = World::new();
    let error = world.host.run(|| Builtin::open(small(&world, "192.0.2.0/25")).unwrap_err());
    assert_eq!(error.to_string(), "pod addresses 192.0.2.0/25 overlap 192.0.2.0/24 on interface up0");
    world.host.sh("ip route add 10.208.3.0/24 via 192.0.2.2");
    let net = world.open();
    assert_eq!(net.cidr4().to_string(), "10.208.16.0/20");
    let pod = world.pod(&net, 1, &[]);
    drop(net);
    world.host.sh("ip route del 10.208.3.0/24");
    let net = world.open();
    assert_eq!(net.cidr4().to_string(), "10.208.16.0/20", "what was chosen is kept");
    drop(net);
    let error = world.host.run(|| Builtin::open(small(&world, "10.9.0.0/24")).unwrap_err());
    assert!(error.to_string().contains("while sandbox"), "{error}");
    drop(pod);
}

#[test]
fn purge_leaves_the_host_as_it_was() {
    require_root!("purge_leaves_the_host_as_it_was");
    let world = World::new();
    let look = || {
        world.host.sh(
            "ip -o link | sed 's/<.*> mtu/mtu/; s/ state.*//'; ip addr show dev up0 scope global | grep inet; ip route; nft list ruleset",
        )
    };
    let before = look();
    let net = world.open();
    let pod = world.pod(&net, 1, &[tcp(8080, 80)]);
    assert_ne!(look(), before);
    world.host.run(|| net.purge().unwrap());
    assert_eq!(look(), before);
    assert!(!world.dir().join("default").exists());
    drop(pod);
}

#[test]
fn a_hundred_pods_at_once() {
    require_root!("a_hundred_pods_at_once");
    const CLIENTS: u8 = 16;
    const EACH: u8 = 7;
    let world = World::new();
    let net = world.open();
    let spaces: Vec<Ns> = (0..CLIENTS * EACH).map(|_| Ns::pod()).collect();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (net, spaces, world) = (&net, &spaces, &world);
                scope.spawn(move || world.host.run(|| attach_some(net, spaces, client * EACH, EACH)))
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    times.sort();
    eprintln!("16 clients: attach median {:?}, longest {:?}", times[times.len() / 2], times[times.len() - 1]);
    let leases = net.leases();
    let addresses: HashSet<_> = leases.iter().map(|lease| lease.address4).collect();
    assert_eq!(addresses.len(), usize::from(CLIENTS * EACH));
    assert_eq!(ports_of_bridge(&world), addresses.len());

    let server = spaces[0].listen(80);
    world.outside.talk((ip(HOST4), 20_000), &server);
    let first = leases.iter().find(|lease| lease.sandbox == sandbox(0)).unwrap();
    spaces[usize::from(CLIENTS * EACH) - 1].talk((first.address4.into(), 80), &server);

    world.host.run(|| leases.iter().for_each(|lease| net.detach(&lease.sandbox).unwrap()));
    drop((spaces, server));
    wait_until("the kernel removes the interfaces", || net.orphans().unwrap().is_empty());
    assert!(net.leases().is_empty());
}

fn attach_some(net: &Builtin, spaces: &[Ns], from: u8, count: u8) -> Vec<Duration> {
    let attach = |n: u8| {
        let begin = Instant::now();
        let port = tcp(20_000 + u16::from(n), 80);
        net.attach(&sandbox(n), spaces[usize::from(n)].fd(), &[port]).unwrap();
        begin.elapsed()
    };
    (from..from + count).map(attach).collect()
}

#[test]
fn attach_and_detach_one_after_the_other() {
    require_root!("attach_and_detach_one_after_the_other");
    let world = World::new();
    let net = world.open();
    for ports in [vec![], vec![tcp(8080, 80)]] {
        let mut attach = Vec::new();
        let mut detach = Vec::new();
        for id in 0..50 {
            let ns = Ns::pod();
            world.host.run(|| {
                let begin = Instant::now();
                net.attach(&sandbox(id), ns.fd(), &ports).unwrap();
                attach.push(begin.elapsed());
                let begin = Instant::now();
                net.detach(&sandbox(id)).unwrap();
                detach.push(begin.elapsed());
            });
        }
        attach.sort();
        detach.sort();
        eprintln!("{} ports: attach median {:?}, detach median {:?}", ports.len(), attach[25], detach[25]);
    }
    let pod = world.pod(&net, 200, &[]);
    end(&world, &net, pod);
}
