//! Shims of containerd's protocol that fail: scripts in front of Debian's, and the real one killed or stopped. A call fails with the
//! reason, and nothing is left. What does not differ from other handlers is in `handlers.rs`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use berth_engine::model::{EnvVar, IdMap, Mount, UserNamespace};
use berth_engine::seams::{ForeignShim, Program, Seams};
use berth_engine::{Engine, EngineError, ExecRequest, HandlerState};
use berth_testkit::{executable, require, require_root, wait_until};
use berth_types::SandboxId;
use berth_types::error::chain;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{LIMIT, WAITS, World, ended, foreign_shim, programs, sandbox, script, started};

/// Debian's.
fn real() -> Option<&'static str> {
    foreign_shim("shim")
}

/// A shim that does `fault` when it is to be started, and is the real one otherwise.
fn faulty(world: &World, fault: &str) -> Seams {
    let path = world.path().join("containerd-shim-runc-v2");
    let real = real().unwrap();
    let text = format!(
        "#!/bin/sh\nfor word; do action=$word; done\nif [ $action = start ]; then\n{fault}\nfi\nexec {real} \"$@\"\n"
    );
    executable::script(&path, text);
    by(path)
}

fn by(path: PathBuf) -> Seams {
    let shim = Arc::new(Program::new(programs().shim));
    Seams { handlers: vec![Arc::new(ForeignShim::new("foreign".to_owned(), path, shim))], ..Seams::default() }
}

/// A pod by such a shim. Behind it nothing is left.
fn under(fault: &str, test: impl AsyncFnOnce(&World, &Engine, SandboxId)) {
    let mut world = World::new();
    let seams = faulty(&world, fault);
    let engine = world.open_with(seams);
    world.pull(&engine);
    let before = (world.traces(), sockets());
    world.run(async {
        let mut config = sandbox("foreign");
        config.handler = "foreign".to_owned();
        let pod = engine.run_sandbox(config).await.unwrap();
        test(&world, &engine, pod.clone()).await;
        engine.remove_sandbox(&pod).await.unwrap();
    });
    assert_eq!(world.traces(), before.0);
    let gone =
        wait_until(LIMIT, || sockets().iter().all(|socket| before.1.contains(socket) || is_live(socket)));
    assert!(gone, "{:?}", sockets());
    world.finish(engine);
}

/// Where shims of before containerd 2.3 make theirs.
fn sockets() -> Vec<PathBuf> {
    let all = std::fs::read_dir("/run/containerd/s").into_iter().flatten().flatten();
    all.map(|entry| entry.path()).collect()
}

/// Whether it is another test's.
fn is_live(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}

/// The process of the pod's shim: the one in its group.
fn process(world: &World, pod: &SandboxId) -> String {
    let ours =
        |trace: &&String| trace.ends_with(&format!("/kernel-{pod}")) && trace.starts_with("/sys/fs/cgroup");
    let traces = world.traces();
    let group = traces.iter().find(ours).expect("the pod's shim has a group");
    std::fs::read_to_string(Path::new(group).join("cgroup.procs")).unwrap().trim().to_owned()
}

/// Whether its shim is asked to make this container, or is about to be.
fn laid_out(container: &Path) -> bool {
    let inside =
        |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    inside(container).any(|dir| inside(&dir).any(|bundle| bundle.join("config.json").exists()))
}

/// Whether there is a process with this word.
fn runs(mark: &str) -> bool {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(mark))
}

fn signal(process: &str, signal: &str) {
    assert!(!process.is_empty() && !process.contains('\n'), "one shim for a pod: {process:?}");
    assert!(Command::new("kill").args([signal, process]).status().unwrap().success());
}

macro_rules! require_shim {
    () => {
        require_root!();
        require!(real().is_some(), "needs the package containerd");
    };
}

#[test]
fn one_that_does_not_start_has_the_last_word() {
    require_shim!();
    for (fault, words) in [
        ("echo 'all is lost' >&2; exit 3", ["status 3", "all is lost"]),
        ("echo nonsense it is; exit 0", ["gave no shim", "nonsense it is"]),
        ("exit 0", ["gave no shim", "it printed no address"]),
        ("echo unix:///nowhere/at/all; exit 0", ["connect to the shim", "/nowhere/at/all"]),
        ("kill -SEGV $$", ["signal 11", ""]),
        ("head -c 1000000 /dev/zero; exit 0", ["printed over", ""]),
    ] {
        under(fault, async |_, engine, pod| {
            let error = chain(&engine.create_container(&pod, script("c", WAITS)).await.unwrap_err());
            assert!(words.iter().all(|word| error.contains(word)), "{fault}: {error}");
            assert!(engine.containers(None).is_empty());
        });
    }
}

#[test]
fn one_that_hangs_when_it_is_started_is_ended() {
    require_shim!();
    under("exec sleep 1000", async |_, engine, pod| {
        let error = chain(&engine.create_container(&pod, script("c", WAITS)).await.unwrap_err());
        assert!(error.contains("did not end within 15"), "{error}");
    });
}

#[test]
fn what_a_failed_start_has_put_in_the_background_is_ended() {
    require_shim!();
    let mark = format!("{}.75", 70_000 + std::process::id());
    under(&format!("setsid sleep {mark} >/dev/null 2>&1 & exit 1"), async |_, engine, pod| {
        engine.create_container(&pod, script("c", WAITS)).await.unwrap_err();
        assert!(!runs(&mark));
    });
}

/// Its containers end, in a way that says why; the pod goes on with another shim.
#[test]
fn a_shim_that_is_killed_ends_its_containers_and_is_replaced() {
    require_shim!();
    under(":", async |world, engine, pod| {
        let one = started(engine, &pod, script("one", WAITS)).await;
        let two = engine.create_container(&pod, script("two", "exit 4")).await.unwrap();
        let before = process(world, &pod);
        signal(&before, "-KILL");
        let exit = ended(engine, &one).await;
        assert_eq!(exit.code, 255);
        assert!(exit.message.contains("how it ended is not known"), "{}", exit.message);
        assert_eq!(ended(engine, &two).await.code, 255);
        engine.remove_container(&one).await.unwrap();
        let three = started(engine, &pod, script("three", "exit 5")).await;
        assert_eq!(ended(engine, &three).await.code, 5);
        assert_ne!(process(world, &pod), before);
    });
}

/// Nobody but the shim can say how a container ended; it is given up after a while.
#[test]
fn a_shim_that_is_stopped_does_not_keep_its_pod() {
    require_shim!();
    under(":", async |world, engine, pod| {
        let id = started(engine, &pod, script("c", WAITS)).await;
        signal(&process(world, &pod), "-STOP");
        engine.stop_container(&id, Duration::ZERO).await.unwrap();
        let exit = ended(engine, &id).await;
        assert_eq!(exit.code, 137, "{exit:?}");
    });
}

/// A further process that it does not make has its time, and the container goes on.
#[test]
fn a_shim_that_is_stopped_does_not_keep_the_callers_of_exec() {
    require_shim!();
    under(":", async |world, engine, pod| {
        let id = started(engine, &pod, script("c", WAITS)).await;
        let shim = process(world, &pod);
        signal(&shim, "-STOP");
        let limit = Some(Duration::from_millis(500));
        let error = engine.exec_sync(&id, vec!["true".into()], limit).await.unwrap_err();
        assert!(matches!(error, EngineError::Timeout { .. }), "{error:?}");
        assert!(engine.container(id.as_str()).unwrap().exit.is_none());
        signal(&shim, "-CONT");
        let out = engine.exec_sync(&id, vec!["echo".into(), "on".into()], None).await.unwrap();
        assert_eq!(out.stdout, b"on\n");
    });
}

/// One that is given up while it is being started is ended when it runs after all.
#[test]
fn a_further_process_that_comes_late_is_ended() {
    require_shim!();
    let bin = tempfile::tempdir().unwrap();
    let file = |name: &str| bin.path().join(name);
    let mark = format!("{}.75", 80_000 + std::process::id());
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", file("go").display());
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in *' exec '*) ;; *) exec {real} \"$@\";; esac\n\
         touch {asked}; {wait}\n{real} \"$@\"; code=$?\ntouch {done}; exit $code\n",
        real = "/usr/sbin/runc",
        asked = file("asked").display(),
        done = file("done").display(),
    );
    executable::script(file("runc"), text);
    under(&format!("export PATH={}:$PATH", bin.path().display()), async |_, engine, pod| {
        let id = started(engine, &pod, script("c", WAITS)).await;
        let limit = Some(Duration::from_millis(500));
        let argv = vec!["sleep".to_owned(), mark.clone()];
        let error = engine.exec_sync(&id, argv, limit).await.unwrap_err();
        assert!(matches!(error, EngineError::Timeout { .. }), "{error:?}");
        assert!(wait_until(LIMIT, || file("asked").exists()));
        std::fs::write(file("go"), "").unwrap();
        assert!(wait_until(LIMIT, || file("done").exists()));
        assert!(wait_until(LIMIT, || !runs(&mark)));
        let out = engine.exec_sync(&id, vec!["echo".into(), "on".into()], None).await.unwrap();
        assert_eq!(out.stdout, b"on\n");
    });
}

/// One starts the pod's shim and another waits for that, when the pod is stopped.
#[test]
fn creations_whose_shim_does_not_start_end_with_the_pod() {
    require_shim!();
    under("exec sleep 1000", async |world, engine, pod| {
        let containers = world.config.root.join("sandboxes").join(pod.as_str()).join("containers");
        let asked = async |count: usize| {
            let containers = containers.clone();
            let begun = move || {
                let all = std::fs::read_dir(&containers).into_iter().flatten().flatten();
                all.filter(|container| laid_out(&container.path())).count() == count
            };
            let asked = move || assert!(wait_until(LIMIT, &begun));
            tokio::task::spawn_blocking(asked).await.unwrap();
        };
        let create = async |name| engine.create_container(&pod, script(name, WAITS)).await;
        let second = async {
            asked(1).await;
            create("second").await
        };
        let stop = async {
            asked(2).await;
            engine.stop_sandbox(&pod).await.unwrap();
        };
        // It does not wait for the time that the shim would have had.
        let (first, second, ()) = tokio::join!(create("first"), second, stop);
        first.unwrap_err();
        second.unwrap_err();
    });
}

/// A pod is removed while its shim makes a container, and does not get on with it.
#[test]
fn a_shim_that_is_stopped_in_a_creation_is_ended_with_its_pod() {
    require_shim!();
    under(":", async |world, engine, pod| {
        started(engine, &pod, script("first", WAITS)).await;
        signal(&process(world, &pod), "-STOP");
        let create = engine.create_container(&pod, script("c", WAITS));
        let stop = async {
            let containers = world.config.root.join("sandboxes").join(pod.as_str()).join("containers");
            // What the shim is asked with.
            let asked = move || {
                let all = std::fs::read_dir(&containers).unwrap().flatten();
                all.filter(|entry| entry.path().join("fifos").exists()).count() == 2
            };
            let asked = move || assert!(wait_until(LIMIT, &asked));
            tokio::task::spawn_blocking(asked).await.unwrap();
            engine.stop_sandbox(&pod).await.unwrap();
        };
        let (created, ()) = tokio::join!(create, stop);
        created.unwrap_err();
    });
}

/// Nothing stays of a container that could not be made, but for the pod's shim and its group.
#[test]
fn a_container_that_cannot_be_created_leaves_its_pods_shim_alone() {
    require_shim!();
    under(":", async |world, engine, pod| {
        let first = started(engine, &pod, script("first", WAITS)).await;
        let before = (world.traces(), process(world, &pod));
        let mut mount = script("c", "true");
        mount.mounts = vec![Mount::new("/tmp", "/proc/self")];
        let mut limit = script("c", "true");
        limit.resources.cpuset_cpus = "9999".into();
        for config in [mount, limit] {
            engine.create_container(&pod, config).await.unwrap_err();
            assert_eq!((world.traces(), process(world, &pod)), before);
        }
        let again = started(engine, &pod, script("c", "exit 3")).await;
        assert_eq!(ended(engine, &again).await.code, 3);
        assert!(engine.container(first.as_str()).unwrap().exit.is_none());
    });
}

/// It is the shim that has the terminals, of which Berth has FIFOs.
#[test]
fn terminals_have_sizes_and_take_what_is_typed() {
    require_shim!();
    under(":", async |_, engine, pod| {
        let mut config = script("c", "read a; echo \"$a in $(busybox stty size)\"; read b; exit 9");
        (config.tty, config.stdin) = (true, true);
        let id = engine.create_container(&pod, config).await.unwrap();
        let mut session = engine.attach(&id, true).await.unwrap();
        engine.start_container(&id).await.unwrap();
        session.resizer.as_ref().unwrap().resize(33, 101).await.unwrap();
        session.stdin.as_mut().unwrap().write_all(b"one\n").await.unwrap();
        let mut text = String::new();
        while !text.contains("one in 33 101\r\n") {
            let mut bytes = [0; 256];
            let count = session.stdout.read(&mut bytes).await.unwrap();
            assert!(count > 0, "{text:?}");
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        let command = ["sh", "-c", "read a; echo \"$a in $(busybox stty size)\"; exit 5"];
        let argv = command.map(str::to_owned).to_vec();
        let request = ExecRequest { argv, tty: true, stdin: true, ..ExecRequest::default() };
        let mut exec = engine.exec(&id, request).await.unwrap();
        exec.resizer.as_ref().unwrap().resize(20, 90).await.unwrap();
        exec.stdin.as_mut().unwrap().write_all(b"two\n").await.unwrap();
        let mut text = String::new();
        exec.stdout.read_to_string(&mut text).await.unwrap();
        assert!(text.contains("two in 20 90"), "{text:?}");
        assert_eq!(exec.ending.wait().await.unwrap().code, 5);
        session.stdin.as_mut().unwrap().write_all(b"end\n").await.unwrap();
        assert_eq!(ended(engine, &id).await.code, 9);
    });
}

#[test]
fn what_it_cannot_do_is_refused_by_name() {
    require_shim!();
    under(":", async |_, engine, pod| {
        let mut mapped = sandbox("mapped");
        mapped.handler = "foreign".to_owned();
        let ids = IdMap { container: 0, host: 300_000, length: 65_536 };
        mapped.namespaces.user = Some(UserNamespace { uids: ids, gids: ids });
        let error = engine.run_sandbox(mapped).await.unwrap_err().to_string();
        assert!(error.contains("the handler \"foreign\" has no user namespaces"), "{error}");
        let mut config = script("c", "true");
        config.envs.push(EnvVar { name: "RAW".to_owned(), value: b"a\xffb".to_vec() });
        let error = chain(&engine.create_container(&pod, config).await.unwrap_err());
        assert!(
            error.contains("RAW") && error.contains("shims of containerd's protocol do not have"),
            "{error}"
        );
    });
}

/// A shim in one of the directories is a handler by its own name; one that is broken says why.
#[test]
fn shims_are_found_by_their_names() {
    require_shim!();
    let mut world = World::new();
    let dir = world.path().join("shims");
    std::fs::create_dir(&dir).unwrap();
    executable::copy(real().unwrap(), dir.join("containerd-shim-found-v2"));
    executable::script(dir.join("containerd-shim-broken-v2"), "#!/bin/sh\necho it is broken >&2; exit 1\n");
    world.config.handler_dirs = vec![dir];
    world.config.handlers.insert("given".to_owned(), "io.containerd.found.v2".into());
    let engine = world.open();
    world.pull(&engine);
    world.run(async {
        let known = engine.examine_handlers().await;
        let of = |name: &str| known.iter().find(|one| one.name == name).unwrap();
        for name in ["found", "given"] {
            let one = of(name);
            assert_eq!((one.state.clone(), one.kind), (HandlerState::Ready, "shim"), "{one:?}");
            assert!(one.version.starts_with("1.") && !one.features.user_namespaces, "{one:?}");
        }
        let HandlerState::Unusable(why) = &of("broken").state else { panic!("{:?}", of("broken")) };
        assert!(why.ends_with("failed with status 1: it is broken"), "{why}");
        let mut config = sandbox("given");
        config.handler = "given".to_owned();
        let pod = engine.run_sandbox(config).await.unwrap();
        let id = started(&engine, &pod, script("c", "exit 6")).await;
        assert_eq!(ended(&engine, &id).await.code, 6);
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// A shim has to run a container before it is believed, by the calls that pods need.
#[test]
fn shims_that_run_no_container_are_found_out() {
    require_shim!();
    let mut world = World::new();
    let dir = world.path().join("shims");
    std::fs::create_dir(&dir).unwrap();
    let real = real().unwrap();
    let starts = [
        ("unable", "echo there is no KVM here >&2; exit 1".to_owned()),
        ("liar", "echo hello; exit 0".to_owned()),
        // It is there, and does not answer: stopped by the time that its address is told.
        (
            "frozen",
            format!(
                "address=$({real} \"$@\") || exit 1
                for one in /proc/[0-9]*; do
                    one=${{one#/proc/}}
                    [ $one = $$ ] || ! grep -q -- -address /proc/$one/cmdline || kill -STOP $one
                done
                echo \"$address\"; exit 0"
            ),
        ),
    ];
    for (name, start) in starts {
        let action = "for word; do action=$word; done\nif [ $action = start ]; then\n";
        let text = format!("#!/bin/sh\n{action}{start}\nfi\nexec {real} \"$@\"\n");
        executable::script(dir.join(format!("containerd-shim-{name}-v2")), text);
    }
    world.config.handler_dirs = vec![dir];
    let engine = world.open();
    let before = (world.traces(), sockets());
    world.run(async {
        let known = engine.examine_handlers().await;
        let why = |name: &str| match &known.iter().find(|one| one.name == name).unwrap().state {
            HandlerState::Unusable(why) => why.clone(),
            other => panic!("{name}: {other:?}"),
        };
        let unable = why("unable");
        assert!(unable.starts_with("`containerd-shim-unable-v2 start` failed with status 1: "), "{unable}");
        assert!(unable.contains("there is no KVM here"), "{unable}");
        assert!(why("liar").contains("connect to the shim at hello"), "{}", why("liar"));
        let frozen = why("frozen");
        assert!(frozen.contains("Connect of the shim: no answer within 15"), "{frozen}");
    });
    assert_eq!(world.traces(), before.0);
    let new: Vec<PathBuf> = sockets().into_iter().filter(|s| !before.1.contains(s) && !is_live(s)).collect();
    assert!(new.is_empty(), "{new:?}");
    world.finish(engine);
}
