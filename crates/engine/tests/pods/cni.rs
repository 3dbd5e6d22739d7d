//! Pods by CNI plugins, in a network and mount namespace of the test's own.

use std::path::Path;
use std::time::Duration;

use berth_engine::model::{Network, PortMapping, Protocol};
use berth_engine::{Engine, NetworkChoice};
use berth_testkit::{executable, require, require_root, wait_until};
use berth_types::lifecycle::sandbox::State;
use berth_types::{Classify, Kind};
use serde_json::json;

use crate::harness::{LIMIT, WAITS, World, sandbox, script, started};
use crate::network::{INSIDE, again_inside};

/// Runs the rest of the test in namespaces of its own.
macro_rules! inside {
    ($name:literal) => {
        require_root!();
        require!(Path::new("/usr/lib/cni/bridge").exists(), "needs the package containernetworking-plugins");
        if std::env::var_os(INSIDE).is_none() {
            return again_inside(concat!("cni::", $name));
        }
    };
}

fn world() -> World {
    let world = World::with_network(NetworkChoice::Cni);
    std::fs::create_dir(world.path().join("bin")).unwrap();
    world
}

/// The usual network.
fn bridge(world: &World) -> serde_json::Value {
    json!({ "cniVersion": "1.0.0", "name": "pods", "plugins": [
        {
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
            "ipam": {
                "type": "host-local", "dataDir": world.path().join("data"),
                "ranges": [[{ "subnet": "10.9.0.0/24" }], [{ "subnet": "fd00:9::/64" }]],
                "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
            },
        },
        { "type": "portmap", "capabilities": { "portMappings": true } },
    ] })
}

fn configure(world: &World, list: &serde_json::Value) {
    std::fs::create_dir_all(&world.config.cni.conf_dir).unwrap();
    std::fs::write(world.config.cni.conf_dir.join("10.conflist"), list.to_string()).unwrap();
}

/// A network of scripts.
fn chain(world: &World, plugins: &[&str]) {
    let plugins: Vec<_> = plugins.iter().map(|kind| json!({ "type": kind })).collect();
    configure(world, &json!({ "cniVersion": "1.0.0", "name": "pods", "plugins": plugins }));
}

const GOOD: &str =
    r#"cat >/dev/null; [ $CNI_COMMAND = ADD ] && echo '{"ips":[{"address":"10.9.0.2/24"}]}'; exit 0"#;

fn plugin(world: &World, name: &str, script: &str) {
    let path = world.path().join("bin").join(name);
    executable::script(&path, format!("#!/bin/sh\n[ $CNI_COMMAND = VERSION ] && exit 1\n{script}\n"));
}

/// What is left of pods on their network.
fn held(world: &World) -> Vec<String> {
    let dirs = [world.path().join("data/pods"), world.config.root.join("cni/pods")];
    let entries = dirs.iter().flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten());
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".json") || name.parse::<std::net::IpAddr>().is_ok()).collect()
}

fn is_ready(engine: &Engine) -> bool {
    engine.network_status(berth_engine::model::Owner::Cri).ready
}

#[test]
fn pods_are_connected_as_soon_as_there_is_a_network_and_found_again() {
    inside!("pods_are_connected_as_soon_as_there_is_a_network_and_found_again");
    let mut world = world();
    let engine = world.with_image();
    assert!(!is_ready(&engine));
    let before = world.traces();
    let id = world.run(async {
        // Contract 47: pods of the host's network run before there is any other.
        let error = engine.run_sandbox(sandbox("early")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(berth_types::error::chain(&error).contains("no CNI network is configured in "), "{error:?}");
        assert_eq!(world.traces(), before, "nothing is left of it");
        let mut host = sandbox("host");
        host.namespaces.network = Network::Host;
        host.hostname = String::new();
        let host = engine.run_sandbox(host).await.unwrap();
        assert!(engine.sandbox(host.as_str()).unwrap().addresses.is_empty(), "contract 11");
        engine.remove_sandbox(&host).await.unwrap();
        configure(&world, &bridge(&world));
        assert!(wait_until(LIMIT, || is_ready(&engine)), "without a restart");
        let mut config = sandbox("web");
        config.ports.push(PortMapping {
            protocol: Protocol::Tcp,
            host_ip: None,
            host_port: 8080,
            container_port: 80,
        });
        let id = engine.run_sandbox(config).await.unwrap();
        let serve = "echo yes > /tmp/index.html; busybox httpd -f -p 80 -h /tmp";
        let main = started(&engine, &id, script("main", serve)).await;
        let view = engine.sandbox(id.as_str()).unwrap();
        assert_eq!((view.interface.as_deref(), view.addresses.len()), (Some("eth0"), 2), "contract 12");
        let hosts = engine.exec_sync(&main, vec!["cat".into(), "/etc/hosts".into()], None).await.unwrap();
        assert!(String::from_utf8_lossy(&hosts.stdout).contains(&view.addresses[0].to_string()));
        let details = engine.network_details(&id).await.unwrap();
        assert_eq!(details["network"], "pods");
        assert_eq!(details["result"]["ips"][0]["address"], format!("{}/24", view.addresses[0]));
        id
    });
    let ask = |address: &str| {
        let ask = format!("curl -s -m 1 --retry 20 --retry-delay 1 --retry-all-errors http://{address}/");
        let answer = std::process::Command::new("sh").args(["-c", &ask]).output().unwrap().stdout;
        assert_eq!(String::from_utf8_lossy(&answer), "yes\n", "{address}");
    };
    let view = engine.sandbox(id.as_str()).unwrap();
    ask(&view.addresses[0].to_string());
    ask("127.0.0.1:8080");
    world.kill(engine);
    // Another configuration is none for pods that have theirs.
    std::fs::remove_dir_all(&world.config.cni.conf_dir).unwrap();
    let engine = world.open();
    let after = engine.sandbox(id.as_str()).unwrap();
    assert_eq!(
        (after.state, &after.interface, &after.addresses),
        (State::Ready, &view.interface, &view.addresses)
    );
    ask("127.0.0.1:8080");
    world.run(async {
        engine.stop_sandbox(&id).await.unwrap();
        let view = engine.sandbox(id.as_str()).unwrap();
        assert_eq!(
            (view.state, view.addresses.len(), held(&world)),
            (State::NotReady, 0, vec![]),
            "contract 14"
        );
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

#[test]
fn a_pod_whose_plugins_fail_at_any_step_leaves_nothing() {
    inside!("a_pod_whose_plugins_fail_at_any_step_leaves_nothing");
    let mut world = world();
    let names = ["first", "second", "third"];
    chain(&world, &names);
    names.iter().for_each(|name| plugin(&world, name, GOOD));
    let engine = world.with_image();
    let before = world.traces();
    world.run(async {
        for name in names {
            for (fault, want) in [
                ("kill -9 $$", "signal: 9 (SIGKILL)"),
                ("echo half of", "its answer cannot be read"),
                (r#"echo '{"code": 100, "msg": "no", "details": "never"}'; exit 1"#, "no: never (code 100)"),
                // It stays in the pod's namespace as if it had gone on.
                ("nsenter --net=$CNI_NETNS sleep 600 & exit 1", "exit status: 1"),
            ] {
                plugin(&world, name, &format!("[ $CNI_COMMAND = DEL ] && exit 0\n{fault}"));
                let error = engine.run_sandbox(sandbox("fails")).await.unwrap_err();
                let error = berth_types::error::chain(&error);
                let prefix =
                    format!("connect the pod to the network: ADD of plugin {name} of network pods: ");
                assert!(error.starts_with(&prefix) && error.contains(want), "{error}");
                assert_eq!(world.traces(), before, "{name}: {fault}");
                assert!(held(&world).is_empty() && engine.sandboxes(None).is_empty());
            }
            plugin(&world, name, GOOD);
        }
        // The same attempt succeeds as soon as the plugins do (contract 1).
        let id = engine.run_sandbox(sandbox("fails")).await.unwrap();
        engine.remove_sandbox(&id).await.unwrap();
        assert_eq!(world.traces(), before);
    });
    world.finish(engine);
}

#[test]
fn a_failing_del_keeps_the_sandbox_until_it_succeeds() {
    inside!("a_failing_del_keeps_the_sandbox_until_it_succeeds");
    let mut world = world();
    chain(&world, &["first"]);
    let bad = world.path().join("bad");
    plugin(&world, "first", &format!("[ $CNI_COMMAND = DEL ] && [ -e {} ] && exit 1\n{GOOD}", bad.display()));
    let engine = world.with_image();
    let before = world.traces();
    let id = world.run(async {
        let id = engine.run_sandbox(sandbox("kept")).await.unwrap();
        started(&engine, &id, script("main", WAITS)).await;
        std::fs::write(&bad, "").unwrap();
        for _ in 0..2 {
            let error = engine.stop_sandbox(&id).await.unwrap_err();
            assert!(berth_types::error::chain(&error).contains("DEL of plugin first"), "{error:?}");
            let view = engine.sandbox(id.as_str()).unwrap();
            assert_eq!(view.state.listed().map(|listed| format!("{listed:?}")).as_deref(), Some("NotReady"));
            assert!(view.message.contains("DEL of plugin first"), "contract 14: {}", view.message);
            assert!(world.traces().iter().any(|trace| trace.contains("netns")), "DEL finds its namespace");
        }
        engine.remove_sandbox(&id).await.unwrap_err();
        id
    });
    // So does the next daemon.
    world.kill(engine);
    let engine = world.open();
    world.run(async {
        engine.stop_sandbox(&id).await.unwrap_err();
        assert_eq!(held(&world).len(), 1);
        std::fs::remove_file(&bad).unwrap();
        engine.stop_sandbox(&id).await.unwrap();
        engine.remove_sandbox(&id).await.unwrap();
        assert_eq!((world.traces(), held(&world)), (before, vec![]));
    });
    world.finish(engine);
}

#[test]
fn what_cannot_be_undone_of_a_pod_that_nobody_knows_is_tried_again() {
    inside!("what_cannot_be_undone_of_a_pod_that_nobody_knows_is_tried_again");
    let mut world = world();
    chain(&world, &["first"]);
    plugin(&world, "first", "exit 1");
    let engine = world.with_image();
    let before = world.traces();
    world.run(async {
        engine.run_sandbox(sandbox("lost")).await.unwrap_err();
        assert_eq!((held(&world).len(), engine.sandboxes(None).len()), (1, 0));
        plugin(&world, "first", GOOD);
        assert!(wait_until(LIMIT, || world.traces() == before && held(&world).is_empty()));
    });
    // A daemon that finds such a record does the same.
    plugin(&world, "first", "exit 1");
    world.run(async { engine.run_sandbox(sandbox("lost")).await.unwrap_err() });
    world.kill(engine);
    let engine = world.open();
    assert_eq!(held(&world).len(), 1);
    plugin(&world, "first", GOOD);
    world.run(async { assert!(wait_until(LIMIT, || world.traces() == before && held(&world).is_empty())) });
    world.finish(engine);
}

#[test]
fn after_a_restart_of_the_machine_addresses_are_given_back() {
    inside!("after_a_restart_of_the_machine_addresses_are_given_back");
    let mut world = world();
    configure(&world, &bridge(&world));
    let engine = world.with_image();
    let id = world.run(async { engine.run_sandbox(sandbox("before")).await.unwrap() });
    let shim = engine.sandbox(id.as_str()).unwrap().shim_pid.unwrap();
    world.kill(engine);
    let killed = std::process::Command::new("kill").args(["-9", &shim.to_string()]).status().unwrap();
    assert!(killed.success() && held(&world).len() == 3, "{:?}", held(&world));
    std::fs::write(world.config.state.join("boot"), "another").unwrap();
    let engine = world.open();
    assert_eq!(engine.sandbox(id.as_str()).unwrap().state, State::NotReady);
    assert!(held(&world).is_empty(), "contract 14: {:?}", held(&world));
    world.run(async {
        engine.stop_sandbox(&id).await.unwrap();
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

#[test]
fn pods_of_the_plugins_are_disconnected_whatever_network_is_chosen_now() {
    inside!("pods_of_the_plugins_are_disconnected_whatever_network_is_chosen_now");
    let mut world = world();
    chain(&world, &["first"]);
    plugin(&world, "first", GOOD);
    let engine = world.with_image();
    let id = world.run(async { engine.run_sandbox(sandbox("moved")).await.unwrap() });
    world.kill(engine);
    world.config.cri_network = NetworkChoice::None;
    world.config.local_network = NetworkChoice::None;
    let engine = world.open();
    world.run(async {
        assert_eq!(held(&world).len(), 1);
        tokio::time::timeout(Duration::from_secs(20), engine.remove_sandbox(&id)).await.unwrap().unwrap();
        assert!(held(&world).is_empty());
    });
    world.finish(engine);
}
