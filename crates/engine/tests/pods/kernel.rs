//! How a pod's own kernel begins, with runtimes that fail: scripts in front of gVisor's. It is begun with the pod, and by the first container
//! where that did not begin it; from its process on, its end is that of the pod.

use std::path::Path;
use std::sync::Arc;

use berth_engine::Engine;
use berth_engine::seams::{Gvisor, Program, Seams};
use berth_testkit::{executable, require, require_root, wait_until};
use berth_types::SandboxId;
use berth_types::error::chain;
use berth_types::lifecycle::sandbox as pod;

use crate::harness::{LIMIT, WAITS, World, ended, programs, runsc, sandbox, script, started};

/// A runtime that does `fault` when it is to begin a pod's kernel, and is gVisor's otherwise.
fn faulty(world: &World, fault: &str) -> Seams {
    let (path, real) = (world.path().join("faulty"), runsc().unwrap());
    let text = format!(
        "#!/bin/sh\nreal() {{ {real} \"$@\"; }}\nfor word; do\n  [ \"$last\" = --log ] && log=$word\n\
         \x20 [ \"$last\" = --pid-file ] && pid_file=$word\n  last=$word\ndone\n\
         if [ \"$pid_file\" ]; then\n{fault}\nfi\nexec {real} \"$@\"\n"
    );
    executable::script(&path, text);
    let shim = Arc::new(Program::new(programs().shim));
    Seams { handlers: vec![Arc::new(Gvisor::new("faulty".to_owned(), path, shim))], ..Seams::default() }
}

/// A pod whose kernel is begun by a faulty runtime; nothing is left of it. `fault` is told a directory for files.
fn with(fault: impl FnOnce(&Path) -> String, test: impl AsyncFnOnce(&Engine, SandboxId, &Path)) {
    require_root!();
    require!(runsc().is_some(), "BERTH_GVISOR is not set: cargo xtask test builds gVisor");
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let seams = faulty(&world, &fault(dir.path()));
    let engine = world.open_with(seams);
    world.pull(&engine);
    let before = world.traces();
    world.run(async {
        let mut config = sandbox("faulty");
        config.handler = "faulty".to_owned();
        // It may have ended with its kernel already.
        let ran = engine.run_sandbox(config).await.ok();
        let pod = ran.unwrap_or_else(|| engine.sandboxes(None)[0].id.clone());
        test(&engine, pod.clone(), world.path()).await;
        if engine.sandbox(pod.as_str()).is_ok() {
            engine.remove_sandbox(&pod).await.unwrap();
        }
    });
    assert_eq!(world.traces(), before);
    world.finish(engine);
}

fn ready(engine: &Engine, pod: &SandboxId) -> bool {
    engine.sandbox(pod.as_str()).unwrap().state == pod::State::Ready
}

#[test]
fn one_that_did_not_begin_is_begun_by_the_first_container_that_can() {
    let fault = |dir: &Path| {
        let count = dir.join("count");
        format!(
            "echo >>{count}; if [ $(wc -l <{count}) -lt 3 ]; then\n\
             echo '{{\"level\":\"error\",\"msg\":\"not yet\"}}' >>\"$log\"; exit 1\nfi",
            count = count.display()
        )
    };
    with(fault, async |engine, pod, _| {
        let error = chain(&engine.create_container(&pod, script("one", WAITS)).await.unwrap_err());
        assert!(error.contains("not yet"), "{error}");
        assert!(ready(engine, &pod));
        let id = started(engine, &pod, script("two", "exit 3")).await;
        assert_eq!(ended(engine, &id).await.code, 3);
    });
}

#[test]
fn one_that_began_and_failed_ends_its_pod() {
    // Once with a process that is left, and once with one that the runtime has ended, as gVisor's does when it cannot start it.
    for fault in ["real \"$@\"; exit 1", "sh -c 'echo $$' >\"$pid_file\"; exit 1"] {
        with(
            |_| fault.to_owned(),
            async |engine, pod, _| {
                assert!(wait_until(LIMIT, || !ready(engine, &pod)), "its end is that of the pod");
                engine.create_container(&pod, script("late", WAITS)).await.unwrap_err();
            },
        );
    }
}

/// Whoever waits for the kernel, and what begins it, is ended with the pod.
#[test]
fn one_whose_beginning_hangs_is_ended_with_its_pod() {
    with(
        |_| "exec sleep 1000".to_owned(),
        async |engine, pod, path| {
            let both = async {
                tokio::join!(
                    engine.create_container(&pod, script("one", WAITS)),
                    engine.create_container(&pod, script("two", WAITS))
                )
            };
            let made = bundles(path, pod.as_str());
            let remove = async {
                let both = move || assert!(wait_until(LIMIT, || made() == 2), "they are not made");
                tokio::task::spawn_blocking(both).await.unwrap();
                engine.remove_sandbox(&pod).await.unwrap();
            };
            let ((one, two), ()) = tokio::join!(both, remove);
            one.unwrap_err();
            two.unwrap_err();
        },
    );
}

/// How many bundles of a pod's containers there are: the shim is asked for each then.
fn bundles(path: &Path, pod: &str) -> impl Fn() -> usize + Send + use<> {
    let dir = path.join("root/sandboxes").join(pod).join("containers");
    move || {
        let all = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        all.filter(|container| container.path().join("bundle").is_dir()).count()
    }
}
