//! Hooks: their order, what they are told, where they run, and what follows when they fail.

use serde_json::{Value, json};

mod support;
use support::bundle::{Bundle, Runtime, oracles};
use support::life::{Life, wait_until};
use support::root;

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A line for each hook: its name, its argument, its environment, the status and the process that it was told, and in which
/// namespaces it ran.
fn script(log: &str, kind: &str) -> String {
    format!(
        "state=$(tr -d '\\n '); status=$(echo $state | grep -o '\"status\":\"[a-z]*' | grep -o '[a-z]*$'); \
         pid=$(echo $state | grep -o '\"pid\":[0-9]*' | grep -o '[0-9]*$'); pid=${{pid:-0}}; \
         test $pid -gt 1 && pid=many; \
         echo {kind} $0 $A $status pid=$pid $(readlink /proc/self/ns/mnt) $(readlink /proc/self/ns/net) >> {log}"
    )
}

/// What the hooks of one runtime write, namespaces as `host` or `own`.
fn hooks(runtime: Runtime) -> Vec<String> {
    let mut bundle = Bundle::new("sleep 1000");
    let log = bundle.rootfs().join("tmp/log");
    for kind in KINDS {
        let inside = kind == "startContainer";
        let path = if inside { "/bin/sh" } else { "/bin/busybox" };
        let log = if inside { "/tmp/log".to_owned() } else { log.display().to_string() };
        let args = json!(["sh", "-c", script(&log, kind), format!("name-of-{kind}")]);
        bundle.config["hooks"][kind] =
            json!([{ "path": path, "args": args, "env": ["A=env", "PATH=/bin:/usr/bin"], "timeout": 30 }]);
    }
    for applet in ["tr", "grep", "readlink"] {
        let link = bundle.rootfs().join("bin").join(applet);
        drop(std::os::unix::fs::symlink("busybox", link));
    }
    let life = Life::new(&bundle, runtime);
    life.create(&[]).fine();
    life.verb("start").fine();
    life.call(&["kill", &life.id, "KILL"]).fine();
    life.until("stopped");
    life.verb("delete").fine();
    let host =
        ["mnt", "net"].map(|kind| std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("readlink"));
    let text = std::fs::read_to_string(&log).expect("the log");
    let place = |word: &str| match word.contains(":[") {
        true if host.iter().any(|ns| ns.as_os_str() == word) => "host".to_owned(),
        true => "own".to_owned(),
        false => word.to_owned(),
    };
    text.lines().map(|line| line.split(' ').map(place).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn hooks_run_in_their_order_and_places_as_under_runc() {
    let test = "hooks_run_in_their_order_and_places_as_under_runc";
    if !root(test) {
        return;
    }
    let ours = hooks(Runtime::Ours);
    let wanted = [
        "prestart name-of-prestart env creating pid=many host host",
        "createRuntime name-of-createRuntime env creating pid=many host host",
        "createContainer name-of-createContainer env creating pid=1 own own",
        "startContainer name-of-startContainer env created pid=1 own own",
        "poststart name-of-poststart env running pid=many host host",
        "poststop name-of-poststop env stopped pid=0 host host",
    ];
    assert_eq!(ours, wanted);
    for oracle in oracles(test).into_iter().filter(|o| *o == Runtime::Runc) {
        // It says "created" to poststart hooks, and may run them before those of startContainer.
        let but_poststart = |list: &[String]| -> Vec<String> {
            list.iter().filter(|line| !line.starts_with("poststart")).cloned().collect()
        };
        assert_eq!(but_poststart(&ours), but_poststart(&hooks(oracle)), "{oracle:?}");
    }
}

/// What a createRuntime hook mounts at the root's path is in the container: nvidia's hooks do that.
#[test]
fn a_hook_finds_the_root_where_the_bundle_has_it() {
    let test = "a_hook_finds_the_root_where_the_bundle_has_it";
    if !root(test) {
        return;
    }
    for runtime in std::iter::once(Runtime::Ours).chain(oracles(test)) {
        let mut bundle = Bundle::new("cat /tmp/seen/file");
        std::fs::create_dir(bundle.rootfs().join("tmp/seen")).expect("mkdir");
        std::fs::write(bundle.path().join("file"), "from the hook\n").expect("write");
        let script =
            format!("mount --bind {} {}/tmp/seen", bundle.path().display(), bundle.rootfs().display());
        bundle.config["hooks"]["createContainer"] =
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }]);
        let output = bundle.run(runtime);
        assert_eq!(support::bundle::text(&output), "from the hook\n", "{runtime:?}");
    }
}

#[test]
fn a_hook_that_fails_leaves_nothing_and_says_why() {
    if !root("a_hook_that_fails_leaves_nothing_and_says_why") {
        return;
    }
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut bundle = Bundle::new("true");
        let log = bundle.path().join("log");
        let hook = |script: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
        bundle.config["hooks"][kind] = hook("echo no such device >&2; exit 5");
        bundle.config["hooks"]["poststop"] = hook(&format!("echo stopped >> {}", log.display()));
        let life = Life::new(&bundle, Runtime::Ours);
        let said = life.create(&[]);
        assert!(said.err.contains(kind) && said.err.contains("no such device"), "{said:?}");
        said.refused("/bin/sh");
        life.verb("state").refused("does not exist");
        assert!(!life.has_cgroup());
        assert_eq!(std::fs::read_to_string(&log).expect("the poststop hook ran"), "stopped\n");
    }
}

#[test]
fn hooks_of_a_start_that_fail() {
    if !root("hooks_of_a_start_that_fail") {
        return;
    }
    let mut bundle = Bundle::new("echo ran; sleep 1000");
    bundle.config["hooks"] =
        json!({ "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", "exit 6"] }] });
    let life = Life::new(&bundle, Runtime::Ours);
    life.create(&[]).fine();
    life.verb("start").refused("exit status 6");
    // It is stopped, and nobody starts it any more.
    life.until("stopped");
    life.verb("start").refused("stopped");
    assert_eq!(life.text("out"), "");
    life.call(&["delete", "--force", &life.id]).fine();
    drop(life);
    // The same afterwards: the command has run by then.
    bundle.config["hooks"] = json!({ "poststart": [{ "path": "/bin/false" }] });
    let life = Life::new(&bundle, Runtime::Ours);
    life.create(&[]).fine();
    let said = life.verb("start");
    assert!(said.code == 1 && said.err.contains("hook poststart /bin/false: exit status 1"), "{said:?}");
    life.until("stopped");
}

/// What takes back is run whatever failed of it before.
#[test]
fn a_poststop_hook_that_fails_keeps_none_from_running() {
    if !root("a_poststop_hook_that_fails_keeps_none_from_running") {
        return;
    }
    let mut bundle = Bundle::new("true");
    let log = bundle.path().join("log");
    let last = format!("echo last >> {}", log.display());
    bundle.config["hooks"]["poststop"] = json!([
        { "path": "/bin/false" },
        { "path": "/no/such/hook" },
        { "path": "/bin/sh", "args": ["sh", "-c", last] },
    ]);
    let life = Life::new(&bundle, Runtime::Ours);
    life.create(&[]).fine();
    life.verb("start").fine();
    life.until("stopped");
    let said = life.verb("delete");
    assert!(
        said.code == 0 && said.err.contains("/bin/false") && said.err.contains("/no/such/hook"),
        "{said:?}"
    );
    assert_eq!(std::fs::read_to_string(&log).expect("the last one ran"), "last\n");
    life.verb("state").refused("does not exist");
}

/// What a hook has started may go on and hold its streams; and it may say much, or read nothing of what it is told.
#[test]
fn a_hook_is_not_waited_for_longer_than_it_runs() {
    if !root("a_hook_is_not_waited_for_longer_than_it_runs") {
        return;
    }
    let mut bundle = Bundle::new("true");
    let pid_file = bundle.path().join("pid");
    let left = format!("sleep 1000 & echo $! > {}", pid_file.display());
    let long = format!("{:?}", "x".repeat(100_000));
    bundle.config["annotations"] = json!({ "long": long });
    let path = ["PATH=/bin:/usr/bin"];
    bundle.config["hooks"]["createRuntime"] = json!([
        { "path": "/bin/sh", "args": ["sh", "-c", left], "env": path },
        { "path": "/bin/sh", "args": ["sh", "-c", "head -c 3000000 /dev/zero"], "env": path },
        { "path": "/bin/true" },
    ]);
    let output = bundle.run(Runtime::Ours);
    let pid: i32 = std::fs::read_to_string(&pid_file).expect("the hook ran").trim().parse().expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it goes on");
    assert!(output.status.success(), "{}", support::bundle::text(&output));
}

#[test]
fn a_hook_that_hangs_is_killed_with_what_it_has_started() {
    if !root("a_hook_that_hangs_is_killed_with_what_it_has_started") {
        return;
    }
    let mut bundle = Bundle::new("true");
    let pid_file = bundle.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
    bundle.config["hooks"]["createRuntime"] = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], "timeout": 1 }]);
    let life = Life::new(&bundle, Runtime::Ours);
    life.create(&[]).refused("did not end within 1 seconds");
    let pid = std::fs::read_to_string(&pid_file).expect("the hook ran").trim().to_owned();
    let ended =
        || std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "));
    wait_until(ended, || format!("{pid} runs"));
}

#[test]
fn a_hook_needs_an_absolute_path_and_a_time() {
    if !root("a_hook_needs_an_absolute_path_and_a_time") {
        return;
    }
    let wrong: [(Value, &str); 2] = [
        (json!([{ "path": "true" }]), "hooks.poststop[0]: its path is not absolute"),
        (json!([{ "path": "/bin/true", "timeout": 0 }]), "hooks.poststop[0]: its timeout is not above zero"),
    ];
    for (hooks, word) in wrong {
        let mut bundle = Bundle::new("true");
        bundle.config["hooks"]["poststop"] = hooks;
        Life::new(&bundle, Runtime::Ours).create(&[]).refused(word);
    }
}

/// In a container with users of its own a hook is that container's root, and sees its files.
#[test]
fn a_hook_in_the_container_is_root_of_its_user_namespace() {
    let test = "a_hook_in_the_container_is_root_of_its_user_namespace";
    if !root(test) {
        return;
    }
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    for runtime in std::iter::once(Runtime::Ours).chain(oracles(test)) {
        let mut bundle = Bundle::new("cat /tmp/private/seen");
        // The root is at its own path for the hook, which that root must reach.
        std::fs::set_permissions(bundle.path(), Clone::clone(&open)).expect("chmod");
        std::fs::set_permissions(bundle.rootfs(), Clone::clone(&open)).expect("chmod");
        let private = bundle.rootfs().join("tmp/private");
        std::fs::create_dir(&private).expect("mkdir");
        std::fs::set_permissions(&private, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .expect("chmod");
        let chown =
            std::process::Command::new("chown").args(["-R", "100000:100000"]).arg(bundle.rootfs()).status();
        assert!(chown.expect("chown").success());
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
        bundle.config["linux"]["uidMappings"] = map.clone();
        bundle.config["linux"]["gidMappings"] = map;
        bundle.config["linux"]["namespaces"].as_array_mut().expect("array").push(json!({ "type": "user" }));
        let script = format!("echo root=$(id -u) > {}/seen", private.display());
        bundle.config["hooks"]["createContainer"] =
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }]);
        let output = bundle.run(runtime);
        assert_eq!(support::bundle::text(&output), "root=0\n", "{runtime:?}");
    }
}

/// Hooks run in the bundle, as under runc and crun.
#[test]
fn a_hook_runs_in_the_bundle() {
    let test = "a_hook_runs_in_the_bundle";
    if !root(test) {
        return;
    }
    for runtime in std::iter::once(Runtime::Ours).chain(oracles(test)) {
        let mut bundle = Bundle::new("true");
        for kind in ["createRuntime", "createContainer"] {
            let line = format!("pwd > here-{kind}");
            bundle.config["hooks"][kind] =
                json!([{ "path": "/bin/sh", "args": ["sh", "-c", line], "env": ["PATH=/bin:/usr/bin"] }]);
        }
        assert!(bundle.run(runtime).status.success(), "{runtime:?}");
        for kind in ["createRuntime", "createContainer"] {
            let here = bundle.path().join(format!("here-{kind}"));
            let here = std::fs::read_to_string(here).expect("it ran in the bundle");
            assert_eq!(here.trim(), bundle.path().to_str().expect("a path"), "{runtime:?} {kind}");
        }
    }
}

/// A hook without a timeout hangs: who waits for a `run` can end it, and what the hook has started does not inherit that `run`
/// blocks signals.
#[test]
fn a_run_is_ended_in_a_hook_that_hangs() {
    if !root("a_run_is_ended_in_a_hook_that_hangs") {
        return;
    }
    let mut bundle = Bundle::new("true");
    let log = bundle.path().join("log");
    let script =
        format!("grep SigBlk /proc/self/status > {0}.new; mv {0}.new {0}; sleep 1000", log.display());
    bundle.config["hooks"]["createRuntime"] =
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }]);
    let mut command = bundle.command(Runtime::Ours);
    let run = command.stderr(std::process::Stdio::piped()).spawn().expect("spawn");
    wait_until(|| log.exists(), || "the hook does not run".into());
    let pid = rustix::process::Pid::from_raw(run.id().cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("kill");
    let output = run.wait_with_output().expect("wait");
    let said = support::bundle::text(&output);
    assert!(output.status.code() == Some(1) && said.contains("interrupted by signal 15"), "{said}");
    assert_eq!(std::fs::read_to_string(&log).expect("the log"), "SigBlk:\t0000000000000000\n");
    let life = Life { bundle: &bundle, runtime: Runtime::Ours, id: bundle.last_id() };
    life.verb("state").refused("does not exist");
    assert!(!life.has_cgroup());
}
