use std::path::PathBuf;

use berth_engine::model::{ContainerUser, ExitView};
use berth_types::{ContainerId, SandboxId};

use super::*;
use crate::manifest::parse;
use crate::plan::{Place, Plan, plan};

pub(super) fn pod(spec: &str) -> Plan {
    let text = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {spec}}}");
    let place = Place {
        uid: "u".into(),
        dir: PathBuf::from("/p"),
        claims: "/claims".into(),
        addresses: Vec::new(),
        user: None,
        node: crate::plan::Node::default(),
        cluster: None,
        env_files: Default::default(),
    };
    plan(&parse(text.as_bytes()).unwrap()[0], &place).unwrap()
}

fn shape(plan: &Plan) -> Shape {
    let manifest: Manifest = serde_json::from_str(&plan.sandbox.annotations[MANIFEST]).unwrap();
    Shape { spec: Some(manifest.spec), max_restarts: plan.max_restarts }
}

pub(super) fn view(plan: &Plan, name: &str, attempt: u32, code: Option<i32>) -> Arc<ContainerView> {
    let mut config = plan.named(name).unwrap().config.clone();
    config.metadata.attempt = attempt;
    Arc::new(ContainerView {
        id: ContainerId::from_random([0; 32]),
        sandbox: SandboxId::from_random([0; 32]),
        config: Arc::new(config),
        state: if code.is_some() { State::Exited } else { State::Running },
        created_at: 0,
        started_at: Some(0),
        exit: code.map(|code| ExitView {
            code,
            finished_at: 1,
            reason: if code == 0 { ExitReason::Completed } else { ExitReason::Error },
            message: String::new(),
        }),
        pid: None,
        cgroup: String::new(),
        image_id: String::new(),
        image_ref: String::new(),
        log_path: None,
        resources: Default::default(),
        user: ContainerUser::default(),
        stop_signal: String::new(),
    })
}

const TWO: &str = "{containers: [{name: a, image: x}, {name: b, image: x}]}";
const ONCE: &str = "{restartPolicy: Never, containers: [{name: a, image: x}, {name: b, image: x}]}";
const INIT: &str = "{initContainers: [{name: i, image: x}, {name: s, image: x, restartPolicy: Always}], containers: [{name: a, image: x}]}";

/// Name, attempt, exit status of those that ended.
type One = (&'static str, u32, Option<i32>);

fn shown(spec: &str, containers: &[One]) -> (u32, u32, String, u32) {
    let plan = pod(spec);
    let all: Vec<_> =
        containers.iter().map(|(name, attempt, code)| view(&plan, name, *attempt, *code)).collect();
    let status = of(&shape(&plan), sandbox::State::Ready, &all, |view| view.config.metadata.attempt != 9);
    (status.ready, status.total, status.word, status.restarts)
}

#[test]
fn the_words_are_kubectls() {
    for (spec, containers, ready, total, word, restarts) in [
        (TWO, &[("a", 0, None), ("b", 0, None)][..], 2, 2, "Running", 0),
        (TWO, &[("a", 0, None)], 1, 2, "ContainerCreating", 0),
        // Both attempts of one that is run again and again are there.
        (TWO, &[("a", 4, Some(1)), ("a", 3, Some(1)), ("b", 0, None)], 1, 2, "CrashLoopBackOff", 4),
        (TWO, &[("a", 0, Some(1)), ("b", 0, None)], 1, 2, "Error", 0),
        (TWO, &[("a", 9, None), ("b", 0, None)], 1, 2, "Running", 9),
        (ONCE, &[("a", 0, Some(0)), ("b", 0, None)], 1, 2, "Running", 0),
        (ONCE, &[("a", 0, Some(0)), ("b", 0, Some(0))], 0, 2, "Completed", 0),
        (ONCE, &[("a", 0, Some(3)), ("b", 0, Some(0))], 0, 2, "Error", 0),
        (INIT, &[], 0, 2, "Init:0/2", 0),
        (INIT, &[("i", 0, None)], 0, 2, "Init:0/2", 0),
        (INIT, &[("i", 2, Some(1))], 0, 2, "Init:CrashLoopBackOff", 2),
        (INIT, &[("i", 0, Some(0))], 0, 2, "Init:1/2", 0),
        (INIT, &[("i", 0, Some(0)), ("s", 1, None), ("a", 2, None)], 2, 2, "Running", 3),
    ] {
        assert_eq!(shown(spec, containers), (ready, total, word.to_owned(), restarts), "{containers:?}");
    }
}

#[test]
fn of_a_pod_of_a_kubelet_only_what_is_there_counts() {
    let plan = pod(TWO);
    let all = [view(&plan, "a", 1, None), view(&plan, "a", 0, Some(1))];
    let status = of(&Shape::default(), sandbox::State::Ready, &all, |_| true);
    assert_eq!((status.ready, status.total, status.word.as_str(), status.restarts), (1, 1, "Running", 1));
    assert!(!Shape::default().is_due(sandbox::State::Ready, &all[1]));
}

#[test]
fn what_is_stopped_is_not_run_again() {
    let plan = pod(TWO);
    let shape = shape(&plan);
    let ended = view(&plan, "a", 0, Some(1));
    assert!(shape.is_due(sandbox::State::Ready, &ended));
    assert!(!shape.is_due(sandbox::State::NotReady, &ended));
    let counted = Shape { max_restarts: Some(0), ..shape };
    assert!(!counted.is_due(sandbox::State::Ready, &ended));
}

#[test]
fn an_attempt_that_was_followed_is_not_run_again() {
    let plan = pod(TWO);
    let shape = shape(&plan);
    let all = [view(&plan, "a", 1, Some(1)), view(&plan, "a", 0, Some(1)), view(&plan, "b", 0, None)];
    let again: Vec<_> = all.iter().map(|view| shape.again(sandbox::State::Ready, &all, view)).collect();
    assert_eq!(again, [true, false, false]);
}
