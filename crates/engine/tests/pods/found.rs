//! Runtimes that are found on the machine, and pods that ask for them. What drives one is the stand-in of `seams`: here it is about who
//! may run a pod, and when.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_engine::seams::{Handler, Kind, Program, Runtimes, Seams};
use berth_engine::{Engine, HandlerState, HandlerStatus};
use berth_testkit::executable;
use berth_testkit::guard::has_program;
use berth_testkit::{require, require_root};
use berth_types::{Classify as _, Kind as ErrorKind};

use crate::harness::{WAITS, World, programs, sandbox, script, started};
use crate::seams::Bundles;

#[derive(Debug)]
struct StandIns;

impl Runtimes for StandIns {
    fn handler(&self, name: &str, _: Kind, _: &Path) -> Arc<dyn Handler> {
        Arc::new(Bundles { name: name.to_owned(), program: Program::new(programs().shim) })
    }

    fn has(&self, _: Kind) -> bool {
        true
    }
}

fn seams() -> Seams {
    Seams { runtimes: Some(Arc::new(StandIns)), ..Seams::default() }
}

/// A world whose engine looks in a directory of its own.
fn world() -> (World, PathBuf) {
    let mut world = World::new();
    let dir = world.path().join("runtimes");
    std::fs::create_dir(&dir).unwrap();
    world.config.handler_dirs = vec![dir.clone()];
    (world, dir)
}

/// Debian's runc, as a file of the test's own.
fn install_runc(dir: &Path) {
    let places = ["/usr/bin/runc", "/usr/sbin/runc"];
    let runc = places.iter().find(|path| Path::new(path).exists()).unwrap();
    executable::copy(runc, dir.join("new"));
    std::fs::rename(dir.join("new"), dir.join("runc")).unwrap();
}

fn install_broken(dir: &Path) {
    executable::script(dir.join("new"), "#!/bin/sh\necho it is broken >&2\nexit 1\n");
    std::fs::rename(dir.join("new"), dir.join("runc")).unwrap();
}

fn asking(name: &str, handler: &str) -> berth_engine::model::SandboxConfig {
    let mut config = sandbox(name);
    config.handler = handler.to_owned();
    config
}

async fn runc(engine: &Engine) -> HandlerStatus {
    let known = engine.examine_handlers().await;
    known.into_iter().find(|one| one.name == "runc").unwrap()
}

/// Contract 5: a handler that cannot be used fails at once with its reason; a program that comes, is replaced or goes is
/// noticed without a restart.
#[test]
fn a_runtime_that_comes_and_goes_is_noticed_by_pods() {
    require_root!();
    require!(has_program("runc"), "needs the package runc");
    let (mut world, dir) = world();
    let engine = world.open_with(seams());
    world.pull(&engine);
    let (id, main) = world.run(async {
        let error = engine.run_sandbox(asking("none", "runc")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
        assert!(error.to_string().contains("there is none at"), "{error}");
        let error = engine.run_sandbox(asking("unknown", "kata")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().ends_with("known are crun, native, runc, runsc"), "{error}");

        install_runc(&dir);
        let id = engine.run_sandbox(asking("by-runc", "runc")).await.unwrap();
        let main = started(&engine, &id, script("main", WAITS)).await;
        let told = runc(&engine).await;
        assert_eq!(told.state, HandlerState::Ready, "{told:?}");
        assert!(told.version.starts_with("runc version 1.") && told.features.checkpoint, "{told:?}");
        assert!(!told.features.user_namespaces, "the stand-in has none: {told:?}");

        install_broken(&dir);
        let error = engine.run_sandbox(asking("broken", "runc")).await.unwrap_err();
        assert!(
            error.to_string().ends_with("`runc --version` failed with status 1: it is broken"),
            "{error}"
        );
        let told = runc(&engine).await;
        assert_eq!(told.state.word(), "unusable", "{told:?}");
        engine.run_sandbox(sandbox("native-meanwhile")).await.unwrap();

        std::fs::remove_file(dir.join("runc")).unwrap();
        assert_eq!(runc(&engine).await.state.word(), "missing");
        assert_eq!(engine.sandboxes(None).len(), 2);
        (id, main)
    });
    // What its pods have is theirs, for a later daemon too.
    world.kill(engine);
    let engine = world.open_with(seams());
    world.run(async {
        let out = engine.exec_sync(&main, vec!["hostname".into()], None).await.unwrap();
        assert_eq!(out.stdout, b"by-runc\n");
        assert_eq!(engine.sandbox(id.as_str()).unwrap().config.handler, "runc");
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

/// Pods made before the default was changed keep what they had.
#[test]
fn another_default_is_for_new_pods() {
    require_root!();
    require!(has_program("runc"), "needs the package runc");
    let (mut world, dir) = world();
    install_runc(&dir);
    let engine = world.open_with(seams());
    let before = world.run(engine.run_sandbox(sandbox("before"))).unwrap();
    world.kill(engine);
    world.config.default_handler = "runc".to_owned();
    let engine = world.open_with(seams());
    world.run(async {
        let after = engine.run_sandbox(sandbox("after")).await.unwrap();
        assert_eq!(engine.run_sandbox(sandbox("after")).await.unwrap(), after, "asked again, it is the same");
        let handler =
            |id: &berth_types::SandboxId| engine.sandbox(id.as_str()).unwrap().config.handler.clone();
        assert_eq!((handler(&before).as_str(), handler(&after).as_str()), ("", "runc"));
        let native = engine.run_sandbox(asking("native", "native")).await.unwrap();
        assert_eq!(handler(&native), "");
        let defaults: Vec<_> =
            engine.handlers().await.into_iter().filter(|one| one.is_default).map(|one| one.name).collect();
        assert_eq!(defaults, ["runc"]);
    });
    world.finish(engine);
}

/// A daemon that is killed while it checks leaves what the next one removes.
#[test]
fn a_daemon_that_ends_while_it_checks_leaves_nothing() {
    require_root!();
    let (mut world, dir) = world();
    let mark = format!("{}.5", 60_000 + std::process::id());
    executable::script(dir.join("runc"), format!("#!/bin/sh\nsleep {mark}\n"));
    let engine = world.open_with(seams());
    world.run(async {
        engine.handlers().await;
        let limit = std::time::Duration::from_secs(60);
        assert!(berth_testkit::guard::wait_until(limit, || runs(&mark)), "it is being checked");
        assert_eq!(engine.doctor().await, [], "which is nothing that was left behind");
    });
    world.kill(engine);
    let engine = world.open_with(seams());
    world.finish(engine);
    assert!(!runs(&mark));
}

fn runs(mark: &str) -> bool {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).any(|line| line.contains(mark))
}
