//! With rules of other programs: docker's policy to drop what is forwarded, and reloads that remove ours.

use crate::world::{HOST4, HOST6, OUTSIDE4, OUTSIDE6, World, ip, require_root, tcp};

const DROP: &str = "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP";

fn check_all(world: &World, net: &berth_net::Builtin, first_id: u8) {
    let pod = world.pod(net, first_id, &[tcp(8090, 80)]);
    let other = world.pod(net, first_id + 1, &[]);
    let server = pod.ns.listen(80);
    world.outside.talk((ip(HOST4), 8090), &server);
    world.outside.talk((ip(HOST6), 8090), &server);
    other.ns.talk((pod.ip4(), 80), &server);
    other.ns.talk((pod.ip6(), 80), &server);
    other.ns.talk((ip(HOST4), 8090), &server);
    pod.ns.talk((ip(HOST4), 8090), &server);
    let server = world.outside.listen(80);
    pod.ns.talk((ip(OUTSIDE4), 80), &server);
    pod.ns.talk((ip(OUTSIDE6), 80), &server);
    world.host.run(|| {
        net.detach(&pod.id).unwrap();
        net.detach(&other.id).unwrap();
    });
}

#[test]
fn a_policy_to_drop_does_not_stop_pods() {
    require_root!("a_policy_to_drop_does_not_stop_pods");
    let world = World::new();
    world.host.sh(DROP);
    let net = world.open();
    check_all(&world, &net, 1);
    let expected = "-P FORWARD DROP\n\
                    -A FORWARD -i berth0 -j ACCEPT\n\
                    -A FORWARD -o berth0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT\n";
    assert_eq!(world.host.sh("iptables -S FORWARD"), expected, "as iptables itself would have it");
    assert_eq!(world.host.sh("ip6tables -S FORWARD"), expected);
    // What iptables can read, it can also write back.
    world.host.sh("iptables-save | iptables-restore; ip6tables-save | ip6tables-restore");
    check_all(&world, &net, 3);
    assert_eq!(world.host.sh("iptables -S FORWARD"), expected, "and not twice");

    // One of the two is lost, or loaded twice.
    for harm in ["iptables -D FORWARD 1", "iptables -I FORWARD -i berth0 -j ACCEPT"] {
        world.host.sh(harm);
        net.verify().unwrap();
        assert_eq!(world.host.sh("iptables -S FORWARD"), expected, "{harm}");
    }

    world.host.run(|| net.purge().unwrap());
    assert_eq!(world.host.sh("iptables -S FORWARD"), "-P FORWARD DROP\n");
    assert_eq!(world.host.sh("nft list tables").matches("berth").count(), 0);
}

#[test]
fn a_policy_to_drop_of_old_iptables_does_not_stop_pods() {
    require_root!("a_policy_to_drop_of_old_iptables_does_not_stop_pods");
    let world = World::new();
    if !world.host.can("iptables-legacy -S && ip6tables-legacy -S") {
        eprintln!(
            "skipped: a_policy_to_drop_of_old_iptables_does_not_stop_pods: the kernel has no old iptables"
        );
        return;
    }
    world.host.sh("iptables-legacy -P FORWARD DROP; ip6tables-legacy -P FORWARD DROP");
    let net = world.open();
    check_all(&world, &net, 1);
    drop(net);
    let net = world.open();
    check_all(&world, &net, 3);
    assert_eq!(world.host.sh("iptables-legacy -S FORWARD").lines().count(), 3, "not twice");
    world.host.run(|| net.purge().unwrap());
    assert_eq!(world.host.sh("iptables-legacy -S FORWARD"), "-P FORWARD DROP\n");
}

#[test]
fn a_policy_to_drop_stops_others_still() {
    require_root!("a_policy_to_drop_stops_others_still");
    let world = World::new();
    world.host.sh(DROP);
    let net = world.open();
    let pod = world.pod(&net, 1, &[]);
    let _server = pod.ns.listen(80);
    world.outside.sh(&format!("ip route add 10.208.0.0/20 via {HOST4}"));
    assert!(!world.outside.connects((pod.ip4(), 80)), "only published ports are open");
}

#[test]
fn rules_come_back_after_others_changed_the_rule_set() {
    require_root!("rules_come_back_after_others_changed_the_rule_set");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[tcp(8080, 80)]);
    let server = pod.ns.listen(80);
    // docker starts
    world.host.sh(DROP);
    assert!(!world.outside.connects((ip(HOST4), 8080)));
    net.verify().unwrap();
    world.outside.talk((ip(HOST4), 8080), &server);
    // the host's own rules are loaded again
    world.host.sh("nft flush ruleset");
    assert!(!world.outside.connects((ip(HOST4), 8080)));
    net.verify().unwrap();
    world.outside.talk((ip(HOST4), 8080), &server);
    // and any attach looks, too
    world.host.sh(&format!("nft flush ruleset; {DROP}"));
    check_all(&world, &net, 2);
    world.outside.talk((ip(HOST4), 8080), &server);
}

#[test]
fn others_may_change_the_rule_set_all_the_time() {
    require_root!("others_may_change_the_rule_set_all_the_time");
    let world = World::new();
    let net = world.open();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                world.host.sh(
                    "nft add table ip other; nft delete table ip other; nft delete table inet berth || true",
                );
                rounds += 1;
            }
            rounds
        });
        for id in 0..40 {
            let pod = world.pod(&net, id, &[tcp(8080, 80)]);
            world.host.run(|| net.detach(&pod.id).unwrap());
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(other.join().unwrap() > 0);
    });
    net.verify().unwrap();
    check_all(&world, &net, 50);
}
