//! `berth kube generate`: what comes out is what `berth play` runs.

use berth_testkit::require_root;

use crate::home::{BUSYBOX, Home};

#[test]
fn what_is_generated_is_played_again() {
    require_root!();
    let home = Home::start();
    let flags = [
        "run",
        "-d",
        "-q",
        "--name",
        "made_it",
        "-e",
        "A=$(x) $y",
        "-w",
        "/tmp",
        "-l",
        "a=b",
        "--pids-limit",
        "77",
        "--tmpfs",
        "/t",
        "--restart",
        "on-failure:3",
        "-v",
        "kept:/v",
        "--health-cmd",
        "true",
        BUSYBOX,
        "sh",
        "-c",
        "sleep 1000; echo $A",
    ];
    home.berth(&flags).fine();
    let text = home.berth(&["kube", "generate", "made_it"]).fine();
    assert!(text.starts_with("apiVersion: v1\nkind: Pod\n"), "{text}");
    let spec = |home: &Home| {
        let seen = home.berth(&["inspect", "made_it/made_it"]).json()[0].clone();
        let config = &seen["config"];
        ["command", "args", "envs", "working_dir", "resources", "security"].map(|key| config[key].clone())
    };
    let before = spec(&home);
    home.berth(&["rm", "-f", "made_it"]).fine();
    let file = home.write("made.yaml", &text);
    home.berth(&["kube", "play", "-q", &file]).fine();
    home.wait_state("made_it", "made_it", "running");
    assert_eq!(spec(&home), before);
    assert_eq!(
        home.berth(&["exec", "made_it", "sh", "-c", "echo $A; mount | grep -c ' /t '"]).fine(),
        "$(x) $y\n1\n"
    );
    assert!(!text.contains("[]") && !text.contains("ports:"), "{text}");
    assert_eq!(home.berth(&["kube", "generate", "made_it"]).fine(), text);
    home.berth(&["kube", "generate", "-f", "again.yaml", "made_it"]).fine();
    assert_eq!(std::fs::read_to_string(home.dir.path().join("again.yaml")).unwrap(), text);
    home.berth(&["kube", "down", &file]).fine();

    let manifest = "{apiVersion: v1, kind: Pod, metadata: {name: two}, spec: {terminationGracePeriodSeconds: 0, containers: [
        {name: a, image: BUSYBOX, command: [sleep, '1000']}, {name: b, image: BUSYBOX, command: [sleep, '1000']}]}}";
    let file = home.write("two.yaml", &manifest.replace("BUSYBOX", BUSYBOX));
    home.berth(&["play", "-q", &file]).fine();
    let text = home.berth(&["kube", "generate", "two/a", "two"]).fine();
    assert_eq!(text.matches("kind: Pod").count(), 1, "{text}");
    home.berth(&["down", &file]).fine();
    let again = home.write("again.yaml", &text);
    home.berth(&["play", "-q", &again]).fine();
    home.wait_state("two", "b", "running");
    home.berth(&["down", &again]).fine();
    let err = home.berth(&["kube", "generate", "nosuch"]).refused();
    assert!(err.contains("nosuch"), "{err}");
    home.berth(&["volume", "rm", "kept"]).fine();
    home.clean();
}
