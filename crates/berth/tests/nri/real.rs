//! Plugins that do what they should.

use berth_testkit::executable;
use berth_testkit::guard::{has_program, wait_until};
use berth_testkit::{require, require_root};

use crate::cri::{self, Cri};
use crate::home::{Home, LIMIT};
use crate::plugin::{self, Plugin, heard};
use crate::world::{IDLE, World};

#[test]
fn three_plugins_are_told_of_a_container_and_change_it() {
    require_root!();
    require!(has_program("go"), "needs Go");
    let world = World::start();
    let before = world.run("before");
    let inject = world.plugin("10", "inject");
    let limit = world.plugin("20", "limit");
    let log = world.plugin("30", "log");
    assert!(log.hears("Synchronize", "before")["names"].to_string().contains("before"));
    assert!(log.hears("Configure", "berth").to_string().contains("v0."));

    let main = world.run("main");
    let shown = world.cri.exec(
        &main,
        &[
            "sh",
            "-c",
            "echo $INJECTED; ulimit -n; ulimit -Hn; head -c 2 /dev/injected | od -An -tx1; wc -l < /injected",
        ],
    );
    let shown: Vec<String> = shown.unwrap().lines().map(|line| line.trim().to_owned()).collect();
    assert_eq!(shown, ["10-inject", "123", "321", "00 00", "1"]);
    // The last plugin sees what those before it did.
    let created = log.hears("CreateContainer", "main");
    assert!(created["env"].to_string().contains("INJECTED=10-inject"), "{created}");
    assert_eq!(created["limit"], 64 << 20);
    // Asked for by the plugin itself, after the start.
    limit.hears("Updated", "0 <nil>");
    assert_eq!(world.memory_limit(&main), 96 << 20);
    assert_eq!(log.hears("PostUpdateContainer", "main")["limit"], 96 << 20);

    world.cri.limit_memory(&main, 80 << 20).unwrap();
    assert_eq!(log.hears("UpdateContainer", "main")["container"], "main");
    assert_eq!(world.memory_limit(&main), 80 << 20);
    world.cri.stop(&main, 30).unwrap();
    world.cri.remove(&main).unwrap();
    log.hears("RemoveContainer", "main");
    let mut events = log.events("main");
    events.retain(|event| !event.contains("Update"));
    assert_eq!(
        events,
        [
            "CreateContainer",
            "PostCreateContainer",
            "StartContainer",
            "PostStartContainer",
            "StopContainer",
            "RemoveContainer"
        ]
    );
    drop((inject, limit));
    world.cri.stop(&before, 30).unwrap();
    world.end();
}

#[test]
fn one_that_shapes_a_process_shapes_its_exec_sessions_too_also_under_the_next_daemon() {
    require_root!();
    require!(has_program("go"), "needs Go");
    const LOOK: &str = "cut -d' ' -f19,41 /proc/self/stat; busybox ionice; mkdir /tmp/new 2>&1";
    let mut world = World::start();
    let shape = world.plugin("10", "shape");
    let looks = format!("({LOOK}; grep -om1 bind:0 /proc/self/numa_maps) > /said; {IDLE}");
    let config = cri::shell("main", &world.config, &looks);
    let main = world.cri.create(&world.pod, &world.config, config).unwrap();
    world.cri.start(&main).unwrap();
    let shaped =
        "6 3\nbest-effort: prio 5\nmkdir: can't create directory '/tmp/new': No space left on device\n";
    let numa = std::path::Path::new("/proc/self/numa_maps").exists();
    let expected = format!("{shaped}{}", if numa { "bind:0\n" } else { "" });
    let said = || world.cri.exec(&main, &["cat", "/said"]).unwrap_or_default();
    assert!(wait_until(LIMIT, || said() == expected), "{}", said());
    let look = [LOOK, "; true"].concat();
    assert_eq!(world.cri.exec(&main, &["sh", "-c", &look]).unwrap(), shaped);
    drop(shape);
    world.home.daemon.kill().unwrap();
    world.home.daemon.start().unwrap();
    world.cri = Cri::connect(&world.home.daemon.socket()).unwrap();
    assert_eq!(world.cri.exec(&main, &["sh", "-c", &look]).unwrap(), shaped);
    world.end();
}

#[test]
fn two_that_set_the_same_fail_the_creation_by_both_names() {
    require_root!();
    require!(has_program("go"), "needs Go");
    let world = World::start();
    let first = world.plugin("10", "inject");
    let second = Plugin::connect(&world.socket(), "20", "inject", world.home.dir.path());
    second.hears("Synchronize", "");
    let error = world.create("main").unwrap_err().message().to_owned();
    assert!(error.contains("\"10-inject\" and \"20-inject\" both tried to set"), "{error}");
    assert!(world.cri.containers().unwrap().is_empty());
    drop(second);
    assert!(wait_until(LIMIT, || world.create("main").is_ok()), "the creation goes on without one of them");
    drop(first);
    world.end();
}

#[test]
fn one_that_judges_sees_who_did_what_and_is_obeyed() {
    require_root!();
    require!(has_program("go"), "needs Go");
    let world = World::start();
    let inject = world.plugin("10", "inject");
    let judge = world.plugin("20", "judge");
    world.run("allowed");
    assert_eq!(judge.hears("Validate", "allowed")["names"][0], "10-inject");
    let error = world.create("forbidden").unwrap_err().to_string();
    assert!(error.contains("20-judge") && error.contains("nothing may be injected by 10-inject"), "{error}");
    // Nothing of it is left, for plugins neither.
    judge.hears("RemoveContainer", "forbidden");
    drop((inject, judge));
    world.end();
}

#[test]
fn plugins_of_the_directory_are_started_with_their_configuration() {
    require_root!();
    require!(has_program("go"), "needs Go");
    let dir = tempfile::Builder::new().prefix("berth-").tempdir().unwrap();
    let (plugins, configs) = (dir.path().join("plugins"), dir.path().join("conf.d"));
    std::fs::create_dir(&plugins).unwrap();
    std::fs::create_dir(&configs).unwrap();
    executable::copy(plugin::program(), plugins.join("10-log.first"));
    executable::copy(plugin::program(), plugins.join("20-log.second"));
    executable::script(plugins.join("30-silent"), "#!/bin/sh\nexec sleep 1000\n");
    executable::script(plugins.join("nameless"), "#!/bin/sh\nexit 0\n");
    std::fs::write(configs.join("10-log.first.conf"), "of the first").unwrap();
    std::fs::write(configs.join("log.second.conf"), "of its name").unwrap();
    let flags = |flag: &str, dir: &std::path::Path| [flag.to_owned(), dir.display().to_string()];
    let arguments = [flags("--nri-plugin-dir", &plugins), flags("--nri-config-dir", &configs)].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let home = Home::start_with(crate::home::program(), &arguments);
    heard(&plugins.join("10-log.first.out"), "Configure", "of the first");
    heard(&plugins.join("20-log.second.out"), "Configure", "of its name");
    heard(&plugins.join("20-log.second.out"), "Synchronize", "");
    let log = home.daemon.log();
    assert!(log.contains("30-silent") && log.contains("it did not register within 5000 ms"), "{log}");
    assert!(log.contains("nameless") && log.contains("an index is two digits"), "{log}");
    let programs = ["10-log.first", "20-log.second"].map(|name| plugins.join(name));
    assert!(programs.iter().all(|program| plugin::runs(program)));
    home.clean();
    drop(home);
    // They end with the daemon, whether or not they have the time to say so.
    assert!(wait_until(LIMIT, || !programs.iter().any(|program| plugin::runs(program))));
}
