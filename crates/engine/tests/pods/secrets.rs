//! What other users of the host can see and run of pods: nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use berth_engine::model::EnvVar;
use berth_testkit::guard::has_program;
use berth_testkit::{require, require_root};

use crate::harness::{WAITS, World, sandbox, script, started};

/// Runs a program as a user without rights.
fn as_other(args: &[&str]) -> std::process::Output {
    let setpriv = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
    Command::new("setpriv").args(setpriv).args(args).output().unwrap()
}

fn reached(dir: &Path) -> Vec<String> {
    let found = as_other(&["find", dir.to_str().unwrap()]);
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn other_users_of_the_host_find_nothing_of_a_pod() {
    require_root!();
    require!(has_program("setpriv"), "needs setpriv of util-linux");
    let mut world = World::new();
    // The test's own directory is no part of what keeps others out.
    std::fs::set_permissions(world.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let engine = world.with_image();
    let (id, main) = world.run(async {
        let id = engine.run_sandbox(sandbox("secret")).await.unwrap();
        let mut config =
            script("main", &format!("cp /bin/busybox /own; chmod 4755 /own; touch /dev/shm/open; {WAITS}"));
        config.envs = vec![EnvVar { name: "PASSWORD".to_owned(), value: b"hunter2".to_vec() }];
        (id.clone(), started(&engine, &id, config).await)
    });
    let made = "until [ -u /own -a -e /dev/shm/open ]; do usleep 1000; done; ls -l /own";
    let made = ["sh", "-c", made].map(str::to_owned).to_vec();
    let made = world.run(engine.exec_sync(&main, made, Some(Duration::from_secs(60)))).unwrap();
    assert!(made.stdout.starts_with(b"-rwsr-xr-x"), "{made:?}");
    // The look itself works: it finds the directories, which it cannot enter.
    let dir = world.path().to_str().unwrap().to_owned();
    let mut want = vec![dir.clone(), format!("{dir}/root"), format!("{dir}/state")];
    let mut found = reached(world.path());
    want.sort();
    found.sort();
    assert_eq!(found, want);
    // Nor by a path that a process of the pod knows.
    for path in [
        world.config.root.join("sandboxes").join(id.as_str()).join("sandbox.json"),
        world.config.state.join("pods").join(id.as_str()).join("shm/open"),
        world.config.state.join("pods").join(id.as_str()).join("shim.sock"),
    ] {
        assert!(path.exists(), "{}", path.display());
        let looked = as_other(&["stat", path.to_str().unwrap()]);
        assert!(!looked.status.success(), "{}", path.display());
    }
    // Records are for root alone, even within what only root may enter.
    let records = Command::new("find").arg(world.path()).args(["-name", "*.json", "-perm", "/077"]).output();
    assert_eq!(String::from_utf8(records.unwrap().stdout).unwrap(), "");
    world.run(async { engine.remove_sandbox(&id).await.unwrap() });
    world.finish(engine);
}

#[test]
fn directories_of_an_older_berth_are_closed() {
    require_root!();
    let mut world = World::new();
    for dir in [&world.config.root, &world.config.state, &world.config.state.join("pods")] {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let engine = world.open();
    for dir in [&world.config.root, &world.config.state, &world.config.state.join("pods")] {
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{}", dir.display());
    }
    world.finish(engine);
}
