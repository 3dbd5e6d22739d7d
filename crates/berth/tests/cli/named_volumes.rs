//! Volumes that outlive pods: `berth volume`, `-v NAME:PATH`, and how they are filled.

use std::os::unix::fs::MetadataExt;

use berth_testkit::guard::wait_until;
use berth_testkit::require_root;

use crate::home::{BUSYBOX, Home, LIMIT};

#[test]
fn a_volume_outlives_its_pods_until_it_is_removed() {
    require_root!();
    let home = Home::start();
    let mounted = home.shell(&["-v", "data:/d"], "echo kept > /d/file; grep ' /d ' /proc/mounts").fine();
    assert!(mounted.contains("nosuid,nodev"), "{mounted}");
    assert_eq!(
        home.shell(&["--mount", "type=volume,src=data,dst=/e,ro"], "cat /e/file; touch /e/no 2>&1").out,
        "kept\ntouch: /e/no: Read-only file system\n"
    );
    home.berth(&["run", "-d", "-q", "--name", "web", "-v", "data:/d", BUSYBOX, "sleep", "1000"]).fine();
    let said = home.berth(&["volume", "rm", "data"]);
    assert!(said.code == 1 && said.err.contains("volume data is used by pod web"), "{said:?}");
    // One that has ended has it, too.
    home.berth(&["stop", "-t", "0", "web"]).fine();
    assert_eq!(home.berth(&["volume", "rm", "data"]).code, 1);
    let table = home.berth(&["volume", "ls"]).fine();
    assert!(table.starts_with("NAME ") && table.contains("data ") && table.contains("web"), "{table}");
    assert_eq!(home.berth(&["volume", "ls", "-q", "-f", "dangling=true"]).fine(), "");
    let place = home.berth(&["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]).fine();
    let place = std::path::Path::new(place.trim());
    assert_eq!(std::fs::read_to_string(place.join("file")).unwrap(), "kept\n");
    for above in [place.parent().unwrap(), place.parent().unwrap().parent().unwrap()] {
        assert_eq!(std::fs::metadata(above).unwrap().mode() & 0o777, 0o700);
    }
    home.berth(&["rm", "web"]).fine();
    assert_eq!(home.shell(&["-v", "data:/d"], "cat /d/file").fine(), "kept\n");
    assert_eq!(home.berth(&["volume", "rm", "data"]).fine(), "data\n");
    assert!(!place.exists());
    let said = home.berth(&["volume", "rm", "data"]);
    assert!(said.code == 1 && said.err.contains("no volume \"data\""), "{said:?}");
    assert_eq!(home.berth(&["volume", "rm", "-f", "data"]).code, 0);
    assert_eq!(home.berth(&["volume", "inspect", "data"]).code, 1);
    home.clean();
}

#[test]
fn an_empty_volume_is_filled_from_the_image() {
    require_root!();
    let home = Home::start();
    // busybox's stand-in has its programs in /bin.
    let names = home.shell(&[], "ls /bin").fine();
    let owner = home.shell(&[], "stat -c '%u:%g %a' /bin").fine();
    let line = "ls /v; stat -c '%u:%g %a' /v; touch /v/mine";
    assert_eq!(home.shell(&["-v", "bin:/v"], "ls /v").fine(), "", "the image has no /v");
    home.berth(&["volume", "rm", "bin"]).fine();
    let filled = home.shell(&["-v", "bin:/bin"], "ls /bin; stat -c '%u:%g %a' /bin").fine();
    assert_eq!(filled, format!("{names}{owner}"));
    // Only once.
    assert_eq!(home.shell(&["-v", "bin:/v"], line).fine(), filled);
    assert!(home.shell(&["-v", "bin:/etc"], "ls /etc").fine().contains("mine"));
    assert_eq!(home.shell(&["-v", "empty:/v:nocopy", "-v", "bin:/bin"], "ls /v").fine(), "");
    home.berth(&["volume", "create", "-l", "a=b", "made"]).fine();
    assert_eq!(home.berth(&["volume", "ls", "-q", "-f", "label=a=b"]).fine(), "made\n");
    let err = home.berth(&["volume", "create", "-d", "nfs", "x1"]).refused();
    assert!(err.contains("no drivers"), "{err}");
    let err = home.berth(&["volume", "create", "../x"]).refused();
    assert!(err.contains("not a volume's name"), "{err}");
    let err = home.berth(&["volume", "prune"]).refused();
    assert!(err.contains("--force"), "{err}");
    home.berth(&["volume", "prune", "-f"]).fine();
    assert_eq!(home.berth(&["volume", "ls", "-q"]).fine(), "bin\nempty\nmade\n");
    home.berth(&["volume", "prune", "-af"]).fine();
    assert_eq!(home.berth(&["volume", "ls", "-q"]).fine(), "");
    home.clean();
}

#[test]
fn volumes_without_a_name_go_with_rm() {
    require_root!();
    let home = Home::start();
    let names = || home.berth(&["volume", "ls", "-q"]).fine();
    assert_eq!(home.shell(&["-v", "/a"], "touch /a/x; ls /a").fine(), "x\n");
    assert!(wait_until(LIMIT, || names().is_empty()), "{}", names());
    home.berth(&["run", "-q", "--name", "stays", "-v", "/a", BUSYBOX, "touch", "/a/x"]).fine();
    assert_eq!(names().len(), 65);
    home.berth(&["rm", "stays"]).fine();
    assert_eq!(names().len(), 65);
    home.berth(&["volume", "prune", "-f"]).fine();
    assert_eq!(names(), "");
    home.berth(&["run", "-q", "--name", "goes", "-v", "/a", "-v", "named:/b", BUSYBOX, "true"]).fine();
    home.berth(&["rm", "-v", "goes"]).fine();
    assert_eq!(names(), "named\n");
    // A pod that never was leaves none; what it has by name stays.
    home.berth(&["run", "-q", "--rm", "-v", "/a", "-v", "other:/b", "--network", "none", BUSYBOX, "/nosuch"]);
    assert!(wait_until(LIMIT, || names() == "named\nother\n"), "{}", names());
    home.clean();
}

/// A restart is no removal: what a container wrote is there for the next, also where all would go with it.
#[test]
fn volumes_without_a_name_outlive_a_restart() {
    require_root!();
    let home = Home::start();
    for (name, flag) in [("kept", "-q"), ("passing", "--rm")] {
        home.berth(&["run", "-d", flag, "--name", name, "-v", "/d", BUSYBOX, "sleep", "1000"]).fine();
        home.berth(&["exec", name, "sh", "-c", "echo written > /d/file"]).fine();
        home.berth(&["restart", "-t", "0", name]).fine();
        assert_eq!(home.berth(&["exec", name, "cat", "/d/file"]).fine(), "written\n", "{name}");
    }
}
