use clap::Parser;

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
        "/srv:/data:ro",
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
        (&["-v", "data:/data", "x"][..], "named volumes"),
        (&["-v", "/a", "x"], "PATH:PATH"),
        (&["-v", "/a:/b:rx", "x"], "\"rx\""),
        (&["-p", "80", "x"], "--publish \"80\""),
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
    assert_eq!(port("[::1]:8080:80").unwrap()["hostIP"], "::1");
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
