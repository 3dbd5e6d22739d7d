use super::*;
use crate::workload::schedule::Zone;

/// A whole minute.
const NOW: i64 = 1_700_000_040_000_000_000;
const MINUTE: i64 = 60_000_000_000;

fn minutely() -> Cron {
    Cron {
        schedule: Schedule::parse("* * * * *").unwrap(),
        zone: Zone::named("UTC").unwrap(),
        concurrency: Concurrency::Allow,
        suspend: false,
        late: None,
        keep_complete: 3,
        keep_failed: 1,
    }
}

fn job(name: &str, complete: Option<bool>) -> SeenJob {
    SeenJob { name: name.into(), created_at: 0, complete, leaving: false }
}

fn look(cron: &Cron, jobs: &[SeenJob], since: i64, now: i64) -> (Vec<Action>, Option<i64>) {
    let decision = decide(cron, jobs, since, now);
    (decision.actions, decision.wake)
}

#[test]
fn a_job_is_made_when_it_is_due() {
    let cron = minutely();
    assert_eq!(look(&cron, &[], NOW, NOW + 1), (vec![], Some(NOW + MINUTE)));
    assert_eq!(look(&cron, &[], NOW - MINUTE, NOW), (vec![Action::Begin(NOW)], Some(NOW + MINUTE)));
    // Of those that were missed only the last is made up for.
    for missed in [3, 99, 100, 101, 5000, 525_600] {
        let due = (vec![Action::Begin(NOW)], Some(NOW + MINUTE));
        assert_eq!(look(&cron, &[], NOW - missed * MINUTE, NOW + 5), due, "{missed}");
    }
    assert_eq!(look(&Cron { suspend: true, ..minutely() }, &[], 0, NOW), (vec![], None));
}

/// Monday the 1st of January 2024, 00:00 UTC.
const MONDAY: i64 = 1_704_067_200_000_000_000;

#[test]
fn of_times_at_uneven_distances_the_last_is_made_up_for() {
    let hour = 60 * MINUTE;
    let at = |day: i64, hours: i64, minutes: i64| MONDAY + (24 * day + hours) * hour + minutes * MINUTE;
    let work = Cron { schedule: Schedule::parse("*/5 9-17 * * 1-5").unwrap(), ..minutely() };
    let due = |last, next| (vec![Action::Begin(last)], Some(next));
    // Saturday: the last was Friday at 17:55.
    assert_eq!(look(&work, &[], at(0, 9, 0), at(5, 10, 0)), due(at(4, 17, 55), at(7, 9, 0)));
    // Sunday, after a month.
    assert_eq!(look(&work, &[], at(0, 9, 0), at(34, 10, 0)), due(at(32, 17, 55), at(35, 9, 0)));
    // None that is over is told as due later, and one that has no job is found.
    assert_eq!(look(&work, &[], at(4, 17, 50), at(5, 10, 0)), due(at(4, 17, 55), at(7, 9, 0)));
}

#[test]
fn what_is_due_at_even_distances_keeps_its_beat() {
    let cron = Cron { schedule: Schedule::parse("@every 7m").unwrap(), ..minutely() };
    let due = (vec![Action::Begin(NOW + 7000 * MINUTE)], Some(NOW + 7007 * MINUTE));
    assert_eq!(look(&cron, &[], NOW, NOW + 7003 * MINUTE), due);
    assert_eq!(look(&cron, &[], NOW, NOW + MINUTE), (vec![], Some(NOW + 7 * MINUTE)));
}

#[test]
fn a_job_that_is_too_late_is_left_out() {
    let cron = Cron { late: Some(10), ..minutely() };
    let late = |seconds: i64| look(&cron, &[], NOW - MINUTE, NOW + seconds * 1_000_000_000).0;
    assert_eq!(late(10), [Action::Begin(NOW)]);
    assert_eq!(late(11), []);
}

#[test]
fn an_earlier_job_that_runs_is_obeyed() {
    let jobs = [job("a", None)];
    let with = |concurrency| look(&Cron { concurrency, ..minutely() }, &jobs, NOW - MINUTE, NOW).0;
    assert_eq!(with(Concurrency::Allow), [Action::Begin(NOW)]);
    assert_eq!(with(Concurrency::Forbid), []);
    assert_eq!(with(Concurrency::Replace), [Action::RemoveJob("a".into()), Action::Begin(NOW)]);
    let ended = [job("a", Some(true))];
    let forbid = Cron { concurrency: Concurrency::Forbid, ..minutely() };
    assert_eq!(look(&forbid, &ended, NOW - MINUTE, NOW).0, [Action::Begin(NOW)]);
}

#[test]
fn few_jobs_of_the_past_are_kept() {
    let mut jobs: Vec<_> =
        (0..5).map(|n| SeenJob { created_at: n, ..job(&format!("good{n}"), Some(true)) }).collect();
    jobs.extend((0..3).map(|n| SeenJob { created_at: n, ..job(&format!("bad{n}"), Some(false)) }));
    jobs[0].leaving = true;
    let removed =
        |names: &[&str]| names.iter().map(|n| Action::RemoveJob((*n).to_owned())).collect::<Vec<_>>();
    assert_eq!(look(&minutely(), &jobs, NOW, NOW).0, removed(&["good1", "bad1", "bad0"]));
    let none = Cron { keep_complete: 0, keep_failed: 0, suspend: true, ..minutely() };
    assert_eq!(look(&none, &jobs, NOW, NOW).0.len(), 7);
}
