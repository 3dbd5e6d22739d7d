//! `berth save` and `berth load`.

use berth_testkit::guard::has_program;
use berth_testkit::{require, require_root};

use crate::home::{BUSYBOX, Home};

#[test]
fn what_was_saved_is_loaded_elsewhere_and_runs() {
    require_root!();
    let home = Home::start();
    let id = home.berth(&["pull", "-q", BUSYBOX]).fine();
    let said = home.berth(&["save", "-o", "box.tar", BUSYBOX]);
    assert!(said.err.starts_with("box.tar: ") && said.code == 0, "{said:?}");
    let other = Home::start();
    let archive = home.dir.path().join("box.tar").display().to_string();
    let said = other.berth(&["load", "-i", &archive]);
    assert_eq!(said.out, format!("{BUSYBOX}\n"), "{said:?}");
    assert!(said.err.starts_with(&format!("{archive}: loading\n{archive}: layer ")), "{said:?}");
    assert_eq!(other.berth(&["images", "-q"]).fine().lines().find(|l| *l == id.trim()), Some(id.trim()));
    assert_eq!(other.berth(&["run", "--rm", "--pull", "never", BUSYBOX, "echo", "hi"]).fine(), "hi\n");

    // By a pipe, and by the id.
    other.berth(&["rmi", BUSYBOX]).fine();
    let bytes = std::fs::read(&archive).unwrap();
    assert_eq!(other.feed(&["load", "-q"], &bytes).fine(), format!("{BUSYBOX}\n"));
    home.clean();
    other.clean();
}

#[test]
fn half_an_archive_and_a_wrong_one_leave_nothing() {
    require_root!();
    let home = Home::start();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    home.berth(&["save", "-q", "-o", "box.tar", BUSYBOX]).fine();
    home.berth(&["rmi", BUSYBOX]).fine();
    let bytes = std::fs::read(home.dir.path().join("box.tar")).unwrap();
    let before = home.berth(&["images", "-q"]).fine();
    let err = home.feed(&["load"], &bytes[..bytes.len() / 2]).refused();
    assert!(err.contains("load standard input: image archive: "), "{err}");
    let err = home.feed(&["load"], b"no archive at all").refused();
    assert!(err.contains("load standard input: image archive: "), "{err}");
    let err = home.berth(&["load", "-i", "nosuch.tar"]).refused();
    assert!(err.contains("open the archive nosuch.tar") && err.contains("No such file"), "{err}");
    assert_eq!(home.berth(&["images", "-q"]).fine(), before);

    let err = home.berth(&["save", "-o", "none.tar", "docker.io/library/nosuch"]).refused();
    assert!(err.contains("nosuch"), "{err}");
    let left: Vec<_> = std::fs::read_dir(home.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["box.tar"]);
    home.clean();
}

#[test]
fn other_tools_read_it() {
    require_root!();
    require!(has_program("skopeo"), "needs the package skopeo");
    let home = Home::start();
    let id = home.berth(&["pull", "-q", BUSYBOX]).fine();
    home.berth(&["save", "-q", "-o", "box.tar", BUSYBOX]).fine();
    for form in ["docker-archive", "oci-archive"] {
        let mut skopeo = std::process::Command::new("skopeo");
        let archive = home.dir.path().join("box.tar");
        skopeo.args(["inspect", "--raw", &format!("{form}:{}", archive.display())]);
        let said = crate::home::Call::spawn(skopeo).end();
        let manifest = said.json();
        assert_eq!(manifest["config"]["digest"], id.trim(), "{form}: {manifest}");
    }
    home.clean();
}
