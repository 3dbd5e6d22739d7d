//! Failures leave nothing behind.

use berth_engine::EngineError;
use berth_engine::model::{Device, ExitReason, Mount, Propagation, User};
use berth_testkit::require_root;
use berth_types::lifecycle::container::State;
use berth_types::{Classify, Kind};

use crate::harness::{WAITS, World, is_native, sandbox, script};

#[test]
pub(crate) fn a_command_that_is_not_there_ends_as_start_error() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("bad")).await.unwrap();
        for (command, code) in [("/nothing", 127), ("nothing", 127), ("/etc/passwd", 126), ("/etc", 126)] {
            let mut config = script(&command.replace('/', "-"), "");
            config.command = vec![command.to_owned()];
            let id = engine.create_container(&pod, config).await.unwrap();
            let error = engine.start_container(&id).await.unwrap_err();
            assert!(matches!(error, EngineError::Command { .. }), "{error:?}");
            let view = engine.container(id.as_str()).unwrap();
            let exit = view.exit.clone().unwrap();
            assert_eq!((view.state, view.started_at), (State::Exited, None), "{command}");
            assert_eq!((exit.code, exit.reason), (code, ExitReason::StartError), "{command}");
            // crun does not name what it may not open.
            let unnamed = !is_native() && exit.message.contains("open executable: ");
            let named = exit.message.contains(command) || unnamed;
            assert!(named, "{}", exit.message);
            engine.remove_container(&id).await.unwrap();
        }
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn a_container_that_cannot_be_created_leaves_nothing() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let mut config = sandbox("refused");
        config.log_directory = Some(world.path().join("logs"));
        let pod = engine.run_sandbox(config).await.unwrap();
        let before = world.traces();
        let base = || script("c", "true");
        let mut image = base();
        image.image.image = "registry.example/not/here:1".into();
        let mut user = base();
        user.security.user = Some(User::Name("nobody-here".into()));
        let mut capability = base();
        capability.security.add_capabilities = vec!["SYS_NOTHING".into()];
        let mut device = base();
        device.devices = vec![Device {
            container_path: "/dev/x".into(),
            host_path: "/dev/not-there".into(),
            permissions: "rw".into(),
            node: None,
        }];
        let mut mount = base();
        mount.mounts = vec![Mount::new("/tmp", "/proc/self")];
        let mut seccomp = base();
        seccomp.security.seccomp = berth_engine::model::SeccompChoice::Localhost("/not/there.json".into());
        let mut log = base();
        log.log_path = Some("../escaped.log".into());
        let mut limit = base();
        limit.resources.cpuset_cpus = "9999".into();
        for (what, config) in [
            ("image", image),
            ("user", user),
            ("capability", capability),
            ("device", device),
            ("mount", mount),
            ("seccomp", seccomp),
            ("log", log),
            ("limit", limit),
        ] {
            let error = engine.create_container(&pod, config).await.expect_err(what);
            assert!(!error.to_string().is_empty());
            assert_eq!(world.traces(), before, "{what}");
        }
        assert!(engine.containers(None).is_empty());
        // The name is free.
        let id = engine.create_container(&pod, base()).await.unwrap();
        engine.remove_container(&id).await.unwrap();
        assert_eq!(world.traces(), before);
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// A mount that says it propagates and does not is found out only when it is too late.
#[test]
pub(crate) fn propagation_that_the_host_cannot_give_is_refused() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let place = world.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let mount = |arguments: &[&str]| {
        assert!(std::process::Command::new("mount").args(arguments).arg(&place).status().unwrap().success());
    };
    mount(&["-t", "tmpfs", "place"]);
    world.run(async {
        let pod = engine.run_sandbox(sandbox("mounts")).await.unwrap();
        let asked = |name: &str, propagation| {
            let mut config = script(name, WAITS);
            config.mounts = vec![Mount { propagation, ..Mount::new(place.clone(), "/mnt") }];
            config
        };
        for (how, slave, both) in
            [("--make-private", false, false), ("--make-shared", true, true), ("--make-slave", true, false)]
        {
            mount(&[how]);
            for (propagation, works) in
                [(Propagation::HostToContainer, slave), (Propagation::Bidirectional, both)]
            {
                // A shared mount without peers becomes private when it is made a slave.
                if how == "--make-slave" && propagation == Propagation::HostToContainer {
                    continue;
                }
                let made = engine.create_container(&pod, asked("c", propagation)).await;
                assert_eq!(made.is_ok(), works, "{how} {propagation:?}: {made:?}");
                match made {
                    Ok(id) => engine.remove_container(&id).await.unwrap(),
                    Err(error) => assert_eq!(error.kind(), Kind::Invalid, "{error}"),
                }
            }
        }
        engine.remove_sandbox(&pod).await.unwrap();
    });
    assert!(std::process::Command::new("umount").arg(&place).status().unwrap().success());
    world.finish(engine);
}

#[test]
pub(crate) fn a_sandbox_that_cannot_be_made_leaves_nothing() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let before = world.traces();
    world.run(async {
        let mut handler = sandbox("a");
        handler.handler = "nothing".into();
        assert_eq!(engine.run_sandbox(handler).await.unwrap_err().kind(), Kind::Invalid);
        let mut sysctl = sandbox("a");
        sysctl.sysctls.insert("vm.swappiness".into(), "1".into());
        assert_eq!(engine.run_sandbox(sysctl).await.unwrap_err().kind(), Kind::Invalid);
        // Found out only after much of it was made.
        let mut value = sandbox("a");
        value.sysctls.insert("net.core.somaxconn".into(), "not a number".into());
        assert_eq!(engine.run_sandbox(value).await.unwrap_err().kind(), Kind::Invalid);
        assert_eq!(world.traces(), before);
        assert!(engine.sandboxes(None).is_empty());
        let id = engine.run_sandbox(sandbox("a")).await.unwrap();
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}
