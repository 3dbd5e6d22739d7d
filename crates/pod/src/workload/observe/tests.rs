use berth_engine::model::{ContainerUser, ExitReason, ExitView};
use berth_types::lifecycle::sandbox::After;
use berth_types::{ContainerId, SandboxId};

use super::*;
use crate::manifest::{document_of, parse_files, resume};
use crate::plan::{Node, Place, Plan, plan};

const POD: &str =
    "initContainers: [{name: i, image: a.io/x}, {name: s, image: a.io/x, restartPolicy: Always}],
    containers: [{name: a, image: a.io/x}, {name: b, image: a.io/x}]";

/// A workload whose pods have this policy, and the plan of its pod.
fn made(policy: &str) -> (Workload, Plan) {
    let text = match policy {
        "Always" => format!(
            "{{apiVersion: apps/v1, kind: ReplicaSet, metadata: {{name: w}}, spec: {{selector: {{matchLabels: {{a: b}}}}, template: {{metadata: {{labels: {{a: b}}}}, spec: {{{POD}}}}}}}}}"
        ),
        other => format!(
            "{{apiVersion: batch/v1, kind: Job, metadata: {{name: w}}, spec: {{template: {{spec: {{restartPolicy: {other}, {POD}}}}}}}}}"
        ),
    };
    let workload = parse_files(&[("", text.as_bytes())]).unwrap().workloads.remove(0);
    let own = names::own(&workload, "u-1", "rev", Some(3), "xyzzy");
    let pod = resume(&document_of(&workload.pod, &own).to_string(), "").unwrap();
    let place = Place {
        uid: "u".into(),
        dir: "/p".into(),
        claims: "/c".into(),
        addresses: Vec::new(),
        user: None,
        node: Node::default(),
        cluster: None,
        env_files: Default::default(),
    };
    let plan = plan(&pod, &place).unwrap();
    (workload, plan)
}

fn container(plan: &Plan, name: &str, attempt: u32, code: Option<i32>) -> Arc<ContainerView> {
    let mut config = plan.named(name).unwrap().config.clone();
    config.metadata.attempt = attempt;
    let state = if code.is_some() { container::State::Exited } else { container::State::Running };
    let exit = code.map(|code| ExitView {
        code,
        finished_at: 70 + i64::from(attempt),
        reason: ExitReason::Completed,
        message: String::new(),
    });
    Arc::new(ContainerView {
        id: ContainerId::from_random([name.as_bytes()[0]; 32]),
        sandbox: SandboxId::from_random([0; 32]),
        config: Arc::new(config),
        state,
        created_at: 0,
        started_at: Some(0),
        exit,
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

fn view(plan: &Plan, state: sandbox::State, containers: Vec<Arc<ContainerView>>) -> SandboxView {
    SandboxView {
        id: SandboxId::from_random([0; 32]),
        config: Arc::new(plan.sandbox.clone()),
        state,
        created_at: 5,
        interface: None,
        addresses: Vec::new(),
        netns: None,
        cgroup: String::new(),
        shim_pid: None,
        message: String::new(),
        containers,
    }
}

/// How far a pod is whose containers are these: a name, an attempt, and the code where it has exited.
fn state_of(policy: &str, containers: &[(&str, u32, Option<i32>)]) -> State {
    let (workload, plan) = made(policy);
    let containers = containers.iter().map(|(name, attempt, code)| container(&plan, name, *attempt, *code));
    let view = view(&plan, sandbox::State::Ready, containers.collect());
    seen(&workload, &view, &|_| true, 9).state
}

#[test]
fn a_pod_is_as_far_as_its_containers() {
    use State::{Failed, Pending, Ready, Running, Succeeded};
    for (policy, containers, state) in [
        ("Always", vec![], Pending),
        ("Always", vec![("i", 0, Some(1))], Pending),
        ("Always", vec![("i", 0, Some(0)), ("a", 0, None)], Pending),
        ("Always", vec![("a", 0, None), ("b", 0, None)], Ready(9)),
        ("Always", vec![("a", 0, Some(0)), ("b", 0, None)], Running),
        ("Always", vec![("a", 0, Some(1)), ("a", 1, None), ("b", 0, None)], Ready(9)),
        ("Always", vec![("a", 0, Some(0)), ("b", 0, Some(0))], Running),
        ("OnFailure", vec![("a", 0, Some(0)), ("b", 0, Some(1))], Running),
        ("OnFailure", vec![("a", 0, Some(0)), ("b", 0, Some(1)), ("b", 1, Some(0))], Succeeded),
        ("Never", vec![("a", 0, Some(0)), ("b", 0, None)], Running),
        ("Never", vec![("a", 0, Some(0)), ("b", 0, Some(0))], Succeeded),
        ("Never", vec![("a", 0, Some(0)), ("b", 0, Some(2))], Failed),
        // An init container that failed is not tried again; a sidecar is.
        ("Never", vec![("i", 0, Some(4))], Failed),
        ("Never", vec![("i", 0, Some(0)), ("s", 0, Some(4))], Pending),
        ("OnFailure", vec![("i", 0, Some(4))], Pending),
    ] {
        assert_eq!(state_of(policy, &containers), state, "{policy} {containers:?}");
    }
}

#[test]
fn a_pod_without_its_sandbox_has_ended_or_leaves() {
    let (workload, plan) = made("Never");
    let with = |state, code| {
        let containers = vec![container(&plan, "a", 0, Some(0)), container(&plan, "b", 0, Some(code))];
        seen(&workload, &view(&plan, state, containers), &|_| true, 9).state
    };
    assert_eq!(with(sandbox::State::NotReady, 0), State::Succeeded);
    assert_eq!(with(sandbox::State::NotReady, 1), State::Failed);
    assert_eq!(with(sandbox::State::StopFailed, 1), State::Failed);
    assert_eq!(with(sandbox::State::Stopping { then: After::Removing }, 0), State::Leaving);
    assert_eq!(with(sandbox::State::Removing, 0), State::Leaving);
    assert_eq!(with(sandbox::State::Starting, 0), State::Pending);
    let (workload, plan) = made("Always");
    let lost = view(&plan, sandbox::State::NotReady, vec![container(&plan, "a", 0, Some(0))]);
    assert_eq!(seen(&workload, &lost, &|_| true, 9).state, State::Failed);
}

#[test]
fn restarts_of_init_containers_count() {
    let (workload, plan) = made("OnFailure");
    let of = |containers: Vec<Arc<ContainerView>>| {
        seen(&workload, &view(&plan, sandbox::State::Ready, containers), &|_| true, 9).restarts
    };
    assert_eq!(of(vec![container(&plan, "i", 0, Some(1)), container(&plan, "i", 3, Some(1))]), 3);
    assert_eq!(of(vec![container(&plan, "i", 2, Some(0)), container(&plan, "a", 1, None)]), 3);
    let many = vec![container(&plan, "a", u32::MAX, None), container(&plan, "b", 1, None)];
    assert_eq!(of(many), u32::MAX);
}

#[test]
fn what_is_not_ready_only_runs_and_the_rest_is_from_annotations() {
    let (workload, plan) = made("Always");
    let containers = vec![container(&plan, "a", 2, None), container(&plan, "b", 1, None)];
    let view = view(&plan, sandbox::State::Ready, containers);
    let pod = seen(&workload, &view, &|c| c.config.metadata.name == "a", 9);
    assert_eq!((pod.state, pod.restarts, pod.created_at), (State::Running, 3, 5));
    assert_eq!((pod.name.as_str(), pod.revision.as_str(), pod.index), ("w-xyzzy", "rev", Some(3)));
}
