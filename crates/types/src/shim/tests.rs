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

proptest! {
    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(decode::<ToShim>(&body));
        drop(decode::<FromShim>(&body));
    }
}
