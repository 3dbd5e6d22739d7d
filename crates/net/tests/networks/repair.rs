//! What others have undone is repaired.

use std::os::fd::AsFd;

use berth_net::Builtin;
use berth_sys::netlink::Monitor;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::world::{HOST4, Pod, World, ip, require_root, sandbox, tcp, wait_until};

/// A pod with a host port, and all ways to it.
fn check_ways(world: &World, net: &Builtin, pod: &Pod, server: &std::net::TcpListener, next: u8) {
    let other = world.pod(net, next, &[]);
    for address in pod.attachment.addresses.clone() {
        world.host.talk((address, 80), server);
        other.ns.talk((address, 80), server);
    }
    world.outside.talk((ip(HOST4), 8080), server);
    world.host.talk((ip("127.0.0.1"), 8080), server);
    world.host.run(|| net.detach(&other.id).unwrap());
}

#[test]
fn a_bridge_that_was_deleted_comes_back_with_its_ports() {
    require_root!("a_bridge_that_was_deleted_comes_back_with_its_ports");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[tcp(8080, 80)]);
    let server = pod.ns.listen(80);
    world.host.sh("ip link delete berth0");
    // An attach needs the bridge and repairs it itself.
    check_ways(&world, &net, &pod, &server, 2);
    world.host.sh("ip link delete berth0");
    world.host.run(|| net.verify().unwrap());
    assert!(!world.host.connects((pod.ip4(), 81)), "reached, and refused");
    check_ways(&world, &net, &pod, &server, 3);
    assert!(world.host.sh("bridge -d link show").contains("hairpin on"));
    // Also while no daemon runs.
    drop(net);
    world.host.sh("ip link delete berth0");
    let net = world.open();
    check_ways(&world, &net, &pod, &server, 4);
    world.host.sh("ip link delete berth0");
    world.host.run(|| net.purge().unwrap());
}

#[test]
fn a_bridge_that_was_switched_off_or_lost_its_address_works_again() {
    require_root!("a_bridge_that_was_switched_off_or_lost_its_address_works_again");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[tcp(8080, 80)]);
    let server = pod.ns.listen(80);
    for (n, harm) in [
        "ip link set berth0 down",
        "ip addr flush dev berth0",
        "ip link set berth0 down; ip link set berth0 up",
    ]
    .into_iter()
    .enumerate()
    {
        world.host.sh(harm);
        world.host.run(|| net.verify().unwrap());
        check_ways(&world, &net, &pod, &server, 2 + u8::try_from(n).unwrap());
    }
}

#[test]
fn a_table_that_was_emptied_or_replaced_by_an_old_copy_is_rebuilt() {
    require_root!("a_table_that_was_emptied_or_replaced_by_an_old_copy_is_rebuilt");
    let world = World::new();
    let net = world.open();
    let gone = world.pod(&net, 1, &[tcp(8081, 80)]);
    let copy = world.host.sh("nft list ruleset");
    let file = world.dir().join("rules.nft");
    std::fs::write(&file, format!("flush ruleset\n{copy}")).unwrap();
    world.host.run(|| net.detach(&gone.id).unwrap());
    let pod = world.pod(&net, 2, &[tcp(8080, 80)]);
    let server = pod.ns.listen(80);
    let table = world.host.sh("nft list table inet berth");
    let bridge = world.host.sh("nft list table bridge berth");
    for harm in ["nft flush table inet berth", "nft flush ruleset", &format!("nft -f {}", file.display())] {
        world.host.sh(harm);
        assert!(!world.outside.connects((ip(HOST4), 8080)), "{harm}");
        world.host.run(|| net.verify().unwrap());
        assert_eq!(world.host.sh("nft list table inet berth"), table, "{harm}");
        assert_eq!(world.host.sh("nft list table bridge berth"), bridge, "{harm}");
        world.outside.talk((ip(HOST4), 8080), &server);
    }
}

#[test]
fn the_ports_of_a_pod_do_not_come_back_after_it() {
    require_root!("the_ports_of_a_pod_do_not_come_back_after_it");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[tcp(8080, 80)]);
    world.host.sh("nft delete element inet berth ports4 { tcp . 8080 }");
    world.host.run(|| net.detach(&pod.id).unwrap());
    world.host.sh("nft flush ruleset");
    net.verify().unwrap();
    assert!(!world.host.sh("nft list table inet berth").contains("8080"));
    world.pod(&net, 2, &[tcp(8080, 80)]);
}

#[test]
fn a_table_of_iptables_that_another_program_owns_does_not_stop_pods() {
    require_root!("a_table_of_iptables_that_another_program_owns_does_not_stop_pods");
    let world = World::new();
    let mut owner = world.host.run(|| {
        let mut nft = std::process::Command::new("nft");
        nft.arg("-i").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap()
    });
    let rules = b"add table ip filter { flags owner; }\n\
        add chain ip filter FORWARD { type filter hook forward priority 0; }\n";
    std::io::Write::write_all(owner.stdin.as_mut().unwrap(), rules).unwrap();
    wait_until("the chain is there", || world.host.can("nft list chain ip filter FORWARD"));
    let net = world.open();
    let pod = world.pod(&net, 1, &[tcp(8080, 80)]);
    let server = pod.ns.listen(80);
    check_ways(&world, &net, &pod, &server, 2);
    owner.kill().unwrap();
    owner.wait().unwrap();
}

#[test]
fn monitors_hear_of_what_must_be_put_right() {
    require_root!("monitors_hear_of_what_must_be_put_right");
    let world = World::new();
    let net = world.open();
    let monitors = world.host.run(|| net.monitors().unwrap());
    let heard = || {
        let mut fds = monitors.each_ref().map(|m| PollFd::from_borrowed_fd(m.as_fd(), PollFlags::IN));
        poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
    };
    assert!(!heard());
    let harms =
        ["nft flush ruleset", "ip link set berth0 down", "ip addr flush dev berth0", "ip link del berth0"];
    for harm in harms {
        world.host.sh(harm);
        wait_until(harm, heard);
        world.host.run(|| net.verify().unwrap());
        wait_until("quiet", || !monitors.each_ref().map(Monitor::drain).contains(&true));
    }
    // More than the monitors have space for.
    for id in 0..40 {
        world.pod(&net, id, &[tcp(8080, 80)]);
        world.host.run(|| net.detach(&sandbox(id)).unwrap());
    }
    wait_until("what did not fit is noticed, too", heard);
    wait_until("quiet", || !monitors.each_ref().map(Monitor::drain).contains(&true));
}
