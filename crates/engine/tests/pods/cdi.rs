//! Devices by the Container Device Interface, in containers of the native handler and of runc.

use std::collections::BTreeMap;

use berth_engine::Engine;
use berth_engine::model::ContainerConfig;
use berth_testkit::guard::has_program;
use berth_testkit::{executable, require, require_root};
use rustix::fs::{FileType, Mode};
use serde_json::json;

use crate::harness::{WAITS, World, sandbox, script, started};

/// A driver's files: a device node under another name, a library and a variable; and a second kind with a hook.
fn install(world: &World) {
    let dir = &world.config.cdi_dirs[0];
    std::fs::create_dir_all(dir).unwrap();
    let library = world.path().join("library");
    std::fs::create_dir_all(&library).unwrap();
    std::fs::write(library.join("version"), "7").unwrap();
    // A number that no container may use by itself, and behind which there is no driver.
    let node = world.path().join("acc0");
    let (mode, number) = (Mode::from_raw_mode(0o600), rustix::fs::makedev(1, 10));
    rustix::fs::mknodat(rustix::fs::CWD, &node, FileType::CharacterDevice, mode, number).unwrap();
    let devices = json!({
        "cdiVersion": "0.7.0",
        "kind": "vendor.com/accelerator",
        "containerEdits": { "env": ["DRIVER=7"], "mounts": [
            { "hostPath": library, "containerPath": "/usr/lib/vendor", "options": ["ro", "nosuid", "nodev", "rbind"] }
        ] },
        "devices": [
            { "name": "0", "containerEdits": { "deviceNodes": [
                { "path": "/dev/acc0", "hostPath": node, "type": "c", "major": 1, "minor": 10, "permissions": "r", "fileMode": 416, "gid": 44 }
            ], "additionalGids": [44] } },
            { "name": "1", "containerEdits": { "deviceNodes": [{ "path": "/dev/acc1", "hostPath": "/dev/full" }] } },
        ],
    });
    std::fs::write(dir.join("vendor.json"), devices.to_string()).unwrap();
    let hook = world.path().join("hook");
    executable::script(
        &hook,
        format!("#!/bin/sh\necho \"$1 $STAGE\" >> {}/hooked\n", world.path().display()),
    );
    let hooked = json!({
        "cdiVersion": "0.6.0", "kind": "vendor.com/hooked",
        "devices": [{ "name": "all", "containerEdits": { "hooks": [
            { "hookName": "createRuntime", "path": hook, "args": ["hook", "ran"], "env": ["STAGE=early"] }
        ] } }],
    });
    std::fs::write(dir.join("hooked.yaml"), hooked.to_string()).unwrap();
}

fn asking(devices: &[&str], line: &str) -> ContainerConfig {
    ContainerConfig { cdi_devices: devices.iter().map(|&name| name.into()).collect(), ..script("c", line) }
}

async fn says(engine: &Engine, id: &berth_types::ContainerId, line: &str) -> String {
    let command = vec!["sh".into(), "-c".into(), line.into()];
    let out = engine.exec_sync(id, command, None).await.unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn what_a_file_says_is_in_the_container() {
    require_root!();
    let mut world = World::new();
    install(&world);
    let engine = world.open();
    world.pull(&engine);
    world.run(async {
        let pod = engine.run_sandbox(sandbox("devices")).await.unwrap();
        let mut config = asking(&["vendor.com/accelerator=0"], WAITS);
        config.annotations = BTreeMap::from([("cdi.k8s.io/plugin".into(), "vendor.com/accelerator=1".into())]);
        let id = started(&engine, &pod, config).await;
        let seen = says(&engine, &id, "stat -c '%F %a %u %g' /dev/acc0; id -G; echo $DRIVER; cat /usr/lib/vendor/version").await;
        assert_eq!(seen, "character special file 640 0 44\n0 44\n7\n7");
        // What the device's group of the kernel allows: reading, and no writing.
        let used = "cat /dev/acc0 2>&1; (echo x > /dev/acc0) 2>&1; (echo x > /dev/acc1) 2>&1; touch /usr/lib/vendor/x 2>&1";
        let used = says(&engine, &id, used).await;
        for expected in ["cat: can't open '/dev/acc0': No such device or address", "create /dev/acc0: Operation not permitted", "No space left on device", "Read-only file system"] {
            assert!(used.contains(expected), "{expected}: {used}");
        }
        // What was asked for is what is shown.
        let shown = engine.container(id.as_str()).unwrap();
        assert!(shown.config.devices.is_empty() && shown.config.cdi_devices.len() == 1);
        let error = engine.create_container(&pod, ContainerConfig {
            metadata: script("other", WAITS).metadata,
            ..asking(&["vendor.com/accelerator=2"], WAITS)
        });
        let error = error.await.unwrap_err().to_string();
        assert!(error.contains("there is no device vendor.com/accelerator=2 (there are vendor.com/accelerator=0"), "{error}");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
fn the_hooks_of_a_device_are_run() {
    require_root!();
    let mut world = World::new();
    install(&world);
    let engine = world.open();
    world.pull(&engine);
    hooked(&world, &engine, "");
    world.finish(engine);
}

#[test]
fn the_hooks_of_a_device_are_run_by_runtimes() {
    require_root!();
    require!(has_program("runc"), "needs the package runc");
    let mut world = World::new();
    install(&world);
    world.config.handler_dirs = vec!["/usr/sbin".into(), "/usr/bin".into()];
    let engine = world.open();
    world.pull(&engine);
    hooked(&world, &engine, "runc");
    world.finish(engine);
}

fn hooked(world: &World, engine: &Engine, handler: &str) {
    world.run(async {
        let mut config = sandbox("hooked");
        config.handler = handler.to_owned();
        let pod = engine.run_sandbox(config).await.unwrap();
        let both = asking(&["vendor.com/hooked=all", "vendor.com/accelerator=0"], WAITS);
        let id = started(engine, &pod, both).await;
        let hooked = std::fs::read_to_string(world.path().join("hooked")).unwrap();
        assert_eq!(hooked, "ran early\n");
        let seen = says(engine, &id, "stat -c '%F %a %u %g' /dev/acc0; cat /usr/lib/vendor/version").await;
        assert_eq!(seen, "character special file 640 0 44\n7");
        engine.remove_sandbox(&pod).await.unwrap();
    });
}
