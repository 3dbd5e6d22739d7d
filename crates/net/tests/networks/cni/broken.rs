//! Plugins that hang, print garbage, die half-way: nothing of the pod is left, and the error says why.

use std::time::Duration;

use berth_net::{NetError, PodNetwork};
use berth_types::{Classify, Kind};
use serde_json::json;

use super::world::{CniWorld, words};
use crate::world::{Ns, require_root};

/// A plugin that connects, or gives back.
const GOOD: &str = r#"cat >/dev/null; [ $CNI_COMMAND = ADD ] && echo "$IP"; exit 0"#;

/// What goes wrong in ADD, and what is said of it.
const FAULTS: [(&str, &str); 10] = [
    ("echo garbage", "its answer cannot be read: expected value at line 1 column 1: garbage"),
    (
        "echo 'starting'; echo \"$IP\"",
        "its answer cannot be read: expected value at line 1 column 1: starting",
    ),
    ("echo \"$IP\" | head -c 40", ": {\"cniVersion\":\"1.1.0\",\"interfaces\":[{"),
    (":", "its answer cannot be read: EOF while parsing a value at line 1 column 0"),
    ("echo null", "its answer cannot be read: it is not an object: null"),
    ("head -c 100000000 /dev/zero | tr '\\0' x", "it printed more than 1048576 bytes and was killed"),
    ("kill -9 $$", "signal: 9 (SIGKILL)"),
    ("kill -SEGV $$", "signal: 11 (SIGSEGV)"),
    ("echo 'panic: no config' >&2; exit 2", "exit status: 2: panic: no config"),
    (r#"echo '{"code": 7, "msg": "bad", "details": "subnet"}'; exit 1"#, "bad: subnet (code 7)"),
];

/// The same of those that do not end.
const HANGS: [(&str, &str); 2] = [
    ("exec sleep 600", "it did not end within 5 s and was killed"),
    ("sleep 600 & trap '' TERM; wait", "it did not end within 5 s and was killed"),
];

const CHAIN: [&str; 3] = ["first", "second", "third"];

#[test]
fn a_plugin_that_fails_at_any_step_leaves_nothing() {
    require_root!("a_plugin_that_fails_at_any_step_leaves_nothing");
    fails(&CniWorld::new(), 0..CHAIN.len(), &FAULTS);
}

#[test]
fn a_plugin_that_does_not_end_leaves_nothing() {
    require_root!("a_plugin_that_does_not_end_leaves_nothing");
    let mut cni = CniWorld::new();
    cni.limits.add = Duration::from_secs(5);
    fails(&cni, 1..2, &HANGS);
}

/// Each of the plugins at these places of the chain fails in each of these ways.
fn fails(cni: &CniWorld, places: std::ops::Range<usize>, faults: &[(&str, &str)]) {
    cni.chain("1.0.0", &CHAIN);
    for name in CHAIN {
        cni.plugin(name, GOOD);
    }
    let net = cni.open();
    for at in places {
        let name = CHAIN[at];
        for (fault, want) in faults {
            cni.plugin(name, &format!("[ $CNI_COMMAND = DEL ] && exit 0\n{fault}"));
            let error = words(&cni.attach(&net, 1, &Ns::pod()).unwrap_err());
            let prefix = format!("ADD of plugin {name} of network pods: ");
            assert!(error.starts_with(&prefix) && error.contains(want), "{fault}: {error}");
            let mut calls = cni.calls();
            calls.retain(|call| !call.ends_with("STATUS"));
            let adds = ["first ADD", "second ADD", "third ADD"];
            let dels: &[&str] = match at {
                0 => &["first DEL", "third DEL", "second DEL"],
                1 => &["second DEL", "first DEL", "third DEL"],
                _ => &["third DEL", "second DEL", "first DEL"],
            };
            let want: Vec<&str> = adds[..=at].iter().chain(dels).copied().collect();
            assert_eq!(calls, want, "{name}: {fault}");
            assert!(cni.records().is_empty() && net.inventory().unwrap().sandboxes.is_empty());
        }
        cni.plugin(name, GOOD);
    }
    cni.attach(&net, 1, &Ns::pod()).unwrap();
}

#[test]
fn a_plugin_that_gives_no_address_leaves_nothing() {
    require_root!("a_plugin_that_gives_no_address_leaves_nothing");
    let cni = CniWorld::new();
    cni.chain("1.0.0", &["first"]);
    cni.plugin("first", "[ $CNI_COMMAND = ADD ] && echo '{}'; exit 0");
    let net = cni.open();
    let error = cni.attach(&net, 1, &Ns::pod()).unwrap_err();
    assert_eq!(error.to_string(), "the plugins of network pods gave the pod no address", "contract 11");
    assert_eq!((cni.calls(), cni.records().len()), (vec!["first ADD".to_owned(), "first DEL".to_owned()], 0));
}

#[test]
fn a_missing_program_is_found_before_anything_is_begun() {
    require_root!("a_missing_program_is_found_before_anything_is_begun");
    let cni = CniWorld::new();
    cni.chain("1.0.0", &["first", "second"]);
    cni.plugin("first", GOOD);
    cni.plugin("second", GOOD);
    let net = cni.open();
    std::fs::remove_file(cni.path("bin/second")).unwrap();
    let error = cni.attach(&net, 1, &Ns::pod()).unwrap_err();
    assert!(
        words(&error).contains("plugin second of network pods: no executable file second in "),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("--cni-bin-dir"));
    assert_eq!((cni.calls(), cni.records().len()), (vec![], 0));
}

#[test]
fn a_hanging_plugin_holds_up_no_other_pod() {
    require_root!("a_hanging_plugin_holds_up_no_other_pod");
    let cni = CniWorld::new();
    cni.chain("1.1.0", &["first"]);
    let gate = cni.path("gate");
    let hangs = format!(
        "case $CNI_CONTAINERID in 01*) until [ -e {} ]; do sleep 0.05; done;; esac\n{GOOD}",
        gate.display()
    );
    cni.plugin("first", &hangs);
    let net = cni.open();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| cni.attach(&net, 1, &Ns::pod()));
        crate::world::wait_until("the first is at work", || !net.inventory().unwrap().sandboxes.is_empty());
        cni.attach(&net, 2, &Ns::pod()).unwrap();
        cni.world.host.run(|| net.verify().unwrap());
        assert_eq!(net.status(), berth_net::NetworkStatus::Ready, "contract 47: the status does not wait");
        cni.detach(&net, 2).unwrap();
        // What is asked of the same pod waits for its turn.
        let stop = scope.spawn(|| cni.detach(&net, 1));
        std::fs::write(&gate, "").unwrap();
        slow.join().unwrap().unwrap();
        stop.join().unwrap().unwrap();
    });
    assert!(cni.records().is_empty());
}

#[test]
fn a_failing_del_keeps_the_record_until_it_succeeds() {
    require_root!("a_failing_del_keeps_the_record_until_it_succeeds");
    let cni = CniWorld::new();
    cni.chain("1.0.0", &["first", "second"]);
    let bad = cni.path("bad");
    let del = format!("[ $CNI_COMMAND = DEL ] && [ -e {} ] && exit 1\n{GOOD}", bad.display());
    cni.plugin("first", GOOD);
    cni.plugin("second", &del);
    let net = cni.open();
    cni.attach(&net, 1, &Ns::pod()).unwrap();
    cni.calls();
    std::fs::write(&bad, "").unwrap();
    for _ in 0..2 {
        let error = cni.detach(&net, 1).unwrap_err();
        assert!(words(&error).ends_with("DEL of plugin second of network pods: exit status: 1"), "{error:?}");
        let hint = error.hint().unwrap();
        assert!(hint.contains(&format!("{}.json", cni.id(1))), "{hint}");
        // Its address may still be in use by the rules of the second one.
        assert_eq!(cni.calls(), ["second DEL"]);
        assert_eq!(cni.records(), [cni.id(1)], "contract 14");
    }
    // Half a pod is no pod that a later daemon may go on with.
    let error = cni.world.host.run(|| net.check(&cni.id(1)).unwrap_err());
    assert!(matches!(error, NetError::NotAttached { .. }), "{error:?}");
    // A sweep tries again, and another daemon knows of it.
    drop(net);
    let net = cni.open();
    let error = cni.world.host.run(|| net.sweep(&Default::default()).unwrap_err());
    assert!(words(&error).contains("DEL of plugin second"), "{error:?}");
    std::fs::remove_file(&bad).unwrap();
    let swept = cni.world.host.run(|| net.sweep(&Default::default()).unwrap());
    assert_eq!(swept.sandboxes, [cni.id(1)]);
    assert!(cni.records().is_empty());
}

#[test]
fn a_plugin_that_does_not_know_the_pod_has_nothing_of_it() {
    require_root!("a_plugin_that_does_not_know_the_pod_has_nothing_of_it");
    let cni = CniWorld::new();
    cni.chain("1.0.0", &["first"]);
    cni.plugin("first", &format!("[ $CNI_COMMAND = DEL ] && {{ echo '{{\"code\": 3}}'; exit 1; }}\n{GOOD}"));
    let net = cni.open();
    cni.attach(&net, 1, &Ns::pod()).unwrap();
    cni.detach(&net, 1).unwrap();
    assert!(cni.records().is_empty());
}

#[test]
fn a_hanging_del_is_given_up_and_tried_again() {
    require_root!("a_hanging_del_is_given_up_and_tried_again");
    let mut cni = CniWorld::new();
    let patient = std::mem::replace(&mut cni.limits.del, Duration::from_millis(300));
    cni.chain("1.0.0", &["first"]);
    cni.plugin("first", &format!("[ $CNI_COMMAND = DEL ] && exec sleep 600\n{GOOD}"));
    let net = cni.open();
    cni.attach(&net, 1, &Ns::pod()).unwrap();
    let error = cni.detach(&net, 1).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout, "{error:?}");
    cni.plugin("first", GOOD);
    cni.limits.del = patient;
    let net = cni.open();
    cni.detach(&net, 1).unwrap();
    assert!(cni.records().is_empty());
}

#[test]
fn what_a_plugin_leaves_running_in_the_pods_namespace_ends_with_the_call() {
    require_root!("what_a_plugin_leaves_running_in_the_pods_namespace_ends_with_the_call");
    let cni = CniWorld::new();
    cni.chain("1.0.0", &["first"]);
    let pid = cni.path("pid");
    let enters = format!("nsenter --net=$CNI_NETNS sleep 600 & echo $! >{}", pid.display());
    cni.plugin("first", &format!("[ $CNI_COMMAND = ADD ] && {{ {enters}; }}\n{GOOD}"));
    let net = cni.open();
    cni.attach(&net, 1, &Ns::pod()).unwrap();
    let pid = std::fs::read_to_string(pid).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    let lives = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    crate::world::wait_until("it has ended", || !lives());
    cni.detach(&net, 1).unwrap();
}

#[test]
fn a_damaged_record_is_undone_by_the_configuration_of_today() {
    require_root!("a_damaged_record_is_undone_by_the_configuration_of_today");
    let cni = CniWorld::new();
    cni.chain("1.0.0", &["first"]);
    let told = cni.path("told");
    cni.plugin("first", &format!("[ $CNI_COMMAND = DEL ] && cat >{}\n{GOOD}", told.display()));
    let net = cni.open();
    cni.attach(&net, 1, &Ns::pod()).unwrap();
    drop(net);
    let record = cni.path("records/pods").join(format!("{}.json", cni.id(1)));
    std::fs::write(&record, "{ half").unwrap();
    // Without any configuration nothing can be called; the record stays.
    std::fs::rename(cni.path("net.d/10.conflist"), cni.path("10")).unwrap();
    let net = cni.open();
    assert!(words(&cni.detach(&net, 1).unwrap_err()).starts_with("read "));
    assert_eq!(cni.records(), [cni.id(1)]);
    std::fs::rename(cni.path("10"), cni.path("net.d/10.conflist")).unwrap();
    cni.world.host.run(|| net.verify().unwrap());
    cni.detach(&net, 1).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(told).unwrap()).unwrap();
    assert_eq!(told, json!({ "cniVersion": "1.0.0", "name": "pods", "type": "first" }));
    assert!(cni.records().is_empty());
}
