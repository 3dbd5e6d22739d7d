use super::*;

const NOW: i64 = 1_000_000_000_000;

const ONE: Job = Job {
    completions: Some(1),
    parallelism: 1,
    backoff_limit: 6,
    deadline: None,
    ttl: None,
    indexed: false,
    suspend: false,
    restart: RestartPolicy::Never,
};

fn pod(name: &str, state: State) -> Seen {
    Seen {
        name: name.into(),
        revision: String::new(),
        index: None,
        created_at: 0,
        state,
        restarts: 0,
        ended_at: NOW,
    }
}

fn numbered(index: u32, state: State) -> Seen {
    Seen { index: Some(index), ..pod(&format!("p{index}"), state) }
}

fn words(decision: &Decision) -> String {
    let word = |action: &Action| match action {
        Action::Create(None) => "+".to_owned(),
        Action::Create(Some(index)) => format!("+{index}"),
        Action::Remove(name) => format!("-{name}"),
        other => format!("{other:?}"),
    };
    decision.actions.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn look(job: &Job, pods: &[Seen], status: &mut Status, now: i64) -> String {
    words(&decide(job, pods, status, now))
}

fn reason(status: &Status) -> Option<&str> {
    status.end.as_ref().map(|end| end.reason.as_str())
}

#[test]
fn pods_run_until_enough_ended_well() {
    let job = Job { completions: Some(3), parallelism: 2, ..ONE };
    let mut status = Status::default();
    assert_eq!(look(&job, &[], &mut status, NOW), "+ +");
    assert_eq!(status.started_at, Some(NOW));
    let mut pods = vec![pod("a", State::Running), pod("b", State::Pending)];
    assert_eq!(look(&job, &pods, &mut status, NOW), "");
    pods[0].state = State::Succeeded;
    assert_eq!(look(&job, &pods, &mut status, NOW), "+");
    // Two are enough, of which one runs: no third beside it.
    let mut pods = vec![pod("a", State::Succeeded), pod("b", State::Succeeded), pod("c", State::Running)];
    assert_eq!(look(&job, &pods, &mut status, NOW), "");
    // One that was removed has counted.
    pods.remove(0);
    assert_eq!(look(&job, &pods, &mut status, NOW), "");
    pods[1].state = State::Succeeded;
    assert_eq!((look(&job, &pods, &mut status, NOW).as_str(), reason(&status)), ("", Some("")));
    assert_eq!(succeeded(&job, &status), 3);
}

#[test]
fn a_queue_is_empty_when_one_ended_well() {
    let job = Job { completions: None, parallelism: 2, ..ONE };
    let mut status = Status::default();
    assert_eq!(look(&job, &[], &mut status, NOW), "+ +");
    let mut pods = vec![pod("a", State::Succeeded), pod("b", State::Running)];
    assert_eq!((look(&job, &pods, &mut status, NOW).as_str(), reason(&status)), ("", None));
    pods[1].state = State::Succeeded;
    look(&job, &pods, &mut status, NOW);
    assert_eq!(reason(&status), Some(""));
}

#[test]
fn each_number_ends_well_once() {
    let job = Job { completions: Some(3), parallelism: 2, indexed: true, ..ONE };
    let mut status = Status::default();
    assert_eq!(look(&job, &[], &mut status, NOW), "+0 +1");
    let mut pods = vec![numbered(0, State::Failed), numbered(1, State::Running)];
    assert_eq!(look(&job, &pods, &mut status, NOW), "");
    assert_eq!(look(&job, &pods, &mut status, NOW + seconds(10)), "+0");
    pods.push(Seen { name: "again".into(), ..numbered(0, State::Succeeded) });
    pods[1].state = State::Succeeded;
    assert_eq!(look(&job, &pods, &mut status, NOW + seconds(10)), "+2");
    assert_eq!((succeeded(&job, &status), failed(&status), reason(&status)), (2, 1, None));
}

#[test]
fn pods_that_fail_are_tried_again_later_and_not_for_ever() {
    let job = Job { backoff_limit: 2, ..ONE };
    let mut status = Status::default();
    let mut pods = vec![pod("a", State::Failed)];
    for (extra, wait) in [("b", 10), ("c", 20)] {
        let decision = decide(&job, &pods, &mut status, NOW);
        assert_eq!((decision.actions.len(), decision.wake), (0, Some(NOW + seconds(wait))), "{extra}");
        assert_eq!(look(&job, &pods, &mut status, NOW + seconds(wait)), "+");
        pods.push(pod(extra, State::Failed));
    }
    assert_eq!(look(&job, &pods, &mut status, NOW), "");
    assert_eq!(reason(&status), Some("BackoffLimitExceeded"));
    let mut none = Status::default();
    look(&Job { backoff_limit: 0, ..ONE }, &pods[..1], &mut none, NOW);
    assert_eq!(reason(&none), Some("BackoffLimitExceeded"));
    // The waits are bounded.
    let many: Vec<_> = (0..50).map(|n| pod(&format!("p{n}"), State::Failed)).collect();
    let decision = decide(&Job { backoff_limit: 100, ..ONE }, &many, &mut Status::default(), NOW);
    assert_eq!(decision.wake, Some(NOW + seconds(LONGEST_WAIT)));
}

#[test]
fn restarts_of_a_container_count_where_it_is_started_again() {
    let job = Job { backoff_limit: 2, restart: RestartPolicy::OnFailure, ..ONE };
    for (restarts, limit, wanted) in [
        (1, 2, None),
        (2, 2, Some("BackoffLimitExceeded")),
        (0, 0, None),
        (1, 0, Some("BackoffLimitExceeded")),
    ] {
        let mut status = Status::default();
        let pods = [Seen { restarts, ..pod("a", State::Running) }];
        let said = look(&Job { backoff_limit: limit, ..job }, &pods, &mut status, NOW);
        assert_eq!(reason(&status), wanted, "{restarts} of {limit}");
        assert_eq!(said, if wanted.is_some() { "-a" } else { "" });
    }
}

#[test]
fn more_restarts_than_can_be_counted_are_too_many() {
    let job = Job { restart: RestartPolicy::OnFailure, ..ONE };
    let pods = ["a", "b"].map(|name| Seen { restarts: u32::MAX, ..pod(name, State::Running) });
    let mut status = Status::default();
    look(&job, &pods, &mut status, NOW);
    assert_eq!(reason(&status), Some("BackoffLimitExceeded"));
}

#[test]
fn a_job_ends_at_its_deadline() {
    let job = Job { deadline: Some(30), ..ONE };
    let mut status = Status::default();
    assert_eq!(decide(&job, &[], &mut status, NOW).wake, Some(NOW + seconds(30)));
    let pods = [pod("a", State::Running)];
    assert_eq!(look(&job, &pods, &mut status, NOW + seconds(29)), "");
    assert_eq!(look(&job, &pods, &mut status, NOW + seconds(30)), "-a");
    assert_eq!(reason(&status), Some("DeadlineExceeded"));
}

#[test]
fn a_suspended_job_has_no_pods_and_no_clock() {
    let job = Job { suspend: true, deadline: Some(1), ..ONE };
    let mut status = Status { started_at: Some(0), ..Status::default() };
    assert_eq!(look(&job, &[pod("a", State::Running)], &mut status, NOW), "-a");
    assert_eq!((status.started_at, reason(&status)), (None, None));
    assert_eq!(look(&Job { suspend: false, ..job }, &[], &mut status, NOW), "+");
    assert_eq!(status.started_at, Some(NOW));
}

#[test]
fn a_job_that_ended_goes_when_its_time_is_over() {
    let job = Job { ttl: Some(60), ..ONE };
    let mut status = Status::default();
    let pods = [pod("a", State::Succeeded)];
    let decision = decide(&job, &pods, &mut status, NOW);
    assert_eq!((words(&decision).as_str(), decision.wake), ("", Some(NOW + seconds(60))));
    assert_eq!(look(&job, &pods, &mut status, NOW + seconds(60)), "RemoveSelf");
    // What is left of it is removed first, whose end wakes it: nothing is to be waited for by the clock.
    let left = [pod("a", State::Succeeded), pod("b", State::Running)];
    let decision = decide(&job, &left, &mut status, NOW + seconds(60));
    assert_eq!((words(&decision).as_str(), decision.wake), ("-b", None));
}

#[test]
fn of_the_pods_that_ended_the_last_ten_stay() {
    let job = Job { completions: Some(20), ..ONE };
    let ended = |n: i64| Seen { ended_at: NOW + n, ..pod(&format!("p{n:02}"), State::Succeeded) };
    let pods: Vec<_> = (0..12).map(ended).collect();
    let mut status = Status::default();
    assert_eq!(look(&job, &pods, &mut status, NOW + 20), "+ -p01 -p00");
    assert_eq!(succeeded(&job, &status), 12);
}
