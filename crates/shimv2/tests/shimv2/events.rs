//! The service of events, as shims and publishers find it.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};

use berth_shimv2::events::Events;
use berth_shimv2::frame::{self, Kind};
use berth_shimv2::message::Any;
use berth_shimv2::message::event::{Envelope, Event, TaskExit};
use berth_shimv2::publish::{Publication, publish};
use berth_testkit::guard::WAIT_LIMIT;
use prost::Message;

fn service() -> (tempfile::TempDir, Events, Receiver<Envelope>) {
    let dir = tempfile::tempdir().unwrap();
    let (send, receive) = channel();
    let events = Events::listen(&dir.path().join("events"), move |envelope| drop(send.send(envelope)));
    (dir, events.unwrap(), receive)
}

fn publication(dir: &tempfile::TempDir) -> Publication {
    Publication {
        address: dir.path().join("events"),
        topic: "/tasks/exit".into(),
        namespace: "berth-test".into(),
    }
}

fn exit(status: u32) -> Vec<u8> {
    let exit = TaskExit { container_id: "c1".into(), exit_status: status, ..TaskExit::default() };
    Any::of("containerd.events.TaskExit", &exit).encode_to_vec()
}

#[test]
fn what_a_publisher_is_given_is_heard() {
    let (dir, _events, heard) = service();
    publish(publication(&dir), exit(9).as_slice()).unwrap();
    let envelope = heard.recv_timeout(WAIT_LIMIT).unwrap();
    assert_eq!((envelope.topic.as_str(), envelope.namespace.as_str()), ("/tasks/exit", "berth-test"));
    assert!(envelope.timestamp.unwrap().nanoseconds() > 0);
    let Event::Exit(exit) = envelope.decode_event().unwrap() else { panic!("{envelope:?}") };
    assert_eq!(exit.exit_status, 9);
}

#[test]
fn a_publisher_says_what_is_wrong() {
    let (dir, events, _heard) = service();
    let error = publish(publication(&dir), [0xff].as_slice()).unwrap_err();
    assert_eq!(error.to_string(), "the event on stdin cannot be read");
    let error = publish(publication(&dir), std::io::repeat(0)).unwrap_err();
    assert_eq!(error.to_string(), "read the event from stdin");
    drop(events);
    let error = publish(publication(&dir), exit(0).as_slice()).unwrap_err();
    assert!(error.to_string().starts_with("connect to "), "{error}");
}

#[test]
fn the_socket_is_roots_alone_and_goes_with_the_service() {
    let (dir, events, _heard) = service();
    let path = dir.path().join("events");
    let meta = std::fs::metadata(&path).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert_eq!(meta.uid(), rustix::process::getuid().as_raw());
    // A daemon that starts again takes its place.
    let again = Events::listen(&path, |_| {}).unwrap();
    drop(again);
    assert!(!path.exists());
    drop(events);
}

#[test]
fn many_publishers_and_one_that_talks_nonsense() {
    let (dir, _events, heard) = service();
    let mut rude = UnixStream::connect(dir.path().join("events")).unwrap();
    rude.write_all(&frame::encode(Kind::Data, 1, b"nonsense").unwrap()).unwrap();
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(UnixStream::connect(dir.path().join("events")).unwrap());
    }
    rude.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
    assert_eq!(rude.read(&mut [0; 8]).unwrap(), 0, "it is disconnected");
    // More than are served at once wait for those before them.
    drop(idle);
    std::thread::scope(|scope| {
        for status in 0..30 {
            let dir = &dir;
            scope.spawn(move || publish(publication(dir), exit(status).as_slice()).unwrap());
        }
    });
    let mut seen: Vec<u32> = (0..30)
        .map(|_| match heard.recv_timeout(WAIT_LIMIT).unwrap().decode_event().unwrap() {
            Event::Exit(exit) => exit.exit_status,
            other => panic!("{other:?}"),
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..30).collect::<Vec<_>>());
}
