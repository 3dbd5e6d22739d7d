//! `berth history`, `berth diff` and `run --ulimit`.

use berth_testkit::require_root;

use crate::home::{BUSYBOX, Home};

#[test]
fn what_a_container_changed_is_shown() {
    require_root!();
    let home = Home::start();
    let line =
        "echo x > /new; mkdir -p /tree/below; touch /tree/below/file; mv /bin/cat /bin/cats; touch /v/not";
    home.berth(&["run", "-q", "--name", "d", "-v", "/v", BUSYBOX, "sh", "-c", line]).fine();
    let out = home.berth(&["diff", "d"]).fine();
    for expected in [
        "A /new\n",
        "A /tree\n",
        "A /tree/below\n",
        "A /tree/below/file\n",
        "C /bin\n",
        "D /bin/cat\n",
        "A /bin/cats\n",
    ] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    for unexpected in ["/v", "/etc", "/dev", "/proc"] {
        assert!(!out.contains(unexpected), "{unexpected}: {out}");
    }
    // A directory that takes the place of another has nothing of it.
    let line = "rm -r /bin2 2>/dev/null; cp -a /bin /bin2; exec /bin2/sh -c '/bin2/rm -r /bin; /bin2/mkdir /bin; /bin2/touch /bin/one'";
    home.berth(&["run", "-q", "--name", "o", BUSYBOX, "sh", "-c", line]).fine();
    let out = home.berth(&["diff", "o"]).fine();
    assert!(out.contains("C /bin\n") && out.contains("A /bin/one\n") && out.contains("D /bin/sh\n"), "{out}");
    home.berth(&["run", "-q", "--name", "same", BUSYBOX, "true"]).fine();
    assert_eq!(home.berth(&["diff", "same"]).fine(), "");
    let err = home.berth(&["diff", "nosuch"]).refused();
    assert!(err.contains("nosuch"), "{err}");
    home.berth(&["rm", "-v", "d", "o", "same"]).fine();
    home.clean();
}

#[test]
fn the_steps_that_made_an_image_are_shown() {
    require_root!();
    let home = Home::start();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    let steps = home.berth(&["history", "-o", "json", BUSYBOX]).json();
    assert!(steps.as_array().unwrap().iter().any(|step| step["size"].as_u64() > Some(0)), "{steps}");
    let table = home.berth(&["history", BUSYBOX]).fine();
    assert!(table.starts_with("CREATED "), "{table}");
    assert!(home.berth(&["history", "-q", BUSYBOX]).fine().starts_with("sha256:"));
    let err = home.berth(&["history", "nosuch"]).refused();
    assert!(err.contains("no image \"nosuch\""), "{err}");
    home.clean();
}

#[test]
fn limits_of_processes_are_set() {
    require_root!();
    let home = Home::start();
    let said = home
        .shell(&["--ulimit", "nofile=123:456", "--ulimit", "core=0"], "ulimit -n; ulimit -Hn; ulimit -c")
        .fine();
    assert_eq!(said, "123\n456\n0\n");
    home.berth(&["run", "-d", "-q", "--name", "u", "--ulimit", "nofile=77", BUSYBOX, "sleep", "1000"]).fine();
    assert_eq!(home.berth(&["exec", "u", "sh", "-c", "ulimit -n"]).fine(), "77\n");
    home.berth(&["rm", "-f", "u"]).fine();
    home.clean();
}
