use std::net::Ipv4Addr;

use berth_engine::model::SandboxView;
use berth_types::SandboxId;

use super::super::tests::{pod, view};
use super::*;

/// Name, attempt, exit status of those that ended.
type One = (&'static str, u32, Option<i32>);

fn made(spec: &str, state: sandbox::State, containers: &[One]) -> Value {
    let plan = pod(spec);
    let second = 1_000_000_000;
    let mut all = Vec::new();
    for (name, attempt, code) in containers {
        let mut one = (*view(&plan, name, *attempt, *code)).clone();
        one.started_at = Some(second);
        if let Some(exit) = &mut one.exit {
            exit.finished_at = 3 * second;
        }
        all.push(Arc::new(one));
    }
    let view = SandboxView {
        id: SandboxId::from_random([0; 32]),
        config: Arc::new(plan.sandbox.clone()),
        state,
        created_at: 0,
        interface: None,
        addresses: vec![Ipv4Addr::new(10, 0, 0, 2).into()],
        netns: None,
        cgroup: String::new(),
        shim_pid: None,
        message: String::new(),
        containers: all,
    };
    // A container of the ninth attempt has a probe that fails.
    let health = |view: &ContainerView| {
        let shown = Shown { started: true, ready: false, message: String::new(), since: 2 * second };
        (view.config.metadata.attempt == 9).then_some(shown)
    };
    let node = Node { addresses: vec![Ipv4Addr::new(192, 0, 2, 1).into()], ..Node::default() };
    object(&About { view: &view, health: &health, node: &node })
}

/// The phase, and each condition as `Ready=False ContainersNotReady containers ...@second`.
fn told(object: &Value) -> Vec<String> {
    let mut all = vec![object["status"]["phase"].as_str().unwrap().to_owned()];
    for of in object["status"]["conditions"].as_array().unwrap() {
        let word = |key: &str| of[key].as_str().unwrap_or_default().to_owned();
        let since = word("lastTransitionTime").split(':').nth(2).unwrap().trim_end_matches('Z').to_owned();
        let line =
            format!("{}={} {} {}@{since}", word("type"), word("status"), word("reason"), word("message"));
        all.push(line);
    }
    all
}

const UP: sandbox::State = sandbox::State::Ready;
const TWO: &str = "{containers: [{name: a, image: x}, {name: b, image: x}]}";
const ONCE: &str = "{restartPolicy: Never, containers: [{name: a, image: x}]}";
const INIT: &str = "{initContainers: [{name: i, image: x}, {name: s, image: x, restartPolicy: Always}], containers: [{name: a, image: x}]}";

#[test]
fn conditions_have_a_kubelets_reasons_and_the_times_of_what_changed_them() {
    let all = told(&made(TWO, UP, &[("a", 0, None), ("b", 0, None)]));
    assert_eq!(
        all,
        [
            "Running",
            "PodReadyToStartContainers=True  @00",
            "Initialized=True  @00",
            "Ready=True  @01",
            "ContainersReady=True  @01",
            "PodScheduled=True  @00",
        ]
    );
    let all = told(&made(TWO, UP, &[("a", 9, None), ("b", 2, Some(1))]));
    assert_eq!(all[0], "Running");
    assert_eq!(all[3], "Ready=False ContainersNotReady containers with unready status: [a b]@02");
    let all = told(&made(ONCE, UP, &[("a", 0, Some(0))]));
    assert_eq!((all[0].as_str(), all[3].as_str()), ("Succeeded", "Ready=False PodCompleted @03"));
    assert_eq!(all[2], "Initialized=True PodCompleted @00");
    let all = told(&made(ONCE, sandbox::State::NotReady, &[("a", 0, Some(1))]));
    assert_eq!((all[0].as_str(), all[3].as_str()), ("Failed", "Ready=False PodFailed @03"));
    assert_eq!(all[1], "PodReadyToStartContainers=False  @03");
}

#[test]
fn a_pod_is_pending_until_its_init_containers_are_done() {
    let init = |containers: &[One]| told(&made(INIT, UP, containers));
    let all = init(&[("i", 0, None)]);
    assert_eq!(all[0], "Pending");
    assert_eq!(
        all[2],
        "Initialized=False ContainersNotInitialized containers with incomplete status: [i s]@00"
    );
    let all = init(&[("i", 0, Some(0)), ("s", 0, None)]);
    assert_eq!((all[0].as_str(), all[2].as_str()), ("Pending", "Initialized=True  @03"));
    let all = init(&[("i", 0, Some(0)), ("s", 0, None), ("a", 0, None)]);
    assert_eq!((all[0].as_str(), all[3].as_str()), ("Running", "Ready=True  @01"));
    let never = INIT.replace("{initContainers", "{restartPolicy: Never, initContainers");
    assert_eq!(told(&made(&never, UP, &[("i", 0, Some(1))]))[0], "Failed");
}

#[test]
fn containers_wait_run_or_have_ended() {
    let object = made(INIT, UP, &[("i", 0, Some(0)), ("s", 2, Some(1)), ("s", 1, Some(1))]);
    let status = &object["status"];
    let inits = &status["initContainerStatuses"];
    assert_eq!(inits[0]["state"]["terminated"]["reason"], "Completed");
    assert_eq!(inits[0]["ready"], true);
    assert_eq!(inits[1]["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(
        inits[1]["state"]["waiting"]["message"],
        "back-off 20s restarting failed container=s pod=p_default(u)"
    );
    assert_eq!(inits[1]["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(inits[1]["restartCount"], 2);
    let main = &status["containerStatuses"][0];
    assert_eq!(main["state"]["waiting"]["reason"], "PodInitializing");
    assert_eq!((&status["podIP"], &status["hostIP"]), (&json!("10.0.0.2"), &json!("192.0.2.1")));
}

#[test]
fn the_spec_has_the_servers_defaults_and_the_class_follows_from_the_resources() {
    let object = made("{containers: [{name: a, image: x, readinessProbe: {tcpSocket: {port: 1}}}]}", UP, &[]);
    assert_eq!(object["spec"]["restartPolicy"], "Always");
    assert_eq!(object["spec"]["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(object["spec"]["containers"][0]["readinessProbe"]["periodSeconds"], 10);
    assert!(object["metadata"].get("annotations").is_none(), "{object}");
    for (resources, class) in [
        ("{}", "BestEffort"),
        ("{requests: {cpu: 1m}}", "Burstable"),
        ("{limits: {cpu: 1, memory: 1Mi}}", "Guaranteed"),
        ("{limits: {cpu: 1, memory: 1Mi}, requests: {cpu: 500m}}", "Burstable"),
    ] {
        let spec = format!("{{containers: [{{name: a, image: x, resources: {resources}}}]}}");
        assert_eq!(made(&spec, UP, &[])["status"]["qosClass"], class, "{resources}");
    }
}
