use std::path::PathBuf;

use berth_engine::model::{ContainerUser, ExitReason};
use berth_types::SandboxId;
use berth_types::lifecycle::container::After;

use super::*;
use crate::manifest::parse;
use crate::plan::{Place, plan};

const SECOND: i64 = 1_000_000_000;

fn pod(policy: &str, init: &str) -> Plan {
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{restartPolicy: {policy}, {init}
          containers: [{{name: a, image: 'a.io/x:1'}}, {{name: b, image: 'a.io/x:1'}}]}}}}"
    );
    let place = Place {
        uid: "u".into(),
        dir: PathBuf::from("/p"),
        addresses: Vec::new(),
        user: None,
        node: crate::plan::Node::default(),
    };
    plan(&parse(text.as_bytes()).unwrap()[0], &place).unwrap()
}

const INIT: &str = "initContainers: [{name: i, image: 'a.io/x:1'}],";

fn container(plan: &Plan, name: &str, attempt: u32, state: State, code: Option<i32>) -> Arc<ContainerView> {
    let planned = plan.init.iter().chain(&plan.main).find(|p| p.config.metadata.name == name).unwrap();
    let mut config = planned.config.clone();
    config.metadata.attempt = attempt;
    Arc::new(ContainerView {
        id: ContainerId::from_random([name.as_bytes()[0]; 32]),
        sandbox: SandboxId::from_random([0; 32]),
        config: Arc::new(config),
        state,
        created_at: 0,
        started_at: Some(0),
        exit: code.map(|code| ExitView {
            code,
            finished_at: SECOND,
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

fn create(name: &str, attempt: u32) -> Action {
    Action::Create { name: name.into(), attempt }
}

fn look(plan: &Plan, containers: &[Arc<ContainerView>], now: i64) -> Decision {
    decide(plan, containers, &mut History::default(), None, now)
}

#[test]
fn init_containers_come_first_and_one_by_one() {
    let plan = pod("Always", INIT);
    assert_eq!(look(&plan, &[], 0).actions, [create("i", 0)]);
    let created = container(&plan, "i", 0, State::Created, None);
    assert_eq!(look(&plan, std::slice::from_ref(&created), 0).actions, [Action::Start(created.id.clone())]);
    let running = container(&plan, "i", 0, State::Running, None);
    assert_eq!(look(&plan, &[running], 0), at(Phase::Starting));
    let done = container(&plan, "i", 0, State::Exited, Some(0));
    assert_eq!(look(&plan, &[done], 0).actions, [create("a", 0), create("b", 0)]);
}

#[test]
fn an_init_container_that_fails_is_tried_again_or_fails_the_pod() {
    let never = pod("Never", INIT);
    let failed = container(&never, "i", 0, State::Exited, Some(3));
    assert_eq!(look(&never, &[failed], 0).phase, Phase::Failed { container: "i".into(), code: 3 });
    let always = pod("Always", INIT);
    let failed = container(&always, "i", 0, State::Exited, Some(3));
    assert_eq!(look(&always, std::slice::from_ref(&failed), 2 * SECOND).actions, [create("i", 1)]);
    let again = container(&always, "i", 1, State::Exited, Some(3));
    let soon = look(&always, &[failed.clone(), again.clone()], 2 * SECOND);
    assert_eq!((soon.actions.len(), soon.wake), (0, Some(11 * SECOND)));
    assert_eq!(look(&always, &[failed, again], 12 * SECOND).actions, [create("i", 2)]);
}

#[test]
fn a_pod_runs_when_every_container_was_started() {
    let plan = pod("Always", "");
    let a = container(&plan, "a", 0, State::Running, None);
    let b = container(&plan, "b", 0, State::Created, None);
    assert_eq!(look(&plan, &[a.clone(), b.clone()], 0).phase, Phase::Starting);
    let b = container(&plan, "b", 0, State::Stopping { then: After::Exited }, None);
    assert_eq!(look(&plan, &[a, b], 0), at(Phase::Running));
}

#[test]
fn a_held_container_is_made_and_not_started() {
    let plan = pod("Never", "");
    let mut history = History::default();
    assert_eq!(decide(&plan, &[], &mut history, Some("a"), 0).actions, [create("a", 0), create("b", 0)]);
    let a = container(&plan, "a", 0, State::Created, None);
    let b = container(&plan, "b", 0, State::Running, None);
    let held = decide(&plan, &[a.clone(), b.clone()], &mut history, Some("a"), 0);
    assert_eq!(held, at(Phase::Running));
    assert_eq!(decide(&plan, &[a.clone(), b], &mut history, None, 0).actions, [Action::Start(a.id.clone())]);
}

#[test]
fn a_pod_has_ended_when_nothing_runs_again() {
    let plan = pod("OnFailure", "");
    let a = container(&plan, "a", 0, State::Exited, Some(0));
    let b = container(&plan, "b", 0, State::Exited, Some(0));
    assert_eq!(look(&plan, &[a.clone(), b], 0).phase, Phase::Ended);
    let b = container(&plan, "b", 0, State::Exited, Some(1));
    let later = look(&plan, &[a, b], 0);
    assert_eq!((later.phase, later.wake), (Phase::Running, Some(SECOND)));
}

#[test]
fn each_end_counts_once() {
    let plan = pod("Always", "");
    let mut history = History::default();
    let b = container(&plan, "b", 0, State::Running, None);
    let a = container(&plan, "a", 0, State::Exited, Some(1));
    for _ in 0..5 {
        let decision = decide(&plan, &[a.clone(), b.clone()], &mut history, None, 0);
        assert_eq!(decision.wake, Some(SECOND));
    }
    let again = container(&plan, "a", 1, State::Exited, Some(1));
    let decision = decide(&plan, &[a, again, b], &mut history, None, 0);
    assert_eq!(decision.wake, Some(11 * SECOND), "only the first restart is at once");
}
