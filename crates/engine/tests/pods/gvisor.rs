//! Pods with a kernel of their own: what differs from those that have the host's. What does not is in `handlers.rs`.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use berth_engine::model::{ContainerConfig, Device, ExitReason, Mount, Network, PidMode, SeccompChoice};
use berth_engine::stats::ContainerStats;
use berth_engine::{Connection, Engine, HandlerState};
use berth_testkit::{require, require_root, wait_until};
use berth_types::lifecycle::sandbox as pod;
use berth_types::{Classify, ContainerId, Kind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{
    GVISOR, LIMIT, WAITS, World, ended, runsc, sandbox, script, started, under, wait_for_file,
};

/// Runs a test with gVisor as the default handler, where it was built.
fn with_gvisor(test: fn()) {
    require_root!();
    let program = runsc();
    require!(program.is_some(), "BERTH_GVISOR is not set: cargo xtask test builds gVisor");
    under((GVISOR, program.unwrap()), test);
}

async fn output(engine: &Engine, id: &ContainerId, command: &[&str]) -> String {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    let out = engine.exec_sync(id, command, None).await.unwrap();
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn its_kernel_is_not_the_hosts_and_is_shared_by_its_containers() {
    with_gvisor(|| {
        let mut world = World::new();
        let engine = world.with_image();
        world.run(async {
            let pod = engine.run_sandbox(sandbox("kernel")).await.unwrap();
            let one = started(&engine, &pod, script("one", WAITS)).await;
            let two = started(&engine, &pod, script("two", WAITS)).await;
            let host = std::fs::read_to_string("/proc/version").unwrap();
            let inside = output(&engine, &one, &["cat", "/proc/version"]).await;
            assert!(inside.contains("gvisor") && inside != host, "{inside}");
            let serve = "echo yes > /tmp/index.html; busybox httpd -p 127.0.0.1:80 -h /tmp";
            output(&engine, &one, &["sh", "-c", serve]).await;
            let ask = ["busybox", "wget", "-q", "-O", "-", "http://127.0.0.1/index.html"];
            assert_eq!(output(&engine, &two, &ask).await, "yes\n", "they have one network");
            assert_eq!(output(&engine, &one, &["hostname"]).await, "kernel\n");
            engine.remove_sandbox(&pod).await.unwrap();
        });
        world.finish(engine);
    });
}

#[test]
fn a_stop_signals_once_waits_and_kills() {
    with_gvisor(|| {
        let mut world = World::new();
        let engine = world.with_image();
        world.run(async {
            let pod = engine.run_sandbox(sandbox("stop")).await.unwrap();
            let polite = "trap 'exit 7' TERM; : > /ready; while :; do sleep 0.05; done";
            let polite = started(&engine, &pod, script("polite", polite)).await;
            let deaf = "trap '' TERM; : > /ready; while :; do sleep 0.05; done";
            let deaf = started(&engine, &pod, script("deaf", deaf)).await;
            wait_for_file(&engine, &polite, "/ready").await;
            wait_for_file(&engine, &deaf, "/ready").await;
            engine.stop_container(&polite, Duration::from_secs(60)).await.unwrap();
            assert_eq!(engine.container(polite.as_str()).unwrap().exit.as_ref().unwrap().code, 7);
            engine.stop_container(&deaf, Duration::from_millis(300)).await.unwrap();
            assert_eq!(engine.container(deaf.as_str()).unwrap().exit.as_ref().unwrap().code, 137);
            let fresh = engine.create_container(&pod, script("fresh", "true")).await.unwrap();
            engine.stop_container(&fresh, Duration::from_secs(5)).await.unwrap();
            engine.remove_container(&fresh).await.unwrap();
            let runs = started(&engine, &pod, script("runs", WAITS)).await;
            engine.remove_container(&runs).await.unwrap();
            // The pod's kernel is as it was.
            let next = started(&engine, &pod, script("next", "exit 3")).await;
            assert_eq!(ended(&engine, &next).await.code, 3);
            engine.remove_sandbox(&pod).await.unwrap();
        });
        world.finish(engine);
    });
}

#[test]
fn the_end_of_its_kernel_is_that_of_the_pod() {
    with_gvisor(|| {
        let mut world = World::new();
        let engine = world.with_image();
        world.run(async {
            let id = engine.run_sandbox(sandbox("killed")).await.unwrap();
            let one = started(&engine, &id, script("one", WAITS)).await;
            // Alone, it is told as in the kernel's group.
            let group = engine.container(one.as_str()).unwrap().cgroup.clone();
            let two = started(&engine, &id, script("two", WAITS)).await;
            assert_eq!(engine.container(one.as_str()).unwrap().cgroup, "");
            let procs = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
            let procs = procs.map(|dir| dir.join(group.trim_start_matches('/')).join("cgroup.procs"));
            let text =
                procs.filter_map(|file| std::fs::read_to_string(file).ok()).find(|text| !text.is_empty());
            for pid in text.unwrap().lines() {
                drop(std::process::Command::new("kill").args(["-KILL", pid]).status());
            }
            for container in [&one, &two] {
                assert_eq!(ended(&engine, container).await.code, 137);
            }
            let ready = || engine.sandbox(id.as_str()).unwrap().state == pod::State::Ready;
            assert!(wait_until(LIMIT, || !ready()));
            engine.create_container(&id, script("late", "true")).await.unwrap_err();
            engine.remove_sandbox(&id).await.unwrap();
        });
        world.finish(engine);
    });
}

#[test]
fn memory_runs_out_for_all_of_the_pod() {
    with_gvisor(|| {
        let mut world = World::new();
        let engine = world.with_image();
        world.run(async {
            let pod = engine.run_sandbox(sandbox("greedy")).await.unwrap();
            let mut greedy = script("greedy", "x=0123456789abcdef; while :; do x=$x$x; done");
            greedy.resources.memory_limit = Some(256 << 20);
            let id = started(&engine, &pod, greedy).await;
            let exit = ended(&engine, &id).await;
            assert_eq!((exit.reason, exit.code), (ExitReason::OomKilled, 137), "{exit:?}");
            assert!(exit.message.contains("268435456 bytes"), "{}", exit.message);
            engine.remove_sandbox(&pod).await.unwrap();
        });
        world.finish(engine);
    });
}

#[test]
fn a_pod_of_the_hosts_network_reaches_what_listens_on_the_host() {
    with_gvisor(|| {
        let mut world = World::new();
        let engine = world.with_image();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            client.write_all(b"HTTP/1.0 200 OK\r\n\r\nof the host\n").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            drop(client.read(&mut [0; 1024]));
        });
        world.run(async {
            let mut config = sandbox("host");
            config.namespaces.network = Network::Host;
            config.hostname = String::new();
            let pod = engine.run_sandbox(config).await.unwrap();
            let main = started(&engine, &pod, script("main", WAITS)).await;
            let ask = ["busybox", "wget", "-q", "-O", "-", &format!("http://127.0.0.1:{port}/")];
            assert_eq!(output(&engine, &main, &ask).await, "of the host\n");
            engine.remove_sandbox(&pod).await.unwrap();
        });
        serve.join().unwrap();
        world.finish(engine);
    });
}

#[test]
fn what_it_cannot_do_is_refused_by_name() {
    with_gvisor(|| {
        let mut world = World::new();
        let engine = world.with_image();
        world.run(async {
            let mut config = sandbox("refused");
            config.security.privileged = true;
            let pod = engine.run_sandbox(config).await.unwrap();
            let refused = |name: &str, change: fn(&mut ContainerConfig)| {
                let mut config = script(name, "true");
                change(&mut config);
                let (engine, pod, name) = (&engine, pod.clone(), name.to_owned());
                async move {
                    let error = engine.create_container(&pod, config).await.unwrap_err();
                    let text = berth_types::error::chain(&error);
                    assert_eq!(error.kind(), Kind::Unsupported, "{text}");
                    assert!(text.contains(&name), "{name}: {text}");
                }
            };
            refused("privileged", |config| config.security.privileged = true).await;
            refused("namespace_options.pid", |config| config.pid = PidMode::Node).await;
            refused("pids_limit", |config| config.resources.pids_limit = Some(100)).await;
            refused("stop_signal", |config| config.stop_signal = Some("SIGRTMIN+3".to_owned())).await;
            refused("devices", |config| {
                config.devices = vec![Device {
                    container_path: "/dev/other".into(),
                    host_path: "/dev/null".into(),
                    permissions: "rw".to_owned(),
                    node: None,
                }];
            })
            .await;
            refused("masked_paths", |config| {
                config.security.masked_paths = ["/proc/kcore", "/bin/ls"].map(Into::into).to_vec();
            })
            .await;
            refused("readonly_paths", |config| config.security.readonly_paths = vec!["/system".into()]).await;
            refused("unified", |config| {
                config.resources.unified.insert("memory.high".to_owned(), "1".to_owned());
            })
            .await;
            let main = started(&engine, &pod, script("main", WAITS)).await;
            let limits = berth_engine::model::Resources { cpu_shares: Some(100), ..Default::default() };
            let error = engine.update_resources(&main, limits).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Unsupported, "{error:?}");
            engine.remove_sandbox(&pod).await.unwrap();
        });
        world.finish(engine);
    });
}

/// With the default profile clone3 is not there, and a C library makes threads by clone then.
#[test]
fn a_c_library_makes_threads_under_the_default_profile() {
    require!(Path::new("/usr/bin/python3").exists(), "needs the package python3");
    with_gvisor(|| {
        let mut world = World::new();
        let engine = world.with_image();
        world.run(async {
            let mut pod = sandbox("threads");
            pod.log_directory = Some(world.path().join("logs"));
            let pod = engine.run_sandbox(pod).await.unwrap();
            let threads =
                "import threading; t = threading.Thread(target=print, args=['ran']); t.start(); t.join()";
            let mut config = script("main", &format!("exec /usr/bin/python3 -ISc \"{threads}\""));
            config.security.seccomp = SeccompChoice::Default;
            config.log_path = Some("main.log".into());
            let of_host = [("/usr", "/usr"), ("/usr/lib", "/lib"), ("/usr/lib64", "/lib64")];
            let there = of_host.into_iter().filter(|(source, _)| Path::new(source).exists());
            config.mounts =
                there.map(|(source, at)| Mount { readonly: true, ..Mount::new(source, at) }).collect();
            let id = started(&engine, &pod, config).await;
            let exit = ended(&engine, &id).await;
            let log = engine.container(id.as_str()).unwrap().log_path.clone().unwrap();
            let log = std::fs::read_to_string(log).unwrap();
            assert!(exit.code == 0 && log.contains("ran"), "{exit:?}: {log}");
            engine.remove_sandbox(&pod).await.unwrap();
        });
        world.finish(engine);
    });
}

#[test]
fn of_a_container_that_has_ended_the_kernel_knows_nothing() {
    with_gvisor(|| {
        let mut world = World::new();
        let engine = world.with_image();
        world.run(async {
            let pod = engine.run_sandbox(sandbox("forgets")).await.unwrap();
            let stays = started(&engine, &pod, script("stays", WAITS)).await;
            let short = started(&engine, &pod, script("short", "exit 3")).await;
            assert_eq!(ended(&engine, &short).await.code, 3);
            let killed = started(&engine, &pod, script("killed", WAITS)).await;
            engine.stop_container(&killed, Duration::ZERO).await.unwrap();
            let text =
                std::process::Command::new("find").arg(world.path()).args(["-name", "*.state"]).output();
            let text = String::from_utf8(text.unwrap().stdout).unwrap();
            // Also in the words of a new version the files would have the ids in their names.
            assert!(text.contains(stays.as_str()), "{text}");
            for ended in [&short, &killed] {
                assert!(!text.contains(ended.as_str()), "{text}");
            }
            engine.remove_sandbox(&pod).await.unwrap();
        });
        world.finish(engine);
    });
}

#[test]
fn its_ports_are_reached_on_localhost() {
    with_gvisor(|| {
        let mut world = World::new();
        let engine = world.with_image();
        world.run(async {
            let pod = engine.run_sandbox(sandbox("served")).await.unwrap();
            let error = engine.connect(&pod, 80).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
            let serve =
                "echo hello > /tmp/index.html; busybox httpd -p 127.0.0.1:80 -h /tmp; : > /ready; sleep 1000000";
            let main = started(&engine, &pod, script("main", serve)).await;
            wait_for_file(&engine, &main, "/ready").await;
            for _ in 0..3 {
                let Connection::Unix(mut stream) = engine.connect(&pod, 80).await.unwrap() else {
                    panic!("the port is not the host's")
                };
                stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").await.unwrap();
                let mut answer = String::new();
                tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
                assert!(answer.ends_with("hello\n"), "{answer}");
            }
            let error = engine.connect(&pod, 81).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
            assert!(error.to_string().contains("refused"), "{error}");
            engine.remove_sandbox(&pod).await.unwrap();
            let error = engine.connect(&pod, 80).await.unwrap_err();
            assert_eq!(error.kind(), Kind::NotFound, "{error:?}");
        });
        world.finish(engine);
    });
}

#[test]
fn a_programs_bits_give_it_its_owner_unless_that_is_forbidden() {
    with_gvisor(|| {
        let mut world = World::new();
        let engine = world.with_image();
        world.run(async {
            let pod = engine.run_sandbox(sandbox("suid")).await.unwrap();
            // busybox's su becomes root without a password only by its file's bit.
            let ask = "chmod 4755 /bin/busybox; printf 'root::0:0::/:/bin/sh\\nanna::1000:1000::/:/bin/sh\\n' > /etc/passwd; \
                       busybox su anna -c \"busybox su root -c 'id -u' || echo refused\" 2>/dev/null";
            for (name, forbidden, expected) in [("may", false, "0\n"), ("may-not", true, "refused\n")] {
                let mut config = script(name, WAITS);
                config.security.no_new_privs = forbidden;
                let id = started(&engine, &pod, config).await;
                assert_eq!(output(&engine, &id, &["sh", "-c", ask]).await, expected);
            }
            engine.remove_sandbox(&pod).await.unwrap();
        });
        world.finish(engine);
    });
}

#[test]
fn it_is_found_checked_and_used() {
    require_root!();
    let program = runsc();
    require!(program.is_some(), "BERTH_GVISOR is not set: cargo xtask test builds gVisor");
    let mut world = World::new();
    world.config.handler_dirs = vec![Path::new(program.unwrap()).parent().unwrap().to_owned()];
    let engine = world.with_image();
    world.run(async {
        let known = engine.examine_handlers().await;
        let found = known.iter().find(|one| one.name == GVISOR).unwrap();
        assert_eq!((found.kind, &found.state), ("gvisor", &HandlerState::Ready));
        let mut config = sandbox("asks");
        config.handler = GVISOR.to_owned();
        let pod = engine.run_sandbox(config).await.unwrap();
        let main = started(&engine, &pod, script("main", WAITS)).await;
        assert!(output(&engine, &main, &["cat", "/proc/version"]).await.contains("gvisor"));
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
fn containers_of_one_kernel_have_numbers() {
    with_gvisor(|| {
        let mut world = World::new();
        let engine = world.with_image();
        world.run(async {
            let pod = engine.run_sandbox(sandbox("counted")).await.unwrap();
            let one = started(&engine, &pod, script("one", WAITS)).await;
            let stats = engine.stats(engine.containers(None)).await;
            let of: Vec<_> = stats.iter().map(|stats| &stats.container.id).collect();
            assert_eq!(of, [&one]);
            assert!(stats[0].usage.cpu_usage_ns > Some(0));
            let two = started(&engine, &pod, script("two", WAITS)).await;
            // Of several the kernel tells who uses what. The first may still be told as it was.
            let stats = engine.stats(engine.containers(None)).await;
            assert_eq!(stats.len(), 2);
            let used = |stats: &[ContainerStats], id: &ContainerId| {
                let usage = stats.iter().find(|stats| stats.container.id == *id).unwrap().usage;
                (usage.cpu_usage_ns.unwrap_or(0), usage.memory.map_or(0, |memory| memory.usage))
            };
            let (before, memory) = used(&stats, &two);
            assert!(memory > 0, "{stats:?}");
            let busy = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done";
            output(&engine, &two, &["sh", "-c", busy]).await;
            // A sample is given for a second, and then another is taken.
            let mut again = tokio::time::interval(Duration::from_millis(100));
            loop {
                again.tick().await;
                let stats = engine.stats(engine.containers(None)).await;
                let (works, waits) = (used(&stats, &two).0, used(&stats, &one).0);
                if works > before && works > waits {
                    break;
                }
            }
            engine.remove_sandbox(&pod).await.unwrap();
        });
        world.finish(engine);
    });
}
