use proptest::prelude::*;

use super::*;
use crate::serve::settings::{Layers, Settings};

fn import(text: &str) -> String {
    imported(Path::new("/f.toml"), text).unwrap()
}

/// The settings that a daemon would have with what was made.
fn settings(made: &str) -> Settings {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    std::fs::write(&path, made).unwrap();
    let layers = Layers::read_with(&Given::default(), |_| None, Some(&path));
    layers.and_then(|layers| layers.resolve()).unwrap_or_else(|e| panic!("{e}: {made}"))
}

const VERSION_2: &str = r#"
version = 2
imports = ["/etc/containerd/conf.d/*.toml"]
[debug]
level = "warning"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "registry.k8s.io/pause:3.10"
enable_selinux = true
stream_server_port = "10010"
stream_idle_timeout = "1h30m0s"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/libexec/cni"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/etc/containerd/certs.d:/etc/docker/certs.d"
[plugins."io.containerd.grpc.v1.cri".registry.configs."r.example".auth]
password = "geheim"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "kata"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = true
BinaryName = "/usr/local/sbin/runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
runtime_type = "io.containerd.kata.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.Not_A_Name]
runtime_path = "/x"
"#;

#[test]
fn a_configuration_of_version_2_becomes_berths() {
    let made = import(&VERSION_2.replace("Not_A_Name", "other"));
    let s = settings(&made);
    assert_eq!((s.log_level.as_str(), s.streams.port), ("warn", 10010), "{made}");
    assert_eq!(s.streams.idle.as_secs(), 5400);
    assert_eq!(s.cni_bin_dirs, [PathBuf::from("/usr/libexec/cni")]);
    assert_eq!(
        s.certs_dirs,
        [PathBuf::from("/etc/containerd/certs.d"), PathBuf::from("/etc/docker/certs.d")]
    );
    assert_eq!(s.cgroups.driver, berth_engine::CgroupDriver::Systemd);
    assert_eq!(s.default_handler, "kata");
    let handlers: Vec<_> =
        s.handlers.iter().map(|(name, path)| format!("{name}={}", path.display())).collect();
    assert_eq!(handlers, ["kata=io.containerd.kata.v2", "other=/x", "runc=/usr/local/sbin/runc"]);
    assert!(made.contains("#   cri.enable_selinux = true: labels are set"), "{made}");
    assert!(
        made.contains("#   cri.sandbox_image = \"registry.k8s.io/pause:3.10\": no pod needs a pause image"),
        "{made}"
    );
    assert!(
        made.contains("# cri.cni.bin_dir = \"/usr/libexec/cni\"\ncni-bin-dir = [\"/usr/libexec/cni\"]"),
        "{made}"
    );
    assert!(made.contains("auth.password = (hidden)") && !made.contains("geheim"), "{made}");
}

#[test]
fn what_a_daemon_would_refuse_is_left_out_with_its_reason() {
    let made = import(VERSION_2);
    assert!(settings(&made).handlers.is_empty());
    assert!(made.contains("Not_A_Name.runtime_path = \"/x\": handler: a handler's name has"), "{made}");
}

#[test]
fn versions_3_and_4_have_other_plugins() {
    let made = import(
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = ['/a', '/b']\nconf_dir = '/n'\n\
         [plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/c'\n\
         [plugins.'io.containerd.cri.v1.runtime']\ncdi_spec_dirs = ['/cdi']\n\
         [plugins.'io.containerd.grpc.v1.cri']\nstream_server_address = '::1'",
    );
    let s = settings(&made);
    assert_eq!(s.cni_bin_dirs.len() + s.certs_dirs.len() + s.cdi_dirs.len(), 4, "{made}");
    assert_eq!((s.cni_conf_dir.as_path(), s.streams.address.to_string().as_str()), (Path::new("/n"), "::1"));
    let made = import(
        "version = 4\n[plugins.'io.containerd.server.v1.grpc']\naddress = '/run/x.sock'\n\
         [plugins.'io.containerd.nosuch.v1.x']\ny = 1\n[nosuch]\nz = 'a\\nb'",
    );
    assert!(
        made.contains("plugins.server-grpc.address = \"/run/x.sock\": Berth has its own socket"),
        "{made}"
    );
    assert!(made.contains("# These are not known:\n#   nosuch.z = "), "{made}");
}

#[test]
fn crio_has_a_table_of_its_own() {
    let made = import(include_str!("../../../../tests/fixtures/crio.conf"));
    let s = settings(&made);
    assert_eq!(s.cgroups.driver, berth_engine::CgroupDriver::Systemd, "{made}");
    assert_eq!(s.cni_bin_dirs, [PathBuf::from("/opt/cni/bin"), PathBuf::from("/usr/libexec/cni")]);
    assert_eq!(s.short_name_hosts, ["quay.io", "docker.io"]);
    assert_eq!((s.log_level.as_str(), s.default_handler.as_str()), ("error", "native"));
    let handlers: Vec<_> =
        s.handlers.iter().map(|(name, path)| format!("{name}={}", path.display())).collect();
    assert_eq!(handlers, ["crun=/usr/libexec/crio/crun", "runsc=/usr/local/bin/runsc"]);
    assert!(made.contains("crio.runtime.default_runtime = \"crun\": pods without a handler get"), "{made}");
    assert!(
        made.contains("#   crio.api.listen = \"/var/run/crio/crio.sock\": Berth has its own socket"),
        "{made}"
    );
    assert!(!made.contains("These are not known"), "{made}");
}

#[test]
fn what_is_neither_is_refused() {
    let error = |text: &str| imported(Path::new("/f"), text).unwrap_err().to_string();
    assert!(error("a = 1").contains("neither containerd's config.toml"));
    assert!(error("version = 1").contains("containerd config migrate"));
    assert!(error("[plugins.cri]\nx = 1").contains("containerd config migrate"));
    assert!(error("version = 9").contains("none of containerd's"));
    assert!(error("a = 1\nb =").starts_with("/f:2: "));
}

proptest! {
    #[test]
    fn whatever_is_imported_can_be_read(
        values in proptest::collection::vec(
            ("[a-z_]{1,12}(\\.[A-Za-z_]{1,8}){0,2}", "'\\PC{0,20}'|-?[1-9][0-9]{0,9}|true|\\['a', '/b'\\]|\\{ a = 1 \\}"),
            0..6,
        ),
        known in proptest::sample::select(Program::Crio.keys()),
        value in "'[\\x20-\\x26(-~]{0,30}'|7|true|\\['\\x01', '/b'\\]|\"a\\\\nb\"",
    ) {
        let path = known.path.replace("**", "x").replace('*', "y");
        let mut text = format!("{path} = {value}\ncrio.z = 1\n");
        for (name, value) in values {
            let more = format!("{text}w.{name} = {value}\n");
            // Not each of these is TOML together with the others.
            if toml::from_str::<toml::Table>(&more).is_ok() {
                text = more;
            }
        }
        prop_assume!(toml::from_str::<toml::Table>(&text).is_ok());
        settings(&import(&text));
    }
}
