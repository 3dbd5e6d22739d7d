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

proptest! {
    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(decode::<ToShim>(&body));
        drop(decode::<FromShim>(&body));
    }
}
