//! Many of everything.

use berth_net::{AttachError, Builtin};

use crate::world::{HOST4, HOST6, Ns, World, ip, require_root, sandbox, tcp};

#[test]
fn thousands_of_host_ports_survive_a_restart_and_a_flush() {
    require_root!("thousands_of_host_ports_survive_a_restart_and_a_flush");
    let world = World::new();
    let net = world.open();
    let pods: Vec<_> = (0..5_u8)
        .map(|pod| {
            let first = 10_000 + 1000 * u16::from(pod);
            let ports: Vec<_> = (first..first + 1000).map(|port| tcp(port, 80)).collect();
            world.pod(&net, pod, &ports)
        })
        .collect();
    let server = pods[4].ns.listen(80);
    let check = |net: &Builtin| {
        net.verify().unwrap();
        world.outside.talk((ip(HOST4), 14_999), &server);
        world.outside.talk((ip(HOST6), 14_000), &server);
    };
    check(&net);
    drop(net);
    let net = world.open();
    check(&net);
    world.host.sh("nft flush ruleset");
    check(&net);
}

#[test]
fn a_bridge_without_a_free_port_is_named() {
    require_root!("a_bridge_without_a_free_port_is_named");
    let world = World::new();
    let net = world.open();
    world.host.sh("for i in $(seq 512); do
             echo link add a$i master berth0 type veth peer name b$i
             [ $i = 512 ] || echo link set b$i master berth0
         done | ip -batch -");
    let ns = Ns::pod();
    let attach = || world.host.run(|| net.attach(&sandbox(1), ns.fd(), &[tcp(8080, 80)]));
    let error = attach().unwrap_err();
    assert!(matches!(error, AttachError::BridgeFull { .. }), "{error:?}");
    assert!(net.leases().is_empty());
    world.host.sh("ip link set a7 nomaster");
    attach().unwrap();
}
