use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::message::rpc::Status;

const SECOND: Duration = Duration::from_secs(1);

fn request(payload: usize) -> Request {
    Request { service: "s".into(), method: "M".into(), payload: vec![1; payload], ..Request::default() }
}

fn begin(calls: &mut Calls<u32>, now: Instant, limit: Option<Duration>, who: u32) -> u32 {
    calls.begin(now, &mut request(3), limit, who).unwrap()
}

fn response(stream: u32, response: &Response) -> Incoming {
    let body = response.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap();
    Incoming::Frame(Header { length, stream, kind: Kind::Response, flags: 0 }, body)
}

fn good(stream: u32) -> Incoming {
    response(stream, &Response { status: None, payload: vec![9] })
}

#[test]
fn numbers_are_odd_and_grow() {
    let mut calls = Calls::new();
    let now = Instant::now();
    assert_eq!([0, 1, 2].map(|who| begin(&mut calls, now, None, who)), [1, 3, 5]);
    let mut frames = frame::Frames::new();
    let sent = calls.to_send().to_vec();
    let mut bytes = sent.as_slice();
    let Some(Incoming::Frame(header, body)) = frames.next(&mut bytes) else { panic!("no frame") };
    assert_eq!((header.stream, header.kind, header.flags), (1, Kind::Request, 0));
    assert_eq!(Request::decode(body.as_slice()).unwrap(), request(3));
}

#[test]
fn the_server_is_told_how_long_it_may_take() {
    for (limit, nanos) in
        [(None, 0), (Some(SECOND), 1_000_000_000), (Some(Duration::ZERO), 1), (Some(Duration::MAX), i64::MAX)]
    {
        let mut request = request(0);
        let mut calls = Calls::new();
        calls.begin(Instant::now(), &mut request, limit, 0).unwrap();
        assert_eq!(calls.deadline().is_some(), nanos != 0 && nanos != i64::MAX);
        assert_eq!(request.timeout_nanos, nanos);
    }
}

#[test]
fn answers_come_in_any_order() {
    let mut calls = Calls::new();
    let now = Instant::now();
    begin(&mut calls, now, None, 10);
    begin(&mut calls, now, None, 11);
    let (who, outcome) = calls.receive(good(3)).unwrap().unwrap();
    assert_eq!((who, outcome.unwrap()), (11, vec![9]));
    let (who, _) = calls.receive(good(1)).unwrap().unwrap();
    assert_eq!(who, 10);
    // Twice is once too often, but costs nothing: it is as one that comes late.
    assert!(calls.receive(good(1)).unwrap().is_none());
}

#[test]
fn a_refusal_has_the_shims_words_and_a_kind() {
    use berth_types::error::{Classify, Kind as K};
    for (code, kind) in
        [(5, K::NotFound), (9, K::Precondition), (12, K::Unsupported), (2, K::Internal), (99, K::Internal)]
    {
        let mut calls = Calls::new();
        begin(&mut calls, Instant::now(), None, 0);
        let status = Some(Status { code, message: "its words".into() });
        let (_, outcome) =
            calls.receive(response(1, &Response { status, payload: vec![] })).unwrap().unwrap();
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(error.to_string(), format!("M of the shim: its words (code {code})"));
    }
}

#[test]
fn a_status_of_zero_is_well() {
    let mut calls = Calls::new();
    begin(&mut calls, Instant::now(), None, 0);
    let answer = Response { status: Some(Status { code: 0, message: "fine".into() }), payload: vec![4] };
    let (_, outcome) = calls.receive(response(1, &answer)).unwrap().unwrap();
    assert_eq!(outcome.unwrap(), [4]);
}

#[test]
fn garbage_and_size_cost_only_their_call() {
    let mut calls = Calls::new();
    let now = Instant::now();
    for who in 0..3 {
        begin(&mut calls, now, None, who);
    }
    let header = |stream, length| Header { length, stream, kind: Kind::Response, flags: 0 };
    let (_, outcome) = calls.receive(Incoming::Frame(header(1, 2), vec![0xff, 0xff])).unwrap().unwrap();
    assert!(matches!(outcome, Err(CallError::Answer { .. })));
    let (_, outcome) = calls.receive(Incoming::TooLarge(header(3, 5 << 20))).unwrap().unwrap();
    assert!(matches!(outcome, Err(CallError::AnswerTooLarge { size: 5_242_880, .. })));
    assert!(calls.receive(good(5)).unwrap().unwrap().1.is_ok());
}

#[test]
fn what_breaks_the_protocol_breaks_the_connection() {
    let header = |kind, stream| Header { length: 0, stream, kind, flags: 0 };
    for (header, says) in [
        (header(Kind::Request, 1), "request of its own"),
        (header(Kind::Data, 1), "stream"),
        (header(Kind::Other(77), 1), "kind 77"),
        (header(Kind::Response, 2), "call 2, which"),
        (header(Kind::Response, 0), "call 0, which"),
        (header(Kind::Response, 3), "call 3, which"),
    ] {
        let mut calls = Calls::new();
        begin(&mut calls, Instant::now(), None, 0);
        let lost = calls.receive(Incoming::Frame(header, vec![])).unwrap_err();
        assert!(lost.to_string().contains(says), "{lost}");
    }
}

#[test]
fn a_deadline_gives_up_its_call_and_a_late_answer_is_passed_over() {
    let mut calls = Calls::new();
    let now = Instant::now();
    begin(&mut calls, now, Some(SECOND), 0);
    begin(&mut calls, now, None, 1);
    begin(&mut calls, now, Some(SECOND * 2), 2);
    assert_eq!(calls.deadline(), Some(now + SECOND));
    assert!(calls.expire(now).is_empty());
    let late = calls.expire(now + SECOND);
    assert!(matches!(late.as_slice(), [(0, Err(CallError::Slow { limit: SECOND, .. }))]));
    assert_eq!(calls.deadline(), Some(now + SECOND * 2));
    assert!(calls.receive(good(1)).unwrap().is_none());
    assert_eq!(calls.cancel(3).unwrap().0, 1);
    assert!(calls.cancel(3).is_none());
    assert!(calls.receive(good(3)).unwrap().is_none());
}

#[test]
fn a_lost_connection_fails_every_call_with_its_first_reason() {
    let mut calls = Calls::new();
    let now = Instant::now();
    for who in 0..3 {
        begin(&mut calls, now, None, who);
    }
    let failed = calls.lose(Lost::Closed);
    assert_eq!(failed.len(), 3);
    assert!(failed.iter().all(|(_, o)| matches!(o, Err(CallError::Lost { reason: Lost::Closed, .. }))));
    assert!(calls.lose(Lost::Ended).is_empty());
    assert_eq!(calls.lost(), Some(&Lost::Closed));
    let (who, outcome) = calls.begin(now, &mut request(1), None, 7).unwrap_err();
    assert!(who == 7 && matches!(outcome, Err(CallError::Lost { reason: Lost::Closed, .. })));
    assert!(calls.to_send().is_empty());
}

#[test]
fn everything_is_bounded() {
    let now = Instant::now();
    let mut calls = Calls::new();
    let (_, outcome) = calls.begin(now, &mut request(frame::MAX_BODY), None, 0).unwrap_err();
    assert!(matches!(outcome, Err(CallError::TooLarge { .. })));
    let mut queued = 0;
    while calls.begin(now, &mut request(1 << 20), None, 0).is_ok() {
        queued += 1;
    }
    assert_eq!(queued, 7, "two of the largest");
    let mut calls = Calls::new();
    for who in 0..u32::try_from(MAX_CALLS).unwrap() {
        begin(&mut calls, now, None, who);
    }
    let (_, outcome) = calls.begin(now, &mut request(1), None, 0).unwrap_err();
    assert!(matches!(outcome, Err(CallError::Busy { .. })));
    let mut calls = Calls::new();
    calls.next = u32::MAX;
    let (_, outcome) = calls.begin(now, &mut request(1), None, 0).unwrap_err();
    assert!(matches!(outcome, Err(CallError::Busy { .. })), "numbers are not used again");
}

#[derive(Debug, Clone)]
enum Step {
    Begin(Option<u8>),
    Cancel(u8),
    Answer(u8),
    Pass(u8),
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<Option<u8>>().prop_map(Step::Begin),
        2 => any::<u8>().prop_map(Step::Cancel),
        4 => any::<u8>().prop_map(Step::Answer),
        2 => any::<u8>().prop_map(Step::Pass),
        1 => Just(Step::Lose),
    ]
}

proptest! {
    /// Whatever happens in whatever order, each caller is given back exactly once.
    #[test]
    fn nobody_waits_for_ever_and_nobody_is_told_twice(steps in prop::collection::vec(step(), 0..200)) {
        let mut calls = Calls::new();
        let mut now = Instant::now();
        let mut begun = 0;
        let mut told = BTreeSet::new();
        let mut tell = |done: Vec<Done<u32>>| done.into_iter().all(|(who, _)| told.insert(who));
        for step in steps {
            let done = match step {
                Step::Begin(limit) => {
                    let limit = limit.map(|l| SECOND * l.into());
                    begun += 1;
                    calls.begin(now, &mut request(1), limit, begun).err().into_iter().collect()
                }
                Step::Cancel(n) => calls.cancel(u32::from(n) * 2 + 1).into_iter().collect(),
                Step::Answer(n) => match calls.receive(good(u32::from(n) * 2 + 1)) {
                    Ok(done) => done.into_iter().collect(),
                    Err(lost) => calls.lose(lost),
                },
                Step::Pass(seconds) => {
                    now += SECOND * seconds.into();
                    calls.expire(now)
                }
                Step::Lose => calls.lose(Lost::Closed),
            };
            prop_assert!(tell(done));
        }
        let rest = calls.lose(Lost::Ended);
        prop_assert!(tell(rest));
        prop_assert_eq!(told.len(), usize::try_from(begun).unwrap());
    }
}
