//! `berth doctor`, `berth purge`, instances side by side, and a daemon that starts by itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use berth_testkit::guard::{is_root, wait_until};
use berth_testkit::{executable, require_root};

use crate::home::{BUSYBOX, Call, DEMO, Home, LIMIT, page, program, registry};

/// Where a cgroup of an instance is made: on v1 in one hierarchy, on v2 in the only one.
fn cgroups() -> PathBuf {
    let v1 = Path::new("/sys/fs/cgroup/pids");
    if v1.is_dir() { v1.to_owned() } else { "/sys/fs/cgroup".into() }
}

#[test]
fn what_was_left_behind_is_found_and_explained() {
    require_root!();
    let home = Home::start();
    home.clean();
    let group = cgroups().join(format!("berth-{}/pod-of-nobody", home.daemon.instance()));
    std::fs::create_dir(&group).unwrap();
    let said = home.berth(&["doctor"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("pod-of-nobody") && said.out.contains("\n  remedy: "), "{said:?}");
    assert!(said.out.ends_with("1 finding\n"), "{said:?}");
    let json = home.berth(&["doctor", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    for key in ["thing", "name", "explanation", "remedy"] {
        assert!(json[0][key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {json}");
    }
    std::fs::remove_dir(&group).unwrap();

    let id = "0123456789abcdef".repeat(4);
    let pod = home.daemon.dir().join("state/pods").join(&id);
    std::fs::create_dir(&pod).unwrap();
    let said = home.berth(&["doctor"]);
    assert!(said.code == 1 && said.out.contains(&id), "{said:?}");
    std::fs::remove_dir(&pod).unwrap();
    home.clean();
}

#[test]
fn purge_leaves_nothing_of_what_runs() {
    require_root!();
    let home = Home::start();
    home.berth(&["run", "-d", "-q", "--name", "a", "-p", "127.0.0.1:0:80", BUSYBOX, "sleep", "1000"])
        .refused();
    home.berth(&["run", "-d", "-q", "--name", "a", BUSYBOX, "sleep", "1000"]).fine();
    let pid = home.containers()[0]["pid"].as_u64().unwrap();
    let err = home.berth(&["purge"]).refused();
    assert!(err.contains("--yes"), "{err}");
    home.berth(&["purge", "--yes"]).fine();
    assert!(!Path::new(&format!("/proc/{pid}/exe")).exists());
    let names = |dir: &str| -> Vec<_> {
        let entries = std::fs::read_dir(home.daemon.dir().join(dir)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    assert!(wait_until(LIMIT, || names("state").is_empty()), "{:?}", names("state"));
    assert!(names("root").is_empty(), "{:?}", names("root"));
    let instance = home.daemon.instance();
    assert!(!cgroups().join(format!("berth-{instance}")).exists());
    assert!(!Path::new(&format!("/sys/class/net/berth-{instance}")).exists());
    let err = home.berth(&["ps"]).refused();
    assert!(
        err.contains("no daemon is listening on") && err.contains("hint: start one with: berth serve"),
        "{err}"
    );
}

#[test]
fn two_instances_do_not_see_each_other() {
    require_root!();
    let (one, two) = (Home::start(), Home::start());
    for home in [&one, &two] {
        home.berth(&["run", "-d", "--name", "web", DEMO]).fine();
    }
    let address = |home: &Home| {
        let pods = home.berth(&["pods", "-o", "json"]).json();
        assert_eq!(pods.as_array().unwrap().len(), 1, "{pods}");
        pods[0]["addresses"][0].as_str().unwrap().to_owned()
    };
    let (first, second) = (address(&one), address(&two));
    assert_ne!(first, second);
    one.berth(&["rm", "-f", "web"]).fine();
    assert!(page(&format!("{second}:8080")).contains("web"));
    one.clean();
    two.berth(&["rm", "-f", "web"]).fine();
    two.clean();
}

/// Purges an instance that lives in the places of this machine, whatever happens.
struct Auto(String);

impl Auto {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.env_remove("BERTH_HOST").env("BERTH_INSTANCE", &self.0).args(arguments).stdin(Stdio::null());
        command
    }
}

impl Drop for Auto {
    fn drop(&mut self) {
        if is_root() {
            self.command(&["purge", "--yes"]).status().ok();
        }
    }
}

#[test]
fn a_daemon_starts_by_itself_when_one_is_needed() {
    require_root!();
    let auto = Auto(format!("a{:x}", std::process::id()));
    let berth = |arguments: &[&str]| Call::spawn(auto.command(arguments)).end();
    let err = berth(&["--no-autostart", "ps"]).refused();
    assert!(err.contains("no daemon is listening on"), "{err}");
    assert!(berth(&["version"]).fine().contains("daemon: not running"));
    let image = format!("{}/library/busybox:latest", registry().host());
    assert_eq!(berth(&["run", "--rm", "-q", &image, "echo", "hello"]).fine(), "hello\n");
    // It goes on without the call that started it.
    let version = berth(&["version", "-o", "json"]).json();
    let pid = version["daemon"]["pid"].as_u64().unwrap();
    assert_eq!(berth(&["ps", "-a", "-q"]).fine(), "");
    assert_eq!(berth(&["version", "-o", "json"]).json()["daemon"]["pid"], pid);
    berth(&["purge", "--yes"]).fine();
    assert!(wait_until(LIMIT, || !Path::new(&format!("/proc/{pid}/exe")).exists()), "the daemon stays");
    for dir in ["/var/lib/berth", "/run/berth"] {
        let dir = format!("{dir}-{}", auto.0);
        let left: Vec<_> =
            std::fs::read_dir(&dir).into_iter().flatten().map(|e| e.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{dir}: {left:?}");
        std::fs::remove_dir(&dir).ok();
    }
}

#[test]
fn the_daemon_opens_what_it_may_and_containers_what_it_was_given() {
    require_root!();
    let dir = tempfile::tempdir().unwrap();
    let limited = dir.path().join("berth");
    let script =
        format!("#!/bin/sh\nulimit -S -n 1000; ulimit -H -n 1500; exec {} \"$@\"\n", program().display());
    executable::script(&limited, script);
    let home = Home::start_by(&limited);
    let limit = |limits: &str| {
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        line.split_whitespace().skip(3).take(2).collect::<Vec<_>>().join(" ")
    };
    let daemon = std::fs::read_to_string(format!("/proc/{}/limits", home.daemon.pid().unwrap())).unwrap();
    assert_eq!(limit(&daemon), "1500 1500");
    let inside = home.berth(&["run", "--rm", "-q", BUSYBOX, "cat", "/proc/self/limits"]).fine();
    assert_eq!(limit(&inside), "1000 1500");
}
