use super::super::model::End;
use super::*;
use crate::manifest::WorkloadKind;

/// A CronJob looks at its jobs before they have looked at themselves.
#[test]
fn how_a_job_ended_is_known_before_its_first_look() {
    let key = Key { kind: WorkloadKind::Job, namespace: "default".into(), name: "a".into() };
    let record = Record::new("u".into(), 0, None);
    for (end, complete) in [(None, None), (Some(""), Some(true)), (Some("DeadlineExceeded"), Some(false))] {
        let status =
            Status { end: end.map(|reason| End { reason: reason.into(), at: 1 }), ..Status::default() };
        assert_eq!(Shown::new(&key, &record, &status).complete, complete, "{end:?}");
    }
}
