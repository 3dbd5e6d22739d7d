//! The flags of `berth run` that docker's and podman's users type, and what they do.

use berth_testkit::require_root;

use crate::home::{BUSYBOX, DEMO, Home, page, program};

#[test]
fn words_after_the_image_are_the_containers() {
    require_root!();
    let home = Home::start();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    let said = home.berth(&[
        "run",
        "--rm",
        "--entrypoint",
        "sh",
        BUSYBOX,
        "-e",
        "-c",
        "echo $-; echo \"$@\"",
        "x",
        "-d",
        "-m",
    ]);
    let out = said.fine();
    assert!(out.lines().next().unwrap().contains('e') && out.ends_with("-d -m\n"), "{out}");
    // Clears the image's, and what is given is all.
    assert_eq!(home.berth(&["run", "--rm", "--entrypoint", "", BUSYBOX, "echo", "$HOME"]).fine(), "$HOME\n");
    let err = home.berth(&["run", "--rm", "--entrypoint", "/$x", BUSYBOX]);
    assert!(err.err.contains("\"/$x\"") && err.code == 127, "{err:?}");
    assert_eq!(home.shell(&["-h", "web"], "hostname").fine(), "web\n");
    home.clean();
}

#[test]
fn names_of_docker_are_taken() {
    require_root!();
    let home = Home::start();
    home.berth(&["run", "-d", "-q", "--name", "My_app.1", BUSYBOX, "sleep", "1000"]).fine();
    assert_eq!(home.berth(&["exec", "My_app.1", "hostname"]).fine(), "my-app-1\n");
    let again =
        home.berth(&["run", "-d", "--replace", "--name", "My_app.1", BUSYBOX, "sleep", "1000"]).fine();
    assert_eq!(home.wait_state("My_app.1", "My_app.1", "running")["id"], again.trim());
    home.berth(&["rm", "-f", "My_app.1"]).fine();
    home.clean();
}

#[test]
fn volumes_in_every_form() {
    require_root!();
    let home = Home::start();
    home.write("given", "from outside\n");
    let dir = home.dir.path().display().to_string();
    let mount = format!("type=bind,src={dir},dst=/m,readonly");
    let said = home.shell(&["--mount", &mount], "cat /m/given; touch /m/no");
    assert!(said.out == "from outside\n" && said.err.contains("Read-only file system"), "{said:?}");
    let line = "grep ' /t ' /proc/mounts; df -k /t /dev/shm | tail -2";
    let out = home.shell(&["--tmpfs", "/t:size=4m", "--shm-size", "8m"], line).fine();
    assert!(out.starts_with("tmpfs /t tmpfs rw,nosuid,nodev"), "{out}");
    let sizes: Vec<_> = out.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(sizes, ["4096", "8192"], "{out}");
    assert_eq!(home.shell(&["-v", "/anonymous"], "echo x > /anonymous/y; ls /anonymous").fine(), "y\n");
    let labelled = format!("{dir}:/m:ro,z");
    assert_eq!(home.shell(&["-v", &labelled], "cat /m/given").fine(), "from outside\n");
    let missing = format!("{dir}/nosuch:/m");
    let err = home.berth(&["run", "--rm", "-v", &missing, BUSYBOX]).refused();
    assert!(err.contains("nosuch does not exist") && err.contains("hint: make it first"), "{err}");
    assert!(!home.dir.path().join("nosuch").exists());
    home.clean();
}

#[test]
fn names_groups_and_the_network_are_as_asked() {
    require_root!();
    let home = Home::start();
    let file = home.write("env", "# no\nA=$x 1\n");
    assert_eq!(home.shell(&["--env-file", &file], "echo \"$A\"").fine(), "$x 1\n");
    let flags = [
        "--add-host",
        "db:10.0.0.1",
        "--dns",
        "192.0.2.1",
        "--dns-search",
        "a.example",
        "--dns-option",
        "ndots:2",
    ];
    let out = home.shell(&flags, "tail -1 /etc/hosts; cat /etc/resolv.conf").fine();
    assert_eq!(out, "10.0.0.1\tdb\nsearch a.example\nnameserver 192.0.2.1\noptions ndots:2\n");
    assert_eq!(home.shell(&["--network", "none"], "ls /sys/class/net").fine(), "lo\n");
    assert_eq!(home.shell(&["--group-add", "7", "-u", "5:6"], "id -G").fine(), "6 7\n");
    let line = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; grep NoNewPrivs /proc/self/status";
    let flags = ["--sysctl", "net.ipv4.ip_unprivileged_port_start=99", "--security-opt", "no-new-privileges"];
    assert_eq!(home.shell(&flags, line).fine(), "99\nNoNewPrivs:\t1\n");
    let seccomp = "grep Seccomp: /proc/self/status";
    assert_eq!(home.shell(&["--security-opt", "seccomp=unconfined"], seccomp).fine(), "Seccomp:\t0\n");
    home.clean();
}

#[test]
fn limits_and_devices_are_the_containers() {
    require_root!();
    let home = Home::start();
    let limit = "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max";
    assert_eq!(home.shell(&["--pids-limit", "77"], limit).fine(), "77\n");
    assert_eq!(
        home.shell(&["--cpuset-cpus", "0"], "grep Cpus_allowed_list /proc/self/status").fine(),
        "Cpus_allowed_list:\t0\n"
    );
    assert_eq!(home.shell(&["--oom-score-adj", "123"], "cat /proc/self/oom_score_adj").fine(), "123\n");
    let out =
        home.shell(&["--device", "/dev/full:/dev/brim:rw"], "echo x > /dev/brim; ls -l /dev/brim | cut -c1");
    assert!(out.out == "c\n" && out.err.contains("No space left"), "{out:?}");
    let err = home.shell(&["--device", "/dev/nosuch"], "true");
    assert!(err.code == 125 && err.err.contains("/dev/nosuch"), "{err:?}");
    home.clean();
}

#[test]
fn a_first_process_takes_up_orphans() {
    require_root!();
    let home = Home::start();
    let line = "sh -c 'sh -c \"exit 0\" & exec sleep 0' ; until ! ps -o stat | grep -q Z; do :; done; [ $$ != 1 ] && echo reaped";
    assert_eq!(home.shell(&["--init"], line).fine(), "reaped\n");
    home.clean();
}

#[test]
fn the_end_is_as_asked() {
    require_root!();
    let home = Home::start();
    let line = "trap 'exit 9' USR1; echo ready; while :; do sleep 1 & wait $!; done";
    let flags = [
        "run",
        "-d",
        "-q",
        "--name",
        "s",
        "--stop-signal",
        "USR1",
        "--stop-timeout",
        "60",
        BUSYBOX,
        "sh",
        "-c",
        line,
    ];
    home.berth(&flags).fine();
    let logs = home.spawn(&["logs", "-f", "s"]);
    logs.shows("ready\n");
    home.berth(&["stop", "s"]).fine();
    assert_eq!(home.wait_state("s", "s", "exited")["exitCode"], 9);
    logs.end().fine();
    // The first restart is at once, and then it has been enough.
    home.berth(&["run", "-d", "-q", "--name", "r", "--restart", "on-failure:1", BUSYBOX, "false"]).fine();
    let ended = berth_testkit::guard::wait_until(crate::home::LIMIT, || {
        let all = home.containers();
        let of = |attempt: u32| {
            all.iter().any(|c| c["pod"] == "r" && c["attempt"] == attempt && c["state"] == "exited")
        };
        of(0) && of(1)
    });
    assert!(ended, "{:?}", home.containers());
    let table = home.berth(&["ps", "-a"]).fine();
    assert!(!table.contains("restarting"), "{table}");
    home.berth(&["rm", "-f", "s", "r"]).fine();
    home.clean();
}

#[test]
fn health_checks_say_whether_it_can_serve() {
    require_root!();
    let home = Home::start();
    let flags = ["--health-cmd", "test -f /ok", "--health-interval", "1s", "--health-retries", "1"];
    let run = [&["run", "-d", "-q", "--name", "h"], &flags[..], &[BUSYBOX, "sleep", "1000"]].concat();
    home.berth(&run).fine();
    home.wait_state("h", "h", "running");
    let ready = || home.containers()[0]["ready"].clone();
    assert_eq!(ready(), false);
    home.berth(&["exec", "h", "touch", "/ok"]).fine();
    assert!(berth_testkit::guard::wait_until(crate::home::LIMIT, || ready() == true));
    home.berth(&["rm", "-f", "h"]).fine();
    home.clean();
}

#[test]
fn a_free_port_is_found_and_the_id_is_in_a_file() {
    require_root!();
    let home = Home::start();
    let file = home.dir.path().join("id");
    let file = file.to_str().unwrap();
    let id = home
        .berth(&["run", "-d", "-q", "--name", "web", "-p", "127.0.0.1::8080", "--cidfile", file, DEMO])
        .fine();
    assert_eq!(std::fs::read_to_string(file).unwrap(), id.trim());
    let pods = home.berth(&["pods", "-o", "json"]).json();
    let port = pods[0]["ports"][0].as_str().unwrap();
    let address = port.strip_suffix("->8080/tcp").unwrap();
    assert!(page(address).contains("web"), "{port}");
    let err = home.berth(&["run", "-d", "--cidfile", file, DEMO]).refused();
    assert!(err.contains("--cidfile") && err.contains("exists"), "{err}");
    let publish = format!("{address}:8080");
    let err = home.berth(&["run", "-d", "--name", "second", "-p", &publish, DEMO]).refused();
    assert!(err.contains("used by pod web"), "{err}");
    home.berth(&["rm", "-f", "web"]).fine();
    home.clean();
}

/// A file that a driver installs is in containers of `run`, by the name of its device.
#[test]
fn devices_are_named_as_their_driver_names_them() {
    require_root!();
    let dir = tempfile::tempdir().unwrap();
    let spec = r#"{"cdiVersion":"0.5.0","kind":"vendor.com/acc","devices":[{"name":"0","containerEdits":{"env":["ACC=0"],
        "deviceNodes":[{"path":"/dev/acc0","hostPath":"/dev/null"}]}}]}"#;
    std::fs::write(dir.path().join("vendor.json"), spec).unwrap();
    let home = Home::start_with(program(), &["--cdi-dir", &dir.path().display().to_string()]);
    let out = home.shell(&["--device", "vendor.com/acc=0"], "echo $ACC; stat -c %F /dev/acc0").fine();
    assert_eq!(out, "0\ncharacter special file\n");
    let err = home.shell(&["--device", "vendor.com/acc=1"], "true").refused();
    assert!(err.contains("there is no device vendor.com/acc=1 (there are vendor.com/acc=0)"), "{err}");
    home.clean();
}
