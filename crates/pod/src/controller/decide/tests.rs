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
        claims: PathBuf::new(),
        addresses: Vec::new(),
        user: None,
        node: crate::plan::Node::default(),
        cluster: None,
        env_files: Default::default(),
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
    seen(plan, containers, &mut History::default(), None, now)
}

fn seen(
    plan: &Plan,
    containers: &[Arc<ContainerView>],
    history: &mut History,
    held: Option<&str>,
    now: i64,
) -> Decision {
    decide(plan, &Look { containers, held, marks: &Marks::default(), now }, history)
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
    assert_eq!(seen(&plan, &[], &mut history, Some("a"), 0).actions, [create("a", 0), create("b", 0)]);
    let a = container(&plan, "a", 0, State::Created, None);
    let b = container(&plan, "b", 0, State::Running, None);
    let held = seen(&plan, &[a.clone(), b.clone()], &mut history, Some("a"), 0);
    assert_eq!(held, at(Phase::Running));
    assert_eq!(seen(&plan, &[a.clone(), b], &mut history, None, 0).actions, [Action::Start(a.id.clone())]);
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
        let decision = seen(&plan, &[a.clone(), b.clone()], &mut history, None, 0);
        assert_eq!(decision.wake, Some(SECOND));
    }
    let again = container(&plan, "a", 1, State::Exited, Some(1));
    let decision = seen(&plan, &[a, again, b], &mut history, None, 0);
    assert_eq!(decision.wake, Some(11 * SECOND), "only the first restart is at once");
}

#[test]
fn those_after_a_post_start_wait_for_it() {
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [
      {name: a, image: 'a.io/x:1', lifecycle: {postStart: {sleep: {seconds: 1}}}}, {name: b, image: 'a.io/x:1'}]}}";
    let place = Place {
        uid: "u".into(),
        dir: "/p".into(),
        claims: "/c".into(),
        addresses: Vec::new(),
        node: Default::default(),
        cluster: None,
        env_files: Default::default(),
        user: None,
    };
    let plan = plan(&parse(text.as_bytes()).unwrap()[0], &place).unwrap();
    let (a, b) =
        (container(&plan, "a", 0, State::Created, None), container(&plan, "b", 0, State::Created, None));
    let first = look(&plan, &[a.clone(), b.clone()], 0);
    assert_eq!((first.actions, first.phase), (vec![Action::Start(a.id.clone())], Phase::Starting));
    let a = container(&plan, "a", 0, State::Running, None);
    let mut marks = Marks::default();
    marks.hooked.insert(a.id.clone());
    let both = [a, b.clone()];
    let look_at = Look { containers: &both, held: None, marks: &marks, now: 0 };
    assert_eq!(decide(&plan, &look_at, &mut History::default()), at(Phase::Starting));
    assert_eq!(look(&plan, &both, 0).actions, [Action::Start(b.id.clone())]);
}

#[test]
fn what_a_probe_ended_has_failed_however_it_ended() {
    for (policy, again) in [("Always", true), ("OnFailure", true), ("Never", false)] {
        let plan = pod(policy, "");
        let a = container(&plan, "a", 0, State::Exited, Some(0));
        let both = [a.clone(), container(&plan, "b", 0, State::Running, None)];
        let marks = Marks { failed: [a.id.clone()].into(), ..Marks::default() };
        let look_at = Look { containers: &both, held: None, marks: &marks, now: 9 * SECOND };
        let actions = decide(&plan, &look_at, &mut History::default()).actions;
        assert_eq!(actions, if again { vec![create("a", 1)] } else { Vec::new() }, "{policy}");
    }
}

const SIDECARS: &str = "initContainers: [{name: s, image: 'a.io/x:1', restartPolicy: Always},
  {name: i, image: 'a.io/x:1'}, {name: t, image: 'a.io/x:1', restartPolicy: Always}],";

#[test]
fn sidecars_start_in_order_and_run_on() {
    let plan = pod("Never", SIDECARS);
    let of = |name: &str, state: State, code: Option<i32>| container(&plan, name, 0, state, code);
    assert_eq!(look(&plan, &[], 0).actions, [create("s", 0)]);
    let s = of("s", State::Running, None);
    let mut marks = Marks::default();
    marks.starting.insert(s.id.clone());
    let one = [s.clone()];
    let unready = Look { containers: &one, held: None, marks: &marks, now: 0 };
    assert_eq!(decide(&plan, &unready, &mut History::default()), at(Phase::Starting));
    assert_eq!(look(&plan, &one, 0).actions, [create("i", 0)]);
    // One that ends before anything came after it is waited for, whatever its status; then not any more.
    let gone = of("s", State::Exited, Some(0));
    assert_eq!(
        look(&plan, std::slice::from_ref(&gone), 2 * SECOND).actions,
        [Action::Create { name: "s".into(), attempt: 1 }]
    );
    let i = of("i", State::Exited, Some(0));
    let again = look(&plan, &[gone.clone(), i.clone()], 2 * SECOND);
    assert_eq!((again.actions, again.phase), (vec![create("s", 1), create("t", 0)], Phase::Starting));
    let t = of("t", State::Running, None);
    let all = [s.clone(), i.clone(), t.clone()];
    assert_eq!(look(&plan, &all, 0).actions, [create("a", 0), create("b", 0)]);
    let (a, b) = (of("a", State::Running, None), of("b", State::Running, None));
    let runs = [gone.clone(), i, t, a, b];
    let later = look(&plan, &runs, 2 * SECOND);
    assert_eq!((later.actions, later.phase), (vec![create("s", 1)], Phase::Running));
}

#[test]
fn sidecars_end_when_all_has_ended() {
    let plan = pod("Never", SIDECARS);
    let of = |name: &str, state: State, code: Option<i32>| container(&plan, name, 0, state, code);
    let (s, i, t) =
        (of("s", State::Running, None), of("i", State::Exited, Some(0)), of("t", State::Running, None));
    let (a, b) = (of("a", State::Exited, Some(1)), of("b", State::Exited, Some(0)));
    let all = [s.clone(), i, t.clone(), a, b];
    let decision = look(&plan, &all, 0);
    let ends = vec![("s".to_owned(), s.id.clone()), ("t".to_owned(), t.id.clone())];
    assert_eq!((decision.actions, decision.ends, decision.phase), (Vec::new(), ends, Phase::Running));
    let [s, t] = ["s", "t"].map(|name| of(name, State::Exited, Some(0)));
    let [_, i, _, a, b] = all;
    // They are not run again.
    assert_eq!(look(&plan, &[s, i, t, a, b], 9 * SECOND), at(Phase::Ended));
    let (s, i) = (of("s", State::Running, None), of("i", State::Exited, Some(3)));
    let decision = look(&plan, &[s.clone(), i], 0);
    assert_eq!(decision.ends, [("s".to_owned(), s.id.clone())]);
    assert_eq!(decision.phase, Phase::Failed { container: "i".into(), code: 3 });
}

#[test]
fn restarts_may_be_counted() {
    let plan = Plan { max_restarts: Some(1), ..pod("OnFailure", "") };
    let phase = |attempt: u32| {
        let all = [
            container(&plan, "a", attempt, State::Exited, Some(1)),
            container(&plan, "b", 0, State::Exited, Some(0)),
        ];
        let marks = Marks::default();
        let look = Look { containers: &all, held: None, marks: &marks, now: SECOND };
        decide(&plan, &look, &mut History::default()).phase
    };
    assert_eq!((phase(0), phase(1)), (Phase::Running, Phase::Ended));
}
