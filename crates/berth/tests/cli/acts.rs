//! `berth kill`, `start`, `restart`, `top`, `stats`, `events`, `cp`, `port-forward`, `tag`, `prune`, `system`, `describe`, `explain`,
//! and the flags of `ps`, `inspect`, `logs` and `exec` that docker's and kubectl's users type.

use berth_testkit::guard::{free_port, wait_until};
use berth_testkit::require_root;

use crate::home::{BUSYBOX, DEMO, Home, LIMIT, page};

#[test]
fn signals_reach_the_container_and_kill_ends_it_for_good() {
    require_root!();
    let home = Home::start();
    let line = "trap 'echo got' USR1; echo ready; while :; do sleep 1 & wait $!; done";
    home.berth(&["run", "-d", "-q", "--name", "k", "--restart", "always", BUSYBOX, "sh", "-c", line]).fine();
    let logs = home.spawn(&["logs", "-f", "k"]);
    logs.shows("ready\n");
    assert_eq!(home.berth(&["kill", "-s", "usr1", "k"]).fine(), "k\n");
    logs.shows("got\n");
    let said = home.berth(&["kill", "-s", "NOSUCH", "k"]);
    assert!(said.code == 1 && said.err.contains("\"NOSUCH\" is not a signal"), "{said:?}");
    assert_eq!(home.berth(&["kill", "k"]).fine(), "k\n");
    logs.end().fine();
    assert_eq!(home.wait_state("k", "k", "exited")["exitCode"], 137);
    assert_eq!(home.containers().len(), 1, "it is not run again");
    let said = home.berth(&["kill", "k"]);
    assert!(said.code == 1 && said.err.contains("k is not running"), "{said:?}");
    home.berth(&["rm", "k"]).fine();
    home.clean();
}

#[test]
fn what_is_stopped_is_started_anew() {
    require_root!();
    let home = Home::start();
    let volume = format!("{}:/v", home.dir.path().display());
    let line = "test -e /mark && echo old; touch /mark; echo x >> /v/count; exec sleep 1000";
    home.berth(&["run", "-d", "-q", "--name", "s", "-v", &volume, BUSYBOX, "sh", "-c", line]).fine();
    let count = || std::fs::read_to_string(home.dir.path().join("count")).unwrap_or_default().len() / 2;
    assert!(wait_until(LIMIT, || count() == 1));
    let first = home.wait_state("s", "s", "running")["id"].clone();
    // What runs needs no start.
    assert_eq!(home.berth(&["start", "s"]).fine(), "s\n");
    assert_eq!(home.wait_state("s", "s", "running")["id"], first);
    home.berth(&["stop", "-t", "0", "s"]).fine();
    assert_eq!(home.berth(&["start", "s"]).fine(), "s\n");
    assert!(wait_until(LIMIT, || count() == 2));
    let second = home.wait_state("s", "s", "running")["id"].clone();
    assert_ne!(second, first);
    assert_eq!(home.berth(&["restart", "-t", "0", "s"]).fine(), "s\n");
    assert!(wait_until(LIMIT, || count() == 3));
    assert_eq!(home.berth(&["logs", "s"]).fine(), "");
    assert_eq!(home.berth(&["restart", "nosuch"]).code, 1);
    home.berth(&["rm", "-f", "s"]).fine();
    home.clean();
}

#[test]
fn what_a_container_does_is_shown() {
    require_root!();
    let home = Home::start();
    let events = home.spawn(&["events"]);
    let json = home.spawn(&["events", "-o", "json"]);
    // Both listen when they have seen something.
    assert!(wait_until(LIMIT, || {
        home.berth(&["run", "--rm", "-q", "--name", "probe", BUSYBOX, "true"]).fine();
        [&events, &json].into_iter().all(|seen| seen.has("probe"))
    }));
    home.berth(&["run", "-d", "-q", "--name", "t", "-m", "64m", BUSYBOX, "sleep", "12345"]).fine();
    events.shows("container t/t running\n");
    json.shows("\"name\":\"t\"");
    let table = home.berth(&["top", "t"]).fine();
    assert!(table.starts_with("PID ") && table.contains("sleep 12345"), "{table}");
    let top = home.berth(&["top", "-o", "json", "t"]).json();
    assert_eq!(top[0]["pid"], home.wait_state("t", "t", "running")["pid"]);
    let stats = home.berth(&["stats", "--no-stream"]).fine();
    assert!(stats.contains("t     t ") && stats.contains("/ 67 MB") && stats.contains('%'), "{stats}");
    let stats = home.berth(&["stats", "-o", "json", "t"]).json();
    assert!(stats[0]["memoryLimit"] == 64 << 20 && stats[0]["cpuNanoCores"].is_number(), "{stats}");
    let err = home.berth(&["stats", "nosuch"]).refused();
    assert!(err.contains("nosuch"), "{err}");
    let text = home.berth(&["describe", "t"]).fine();
    assert!(text.contains("Name:         t\n") && text.contains("  State:        running\n"), "{text}");
    let text = home.berth(&["explain", "t"]).fine();
    assert!(
        text.contains("container t (attempt 0) starts") && text.contains("pod t is ready: 1/1"),
        "{text}"
    );
    home.berth(&["rm", "-f", "t"]).fine();
    events.shows("pod t removed\n");
    events.kill();
    json.kill();
    home.berth(&["run", "-q", "--name", "bad", BUSYBOX, "sh", "-c", "exit 4"]);
    let text = home.berth(&["explain", "bad"]).fine();
    assert!(text.contains("bad/bad exited with 4 (Error)"), "{text}");
    home.berth(&["rm", "bad"]).fine();
    home.clean();
}

#[test]
fn files_are_copied_in_and_out() {
    require_root!();
    let home = Home::start();
    home.berth(&["run", "-d", "-q", "--name", "c", BUSYBOX, "sleep", "1000"]).fine();
    std::fs::create_dir_all(home.dir.path().join("d/e")).unwrap();
    home.write("d/e/f", "deep\n");
    home.write("one", "1\n");
    home.berth(&["cp", "d", "c:/tmp"]).fine();
    home.berth(&["cp", "one", "c:/tmp/renamed"]).fine();
    let out = home.berth(&["exec", "c", "cat", "/tmp/d/e/f", "/tmp/renamed"]).fine();
    assert_eq!(out, "deep\n1\n");
    home.berth(&["exec", "c", "sh", "-c", "head -c 3000000 /dev/zero > /tmp/d/big; ln -s e /tmp/d/l"]).fine();
    home.berth(&["cp", "c:/tmp/d", "back"]).fine();
    let at = |path: &str| home.dir.path().join("back").join(path);
    assert_eq!(std::fs::metadata(at("big")).unwrap().len(), 3_000_000);
    assert_eq!(std::fs::read_to_string(at("l/f")).unwrap(), "deep\n");
    std::fs::create_dir(home.dir.path().join("there")).unwrap();
    home.berth(&["cp", "c:/tmp/renamed", "there"]).fine();
    assert_eq!(std::fs::read_to_string(home.dir.path().join("there/renamed")).unwrap(), "1\n");
    let err = home.berth(&["cp", "c:/nosuch", "."]).refused();
    assert!(err.contains("nosuch"), "{err}");
    let err = home.berth(&["cp", "nosuch", "c:/tmp"]).refused();
    assert!(err.contains("nosuch"), "{err}");
    let err = home.berth(&["cp", "a", "b"]).refused();
    assert!(err.contains("CONTAINER:PATH"), "{err}");
    home.berth(&["rm", "-f", "c"]).fine();
    home.clean();
}

#[test]
fn ports_lead_into_a_pod() {
    require_root!();
    let home = Home::start();
    home.berth(&["run", "-d", "--name", "web", DEMO]).fine();
    let port = free_port();
    let forward = home.spawn(&["port-forward", "web", &format!("{port}:8080"), ":9"]);
    forward.shows(&format!("Forwarding from 127.0.0.1:{port} -> 8080\n"));
    for _ in 0..3 {
        assert!(page(&format!("127.0.0.1:{port}")).contains("web"));
    }
    let err = home.berth(&["port-forward", "web", &format!("{port}:8080")]).refused();
    assert!(err.contains(&format!("listen on 127.0.0.1:{port}")), "{err}");
    let err = home.berth(&["port-forward", "nosuch", "80"]).refused();
    assert!(err.contains("nosuch"), "{err}");
    forward.kill();
    home.berth(&["rm", "-f", "web"]).fine();
    home.clean();
}

#[test]
fn lists_are_chosen_from_and_formed() {
    require_root!();
    let home = Home::start();
    home.berth(&["run", "-d", "-q", "--name", "a", "-l", "x=y", BUSYBOX, "sleep", "1000"]).fine();
    home.berth(&["run", "-q", "--name", "b", BUSYBOX, "sh", "-c", "exit 3"]);
    let ps = |arguments: &[&str]| home.berth(&[&["ps", "--format", "{{.Names}}"], arguments].concat()).fine();
    assert_eq!(ps(&[]), "a\n");
    assert_eq!(ps(&["--filter", "status=exited"]), "b\n");
    assert_eq!(ps(&["-a", "-f", "label=x=y"]), "a\n");
    assert_eq!(ps(&["-f", "ancestor=busybox"]), "a\n");
    assert_eq!(ps(&["-f", "exited=4"]), "");
    let table = home.berth(&["ps", "-a", "--format", "table {{.Names}}\t{{.Status}}"]).fine();
    assert_eq!(table, "NAMES   STATUS\nb       exited (3)\na       running\n");
    let whole = home.berth(&["ps", "--no-trunc"]).fine();
    let id = home.berth(&["ps", "-q"]).fine();
    assert!(whole.contains(id.trim()), "{whole}");
    assert_eq!(home.berth(&["pods", "--format", "{{.Name}} {{.Status}}"]).fine(), "b Error\na Running\n");
    assert_eq!(home.berth(&["inspect", "-f", "{{.State}} {{.Exit.Code}}", "b/b"]).fine(), "exited 3\n");
    let yaml = home.berth(&["inspect", "-o", "yaml", "a/a"]).fine();
    assert!(yaml.contains("kind: Container\n") && yaml.contains("state: running\n"), "{yaml}");
    let said = home.berth(&["ps", "--format", "{{.Nosuch}}"]).refused();
    assert!(said.contains("\"Nosuch\"") && said.contains("logPath"), "{said}");
    home.berth(&["rm", "-f", "a", "b"]).fine();
    home.clean();
}

#[test]
fn logs_and_exec_take_kubectls_flags() {
    require_root!();
    let home = Home::start();
    home.berth(&[
        "run",
        "-d",
        "-q",
        "--name",
        "p",
        "--restart",
        "on-failure:1",
        BUSYBOX,
        "sh",
        "-c",
        "echo $$ $RANDOM; exit 1",
    ])
    .fine();
    assert!(wait_until(LIMIT, || home.containers().len() == 2));
    home.wait_state("p", "p", "exited");
    let (last, before) =
        (home.berth(&["logs", "-c", "p", "p"]).fine(), home.berth(&["logs", "-p", "p"]).fine());
    assert!(last != before && !before.is_empty(), "{last} {before}");
    home.berth(&["run", "-d", "-q", "--name", "e", BUSYBOX, "sleep", "1000"]).fine();
    let err = home.berth(&["logs", "-p", "e"]).refused();
    assert!(err.contains("was not run before"), "{err}");
    assert_eq!(home.berth(&["exec", "-d", "-c", "e", "e", "sh", "-c", "seq 100000; touch /done"]).fine(), "");
    assert!(wait_until(LIMIT, || home.berth(&["exec", "e", "test", "-e", "/done"]).code == 0));
    home.berth(&["rm", "-f", "p", "e"]).fine();
    home.clean();
}

#[test]
fn what_nobody_needs_is_removed() {
    require_root!();
    let home = Home::start();
    home.berth(&["run", "-d", "-q", "--name", "runs", BUSYBOX, "sleep", "1000"]).fine();
    home.berth(&["run", "-q", "--name", "ended", BUSYBOX, "true"]).fine();
    home.berth(&["tag", BUSYBOX, "mine:1", "example.com/x/y:2"]).fine();
    let images = home.berth(&["images"]).fine();
    assert!(images.contains("localhost/mine:1") || images.contains("localhost/mine"), "{images}");
    assert_eq!(home.berth(&["run", "--rm", "localhost/mine:1", "echo", "x"]).fine(), "x\n");
    let err = home.berth(&["tag", "nosuch", "a:1"]).refused();
    assert!(err.contains("no image \"nosuch\""), "{err}");
    let df = home.berth(&["system", "df", "-o", "json"]).json();
    assert!(df[0]["active"] == 1 && df[0]["bytes"].as_u64() > Some(0) && df[1]["total"] == 2, "{df}");
    let err = home.berth(&["prune"]).refused();
    assert!(err.contains("hint: --force"), "{err}");
    home.berth(&["prune", "-f"]).fine();
    assert_eq!(home.berth(&["ps", "-a", "--format", "{{.Names}}"]).fine(), "runs\n");
    home.berth(&["rm", "-f", "runs"]).fine();
    home.berth(&["system", "prune", "-af"]).fine();
    let left = home.berth(&["images", "-o", "json"]).json();
    let kept = left
        .as_array()
        .unwrap()
        .iter()
        .all(|image| image["pinned"] == true || image["tags"].to_string().contains("demo"));
    assert!(kept, "{left}");
    home.clean();
}
