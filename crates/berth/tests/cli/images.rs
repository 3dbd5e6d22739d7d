//! `berth pull`, `images`, `rmi`.

use berth_testkit::Registry;
use berth_testkit::image::standin;
use berth_testkit::registry::Auth;
use berth_testkit::require_root;

use crate::home::{BUSYBOX, DEMO, Home};

#[test]
fn pulled_listed_and_removed() {
    require_root!();
    let home = Home::start();
    let said = home.berth(&["pull", BUSYBOX]);
    let id = said.out.trim().to_owned();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{said:?}");
    let lines: Vec<_> = said.err.lines().collect();
    assert_eq!(lines.first(), Some(&format!("{BUSYBOX}: pulling").as_str()), "{said:?}");
    assert!(lines.iter().any(|l| l.starts_with(&format!("{BUSYBOX}: layer "))), "{said:?}");
    assert_eq!(lines.last(), Some(&format!("{BUSYBOX}: pulled {}", &id[7..19]).as_str()), "{said:?}");
    let said = home.berth(&["pull", "-q", BUSYBOX]);
    assert_eq!((said.out.trim(), said.err.as_str()), (id.as_str(), ""));
    let table = home.berth(&["images"]).fine();
    assert!(table.starts_with("REPOSITORY"), "{table}");
    assert!(table.contains("docker.io/library/busybox   latest"), "{table}");

    home.berth(&["run", "-d", "--name", "user", BUSYBOX, "sleep", "1000"]).fine();
    let said = home.berth(&["rmi", BUSYBOX]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("uses it") && said.err.contains("hint: "), "{said:?}");
    home.berth(&["rm", "-f", "user"]).fine();
    assert_eq!(home.berth(&["rmi", BUSYBOX]).fine(), format!("{BUSYBOX}\n"));
    let said = home.berth(&["rmi", BUSYBOX]);
    assert!(said.code == 1 && said.err.contains("no image"), "{said:?}");
    let left = home.berth(&["images", "-o", "json"]).json();
    let names: Vec<_> = left.as_array().unwrap().iter().map(|i| i["tags"][0].as_str().unwrap()).collect();
    assert_eq!(names, [DEMO]);
    home.clean();
}

#[test]
fn a_layer_that_is_there_is_not_fetched_again() {
    require_root!();
    let home = Home::start();
    home.berth(&["pull", BUSYBOX]).fine();
    let said = home.berth(&["pull", "docker.io/docker/library/busybox:1"]);
    assert!(said.err.contains("already exists"), "{said:?}");
    home.clean();
}

#[test]
fn credentials_are_the_callers_own() {
    require_root!();
    let auth = Auth::Basic { user: "me".into(), password: "secret".into() };
    let registry = Registry::builder().auth(auth).start().unwrap();
    standin::publish_busybox(&registry).unwrap();
    let home = Home::start();
    let image = format!("{}/library/busybox:latest", registry.host());
    let err = home.berth(&["pull", &image]).refused();
    assert!(err.contains(&registry.host()), "{err}");
    std::fs::create_dir(home.dir.path().join(".docker")).unwrap();
    // me:secret
    let json = format!(r#"{{"auths": {{"{}": {{"auth": "bWU6c2VjcmV0"}}}}}}"#, registry.host());
    home.write(".docker/config.json", &json);
    home.berth(&["pull", &image]).fine();
    home.berth(&["rmi", &image]).fine();
    assert_eq!(home.berth(&["run", "--rm", "-q", &image, "echo", "hello"]).fine(), "hello\n");
    home.write(".docker/config.json", "{");
    let said = home.berth(&["run", "--rm", "-q", "--pull", "always", &image, "true"]);
    assert!(said.err.contains("config.json is malformed at line 1"), "{said:?}");
    assert!(!said.err.contains("secret"), "{said:?}");
    said.refused();
    home.clean();
    assert!(!home.daemon.log().contains("secret"));
}
