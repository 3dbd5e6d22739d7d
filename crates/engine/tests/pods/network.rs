//! Pods on the built-in network, in a network and mount namespace of the test's own.

use berth_engine::NetworkChoice;
use berth_testkit::{require, require_root};
use berth_types::lifecycle::sandbox::State;

use crate::harness::{WAITS, World, sandbox, script, started};

/// Set in the process that has the namespaces.
pub(crate) const INSIDE: &str = "BERTH_TEST_INSIDE";

#[test]
pub(crate) fn pods_have_addresses_names_and_reach_each_other() {
    require_root!();
    if std::env::var_os(INSIDE).is_none() {
        return again_inside("network::pods_have_addresses_names_and_reach_each_other");
    }
    let mut world = World::with_network(NetworkChoice::Builtin);
    let engine = world.with_image();
    world.run(async {
        let first = engine.run_sandbox(sandbox("first")).await.unwrap();
        let second = engine.run_sandbox(sandbox("second")).await.unwrap();
        let serves = started(&engine, &first, script("main", WAITS)).await;
        let asks = started(&engine, &second, script("main", WAITS)).await;
        let address = engine.sandbox(first.as_str()).unwrap().addresses[0];
        let run = async |id, script: String| {
            let out = engine.exec_sync(id, vec!["sh".into(), "-c".into(), script], None).await.unwrap();
            String::from_utf8_lossy(&out.stdout).into_owned()
        };
        let hosts = run(&serves, "cat /etc/hosts /etc/hostname".into()).await;
        assert!(hosts.contains(&address.to_string()) && hosts.contains("first"), "{hosts}");
        let shown = run(&serves, "ip addr show eth0".into()).await;
        assert!(shown.contains(&address.to_string()), "{shown}");
        let reached = run(&asks, format!("busybox ping -c 1 -W 5 {address} >/dev/null && echo yes")).await;
        assert_eq!(reached, "yes\n");
        engine.remove_sandbox(&first).await.unwrap();
        engine.remove_sandbox(&second).await.unwrap();
    });
    world.finish(engine);
    let links = std::process::Command::new("ip").args(["-o", "link"]).output().unwrap();
    assert_eq!(String::from_utf8(links.stdout).unwrap().lines().count(), 1, "only loopback is left");
}

#[test]
pub(crate) fn a_pod_whose_lease_is_lost_is_ended_before_another_has_its_address() {
    require_root!();
    if std::env::var_os(INSIDE).is_none() {
        return again_inside("network::a_pod_whose_lease_is_lost_is_ended_before_another_has_its_address");
    }
    let mut world = World::with_network(NetworkChoice::Builtin);
    let engine = world.with_image();
    let id = world.run(async {
        let id = engine.run_sandbox(sandbox("old")).await.unwrap();
        started(&engine, &id, script("main", WAITS)).await;
        id
    });
    world.kill(engine);
    std::fs::remove_dir_all(world.config.root.join("network")).unwrap();
    let engine = world.open();
    let view = engine.sandbox(id.as_str()).unwrap();
    assert_eq!((view.state, view.addresses.len()), (State::NotReady, 0));
    assert!(view.message.contains("lease"), "{}", view.message);
    assert!(view.containers.iter().all(|c| c.exit.is_some()));
    world.run(async {
        let next = engine.run_sandbox(sandbox("next")).await.unwrap();
        engine.remove_sandbox(&next).await.unwrap();
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn sysctls_of_the_pods_interface_are_set() {
    require_root!();
    if std::env::var_os(INSIDE).is_none() {
        return again_inside("network::sysctls_of_the_pods_interface_are_set");
    }
    let mut world = World::with_network(NetworkChoice::Builtin);
    let engine = world.with_image();
    let before = world.traces();
    world.run(async {
        let mut config = sandbox("tuned");
        for (name, value) in [
            ("net.ipv4.conf.eth0.arp_announce", "2"),
            ("net/ipv4/conf/all/arp_ignore", "1"),
            ("net/ipv4/ip_unprivileged_port_start", "500"),
        ] {
            config.sysctls.insert(name.into(), value.into());
        }
        let id = engine.run_sandbox(config.clone()).await.unwrap();
        let main = started(&engine, &id, script("main", WAITS)).await;
        let read = "cd /proc/sys/net/ipv4; cat conf/eth0/arp_announce conf/all/arp_ignore ip_unprivileged_port_start";
        let out = engine.exec_sync(&main, vec!["sh".into(), "-c".into(), read.into()], None).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), "2\n1\n500\n");
        engine.remove_sandbox(&id).await.unwrap();
        // What cannot be set gives everything back.
        config.sysctls.insert("net.ipv4.conf.eth1.arp_announce".into(), "2".into());
        engine.run_sandbox(config).await.unwrap_err();
        assert_eq!(world.traces(), before);
    });
    world.finish(engine);
}

#[test]
pub(crate) fn pods_keep_their_network_whatever_becomes_of_the_firewall_and_the_bridge() {
    require_root!();
    if std::env::var_os(INSIDE).is_none() {
        return again_inside(
            "network::pods_keep_their_network_whatever_becomes_of_the_firewall_and_the_bridge",
        );
    }
    let mut world = World::with_network(NetworkChoice::Builtin);
    let engine = world.with_image();
    let bridge = world.config.builtin.bridge.clone();
    world.run(async {
        let mut config = sandbox("served");
        config.ports.push(berth_engine::model::PortMapping {
            protocol: berth_engine::model::Protocol::Tcp,
            host_ip: None,
            host_port: 8080,
            container_port: 80,
        });
        let id = engine.run_sandbox(config).await.unwrap();
        let serve = "echo yes > /tmp/index.html; busybox httpd -f -p 80 -h /tmp";
        started(&engine, &id, script("main", serve)).await;
        for harm in ["true", "nft flush ruleset", &format!("ip link delete {bridge}"), "nft flush ruleset"] {
            let status = std::process::Command::new("sh").args(["-c", harm]).status().unwrap();
            assert!(status.success(), "{harm}");
            // It asks again for half a minute.
            let ask = "curl -s -m 1 --retry 30 --retry-delay 1 --retry-all-errors http://127.0.0.1:8080/";
            let answer = std::process::Command::new("sh").args(["-c", ask]).output().unwrap().stdout;
            assert_eq!(String::from_utf8_lossy(&answer), "yes\n", "after {harm}");
        }
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

/// Runs one test of this program again in namespaces of its own.
/// Mounts are shared there, as systemd leaves them on a host.
pub(crate) fn again_inside(test: &str) {
    require!(berth_testkit::guard::has_program("unshare"), "needs unshare (util-linux)");
    let exe = std::env::current_exe().unwrap();
    // The programs are built outside, where the network may be needed.
    crate::harness::programs();
    let inside = std::process::Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--propagation",
            "shared",
            "sh",
            "-c",
            "ip link set lo up; exec \"$0\" \"$@\"",
        ])
        .arg(exe)
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    // Its own lines are not this run's results.
    let said = [inside.stdout, inside.stderr].concat();
    assert!(inside.status.success(), "{}", String::from_utf8_lossy(&said));
}
