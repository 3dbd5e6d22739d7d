//! Whether pods can be connected follows the configuration, without a restart (contract 47 and 53).

use berth_net::{Cni, NetworkStatus, PodNetwork};
use serde_json::json;

use super::world::{CniWorld, impatient, words};
use crate::world::{Ns, require_root, wait_until};

const GOOD: &str = r#"cat >/dev/null; [ $CNI_COMMAND = ADD ] && echo "$IP"; exit 0"#;

/// What the engine does: looks again when one of the descriptors is readable.
fn follow(cni: &CniWorld, net: &Cni, what: &str, done: impl Fn(&NetworkStatus) -> bool) {
    let changes = net.changes().unwrap();
    wait_until(what, || {
        if changes.iter().filter(|change| change.drain()).count() > 0 {
            cni.world.host.run(|| net.verify().unwrap());
        }
        done(&net.status())
    });
}

fn says(status: &NetworkStatus, part: &str) -> bool {
    matches!(status, NetworkStatus::NotReady { reason: "NetworkPluginNotReady", message } if message.contains(part))
}

#[test]
fn the_status_follows_the_directory() {
    require_root!("the_status_follows_the_directory");
    let cni = CniWorld::new();
    std::fs::remove_dir(cni.path("net.d")).unwrap();
    cni.plugin("first", GOOD);
    let net = cni.open();
    let status = net.status();
    assert!(
        says(&status, "no CNI network is configured in ")
            && says(&status, "only pods on the host's network can run")
    );
    let error = cni.attach(&net, 1, &Ns::pod()).unwrap_err();
    assert_eq!(berth_types::Classify::kind(&error), berth_types::Kind::Unavailable);
    assert!(error.to_string().starts_with("no CNI network is configured in "), "{error}");
    std::fs::create_dir(cni.path("net.d")).unwrap();
    cni.world.host.run(|| net.verify().unwrap());
    std::fs::write(cni.path("net.d/05.conflist"), "{ half").unwrap();
    follow(&cni, &net, "what is wrong is said", |status| says(status, "05.conflist: it is not JSON"));
    cni.chain("1.0.0", &["first"]);
    follow(&cni, &net, "ready", |status| *status == NetworkStatus::Ready);
    cni.attach(&net, 1, &Ns::pod()).unwrap();
    // The one that an installer writes later wins, and the pods that are there stay.
    cni.configure(
        "00.conflist",
        &json!({ "cniVersion": "1.0.0", "name": "new", "plugins": [{ "type": "later" }] }),
    );
    follow(&cni, &net, "its program is missing", |status| {
        says(status, "plugin later: no executable file later in ")
    });
    let error = cni.attach(&net, 2, &Ns::pod()).unwrap_err();
    assert!(error.to_string().contains("plugin later"), "contract 53: not by another network: {error}");
    cni.plugin("later", GOOD);
    follow(&cni, &net, "its program is there", |status| *status == NetworkStatus::Ready);
    cni.attach(&net, 2, &Ns::pod()).unwrap();
    cni.calls();
    cni.detach(&net, 1).unwrap();
    cni.detach(&net, 2).unwrap();
    assert_eq!(cni.calls(), ["first DEL", "later DEL"]);
    std::fs::remove_dir_all(cni.path("net.d")).unwrap();
    follow(&cni, &net, "gone", |status| says(status, "no CNI network is configured in "));
    std::fs::create_dir(cni.path("net.d")).unwrap();
    cni.chain("1.0.0", &["first"]);
    follow(&cni, &net, "made again", |status| *status == NetworkStatus::Ready);
}

#[test]
fn a_plugin_says_whether_it_can_serve() {
    require_root!("a_plugin_says_whether_it_can_serve");
    let cni = CniWorld::new();
    cni.chain("1.1.0", &["first", "second"]);
    cni.plugin("first", GOOD);
    let down = cni.path("down");
    let fault = r#"echo '{ "code": 50, "msg": "the agent is down" }'; exit 1"#;
    cni.plugin(
        "second",
        &format!("[ $CNI_COMMAND = STATUS ] && [ -e {} ] && {{ {fault}; }}\n{GOOD}", down.display()),
    );
    let net = cni.open();
    assert_eq!(net.status(), NetworkStatus::Ready);
    assert_eq!(cni.calls(), ["first STATUS", "second STATUS"]);
    std::fs::write(&down, "").unwrap();
    cni.world.host.run(|| net.verify().unwrap());
    assert!(says(&net.status(), "STATUS of plugin second of network pods: the agent is down (code 50)"));
    // It is asked again without any change, which the clock makes; and pods are not refused because of it.
    cni.attach(&net, 1, &Ns::pod()).unwrap();
    std::fs::remove_file(&down).unwrap();
    cni.world.host.run(|| net.verify().unwrap());
    assert_eq!(net.status(), NetworkStatus::Ready);
    // An older version knows no STATUS.
    std::fs::write(&down, "").unwrap();
    cni.chain("1.0.0", &["first", "second"]);
    cni.world.host.run(|| net.verify().unwrap());
    assert_eq!(net.status(), NetworkStatus::Ready);
}

#[test]
fn a_plugin_that_does_not_say_whether_it_can_serve_is_not_waited_for_long() {
    require_root!("a_plugin_that_does_not_say_whether_it_can_serve_is_not_waited_for_long");
    let mut cni = CniWorld::new();
    cni.limits = impatient();
    cni.chain("1.1.0", &["hangs"]);
    cni.plugin("hangs", &format!("[ $CNI_COMMAND = STATUS ] && exec sleep 600\n{GOOD}"));
    let net = cni.open();
    assert!(says(&net.status(), "it did not end within 3 s and was killed"), "{:?}", net.status());
}

#[test]
fn a_program_that_does_not_answer_for_its_versions_is_asked_again() {
    require_root!("a_program_that_does_not_answer_for_its_versions_is_asked_again");
    let mut cni = CniWorld::new();
    cni.limits = impatient();
    cni.chain("1.0.0", &["first"]);
    cni.plugin("first", GOOD);
    let path = cni.path("bin/first");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.replace("exit 0; }\n", "exec sleep 600; }\n")).unwrap();
    let net = cni.open();
    assert!(says(&net.status(), "plugin first: it did not end within 3 s"), "{:?}", net.status());
    std::fs::write(&path, whole).unwrap();
    cni.world.host.run(|| net.verify().unwrap());
    assert_eq!(net.status(), NetworkStatus::Ready);
    // The same file is not asked again.
    let error = cni.attach(&net, 1, &Ns::pod()).map_err(|error| words(&error));
    assert!(error.is_ok(), "{error:?}");
}
