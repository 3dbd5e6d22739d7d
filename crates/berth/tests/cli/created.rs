//! `berth create` and `berth start`: a container that is made now and runs later.

use berth_testkit::guard::wait_until;
use berth_testkit::require_root;

use crate::home::{BUSYBOX, Home, LIMIT};

#[test]
fn what_is_created_waits_for_its_start() {
    require_root!();
    let mut home = Home::start();
    let volume = format!("{}:/v", home.dir.path().display());
    let line = "touch /v/ran; exec sleep 1000";
    let id = home.berth(&["create", "-q", "--name", "c", "-v", &volume, BUSYBOX, "sh", "-c", line]).fine();
    let row = home.wait_state("c", "c", "created");
    assert_eq!(row["id"], id.trim());
    assert_eq!(home.berth(&["pods", "--format", "{{.Status}}"]).fine(), "Created\n");
    let said = home.berth(&["kill", "c"]);
    assert!(said.code == 1 && said.err.contains("c is not running"), "{said:?}");
    let said = home.berth(&["pause", "c"]);
    assert!(said.code == 1 && said.err.contains("c is not running"), "{said:?}");
    home.daemon.stop().unwrap();
    home.daemon.start().unwrap();
    assert_eq!(home.wait_state("c", "c", "created")["id"], id.trim());
    assert!(!home.dir.path().join("ran").exists());
    assert_eq!(home.berth(&["start", "c"]).fine(), "c\n");
    assert_eq!(home.wait_state("c", "c", "running")["id"], id.trim());
    assert!(wait_until(LIMIT, || home.dir.path().join("ran").exists()));
    // It is one like any other from then on.
    home.daemon.stop().unwrap();
    home.daemon.start().unwrap();
    assert_eq!(home.wait_state("c", "c", "running")["id"], id.trim());
    home.berth(&["rm", "-f", "c"]).fine();

    // Removed before it ran, without force.
    home.berth(&["create", "-q", "--name", "never", BUSYBOX, "true"]).fine();
    home.berth(&["rm", "never"]).fine();
    home.clean();
}

#[test]
fn the_end_of_what_is_started_is_told() {
    require_root!();
    let home = Home::start();
    home.berth(&["create", "-q", "--name", "a", BUSYBOX, "sh", "-c", "echo out; echo err >&2; exit 4"])
        .fine();
    let said = home.berth(&["start", "-a", "a"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (4, "out\n", "err\n"));
    // What has ended is run anew, and nothing of its output is missed.
    let said = home.berth(&["start", "-a", "a"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (4, "out\n", "err\n"));
    home.berth(&["create", "-q", "-i", "--rm", "--name", "i", BUSYBOX, "cat"]).fine();
    let said = home.feed(&["start", "-ai", "i"], b"given\n");
    assert_eq!((said.code, said.out.as_str()), (0, "given\n"), "{said:?}");
    assert!(wait_until(LIMIT, || !home.containers().iter().any(|c| c["name"] == "i")));

    home.berth(&["create", "-q", "--name", "bad", BUSYBOX, "/nosuch"]).fine();
    let said = home.berth(&["start", "bad"]);
    assert!(said.code == 1 && said.err.contains("/nosuch"), "{said:?}");
    let err = home.berth(&["start", "-a", "a", "bad"]).refused();
    assert!(err.contains("takes one container"), "{err}");
    let err = home.berth(&["create", "-d", BUSYBOX, "true"]).refused();
    assert!(err.contains("it starts nothing"), "{err}");
    let err = home.berth(&["create", "--gpus", "all", BUSYBOX]).refused();
    assert!(err.contains("create --gpus is not supported"), "{err}");
    home.berth(&["rm", "a", "bad"]).fine();
    home.clean();
}
