use std::path::Path;

use super::*;

fn given(text: &str) -> Given {
    toml::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn without_anything_said_the_defaults_hold() {
    let s = Given::default().resolve().unwrap();
    assert_eq!(s.root, Path::new("/var/lib/berth"));
    assert_eq!(s.socket, Path::new("/run/berth/berth.sock"));
    assert_eq!((s.bridge.as_str(), s.table.as_str(), s.cgroups.root.as_str()), ("berth0", "berth", "/berth"));
    assert_eq!(s.network, Network::Cni);
    assert_eq!(s.cni_conf_dir, Path::new("/etc/cni/net.d"));
    assert_eq!(s.cni_bin_dirs, [Path::new("/opt/cni/bin"), Path::new("/usr/lib/cni")]);
    assert_eq!(s.certs_dirs.len(), 2);
}

#[test]
fn two_instances_share_nothing() {
    let one = Given { instance: Some("one".into()), ..Given::default() }.resolve().unwrap();
    let two = Given { instance: Some("two".into()), ..Given::default() }.resolve().unwrap();
    assert_ne!(one.root, two.root);
    assert_ne!(one.state, two.state);
    assert_ne!(one.socket, two.socket);
    assert_ne!(one.bridge, two.bridge);
    assert_ne!(one.table, two.table);
    assert_ne!(one.cgroups.root, two.cgroups.root);
    assert_ne!(one.cgroups.slice, two.cgroups.slice);
    let long =
        Given { instance: Some("a-very-long-instance-name".into()), ..Given::default() }.resolve().unwrap();
    assert!(long.bridge.len() <= 15);
}

#[test]
fn what_cannot_be_taken_is_named() {
    let cases: &[(&str, &str)] = &[
        ("instance = 'Bad Name'", "--instance"),
        ("listen = 'tcp://1.2.3.4'", "--listen"),
        ("bridge = 'a-name-that-is-too-long'", "--bridge"),
        ("cgroup-root = '/../x'", "--cgroup-root"),
        ("cgroup-root = '/'", "--cgroup-root"),
        ("nri-socket = 'nri.sock'", "--nri-socket"),
        ("nri-plugin-dir = 'plugins'", "--nri-plugin-dir"),
        ("nri-config-dir = 'conf.d'", "--nri-config-dir"),
        ("handler = ['runc=bin/runc']", "--handler"),
        ("handler-dir = ['bin']", "--handler-dir"),
        ("default-handler = '/usr/bin/runc'", "--default-handler"),
        ("log-level = 'loud=very'", "--log-level"),
        ("pod-cidr = '10.0.0.0'", "--pod-cidr"),
        ("cni-conf-dir = 'net.d'", "--cni-conf-dir"),
        ("cni-bin-dir = ['/opt/cni/bin', '/a:b']", "--cni-bin-dir"),
        ("cni-bin-dir = ['bin']", "--cni-bin-dir"),
        ("cgroup-driver = 'systemd'\ncgroup-root = '/x'", "--cgroup-root"),
    ];
    for (text, named) in cases {
        let error = given(text).resolve().unwrap_err().to_string();
        assert!(error.contains(named), "{text}: {error}");
    }
    let socket = |length: usize| given(&format!("listen = '/{}'", "s".repeat(length - 1))).resolve();
    assert!(socket(95).is_ok());
    assert!(socket(96).unwrap_err().to_string().contains("--listen"));
}

#[test]
fn streams_are_served_on_loopback_unless_it_is_said_otherwise() {
    let streams = |text: &str| given(text).resolve().map(|s| s.streams).map_err(|e| e.to_string());
    let default = streams("").unwrap();
    assert_eq!((default.address.to_string().as_str(), default.port, default.tls), ("127.0.0.1", 0, None));
    assert_eq!(default.idle, Duration::from_secs(4 * 3600));
    let all = "stream-address = '::1'\nstream-port = 10010\nstream-idle-timeout = '30m'\n\
        stream-tls-cert = '/c'\nstream-tls-key = '/k'";
    let all = streams(all).unwrap();
    assert_eq!(
        (all.address.to_string().as_str(), all.port, all.idle),
        ("::1", 10010, Duration::from_secs(1800))
    );
    assert_eq!(all.tls, Some(TlsFiles { certificate: "/c".into(), key: "/k".into() }));
    for (text, named) in [
        ("stream-address = 'localhost'", "--stream-address"),
        ("stream-tls-cert = '/c'", "--stream-tls-key"),
        ("stream-tls-key = '/k'", "--stream-tls-cert"),
        ("stream-idle-timeout = '0s'", "--stream-idle-timeout"),
        ("stream-idle-timeout = 'soon'", "--stream-idle-timeout"),
        ("stream-idle-timeout = '-5m'", "--stream-idle-timeout"),
    ] {
        let error = streams(text).unwrap_err();
        assert!(error.contains(named), "{text}: {error}");
    }
}

#[test]
fn nri_is_on_and_only_the_machines_daemon_has_the_machines_places() {
    let nri = |text: &str| given(text).resolve().unwrap().nri;
    let machines = nri("");
    assert_eq!(machines.socket, Some("/var/run/nri/nri.sock".into()));
    assert_eq!(machines.plugin_dir, Path::new("/opt/nri/plugins"));
    assert_eq!(machines.config_dir, Path::new("/etc/nri/conf.d"));
    assert!(!machines.is_given);
    assert_eq!(nri("root = '/r'\nstate = '/s'"), machines);
    for other in ["instance = 'two'", "instance = 'two'\nroot = '/r'\nstate = '/s'"] {
        let settings = given(other).resolve().unwrap();
        assert_eq!(settings.nri.socket, Some(settings.state.join("nri.sock")), "{other}");
        assert_eq!(settings.nri.plugin_dir, settings.root.join("nri/plugins"), "{other}");
        assert_eq!(settings.nri.config_dir, settings.root.join("nri/conf.d"), "{other}");
    }
    assert_eq!(nri("nri-socket = 'off'").socket, None);
    let given = nri("nri-socket = '/n.sock'\nnri-plugin-dir = '/p'\nnri-config-dir = '/c'");
    assert_eq!((given.socket, given.is_given), (Some("/n.sock".into()), true));
    assert_eq!((given.plugin_dir, given.config_dir), ("/p".into(), "/c".into()));
}
