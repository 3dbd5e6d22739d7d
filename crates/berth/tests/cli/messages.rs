//! What containers of `berth play` say of their end.

use berth_testkit::require_root;

use crate::home::{BUSYBOX, Home};

#[test]
fn a_container_says_why_it_ended() {
    require_root!();
    let home = Home::start();
    let container = |name: &str, line: &str, more: &str| {
        format!("  - name: {name}\n    image: {BUSYBOX}\n    command: [sh, -c, '{line}']\n{more}")
    };
    let user = "    securityContext: {runAsUser: 1000}\n";
    let place = "    terminationMessagePath: /tmp/why\n";
    let logs = "    terminationMessagePolicy: FallbackToLogsOnError\n";
    let spec = [
        container("plain", "echo -n because > /dev/termination-log; exit 3", user),
        container("placed", "seq 2000 > /tmp/why; rm /tmp/why; exit 0", place),
        container("logs", "echo out; echo err >&2; exit 1", logs),
        container("fine", "echo out", logs),
        container("none", "echo out; exit 1", ""),
    ]
    .concat();
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: end}}\nspec:\n  restartPolicy: Never\n  containers:\n{spec}"
    );
    home.feed(&["play", "-q", "-"], text.as_bytes()).fine();
    let message = |name: &str| home.wait_state("end", name, "exited")["message"].as_str().unwrap().to_owned();
    assert_eq!(message("plain"), "because");
    let placed = message("placed");
    // Five containers share 12 KiB.
    assert!(placed.len() == (12 << 10) / 5 && placed.ends_with("\n1999\n2000\n"), "{placed}");
    let logs = message("logs");
    assert!(logs == "out\nerr\n" || logs == "err\nout\n", "{logs}");
    assert_eq!((message("fine"), message("none")), (String::new(), String::new()));
    let found = home.berth(&["inspect", "end/plain"]).json();
    assert_eq!(found[0]["exit"]["message"], "because");
    home.berth(&["down", "end"]).fine();
    home.clean();
}
