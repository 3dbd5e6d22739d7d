use super::*;
use proptest::prelude::*;

fn id(byte: u8) -> ContainerId {
    ContainerId::from_random([byte; 32])
}

#[test]
fn messages_come_back_as_they_went() {
    let create = Create {
        container: id(1),
        plan: vec![0, 1, 255],
        log: Some("/var/log/pods/a.log".into()),
        stdin: false,
        stdin_once: false,
        tty: true,
        cgroup_dirs: vec!["/sys/fs/cgroup/berth/a".into()],
        pid_space: PidSpace::Container(id(3)),
    };
    let message = ToShim { number: 7, request: Request::Create(create) };
    assert_eq!(decode::<ToShim>(&encode(&message).unwrap()), Ok(message));

    let exit = Exit { code: 137, signal: Some(9), at: 1, oom_killed: true, message: String::new() };
    let event = FromShim::Event(Event::Exited { container: id(2), exit });
    assert_eq!(decode::<FromShim>(&encode(&event).unwrap()), Ok(event));
}

#[test]
fn an_id_in_a_message_is_checked() {
    let mut body = encode(&ToShim { number: 1, request: Request::Start { container: id(0xaa) } }).unwrap();
    let digit = body.iter().rposition(|b| *b == b'a').unwrap();
    body[digit] = b'/';
    assert!(matches!(decode::<ToShim>(&body), Err(CodecError::Malformed(_))));
}

#[test]
fn what_is_left_over_is_refused() {
    let mut body = encode(&ToShim { number: 1, request: Request::Shutdown }).unwrap();
    body.push(0);
    assert!(matches!(decode::<ToShim>(&body), Err(CodecError::Malformed(_))));
}

#[test]
fn a_message_over_the_limit_is_refused() {
    assert!(matches!(encode(&vec![0u8; MAX_FRAME + 1]), Err(CodecError::TooLarge(_))));
}

#[test]
fn a_header_holds_length_and_descriptors_within_the_limits() {
    for (length, fds) in [(0, 0), (1, MAX_FDS), (MAX_FRAME, 1)] {
        assert_eq!(parse_header(header(length, fds).unwrap()), Some((length, fds)));
    }
    assert_eq!(header(MAX_FRAME + 1, 0), None);
    assert_eq!(header(0, MAX_FDS + 1), None);
    assert_eq!(parse_header([0xff; 4]), None);
}

#[test]
fn a_record_comes_back_and_a_damaged_one_is_refused() {
    let exit = Exit { code: 1, signal: None, at: 5, oom_killed: false, message: "x".into() };
    let exited = record::Exited { started_at: 3, exit };
    let bytes = record::encode(&exited).unwrap();
    assert_eq!(record::decode::<record::Exited>(&bytes), Ok(exited));
    assert!(record::decode::<record::Exited>(&bytes[1..]).is_err());
    assert!(record::decode::<record::Exited>(&bytes[..bytes.len() - 1]).is_err());
}

#[test]
fn a_message_that_is_not_understood_still_has_its_number() {
    // A request and an answer of a version to come: variants that no one knows.
    let request = encode(&(300u64, 99u32, "what")).unwrap();
    assert!(decode::<ToShim>(&request).is_err());
    assert_eq!(request_number(&request), Some(300));
    let answer = encode(&(0u32, 300u64, 0u32, 99u32, "what")).unwrap();
    assert!(decode::<FromShim>(&answer).is_err());
    assert_eq!(answer_number(&answer), Some(300));
    // Events have none, nor has what is not a message at all.
    let event = encode(&(1u32, 99u32, "what")).unwrap();
    assert!(decode::<FromShim>(&event).is_err());
    assert_eq!(answer_number(&event), None);
    assert_eq!((request_number(&[0xff; 64]), answer_number(&[0xff; 64])), (None, None));
    assert_eq!((request_number(&[]), answer_number(&[])), (None, None));
}

proptest! {
    #[test]
    fn the_number_is_that_of_the_message(number in any::<u64>()) {
        let request = encode(&ToShim { number, request: Request::Shutdown }).unwrap();
        prop_assert_eq!(request_number(&request), Some(number));
        let answer = encode(&FromShim::Answer { number, outcome: Ok(Answer::Done) }).unwrap();
        prop_assert_eq!(answer_number(&answer), Some(number));
    }

    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(decode::<ToShim>(&body));
        drop(decode::<FromShim>(&body));
        let _ = (request_number(&body), answer_number(&body));
    }
}
