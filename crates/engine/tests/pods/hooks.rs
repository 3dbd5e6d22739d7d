//! OCI hooks by a directory of hooks: when and where they run, and what one costs that fails or hangs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use berth_engine::model::{ContainerConfig, IdMap, Mount, PidMode, UserNamespace};
use berth_engine::{Engine, EngineError};
use berth_testkit::{require_root, wait_until};
use berth_types::error::chain;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{LIMIT, WAITS, World, ended, is_native, sandbox, script, started};

const STAGES: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A line: the stage, the status that the state has, the process as `many` where it is the host's number, and the mount namespace.
const SAYS: &str = r#"
    state=$(cat)
    status=$(echo "$state" | sed -n 's/.*"status": *"\([a-z]*\)".*/\1/p')
    pid=$(echo "$state" | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
    test "${pid:-0}" -gt 1 && pid=many
    echo "$STAGE $status ${pid:-0} $(readlink /proc/self/ns/mnt)" >> $LOG"#;

/// Installs a hook for all containers with an annotation; what it writes is `seen/log` of the world, there and in the container.
fn install(world: &World, stage: &str, script: &str, timeout: Option<u64>) {
    let dir = &world.config.hooks_dirs[1];
    std::fs::create_dir_all(dir).unwrap();
    let log = if stage == "startContainer" { PathBuf::from("/seen/log") } else { log(world) };
    let env = [format!("STAGE={stage}"), format!("LOG={}", log.display()), "PATH=/bin:/usr/bin".to_owned()];
    let mut file = json!({
        "version": "1.0.0",
        "hook": { "path": "/bin/sh", "args": ["sh", "-c", script], "env": env },
        "when": { "annotations": { "^example\\.com/hooks$": "^yes$" } },
        "stages": [stage],
    });
    if let Some(seconds) = timeout {
        file["hook"]["timeout"] = Value::from(seconds);
    }
    std::fs::write(dir.join(format!("{stage}.json")), file.to_string()).unwrap();
}

fn log(world: &World) -> PathBuf {
    world.path().join("seen/log")
}

/// A container that the hooks are for.
fn asking(world: &World, name: &str, line: &str) -> ContainerConfig {
    let seen = world.path().join("seen");
    std::fs::create_dir_all(&seen).unwrap();
    ContainerConfig {
        annotations: BTreeMap::from([("example.com/hooks".to_owned(), "yes".to_owned())]),
        mounts: vec![Mount::new(seen, "/seen")],
        ..script(name, line)
    }
}

/// What was written, with `host` and `own` for the namespaces.
fn seen(world: &World) -> Vec<String> {
    let host = std::fs::read_link("/proc/self/ns/mnt").unwrap().display().to_string();
    let text = std::fs::read_to_string(log(world)).unwrap_or_default();
    let place = |word: &str| match word {
        word if word == host => "host".to_owned(),
        word if word.contains(":[") => "own".to_owned(),
        word => word.to_owned(),
    };
    text.lines().map(|line| line.split(' ').map(place).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
pub(crate) fn hooks_run_at_each_point_for_the_containers_that_they_are_for() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    STAGES.iter().for_each(|stage| install(&world, stage, SAYS, Some(30)));
    world.run(async {
        let pod = engine.run_sandbox(sandbox("hooked")).await.unwrap();
        let other = ContainerConfig { annotations: BTreeMap::new(), ..asking(&world, "other", WAITS) };
        started(&engine, &pod, other).await;
        assert_eq!(seen(&world), [""; 0], "it has no such annotation");
        let id = started(&engine, &pod, asking(&world, "one", WAITS)).await;
        let argv = ["cat", "/seen/log"].map(str::to_owned).to_vec();
        let out = engine.exec_sync(&id, argv, None).await.unwrap();
        assert!(!out.stdout.is_empty(), "further processes run in it");
        engine.stop_container(&id, Duration::from_secs(20)).await.unwrap();
        assert_eq!(engine.container(id.as_str()).unwrap().exit.as_ref().unwrap().code, 7);
        // runc 1.1 runs poststart hooks in its creation and says `created` to them.
        let wanted = if is_native() {
            STAGES.to_vec()
        } else {
            vec!["createContainer", "createRuntime", "poststart", "poststop", "prestart", "startContainer"]
        };
        let mut stages: Vec<String> =
            seen(&world).iter().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
        if !is_native() {
            stages.sort();
        }
        assert_eq!(stages, wanted);
        if is_native() {
            let wanted = [
                "prestart creating many host",
                "createRuntime creating many host",
                "createContainer creating 1 own",
                "startContainer created 1 own",
                "poststart running many host",
                "poststop stopped 0 host",
            ];
            assert_eq!(seen(&world), wanted);
        }
        engine.remove_sandbox(&pod).await.unwrap();
        assert_eq!(seen(&world).len(), 6, "each was run once");
    });
    world.finish(engine);
}

/// In a pod with a user namespace, with shared processes and with a terminal; and what a hook finds by its bundle.
#[test]
fn hooks_find_the_container_by_its_bundle() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    // What a device's hook does: it reads the root's path from the configuration, and changes files below it.
    let script = r#"
        bundle=$(sed -n 's/.*"bundle": *"\([^"]*\)".*/\1/p')
        test "$PWD" = "$bundle" || exit 8
        root=$(sed -n 's/.*"root":{"path":"\([^"]*\)".*/\1/p' config.json)
        echo "by $STAGE" > "$root/etc/hooked""#;
    install(&world, "createContainer", script, None);
    let map = IdMap { container: 0, host: 300_000, length: 65_536 };
    world.run(async {
        for (name, user, pid) in [
            ("plain", None, PidMode::Container),
            ("users", Some(UserNamespace { uids: map, gids: map }), PidMode::Container),
            ("shared", None, PidMode::Pod),
        ] {
            let mut config = sandbox(name);
            (config.namespaces.user, config.namespaces.pid) = (user, pid.clone());
            let pod = engine.run_sandbox(config).await.unwrap();
            let mut config = asking(&world, "one", WAITS);
            (config.tty, config.pid, config.mounts) = (true, pid, Vec::new());
            let id = started(&engine, &pod, config).await;
            let argv =
                ["sh", "-c", "stat -c '%u %g' /etc/hooked; cat /etc/hooked"].map(str::to_owned).to_vec();
            let out = engine.exec_sync(&id, argv, None).await.unwrap();
            let out = String::from_utf8_lossy(&out.stdout).into_owned();
            assert_eq!(out, "0 0\nby createContainer\n", "{name}");
            engine.remove_sandbox(&pod).await.unwrap();
        }
    });
    world.finish(engine);
}

/// Creates and starts a container; where that failed, and why.
async fn attempt(
    engine: &Engine,
    pod: &berth_types::SandboxId,
    config: ContainerConfig,
) -> Result<(), (&'static str, EngineError)> {
    let id = engine.create_container(pod, config).await.map_err(|e| ("create", e))?;
    let started = engine.start_container(&id).await.map_err(|e| ("start", e));
    if started.is_err() {
        ended(engine, &id).await;
        engine.remove_container(&id).await.unwrap();
    }
    started
}

#[test]
fn a_hook_that_fails_names_itself_and_leaves_nothing() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("failing")).await.unwrap();
        for stage in STAGES.into_iter().take(5) {
            std::fs::remove_dir_all(&world.config.hooks_dirs[1]).ok();
            std::fs::remove_file(log(&world)).ok();
            install(&world, stage, "echo no such device >&2; exit 5", None);
            install(&world, "poststop", "echo after >> $LOG", None);
            let (step, error) = attempt(&engine, &pod, asking(&world, stage, WAITS)).await.unwrap_err();
            let error = chain(&error);
            let early = stage.starts_with("create") || stage == "prestart";
            assert_eq!(step, if early { "create" } else { "start" }, "{error}");
            let words = format!("hook {stage} /bin/sh: exit status 5: no such device");
            assert!(error.contains(&words), "{error}");
            assert_eq!(seen(&world), ["after"], "{stage}");
        }
        // One of the end is told, and keeps nothing from ending.
        std::fs::remove_dir_all(&world.config.hooks_dirs[1]).unwrap();
        install(&world, "poststop", "echo it is busy; exit 6", None);
        let id = started(&engine, &pod, asking(&world, "end", "exit 3")).await;
        let exit = ended(&engine, &id).await;
        let words = "hook poststop /bin/sh: exit status 6: it is busy";
        assert!(exit.code == 3 && exit.message.contains(words), "{exit:?}");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
fn a_hook_that_hangs_costs_its_time() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let pid_file = world.path().join("seen/pid");
    let hangs = format!("echo $$ > {0}.new; mv {0}.new {0}; echo I wait; sleep 1000", pid_file.display());
    world.run(async {
        let pod = engine.run_sandbox(sandbox("hanging")).await.unwrap();
        for (stage, wanted) in [("createRuntime", "create"), ("poststart", "start")] {
            std::fs::remove_dir_all(&world.config.hooks_dirs[1]).ok();
            install(&world, stage, &hangs, Some(1));
            let since = Instant::now();
            let (step, error) = attempt(&engine, &pod, asking(&world, stage, WAITS)).await.unwrap_err();
            let error = chain(&error);
            let words =
                format!("hook {stage} /bin/sh: it did not end within 1 seconds and was killed: I wait");
            assert!(step == wanted && error.contains(&words), "{error}");
            assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
        }
        // One without a time ends with its pod.
        std::fs::remove_dir_all(&world.config.hooks_dirs[1]).unwrap();
        std::fs::remove_file(&pid_file).unwrap();
        install(&world, "createContainer", &hangs, None);
        let (creating, of, config) = (engine.clone(), pod.clone(), asking(&world, "endless", WAITS));
        let creating = tokio::spawn(async move { creating.create_container(&of, config).await });
        assert!(wait_until(LIMIT, || pid_file.exists()), "the hook runs");
        let since = Instant::now();
        engine.remove_sandbox(&pod).await.unwrap();
        assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
        assert!(creating.await.unwrap().is_err());
    });
    world.finish(engine);
}

/// What a hook has done is taken back, also when neither daemon nor shim sees the end.
#[test]
fn the_hooks_of_an_end_run_when_the_shim_is_lost() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    install(&world, "poststop", SAYS, None);
    let (pod, shim) = world.run(async {
        let pod = engine.run_sandbox(sandbox("lost")).await.unwrap();
        started(&engine, &pod, asking(&world, "one", WAITS)).await;
        (pod.clone(), engine.sandbox(pod.as_str()).unwrap().shim_pid.unwrap())
    });
    world.kill(engine);
    kill_process(Pid::from_raw(shim).unwrap(), Signal::KILL).unwrap();
    let engine = world.open();
    world.run(async { engine.remove_sandbox(&pod).await.unwrap() });
    assert_eq!(seen(&world), ["poststop stopped 0 host"]);
    world.finish(engine);
}

#[test]
fn a_file_that_is_broken_fails_the_creation_with_its_place() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    install(&world, "prestart", "exit 1", None);
    let file = world.config.hooks_dirs[1].join("broken.json");
    std::fs::write(&file, "{\n  \"version\": \"1.0.0\",\n  oops").unwrap();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("broken")).await.unwrap();
        let error = chain(&engine.create_container(&pod, script("one", WAITS)).await.unwrap_err());
        assert!(error.contains(&format!("{}: ", file.display())) && error.contains("line 3"), "{error}");
        // A file of the same name in the directory before does not count, and one behind takes its place.
        std::fs::remove_file(&file).unwrap();
        let before = &world.config.hooks_dirs[0];
        std::fs::create_dir_all(before).unwrap();
        std::fs::write(before.join("prestart.json"), "broken").unwrap();
        started(&engine, &pod, script("one", WAITS)).await;
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}
