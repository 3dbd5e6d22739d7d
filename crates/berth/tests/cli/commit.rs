//! `berth commit`, `export` and `import`: the images that come out are those that others read, and that run.

use std::process::Command;

use berth_testkit::require_root;
use serde_json::Value;

use crate::home::{BUSYBOX, Home};

/// What other programs say of an archive; None where they are not there.
fn skopeo(home: &Home, archive: &str, raw: &[&str]) -> Option<Value> {
    let mut command = Command::new("skopeo");
    command.arg("inspect").args(raw).arg(archive).current_dir(home.dir.path());
    let out = match command.output() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
        out => out.unwrap(),
    };
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(serde_json::from_slice(&out.stdout).unwrap())
}

/// What tar lists of a file, sorted.
fn listed(path: &std::path::Path) -> Vec<String> {
    let out = Command::new("tar").arg("-tf").arg(path).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn an_image_of_a_container_has_what_it_wrote() {
    require_root!();
    let home = Home::start();
    let line = "echo x > /new; chown 7:8 /new; chmod 4750 /new; ln /new /other; rm /bin/vi; ln -s nowhere /link; mkfifo /pipe; \
                cp -a /bin /copy; exec /copy/sh -c '/copy/rm -r /home; /copy/mkdir /home; /copy/touch /home/one; exec /copy/sleep 1000'";
    let flags = ["run", "-d", "-q", "--name", "c", "-v", "/v", "-e", "GIVEN=yes", BUSYBOX, "sh", "-c", line];
    home.berth(&flags).fine();
    assert!(berth_testkit::guard::wait_until(crate::home::LIMIT, || {
        home.berth(&["exec", "c", "/copy/ls", "/home/one"]).code == 0
    }));
    let changes =
        ["-c", r#"CMD ["cat", "/new"]"#, "-c", "ENV MORE=1", "-c", "LABEL who=us", "-c", "WORKDIR /home"];
    let said = ["commit", "-a", "me", "-m", "why not"];
    let id = home.berth(&[&said[..], &changes, &["c", "my/made:1"]].concat()).fine();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(home.wait_state("c", "c", "running")["pod"], "c", "it goes on");

    assert_eq!(home.berth(&["run", "--rm", "localhost/my/made:1"]).fine(), "x\n");
    let look = "stat -c '%u %g %a %h' /new /other; ls /bin/vi 2>&1 | grep -c No; readlink /link; ls -F / | grep pipe; ls /home; echo $GIVEN$MORE; pwd; ls /v";
    let seen = home.berth(&["run", "--rm", "localhost/my/made:1", "sh", "-c", look]);
    assert!(
        seen.out.starts_with("7 8 4750 2\n7 8 4750 2\n1\nnowhere\npipe|\none\nyes1\n/home\n"),
        "{seen:?}"
    );
    let steps = home.berth(&["history", "-o", "json", "localhost/my/made:1"]).json();
    assert_eq!(steps[0]["comment"], "why not");

    // Others read it, too, and all is there again after it went through an archive.
    home.berth(&["save", "-q", "-o", "made.tar", "localhost/my/made:1"]).fine();
    for kind in ["docker-archive", "oci-archive"] {
        if let Some(seen) = skopeo(&home, &format!("{kind}:made.tar"), &["--config"]) {
            assert_eq!(seen["author"], "me", "{kind}: {seen}");
            assert_eq!(seen["config"]["Labels"]["who"], "us", "{kind}: {seen}");
            assert_eq!(seen["config"]["Cmd"], serde_json::json!(["cat", "/new"]), "{kind}: {seen}");
        }
    }
    home.berth(&["rmi", "localhost/my/made:1"]).fine();
    home.berth(&["load", "-q", "-i", "made.tar"]).fine();
    home.berth(&["inspect", "localhost/my/made:1"]).fine();
    assert_eq!(home.berth(&["run", "--rm", "localhost/my/made:1"]).fine(), "x\n");

    let err = home.berth(&["commit", "-c", "RUN make", "c", "x"]).refused();
    assert!(err.contains("RUN is not possible here"), "{err}");
    let err = home.berth(&["commit", "nosuch", "x"]).refused();
    assert!(err.contains("nosuch"), "{err}");
    home.berth(&["rm", "-f", "-v", "c"]).fine();
    home.clean();
}

#[test]
fn a_root_goes_out_as_a_tar_and_comes_in_as_an_image() {
    require_root!();
    let home = Home::start();
    let line = "echo x > /new; rm /bin/vi; mkdir -p /deep/er; ln /new /deep/other";
    home.berth(&["run", "-q", "--name", "e", "-v", "/v", BUSYBOX, "sh", "-c", line]).fine();
    assert_eq!(home.berth(&["export", "-o", "root.tar", "e"]).fine(), "");
    let names = listed(&home.dir.path().join("root.tar"));
    for there in ["./", "new", "deep/", "deep/er/", "deep/other", "bin/sh"] {
        assert!(names.iter().any(|name| name == there), "{there}: {names:?}");
    }
    assert!(!names.iter().any(|name| name == "bin/vi" || name.contains(".wh.")), "{names:?}");

    let id =
        home.berth(&["import", "-m", "a root", "-c", "CMD cat /deep/other", "root.tar", "my/root"]).fine();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(home.berth(&["run", "--rm", "localhost/my/root:latest"]).fine(), "x\n");
    assert_eq!(home.berth(&["history", "-o", "json", "my/root"]).json()[0]["comment"], "a root");
    // Compressed, from standard input, without a name.
    let gzip = Command::new("gzip").arg("-c").arg(home.dir.path().join("root.tar")).output().unwrap();
    assert!(gzip.status.success());
    let id = home.feed(&["import", "-c", "CMD [\"cat\", \"/new\"]", "-"], &gzip.stdout).fine();
    assert_eq!(home.berth(&["run", "--rm", id.trim()]).fine(), "x\n");

    let err = home.feed(&["import", "-", "bad"], b"no tar at all").refused();
    assert!(err.contains("standard input"), "{err}");
    let err = home.berth(&["import", "https://example.org/root.tar"]).refused();
    assert!(err.contains("curl -fL"), "{err}");
    let err = home.berth(&["export", "nosuch"]).refused();
    assert!(err.contains("nosuch"), "{err}");
    home.berth(&["rm", "-v", "e"]).fine();
    home.clean();
}
