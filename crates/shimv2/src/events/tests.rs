use proptest::prelude::*;

use super::*;
use crate::frame::Header;
use crate::message::Any;
use crate::message::event::{Event, OfContainer, TaskExit};

fn frame(stream: u32, kind: Kind, body: Vec<u8>) -> Incoming {
    let length = u32::try_from(body.len()).unwrap();
    Incoming::Frame(Header { length, stream, kind, flags: 0 }, body)
}

fn forward(payload: Vec<u8>) -> Request {
    Request { service: SERVICE.into(), method: FORWARD.into(), payload, ..Request::default() }
}

#[test]
fn an_event_is_taken_and_answered() {
    let envelope = Envelope { topic: "/tasks/exit".into(), ..Envelope::default() };
    let payload = Forward { envelope: Some(envelope.clone()) }.encode_to_vec();
    let (stream, response, event) =
        answer(frame(7, Kind::Request, forward(payload).encode_to_vec())).unwrap();
    assert_eq!((stream, response, event), (7, Response::default(), Some(envelope)));
}

#[test]
fn anything_else_is_refused_by_name_or_ends_the_connection() {
    let other = Request { service: "s".into(), method: "M".into(), ..Request::default() };
    let too_large = Header { length: 5 << 20, stream: 7, kind: Kind::Request, flags: 0 };
    for (incoming, code, says) in [
        (frame(7, Kind::Request, other.encode_to_vec()), code::UNIMPLEMENTED, "not s/M"),
        (frame(7, Kind::Request, vec![0xff]), code::INVALID_ARGUMENT, "cannot be read"),
        (
            frame(7, Kind::Request, forward(vec![0xff]).encode_to_vec()),
            code::INVALID_ARGUMENT,
            "event cannot",
        ),
        (frame(7, Kind::Request, forward(vec![]).encode_to_vec()), code::INVALID_ARGUMENT, "no event"),
        (Incoming::TooLarge(too_large), code::INVALID_ARGUMENT, "too large"),
    ] {
        let (stream, response, event) = answer(incoming).unwrap();
        let status = response.status.unwrap();
        assert_eq!((stream, status.code, event), (7, code, None));
        assert!(status.message.contains(says), "{}", status.message);
    }
    assert!(answer(frame(7, Kind::Response, vec![])).is_none());
    assert!(answer(frame(7, Kind::Data, vec![])).is_none());
}

#[test]
fn what_an_event_says_is_read_by_its_type() {
    let exit = TaskExit { container_id: "c".into(), id: "e".into(), exit_status: 3, ..TaskExit::default() };
    let of = |name: &str, message: &dyn Fn() -> Vec<u8>| Envelope {
        topic: "/t".into(),
        event: Some(Any { type_url: name.into(), value: message() }),
        ..Envelope::default()
    };
    let exited = of("containerd.events.TaskExit", &|| exit.encode_to_vec());
    assert_eq!(exited.decode_event().unwrap(), Event::Exit(exit.clone()));
    let exited = of("type.googleapis.com/containerd.events.TaskExit", &|| exit.encode_to_vec());
    assert_eq!(exited.decode_event().unwrap(), Event::Exit(exit.clone()));
    let oom = OfContainer { container_id: "c".into() };
    let oom = of("containerd.events.TaskOOM", &|| oom.encode_to_vec());
    assert_eq!(oom.decode_event().unwrap(), Event::OutOfMemory("c".into()));
    assert_eq!(of("a.B", &Vec::new).decode_event().unwrap(), Event::Other("/t".into()));
    assert!(of("containerd.events.TaskExit", &|| vec![0xff]).decode_event().is_err());
}

proptest! {
    #[test]
    fn any_request_is_answered(body in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(answer(frame(1, Kind::Request, body)).is_some());
    }
}
