//! The life of a pod.

use std::time::Duration;

use berth_engine::model::{ExitReason, PidMode, User};
use berth_testkit::require_root;
use berth_types::lifecycle::{container, sandbox as pod};
use berth_types::{Classify, Kind};

use crate::harness::{WAITS, World, ended, is_native, sandbox, script, started};

#[test]
pub(crate) fn a_pod_runs_writes_its_log_and_leaves_nothing() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let before = world.traces();
    let logs = world.path().join("logs");
    world.run(async {
        let mut config = sandbox("web");
        config.log_directory = Some(logs.clone());
        let id = engine.run_sandbox(config.clone()).await.unwrap();
        assert_eq!(engine.run_sandbox(config).await.unwrap(), id, "a repeated request joins");
        assert_eq!(engine.sandbox(id.short()).unwrap().state, pod::State::Ready);
        let mut main = script("main", "hostname; echo out; echo err >&2; exit 3");
        main.log_path = Some("main.log".into());
        let container = engine.create_container(&id, main.clone()).await.unwrap();
        assert_eq!(engine.create_container(&id, main.clone()).await.unwrap(), container);
        assert_eq!(engine.container(container.as_str()).unwrap().state, container::State::Created);
        engine.start_container(&container).await.unwrap();
        let exit = ended(&engine, &container).await;
        assert_eq!((exit.code, exit.reason), (3, ExitReason::Error));
        let view = engine.container(container.as_str()).unwrap();
        assert!(view.started_at.unwrap() <= exit.finished_at);
        let log = std::fs::read_to_string(logs.join("main.log")).unwrap();
        for line in ["stdout F web\n", "stdout F out\n", "stderr F err\n"] {
            assert!(log.contains(line), "{log}");
        }
        engine.stop_sandbox(&id).await.unwrap();
        engine.stop_sandbox(&id).await.unwrap();
        assert_eq!(engine.sandbox(id.as_str()).unwrap().state, pod::State::NotReady);
        assert_eq!(
            engine.create_container(&id, script("late", "true")).await.unwrap_err().kind(),
            Kind::Precondition
        );
        engine.remove_sandbox(&id).await.unwrap();
        assert_eq!(engine.sandbox(id.as_str()).unwrap_err().kind(), Kind::NotFound);
        assert!(engine.containers(None).is_empty());
        assert!(logs.join("main.log").exists(), "logs stay");
    });
    assert_eq!(world.traces(), before);
    world.finish(engine);
}

#[test]
pub(crate) fn the_same_identity_with_another_configuration_or_stopped_is_taken() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let id = engine.run_sandbox(sandbox("a")).await.unwrap();
        let mut other = sandbox("a");
        other.labels.insert("x".into(), "y".into());
        assert_eq!(engine.run_sandbox(other).await.unwrap_err().kind(), Kind::AlreadyExists);
        let first = engine.create_container(&id, script("c", "true")).await.unwrap();
        let again = engine.create_container(&id, script("c", "false")).await.unwrap_err();
        assert_eq!(again.kind(), Kind::AlreadyExists);
        engine.remove_container(&first).await.unwrap();
        let next = engine.create_container(&id, script("c", "false")).await.unwrap();
        assert_ne!(first, next);
        engine.stop_sandbox(&id).await.unwrap();
        assert_eq!(engine.run_sandbox(sandbox("a")).await.unwrap_err().kind(), Kind::AlreadyExists);
        let mut second = sandbox("a");
        second.metadata.attempt = 1;
        let second = engine.run_sandbox(second).await.unwrap();
        engine.remove_sandbox(&second).await.unwrap();
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn stopping_signals_once_waits_and_kills() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("stop")).await.unwrap();
        let polite = started(&engine, &pod, script("polite", WAITS)).await;
        let deaf = started(&engine, &pod, script("deaf", "trap '' TERM; while :; do sleep 0.05; done")).await;
        // The shells are asked only after their traps are set.
        for id in [&polite, &deaf] {
            loop {
                let out = engine
                    .exec_sync(
                        id,
                        vec!["grep".into(), "SigIgn\\|SigCgt".into(), "/proc/1/status".into()],
                        None,
                    )
                    .await
                    .unwrap();
                let text = String::from_utf8(out.stdout).unwrap();
                let set = text.lines().any(|line| {
                    u64::from_str_radix(line.rsplit('\t').next().unwrap(), 16).unwrap() & (1 << 14) != 0
                });
                if set {
                    break;
                }
            }
        }
        engine.stop_container(&polite, Duration::from_secs(20)).await.unwrap();
        let exit = engine.container(polite.as_str()).unwrap().exit.clone().unwrap();
        assert_eq!(exit.code, 7);
        // A slow stop delays nothing else, and a shorter one wins.
        let slow = engine.stop_container(&deaf, Duration::from_secs(3600));
        let hurry = async {
            let out = engine.exec_sync(&deaf, vec!["echo".into(), "still here".into()], None).await.unwrap();
            assert_eq!(out.stdout, b"still here\n");
            engine.stop_container(&deaf, Duration::ZERO).await.unwrap();
        };
        let (first, ()) = tokio::join!(slow, hurry);
        first.unwrap();
        let exit = engine.container(deaf.as_str()).unwrap().exit.clone().unwrap();
        assert_eq!(exit.code, 137);
        engine.stop_container(&deaf, Duration::ZERO).await.unwrap();
        // One that was never started is killed, and can be removed.
        let fresh = engine.create_container(&pod, script("fresh", "true")).await.unwrap();
        engine.stop_container(&fresh, Duration::from_secs(5)).await.unwrap();
        assert_eq!(engine.container(fresh.as_str()).unwrap().state, container::State::Exited);
        engine.remove_container(&fresh).await.unwrap();
        // Removing what runs kills it.
        let runs = started(&engine, &pod, script("runs", WAITS)).await;
        engine.remove_container(&runs).await.unwrap();
        assert_eq!(engine.container(runs.as_str()).unwrap_err().kind(), Kind::NotFound);
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// contract 18: the PID namespace of the pod, of the container, and that of another one.
#[test]
pub(crate) fn containers_may_share_processes_and_memory() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let mut config = sandbox("shared");
        config.namespaces.pid = PidMode::Pod;
        let pod = engine.run_sandbox(config).await.unwrap();
        let shared = |name: &str| {
            let mut config = script(name, WAITS);
            config.pid = PidMode::Pod;
            config
        };
        let first = started(&engine, &pod, shared("first")).await;
        let second = started(&engine, &pod, shared("second")).await;
        let run = async |id, script: &str| {
            let argv = vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()];
            String::from_utf8(engine.exec_sync(id, argv, None).await.unwrap().stdout).unwrap()
        };
        run(&first, "echo hello > /dev/shm/word; touch /tmp/own").await;
        assert_eq!(run(&second, "cat /dev/shm/word; ls /tmp").await, "hello\n");
        let seen = run(&second, "ps | grep -c 'while :'").await;
        assert!(seen.trim().parse::<u32>().unwrap() >= 2, "{seen}");
        // A container with its own PID namespace sees only itself, and one may see another's.
        let own = started(&engine, &pod, script("own", WAITS)).await;
        assert_eq!(run(&own, "echo $PPID").await, "0\n");
        let mut debug = script("debug", WAITS);
        debug.pid = PidMode::Target(own.to_string());
        let debug = started(&engine, &pod, debug).await;
        let seen = run(&debug, "ps | grep -c 'while :'").await;
        assert!(seen.trim().parse::<u32>().unwrap() >= 2, "{seen}");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn users_environment_and_limits_are_applied() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("settings")).await.unwrap();
        let mut config = script("c", WAITS);
        config.security.user = Some(User::Name("web".into()));
        config.security.seccomp = berth_engine::model::SeccompChoice::Default;
        config.security.no_new_privs = true;
        config.working_dir = Some("/var/tmp".into());
        config.resources.memory_limit = Some(64 << 20);
        config.resources.cpu_quota = Some(50_000);
        config.resources.cpu_period = Some(100_000);
        // A bundle holds text alone.
        let raw: &[u8] = if is_native() { b"a\xffb" } else { b"a b" };
        config.envs.push(berth_engine::model::EnvVar { name: "RAW".into(), value: raw.to_vec() });
        let id = started(&engine, &pod, config).await;
        let view = engine.container(id.as_str()).unwrap();
        assert_eq!((view.user.uid, view.user.gid, view.user.groups.clone()), (1000, 1000, vec![1000, 2000]));
        let run = async |script: &str| {
            let argv = vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()];
            engine.exec_sync(&id, argv, None).await.unwrap().stdout
        };
        assert_eq!(run("id -u; id -g; id -G; pwd").await, b"1000\n1000\n1000 2000\n/var/tmp\n");
        assert_eq!(run("echo $RAW").await, [raw, b"\n"].concat());
        let status =
            String::from_utf8(run("grep -E 'Seccomp:|NoNewPrivs|CapEff' /proc/self/status").await).unwrap();
        assert!(status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"), "{status}");
        assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
        let change = berth_engine::model::Resources { memory_limit: Some(128 << 20), ..Default::default() };
        engine.update_resources(&id, change).await.unwrap();
        assert_eq!(engine.container(id.as_str()).unwrap().resources.memory_limit, Some(128 << 20));
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}
