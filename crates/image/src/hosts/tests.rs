use super::*;

const REGISTRY: &str = "registry.example:5000";

struct Certs(tempfile::TempDir);

impl Certs {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn dir(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn hosts(&self, registry: &str) -> Result<Vec<Host>, HostsError> {
        hosts(&[self.dir()], registry)
    }
}

/// The hosts of one file, as URLs with their whole path.
fn urls(text: &str) -> Vec<String> {
    let certs = Certs::new();
    certs.write("registry.example:5000/hosts.toml", text);
    let url = |host: &Host| format!("{:?} {}{}", host.scheme, host.authority, host.path);
    certs.hosts(REGISTRY).unwrap().iter().map(url).collect()
}

fn problem(text: &str) -> String {
    let certs = Certs::new();
    certs.write("registry.example:5000/hosts.toml", text);
    berth_types::error::chain(&certs.hosts(REGISTRY).unwrap_err())
}

#[test]
fn without_configuration_the_registry_serves_itself() {
    let only = |registry: &str| {
        let mut all = hosts(&["/nonexistent".into()], registry).unwrap();
        assert_eq!(all.len(), 1);
        all.remove(0)
    };
    assert_eq!(only("registry.example").scheme, Scheme::Https);
    assert_eq!(only("docker.io").authority, "registry-1.docker.io");
    for loopback in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.9.1", "[::1]:5000"] {
        assert_eq!(only(loopback).scheme, Scheme::HttpsOrHttp, "{loopback}");
    }
    for other in ["localhost.example", "10.0.0.1:5000", "[2001:db8::1]:5000", "127.0.0.1.example"] {
        assert_eq!(only(other).scheme, Scheme::Https, "{other}");
    }
}

#[test]
fn mirrors_come_in_file_order_before_the_server() {
    let text = "server = \"https://upstream.example\"\n\
        [host.\"https://z.example\"]\n[host.\"http://a.example:80\"]\n[host.\"m.example\"]\n";
    assert_eq!(
        urls(text),
        ["Https z.example/v2", "Http a.example:80/v2", "Https m.example/v2", "Https upstream.example/v2"]
    );
    assert_eq!(urls("[host.\"https://z.example\"]\n")[1], format!("Https {REGISTRY}/v2"));
    assert_eq!(urls("server = \"https://docker.io\""), ["Https registry-1.docker.io/v2"]);
}

#[test]
fn a_server_that_is_listed_as_a_host_is_asked_once() {
    let certs = Certs::new();
    certs.write("registry.example:5000/ca.crt", "x");
    let count = |text: &str| {
        certs.write("registry.example:5000/hosts.toml", text);
        certs.hosts(REGISTRY).unwrap().len()
    };
    let own = "[host.\"https://registry.example:5000\"]\nca = \"ca.crt\"\n";
    assert_eq!(count(own), 1);
    assert_eq!(count(&format!("server = \"https://registry.example:5000\"\n{own}")), 1);
    assert_eq!(count("server = \"https://docker.io\"\n[host.\"https://registry-1.docker.io\"]\n"), 1);
    // The server has more settings, or the host has fewer capabilities.
    assert_eq!(count(&format!("skip_verify = true\n{own}")), 2);
    assert_eq!(count(&format!("{own}capabilities = [\"pull\"]\n")), 2);
    assert_eq!(count("[host.\"https://registry.example:5000/mirror\"]\n"), 2);
}

#[test]
fn the_path_gets_v2_unless_it_is_overridden() {
    assert_eq!(urls("server = \"https://a.example/x/\""), ["Https a.example/x/v2"]);
    assert_eq!(urls("server = \"https://a.example/x/v2\""), ["Https a.example/x/v2"]);
    let text = "[host.\"https://a.example/v2/team\"]\noverride_path = true\n";
    assert_eq!(urls(text)[0], "Https a.example/v2/team");
}

#[test]
fn mirrors_and_the_registry_have_their_roles() {
    let certs = Certs::new();
    certs.write(
        "registry.example:5000/hosts.toml",
        "server = \"https://upstream.example\"\n[host.\"https://m.example\"]\n\
         [host.\"http://registry.example:5000\"]\n",
    );
    let roles: Vec<Role> = certs.hosts(REGISTRY).unwrap().iter().map(|h| h.role).collect();
    assert_eq!(roles, [Role::Mirror, Role::Registry, Role::Registry]);
}

#[test]
fn the_keys_of_a_host_are_read() {
    let certs = Certs::new();
    let text = r#"
        [host."https://m.example"]
        capabilities = ["pull", "push"]
        ca = ["a.crt", "b.crt"]
        client = [["c.cert", "c.key"], "both.pem", ["single.pem", ""]]
        skip_verify = true
        dial_timeout = "3s"
        unknown_key = 1
        [host."https://m.example".header]
        x-one = "1"
        x-two = ["2", "3"]
    "#;
    certs.write("registry.example:5000/hosts.toml", text);
    for file in ["a.crt", "b.crt", "c.cert", "c.key", "both.pem", "single.pem"] {
        certs.write(&format!("registry.example:5000/{file}"), file);
    }
    let host = certs.hosts(REGISTRY).unwrap().remove(0);
    assert_eq!(host.capabilities, Capabilities { pull: true, resolve: false });
    assert_eq!(host.tls.authorities.len(), 2);
    assert_eq!(host.tls.authorities[1].text, b"b.crt");
    assert_eq!(host.tls.clients.len(), 3);
    assert_eq!(host.tls.clients[0].key.text, b"c.key");
    assert_eq!(host.tls.clients[2].key.text, b"single.pem");
    assert_eq!(host.tls.verify, Verify::Skip);
    assert_eq!(host.dial_timeout, Some(Duration::from_secs(3)));
    assert_eq!(host.headers.len(), 3);
    assert!(!format!("{host:?}").contains("[99, 46"), "certificates and keys are not printed");
}

#[test]
fn keys_of_the_root_belong_to_the_server() {
    let certs = Certs::new();
    certs.write("registry.example:5000/hosts.toml", "ca = \"/ca.pem\"\n[host.\"https://m.example\"]\n");
    let error = certs.hosts(REGISTRY).unwrap_err().to_string();
    assert!(error.contains("/ca.pem"), "{error}");
    certs.write("registry.example:5000/hosts.toml", "skip_verify = true\n[host.\"https://m.example\"]\n");
    let verify: Vec<Verify> = certs.hosts(REGISTRY).unwrap().iter().map(|h| h.tls.verify).collect();
    assert_eq!(verify, [Verify::Yes, Verify::Skip]);
}

#[test]
fn wrong_values_are_errors_that_name_the_key() {
    for (text, word) in [
        ("server = 1", "server"),
        ("server = \"ftp://x\"", "server"),
        ("server = \"https://user:pw@x\"", "server"),
        ("host = 1", "host"),
        ("[host]\n\"https://x\" = 1", "host.\"https://x\""),
        ("[host.\"https://\"]", "host"),
        ("capabilities = [\"fly\"]", "capabilities"),
        ("skip_verify = \"yes\"", "skip_verify"),
        ("dial_timeout = \"3\"", "dial_timeout"),
        ("client = [[1]]", "client"),
        ("[header]\n\"a b\" = \"x\"", "header"),
        ("[header]\na = \"x\\ny\"", "header"),
        ("this is not toml", "parse"),
    ] {
        let problem = problem(text);
        assert!(problem.contains(word) && problem.contains("hosts.toml"), "{text}: {problem}");
    }
}

#[test]
fn directories_are_found_by_each_of_their_names_and_default_comes_last() {
    let named = |name: &str| format!("server = \"https://{name}.example\"\n");
    let (first, second) = (Certs::new(), Certs::new());
    let authority =
        |registry: &str| hosts(&[first.dir(), second.dir()], registry).unwrap().remove(0).authority;
    first.write("_default/hosts.toml", "[host.\"https://fallback.example\"]\n");
    assert_eq!(authority(REGISTRY), "fallback.example");
    second.write("registry.example:5000/hosts.toml", &named("colon"));
    assert_eq!(authority(REGISTRY), "colon.example");
    second.write("registry.example_5000_/hosts.toml", &named("underscore"));
    assert_eq!(authority(REGISTRY), "underscore.example");
    first.write("registry.example:5000/hosts.toml", &named("first"));
    assert_eq!(authority(REGISTRY), "first.example");
    assert_eq!(authority("other.example"), "fallback.example");
}

#[test]
fn the_default_directory_keeps_the_registry_as_server() {
    let certs = Certs::new();
    certs.write("_default/hosts.toml", "[host.\"https://m.example\"]\n");
    let all = certs.hosts("docker.io").unwrap();
    assert_eq!(all[1].authority, "registry-1.docker.io");
    assert_eq!((all[0].role, all[1].role), (Role::Mirror, Role::Registry));
}

#[test]
fn dockers_certificate_files_serve_where_there_is_no_hosts_toml() {
    let certs = Certs::new();
    certs.write("localhost:5000/ca.crt", "ca").write("localhost:5000/c.cert", "c");
    assert!(certs.hosts("localhost:5000").unwrap_err().to_string().contains("c.key"));
    certs.write("localhost:5000/c.key", "k");
    let host = certs.hosts("localhost:5000").unwrap().remove(0);
    assert_eq!(host.scheme, Scheme::Https);
    assert_eq!((host.tls.authorities.len(), host.tls.clients.len()), (1, 1));
}

#[test]
fn a_configured_authority_ends_the_fall_back_to_plain_http() {
    let certs = Certs::new();
    certs.write("localhost:5000/hosts.toml", "ca = \"ca.crt\"\n").write("localhost:5000/ca.crt", "ca");
    let host = certs.hosts("localhost:5000").unwrap().remove(0);
    assert_eq!((host.scheme, host.tls.verify), (Scheme::Https, Verify::Yes));
}

#[test]
fn huge_files_are_refused() {
    let certs = Certs::new();
    certs.write("registry.example:5000/hosts.toml", &"#".repeat((1 << 20) + 1));
    assert!(matches!(certs.hosts(REGISTRY), Err(HostsError::TooLarge { .. })));
}
