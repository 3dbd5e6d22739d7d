//! `berth login`, `logout` and `push`, against Debian's docker-registry.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use berth_testkit::guard::{free_port, has_program, wait_until};
use berth_testkit::image::standin;
use berth_testkit::{Registry, executable, require, require_root};

use crate::home::{BUSYBOX, Home, LIMIT};

/// The user `me` with the password `s3cret`, by bcrypt.
const USERS: &str = "me:$2b$04$py6I1XU0xFO5OEkVZDeCs.SfqqzCicvZFgDIitnjjtV40Uv8hSdIm\n";

/// A registry that takes pushes, of those who know the password.
pub struct DockerRegistry {
    child: Child,
    pub host: String,
    _dir: tempfile::TempDir,
}

impl DockerRegistry {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = format!("127.0.0.1:{}", free_port());
        let (config, users, data) =
            (dir.path().join("config.yml"), dir.path().join("users"), dir.path().join("data"));
        std::fs::write(&users, USERS).unwrap();
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{host}\"}}\n\
             auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
            data.display(),
            users.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        assert!(wait_until(LIMIT, || std::net::TcpStream::connect(&host).is_ok()));
        Self { child, host, _dir: dir }
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn an_image_is_pushed_as_it_was_pulled() {
    require_root!();
    require!(has_program("docker-registry"), "needs the package docker-registry");
    let home = Home::start();
    let registry = DockerRegistry::start();
    let host = registry.host.as_str();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    let manifest = home.berth(&["inspect", "-f", "{{.Manifest}}", BUSYBOX]).fine();
    let to = format!("{host}/team/busybox:1");
    let err = home.berth(&["push", BUSYBOX, &to]).refused();
    assert!(err.contains("401") && err.contains("berth login"), "{err}");

    let login =
        |password: &str| home.feed(&["login", "-u", "me", "--password-stdin", host], password.as_bytes());
    let err = login("wrong\n").refused();
    assert!(err.contains(&format!("log in to {host}")) && err.contains("401"), "{err}");
    let file = home.dir.path().join(".docker/config.json");
    assert!(!file.exists());
    assert_eq!(login("s3cret\n").fine(), "Login Succeeded\n");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let said = home.berth(&["push", BUSYBOX, &to]);
    assert_eq!((said.code, said.out.as_str()), (0, manifest.as_str()), "{said:?}");
    assert!(!said.err.contains("already exists"), "{said:?}");
    // What is there is not sent again.
    let said = home.berth(&["push", BUSYBOX, &to]);
    assert!(said.code == 0 && said.err.contains("already exists"), "{said:?}");
    home.berth(&["rmi", "-f", BUSYBOX]).fine();
    let id = home.berth(&["pull", "-q", &to]).fine();
    assert_eq!(home.berth(&["inspect", "-f", "{{.Manifest}}", id.trim()]).fine(), manifest);
    assert_eq!(home.berth(&["run", "--rm", &to, "echo", "there"]).fine(), "there\n");
    // The registry has the layers in another repository, and takes them from there.
    let said = home.berth(&["push", &to, &format!("{host}/other/busybox:2")]);
    assert!(said.code == 0 && said.err.contains("already exists"), "{said:?}");
    assert_eq!(said.out, manifest);

    // An archive's layers are tars, which are made again.
    home.berth(&["save", "-o", "a.tar", &to]).fine();
    home.berth(&["rmi", "-f", &to]).fine();
    home.berth(&["load", "-i", "a.tar"]).fine();
    let saved = home.berth(&["inspect", "-f", "{{.Manifest}}", &to]).fine();
    assert_ne!(saved, manifest);
    let name = format!("{host}/saved/busybox:3");
    home.berth(&["tag", &to, &name]).fine();
    assert_eq!(home.berth(&["push", "-q", &name]).fine(), saved);

    let said = home.berth(&["logout", host]).fine();
    assert_eq!(said, format!("Removed login credentials for {host}\n"));
    assert!(!std::fs::read_to_string(&file).unwrap().contains(host));
    assert_eq!(home.berth(&["push", "-q", &name]).code, 125);
    assert!(home.berth(&["logout", host]).err.contains("not logged in"));
    home.clean();
}

#[test]
fn layers_that_nobody_has_any_more_are_compressed_anew() {
    require_root!();
    require!(has_program("docker-registry"), "needs the package docker-registry");
    let home = Home::start();
    let first = Registry::start().unwrap();
    standin::publish_busybox(&first).unwrap();
    let from = format!("{}/library/busybox:latest", first.host());
    home.berth(&["pull", "-q", &from]).fine();
    let manifest = home.berth(&["inspect", "-f", "{{.Manifest}}", &from]).fine();
    drop(first);
    let registry = DockerRegistry::start();
    let to = format!("{}/b:1", registry.host);
    home.feed(&["login", "-u", "me", "--password-stdin", &registry.host], b"s3cret").fine();
    let said = home.berth(&["push", &from, &to]);
    assert!(said.code == 0 && said.err.contains("compressed anew"), "{said:?}");
    assert_ne!(said.out, manifest);
    // The same once more.
    assert_eq!(home.berth(&["push", "-q", &from, &to]).fine(), said.out);
    home.berth(&["rmi", "-f", &from]).fine();
    assert_eq!(home.berth(&["run", "--rm", "-q", &to, "echo", "there"]).fine(), "there\n");
    let err = home.berth(&["push", "nosuch", &to]).refused();
    assert!(err.contains("no image \"nosuch\""), "{err}");
    let err = home.berth(&["push", &to, "short"]).refused();
    assert!(err.contains("names no registry"), "{err}");
    home.clean();
}

#[test]
fn credential_helpers_keep_what_they_are_named_for() {
    require_root!();
    require!(has_program("docker-registry"), "needs the package docker-registry");
    let home = Home::start();
    let registry = DockerRegistry::start();
    let kept = home.dir.path().join("kept");
    let script = format!(
        "#!/bin/sh\ncase $1 in store) cat > {kept};; erase) rm {kept};; get) cat > /dev/null; cat {kept};; esac\n",
        kept = kept.display()
    );
    executable::script(home.dir.path().join("docker-credential-ours"), script);
    let auth = home.write("auth.json", "{\"credsStore\": \"ours\", \"detachKeys\": \"x\"}");
    let path = format!("{}:{}", home.dir.path().display(), std::env::var("PATH").unwrap());
    let call = |arguments: &[&str], input: &[u8]| {
        let mut command = home.command(arguments);
        command.env("PATH", &path).env("REGISTRY_AUTH_FILE", &auth).stdin(Stdio::piped());
        let mut call = crate::home::Call::spawn(command);
        std::io::Write::write_all(&mut call.stdin(), input).unwrap();
        call.end()
    };
    call(&["login", "-u", "me", "--password-stdin", &registry.host], b"s3cret").fine();
    let text = std::fs::read_to_string(&auth).unwrap();
    assert!(
        !text.contains("s3cret") && text.contains("detachKeys") && text.contains(&registry.host),
        "{text}"
    );
    assert!(std::fs::read_to_string(&kept).unwrap().contains("\"Secret\":\"s3cret\""));
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    call(&["push", "-q", BUSYBOX, &format!("{}/b:1", registry.host)], b"").fine();
    call(&["logout", &registry.host], b"").fine();
    assert!(!kept.exists());
    let err = home.berth(&["login", "-u", "me", &registry.host]).refused();
    assert!(err.contains("--password-stdin"), "{err}");
    home.clean();
}
