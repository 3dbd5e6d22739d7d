//! What `berth pods` and `ps` show of pods that do not simply run, and what is idempotent.

use berth_testkit::guard::wait_until;
use berth_testkit::require_root;
use serde_json::Value;

use crate::home::{BUSYBOX, Home, LIMIT};

fn pod(home: &Home, name: &str) -> Value {
    let pods = home.berth(&["pods", "-o", "json"]).json();
    pods.as_array().unwrap().iter().find(|pod| pod["name"] == name).cloned().unwrap_or_default()
}

#[test]
fn a_container_that_crashes_again_and_again_is_one_container() {
    require_root!();
    let home = Home::start();
    home.berth(&["run", "-d", "-q", "--name", "crash", "--restart", "always", BUSYBOX, "false"]).fine();
    // The first restart is at once, the second after ten seconds.
    assert!(
        wait_until(LIMIT, || pod(&home, "crash")["status"] == "CrashLoopBackOff"),
        "{}",
        pod(&home, "crash")
    );
    let shown = pod(&home, "crash");
    assert_eq!(
        (&shown["readyContainers"], &shown["totalContainers"], &shown["restarts"]),
        (&0.into(), &1.into(), &1.into())
    );
    let table = home.berth(&["pods"]).fine();
    assert!(table.contains("RESTARTS") && table.contains("   0/1     CrashLoopBackOff   1 "), "{table}");
    let table = home.berth(&["ps"]).fine();
    assert!(table.lines().count() == 2 && table.contains("restarting (1)"), "{table}");
    let ids = home.berth(&["ps", "-aq"]).fine();
    let ids: Vec<&str> = ids.split_whitespace().collect();
    assert_eq!(ids.len(), 2, "both attempts");
    home.berth(&[&["rm", "-f"], ids.as_slice()].concat()).fine();
    let said = home.berth(&[&["rm", "-f"], ids.as_slice()].concat());
    assert!(said.code == 0 && said.out.is_empty() && said.err.contains("no pod or container"), "{said:?}");
    assert_eq!(home.berth(&["rm", ids[0]]).code, 1);
    home.clean();
}

#[test]
fn play_says_what_it_waits_for_and_down_needs_only_the_names() {
    require_root!();
    let home = Home::start();
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: slow}}\nspec:\n  terminationGracePeriodSeconds: 0\n  initContainers:\n  - {{name: first, image: \"{BUSYBOX}\", \
         command: [sleep, '1000']}}\n  containers:\n  - {{name: a, image: \"{BUSYBOX}\", command: [sleep, '1000']}}\n"
    );
    let file = home.write("slow.yaml", &text);
    let play = home.spawn(&["play", "-q", &file]);
    play.complains("pod slow is waiting: Init:0/1; berth logs slow/first shows what it writes");
    assert_eq!(pod(&home, "slow")["status"], "Init:0/1");
    let again = home.berth(&["play", "-q", "-f", &file]).refused();
    assert!(again.contains("pod slow exists"), "{again}");
    // Of another version of the file, which asks for what there is not.
    home.write("slow.yaml", &text.replace("spec:\n", "spec:\n  nodeName: x\n  noSuchField: 1\n"));
    assert_eq!(home.berth(&["down", "-f", "slow.yaml"]).fine(), "slow\n");
    let said = play.end();
    assert!(said.code == 125 && said.err.contains("was removed in the meantime"), "{said:?}");
    home.clean();
}
