use berth_pod::plan::{Extras, RUN, USER};
use clap::Parser;
use serde_json::Value;

use super::limits::quantity;
use super::ports::{Chosen, publish};
use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    run: Run,
}

fn run(args: &[&str]) -> Run {
    Line::parse_from([&["run"], args].concat()).run
}

fn manifest(args: &[&str]) -> Value {
    run(args).manifest("n").unwrap_or_else(|e| panic!("{args:?}: {e:#}"))
}

fn refused(args: &[&str]) -> String {
    format!("{:#}", run(args).manifest("n").expect_err("it was accepted"))
}

#[test]
fn the_runtime_is_the_pods_class() {
    let value = manifest(&["--runtime", "runc", "x"]);
    assert_eq!(taken(&value).spec.runtime_class_name.as_deref(), Some("runc"));
    assert_eq!(taken(&manifest(&["x"])).spec.runtime_class_name, None);
}

/// Whatever the flags say, the daemon's own parser must take it.
fn taken(value: &Value) -> berth_pod::manifest::Pod {
    berth_pod::manifest::parse(value.to_string().as_bytes())
        .unwrap_or_else(|e| panic!("{value}: {e}"))
        .remove(0)
}

#[test]
fn flags_become_a_manifest_that_the_daemon_takes() {
    let value = manifest(&[
        "-it",
        "-e",
        "A=b$c",
        "-v",
        "/tmp:/data:ro",
        "-p",
        "127.0.0.1:8080:80",
        "-p",
        "53:53/udp",
        "-m",
        "64m",
        "--cpus",
        "0.5",
        "-u",
        "1:2",
        "-w",
        "/w",
        "--cap-drop",
        "ALL",
        "--read-only",
        "-l",
        "a=b",
        "--hostname",
        "h",
        "a.io/x:1",
        "sh",
        "-c",
        "echo $HOME",
    ]);
    let pod = taken(&value);
    let c = &pod.spec.containers[0];
    assert_eq!(c.args, ["sh", "-c", "echo $$HOME"]);
    assert_eq!(c.env[0].value, "b$$c");
    assert_eq!(c.ports[1].host_port, Some(53));
    assert_eq!(c.resources.limits.memory.unwrap().units(), 64 << 20);
    assert_eq!((c.security_context.run_as_user, c.security_context.run_as_group), (Some(1), Some(2)));
    assert!(c.tty && c.stdin && c.volume_mounts[0].read_only && c.security_context.read_only_root_filesystem);
    assert_eq!(pod.metadata.labels["a"], "b");
    assert_eq!(pod.spec.hostname.as_deref(), Some("h"));
    assert_eq!(pod.spec.restart_policy, berth_pod::manifest::RestartPolicy::Never);
}

#[test]
fn the_command_may_have_flags_of_its_own() {
    let pod = taken(&manifest(&["a.io/x:1", "ls", "-la", "--color"]));
    assert_eq!(pod.spec.containers[0].args, ["ls", "-la", "--color"]);
    let pod = taken(&manifest(&["--entrypoint", "/bin/e", "a.io/x:1", "-x"]));
    assert_eq!(
        (pod.spec.containers[0].command.as_slice(), pod.spec.containers[0].args.as_slice()),
        (&["/bin/e".to_owned()][..], &["-x".to_owned()][..])
    );
}

#[test]
fn what_cannot_be_is_refused_with_the_flag() {
    for (args, named) in [
        (&["-v", "d:/data", "x"][..], "\"d\" is neither a path nor a volume's name"),
        (&["-v", "data:/data:rshared", "x"], "has no propagation"),
        (&["-v", "a", "x"], "PATH:PATH"),
        (&["-v", "/tmp:/b:rx", "x"], "\"rx\""),
        (
            &["-v", "/nosuch/dir:/b", "x"],
            "/nosuch/dir does not exist (hint: make it first, as by mkdir -p /nosuch/dir)",
        ),
        (&["-v", "~/x:/b", "x"], "$HOME/x"),
        (&["-p", "80-70", "x"], "the lower port first"),
        (&["-p", "1-2:1-3", "x"], "2 ports of this machine cannot lead to 3 of the container"),
        (&["-p", "80/sctp", "x"], "name a port of this machine"),
        (&["--expose", "x", "x"], "--expose \"x\""),
        (&["--mount", "type=bind,dst=/a", "x"], "needs src=PATH"),
        (&["--mount", "type=volume,src=da/ta,dst=/a", "x"], "neither a path"),
        (&["--mount", "type=bind,src=/tmp", "x"], "needs dst=PATH"),
        (&["--mount", "type=image,src=a,dst=/a", "x"], "type=image"),
        (&["--mount", "type=bind,src=/tmp,dst=/a,colour=red", "x"], "\"colour\""),
        (&["--tmpfs", "/a:mode=1777", "x"], "\"mode=1777\""),
        (&["--shm-size", "big", "x"], "--shm-size \"big\""),
        (&["-m", "foo", "x"], "invalid --memory \"foo\": expected a size such as 64m or 1g"),
        (&["-m", "1k", "x"], "--memory \"1k\": at least 6m"),
        (&["--memory-swap", "1g", "x"], "needs --memory"),
        (&["--storage-opt", "size=much", "x"], "--storage-opt \"much\""),
        (&["--storage-opt", "overlay.size=1g", "x"], "the only option is size=SIZE"),
        (&["--cpus", "many", "x"], "invalid --cpus \"many\""),
        (&["--add-host", "a", "x"], "NAME:IP"),
        (&["--add-host", "a:host-gateway", "x"], "no host-gateway"),
        (&["--group-add", "wheel", "x"], "only numbers"),
        (&["--security-opt", "label=disable", "x"], "SELinux"),
        (&["--security-opt", "colour=red", "x"], "no-new-privileges"),
        (&["--device", "gpu", "x"], "vendor.com/class=device"),
        (&["--sysctl", "a", "x"], "--sysctl \"a\""),
        (&["--pid", "container:a", "x"], "--pid \"container:a\""),
        (&["--network", "none", "-p", "80", "x"], "--network none"),
        (&["--health-retries", "3", "x"], "need --health-cmd"),
        (&["--health-cmd", "true", "--health-interval", "1ms", "x"], "--health-interval \"1ms\""),
        (&["--env-file", "/nosuch", "x"], "--env-file /nosuch"),
        (&["--entrypoint", "", "x"], "nothing to run"),
        (&["-p", "a:80", "x"], "\"a\" is not a port"),
        (&["-p", "0:80", "x"], "\"0\" is not a port"),
        (&["-p", "1.2.3:1:80", "x"], "is not an address"),
        (&["-p", "1:80/icmp", "x"], "\"ICMP\""),
        (&["-l", "a", "x"], "--label \"a\""),
        (&["--rm", "--restart", "always", "x"], "cannot be combined"),
    ] {
        assert!(refused(args).contains(named), "{args:?}: {}", refused(args));
    }
}

#[test]
fn addresses_of_version_6_stand_in_brackets() {
    assert_eq!(publish("[::1]:8080:80", &mut Chosen::default()).unwrap()[0]["hostIP"], "::1");
}

#[test]
fn sizes_as_docker_and_as_kubernetes() {
    for (text, quantity_of) in [
        ("64m", "64Mi"),
        ("64M", "64Mi"),
        ("64MB", "64Mi"),
        ("1g", "1Gi"),
        ("1.5G", "1.5Gi"),
        ("512b", "512"),
        ("1Gi", "1Gi"),
        ("5k", "5Ki"),
        ("100", "100"),
        ("1x", "1x"),
    ] {
        assert_eq!(quantity(text), quantity_of);
    }
}

#[test]
fn names_are_made_from_the_image() {
    let name = run(&["registry.k8s.io/e2e/BusyBox_x:1.29"]).pod_name().unwrap();
    assert!(name.starts_with("busybox-x-") && name.len() == 15, "{name}");
    assert_eq!(run(&["--name", "web", "x"]).pod_name().unwrap(), "web");
}

#[test]
fn a_user_is_a_number_or_the_images_to_know() {
    for (user, uid, gid, named) in [
        ("7", Some(7), None, None),
        ("7:8", Some(7), Some(8), None),
        ("www", None, None, Some("www")),
        ("7:www", None, None, Some("7:www")),
        ("www:7", None, None, Some("www:7")),
    ] {
        let pod = taken(&manifest(&["-u", user, "a.io/x:1"]));
        let security = &pod.spec.containers[0].security_context;
        assert_eq!((security.run_as_user, security.run_as_group), (uid, gid), "{user}");
        assert_eq!(pod.metadata.annotations.get(USER).map(String::as_str), named, "{user}");
    }
}

#[test]
fn what_follows_the_image_is_the_containers() {
    let pod =
        taken(&manifest(&["--entrypoint", "sh", "a.io/x:1", "-e", "-c", "echo $-", "--", "-d", "-m", "5"]));
    let c = &pod.spec.containers[0];
    assert_eq!(c.args, ["-e", "-c", "echo $$-", "--", "-d", "-m", "5"]);
    assert!(c.env.is_empty() && c.resources.limits.memory.is_none());
    assert_eq!(taken(&manifest(&["a.io/x:1", "-h"])).spec.containers[0].args, ["-h"]);
    assert!(Line::try_parse_from(["run", "--nosuch", "x"]).is_err());
}

#[test]
fn an_entrypoint_is_a_word_a_list_or_none() {
    for (entrypoint, words, command, args) in [
        ("$x", &["a.io/x:1", "b"][..], &["$$x"][..], &["b"][..]),
        ("", &["a.io/x:1", "b", "c"], &["b", "c"], &[]),
        (r#"["a", "-b"]"#, &["a.io/x:1"], &["a", "-b"], &[]),
    ] {
        let pod = taken(&manifest(&[&["--entrypoint", entrypoint], words].concat()));
        let c = &pod.spec.containers[0];
        assert_eq!(
            (c.command.as_slice(), c.args.as_slice()),
            (owned(command).as_slice(), owned(args).as_slice())
        );
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn dockers_flags_have_their_usual_meaning() {
    let value = manifest(&[
        "-h",
        "web",
        "--tmpfs",
        "/run:size=64m,ro",
        "--mount",
        "type=bind,src=/tmp,dst=/m,readonly",
        "--shm-size",
        "1g",
        "-v",
        "/anonymous",
        "--add-host",
        "db:10.0.0.1",
        "--add-host",
        "six=[::1]",
        "--dns",
        "9.9.9.9",
        "--dns-search",
        "a.b",
        "--dns-option",
        "ndots:2",
        "--sysctl",
        "net.core.somaxconn=9",
        "--security-opt",
        "no-new-privileges",
        "--security-opt",
        "seccomp=unconfined",
        "--stop-signal",
        "hup",
        "--stop-timeout",
        "3",
        "--group-add",
        "7",
        "--userns",
        "auto",
        "--annotation",
        "a=b",
        "--timeout",
        "60",
        "--health-cmd",
        "test -f /ok",
        "--health-interval",
        "1m30s",
        "--expose",
        "9-10",
        "--init",
        "a.io/x:1",
    ]);
    let pod = taken(&value);
    let (spec, c) = (&pod.spec, &pod.spec.containers[0]);
    assert_eq!(spec.hostname.as_deref(), Some("web"));
    let volume = |path: &str| {
        let mount = c.volume_mounts.iter().find(|mount| mount.mount_path == path).unwrap();
        (spec.volumes.iter().find(|volume| volume.name == mount.name).unwrap(), mount.read_only)
    };
    let (run, ro) = volume("/run");
    let dir = run.empty_dir.as_ref().unwrap();
    assert_eq!((dir.medium.as_str(), dir.size_limit.unwrap().units(), ro), ("Memory", 64 << 20, true));
    let (m, ro) = volume("/m");
    assert_eq!((m.host_path.as_ref().unwrap().path.as_str(), ro), ("/tmp", true));
    assert_eq!(volume("/dev/shm").0.empty_dir.as_ref().unwrap().size_limit.unwrap().units(), 1 << 30);
    let extras: Extras = serde_json::from_str(&pod.metadata.annotations[RUN]).unwrap();
    let kept = &extras.volumes[&volume("/anonymous").0.name];
    assert!(kept.anonymous && kept.name.len() == 64 && extras.volumes.len() == 1, "{extras:?}");
    assert_eq!(spec.host_aliases[1].ip, "::1".parse::<std::net::IpAddr>().unwrap());
    let dns = spec.dns_config.as_ref().unwrap();
    assert_eq!((dns.nameservers.len(), dns.searches.as_slice()), (1, owned(&["a.b"]).as_slice()));
    assert_eq!(dns.options[0].value.as_deref(), Some("2"));
    assert_eq!(spec.security_context.sysctls[0].name, "net.core.somaxconn");
    assert_eq!(spec.security_context.supplemental_groups, [7]);
    assert_eq!(c.security_context.allow_privilege_escalation, Some(false));
    assert_eq!(c.lifecycle.as_ref().unwrap().stop_signal.as_deref(), Some("SIGHUP"));
    assert_eq!((spec.termination_grace_period_seconds, spec.active_deadline_seconds), (Some(3), Some(60)));
    assert!(!spec.host_users && spec.share_process_namespace);
    assert_eq!(pod.metadata.annotations["a"], "b");
    let probe = c.readiness_probe.as_ref().unwrap();
    assert_eq!((probe.period_seconds, probe.timeout_seconds, probe.failure_threshold), (90, 30, 3));
    assert_eq!(c.ports.iter().map(|port| port.container_port).collect::<Vec<_>>(), [9, 10]);
}

#[test]
fn what_no_field_says_is_in_the_annotation() {
    let pod = taken(&manifest(&[
        "--network",
        "none",
        "--restart",
        "on-failure:3",
        "--device",
        "/dev/null:/dev/x:r",
        "--pids-limit",
        "0",
        "--cpuset-cpus",
        "0",
        "-m",
        "64m",
        "--memory-swap",
        "-1",
        "--oom-score-adj",
        "-5",
        "--storage-opt",
        "size=2g",
        "-c",
        "512",
        "a.io/x:1",
    ]));
    let storage = pod.spec.containers[0].resources.limits.ephemeral_storage;
    assert_eq!(storage.map(berth_pod::manifest::Quantity::units), Some(2 << 30));
    let extras: berth_pod::plan::Extras =
        serde_json::from_str(&pod.metadata.annotations[berth_pod::plan::RUN]).unwrap();
    assert!(extras.no_network);
    assert_eq!((extras.max_restarts, extras.pids_limit), (Some(3), Some(-1)));
    assert_eq!(
        (extras.memory_swap, extras.oom_score_adj, extras.cpu_shares),
        (Some(-1), Some(-5), Some(512))
    );
    assert_eq!(
        (extras.devices[0].container.as_str(), extras.devices[0].permissions.as_str()),
        ("/dev/x", "r")
    );
    assert_eq!(extras.cpuset_cpus, "0");
}

#[test]
fn ports_are_ranges_or_found() {
    let ports = |text: &str| {
        let all = publish(text, &mut Chosen::default()).unwrap();
        all.iter()
            .map(|p| (p["hostPort"].as_u64().unwrap(), p["containerPort"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(ports("8000-8001:80-81"), [(8000, 80), (8001, 81)]);
    let found = ports("127.0.0.1::80-81/udp");
    assert!(found[0].0 > 0 && found[1].0 > 0 && found[0].0 != found[1].0, "{found:?}");
    assert_eq!((found[0].1, found[1].1), (80, 81));
}

#[test]
fn names_of_docker_have_a_host_name_of_their_own() {
    let pod = taken(&manifest(&["a.io/x:1"]));
    assert_eq!(pod.spec.hostname, None);
    let value = run(&["a.io/x:1"]).manifest("My_app").unwrap();
    assert_eq!(taken(&value).spec.hostname.as_deref(), Some("my-app"));
}

#[test]
fn variables_come_from_files_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("env");
    std::fs::write(&file, "# no\n\nA=1 # 2\r\n  B=$x\nUNSET_FOR_SURE\n").unwrap();
    let pod = taken(&manifest(&["--env-file", file.to_str().unwrap(), "-e", "A=9", "a.io/x:1"]));
    let env: Vec<_> =
        pod.spec.containers[0].env.iter().map(|e| (e.name.as_str(), e.value.as_str())).collect();
    assert_eq!(env, [("A", "1 # 2"), ("B", "$$x"), ("A", "9")]);
}
