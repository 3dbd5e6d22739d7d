//! Further processes: what the options do, beside runc and crun.

use serde_json::json;

mod support;
use support::bundle::{Bundle, Runtime, oracles};
use support::life::{Life, Said, wait_until};
use support::root;

const LOOK: &str = "id -u; id -g; id -G; pwd; echo $A-$B-$HOME; busybox printenv A; grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; \
     readlink /proc/self/ns/pid | grep -c . ; ls /proc/self/fd | wc -l; grep -c . /proc/self/cgroup; exit 4";

const OPTIONS: &[&[&str]] = &[
    &[],
    &["--cwd", "/tmp"],
    &["--env", "A=other", "--env", "B=new"],
    &["--env", "A=one", "--env", "A=two"],
    &["--user", "1000"],
    &["--user", "1000:1001"],
    &["--user", "1000:1001", "--additional-gids", "7", "--additional-gids", "8"],
    &["--cap", "CAP_NET_RAW"],
    &["--no-new-privs"],
];

fn running(bundle: &Bundle, runtime: Runtime) -> Life<'_> {
    let life = Life::new(bundle, runtime);
    life.create(&[]).fine();
    life.verb("start").fine();
    life
}

#[test]
fn options_do_what_they_do_under_runc() {
    let test = "options_do_what_they_do_under_runc";
    if !root(test) {
        return;
    }
    let mut bundle = Bundle::new("sleep 1000");
    bundle.config["process"]["user"] = json!({ "uid": 5, "gid": 6, "additionalGids": [9] });
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }]
    });
    let run = |runtime: Runtime| -> Vec<(Vec<&str>, Said)> {
        let life = running(&bundle, runtime);
        let said = |options: &&[&'static str]| {
            let words = [&["exec"][..], options, &[&life.id, "sh", "-c", LOOK]].concat();
            (options.to_vec(), life.call(&words))
        };
        OPTIONS.iter().map(said).collect()
    };
    let ours = run(Runtime::Ours);
    assert!(ours.iter().all(|(_, said)| said.code == 4), "{ours:#?}");
    // crun gives a further process all capabilities of the bounding set, and may let it gain privileges.
    for oracle in oracles(test).into_iter().filter(|o| *o == Runtime::Runc) {
        let theirs = run(oracle);
        let differ: Vec<_> =
            ours.iter().zip(&theirs).filter(|(a, b)| (a.1.code, &a.1.out) != (b.1.code, &b.1.out)).collect();
        assert!(differ.is_empty(), "ours and {oracle:?}: {differ:#?}");
    }
}

#[test]
fn a_process_from_a_file_goes_on_when_it_is_detached() {
    let test = "a_process_from_a_file_goes_on_when_it_is_detached";
    if !root(test) {
        return;
    }
    let bundle = Bundle::new("sleep 1000");
    for runtime in std::iter::once(Runtime::Ours).chain(oracles(test)) {
        let life = running(&bundle, runtime);
        let file = |process: serde_json::Value| {
            let path = bundle.path().join("process.json");
            std::fs::write(&path, process.to_string()).expect("write");
            path.to_str().expect("a path").to_owned()
        };
        drop(std::fs::remove_file(bundle.rootfs().join("tmp/done")));
        let path = file(
            json!({ "args": ["sh", "-c", "id -u > /tmp/who; sleep 0.1; mv /tmp/who /tmp/done"], "cwd": "/",
            "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 } }),
        );
        let pid_file = bundle.path().join("pid");
        let pid_option = pid_file.to_str().expect("a path");
        life.call(&["exec", "--process", &path, "--detach", "--pid-file", pid_option, &life.id]).fine();
        std::fs::read_to_string(&pid_file).expect("the pid file").parse::<u32>().expect("a number");
        wait_until(|| bundle.rootfs().join("tmp/done").exists(), || "it did not go on".into());
        if runtime == Runtime::Ours {
            let path =
                file(json!({ "args": ["true"], "cwd": "/", "user": { "uid": 0, "gid": 0 }, "color": "red" }));
            life.call(&["exec", "--process", &path, &life.id]).refused("process.color: unknown field");
        }
    }
}

#[test]
fn a_command_that_is_not_there_is_told_as_callers_expect() {
    if !root("a_command_that_is_not_there_is_told_as_callers_expect") {
        return;
    }
    let bundle = Bundle::new("sleep 1000");
    let life = running(&bundle, Runtime::Ours);
    let said = life.call(&["exec", &life.id, "nosuch"]);
    assert_eq!(said.code, 127);
    said.refused("No such file or directory");
    let said = life.call(&["exec", &life.id, "/etc"]);
    assert_eq!(said.code, 126);
    said.refused("ermission denied");
    life.call(&["exec", &life.id]).refused("no command");
    life.call(&["exec", "--user", "root", &life.id, "true"]).refused("--user");
}

/// And what uses them is told.
#[test]
fn limits_are_changed_by_a_file_too() {
    if !root("limits_are_changed_by_a_file_too") {
        return;
    }
    let bundle = Bundle::new("sleep 1000");
    let life = running(&bundle, Runtime::Ours);
    let path = bundle.path().join("resources.json");
    let write = |resources: serde_json::Value| std::fs::write(&path, resources.to_string()).expect("write");
    write(json!({ "pids": { "limit": 55 }, "cpu": { "shares": 300 } }));
    life.call(&["update", "--resources", path.to_str().expect("a path"), &life.id]).fine();
    assert_eq!(life.cgroup("pids.max", "pids.max"), "55");
    let mut update = life.command(&["update", "-r", "-", &life.id]);
    update.stdin(
        std::fs::File::open({
            write(json!({ "pids": { "limit": 44 } }));
            &path
        })
        .expect("open"),
    );
    assert!(update.status().expect("run").success());
    assert_eq!(life.cgroup("pids.max", "pids.max"), "44");
    write(json!({ "pids": { "maximum": 44 } }));
    life.call(&["update", "-r", path.to_str().expect("a path"), &life.id])
        .refused("linux.resources.pids.maximum");
    let stats: serde_json::Value =
        serde_json::from_str(&life.call(&["events", "--stats", &life.id]).fine()).expect("json");
    assert_eq!((&stats["type"], &stats["data"]["pids"]["limit"]), (&json!("stats"), &json!(44)));
    assert!(stats["data"]["memory"]["usage"]["usage"].as_u64().is_some_and(|bytes| bytes > 0), "{stats}");
    let table = life.call(&["ps", &life.id, "-o", "pid,args"]).fine();
    assert!(
        table.trim_start().starts_with("PID COMMAND\n")
            && table.contains("sleep 1000")
            && table.lines().count() < 4,
        "{table}"
    );
    let features: oci_spec::runtime::Features =
        serde_json::from_str(&life.call(&["features"]).fine()).expect("features");
    assert_eq!(features.hooks().as_ref().map(Vec::len), Some(6));
    let spec = life.call(&["spec", "--bundle", bundle.path().join("state").to_str().expect("a path")]);
    assert_eq!(spec.code, 0, "{spec:?}");
}

/// All processes of a container have its clocks and its personality.
#[test]
fn a_further_process_has_the_clocks_and_the_personality_of_the_first() {
    if !root("a_further_process_has_the_clocks_and_the_personality_of_the_first") {
        return;
    }
    let mut bundle = Bundle::new("sleep 1000");
    bundle.config["linux"]["namespaces"].as_array_mut().expect("array").push(json!({ "type": "time" }));
    bundle.config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 864_000_000 } });
    bundle.config["linux"]["personality"] = json!({ "domain": "LINUX32" });
    bundle.config["hooks"]["startContainer"] = json!([{ "path": "/bin/busybox", "args": ["sh", "-c", "cut -d. -f1 /proc/uptime > /tmp/uptime; uname -m > /tmp/machine"] }]);
    let life = running(&bundle, Runtime::Ours);
    let uptime = |text: &str| text.trim().parse::<u64>().unwrap_or_else(|_| panic!("{text}"));
    let script = "cut -d. -f1 /proc/uptime; uname -m";
    let said = life.call(&["exec", &life.id, "sh", "-c", script]).fine();
    let (clock, machine) = said.split_once('\n').expect("two lines");
    assert!(uptime(clock) > 864_000_000, "{said}");
    let at = |name: &str| std::fs::read_to_string(bundle.rootfs().join("tmp").join(name)).expect("read");
    assert!(uptime(&at("uptime")) > 864_000_000, "{}", at("uptime"));
    assert_eq!(machine, at("machine"));
    let host = std::process::Command::new("uname").arg("-m").output().expect("uname");
    if host.stdout == b"x86_64\n" {
        assert_eq!(machine, "i686\n");
    }
}

/// Scheduling policy, I/O priority and memory policy: of the first process, of a hook in it, and of further ones.
#[test]
fn every_process_is_scheduled_as_the_specification_says() {
    const LOOK: &str =
        "cut -d' ' -f19,41 /proc/self/stat; busybox ionice; grep -om1 bind:0 /proc/self/numa_maps";
    if !root("every_process_is_scheduled_as_the_specification_says") {
        return;
    }
    let mut bundle = Bundle::new(&format!("({LOOK}) > /tmp/said; sleep 1000"));
    let mut expected = "6 3\nbest-effort: prio 5\n".to_owned();
    bundle.config["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 6 });
    bundle.config["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_BE", "priority": 5 });
    if std::path::Path::new("/proc/self/numa_maps").exists() {
        bundle.config["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "0" });
        expected.push_str("bind:0\n");
    }
    let life = running(&bundle, Runtime::Ours);
    let first = || std::fs::read_to_string(bundle.rootfs().join("tmp/said")).unwrap_or_default();
    wait_until(|| first() == expected, first);
    assert_eq!(life.call(&["exec", &life.id, "sh", "-c", LOOK]).out, expected);
}

/// containerd sends the devices along with every change of limits: what the container has stays, what a hook gave it too.
#[test]
fn an_update_leaves_the_devices_alone() {
    if !root("an_update_leaves_the_devices_alone") {
        return;
    }
    let bundle = Bundle::new("sleep 1000");
    let life = running(&bundle, Runtime::Ours);
    let hierarchy = std::path::Path::new("/sys/fs/cgroup/devices").join(&life.id);
    if !hierarchy.exists() {
        eprintln!("skipped: an_update_leaves_the_devices_alone: needs a v1 hierarchy of devices");
        return;
    }
    // /dev/fuse, which nothing has given it before.
    std::fs::write(hierarchy.join("devices.allow"), "c 10:229 rwm").expect("write");
    let before = std::fs::read_to_string(hierarchy.join("devices.list")).expect("read");
    let path = bundle.path().join("resources.json");
    let resources = json!({ "devices": [{ "allow": false, "access": "rwm" }], "pids": { "limit": 44 } });
    std::fs::write(&path, resources.to_string()).expect("write");
    life.call(&["update", "--resources", path.to_str().expect("a path"), &life.id]).fine();
    assert_eq!(life.cgroup("pids.max", "pids.max"), "44");
    assert_eq!(std::fs::read_to_string(hierarchy.join("devices.list")).expect("read"), before);
}
