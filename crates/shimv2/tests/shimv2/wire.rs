//! A connection whose other side the test plays.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use berth_shimv2::client::Client;
use berth_shimv2::error::{CallError, Lost};
use berth_shimv2::frame::{self, Frames, HEADER, Header, Incoming, Kind, MAX_BODY};
use berth_shimv2::message::rpc::{Request, Response};
use berth_testkit::guard::WAIT_LIMIT;
use prost::Message;

fn pair() -> (Client, Server) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
    (Client::over(ours.into()).unwrap(), Server { socket: theirs, frames: Frames::new(), rest: vec![] })
}

fn request(payload: &[u8]) -> Request {
    Request { service: "s".into(), method: "M".into(), payload: payload.to_vec(), ..Request::default() }
}

struct Server {
    socket: UnixStream,
    frames: Frames,
    rest: Vec<u8>,
}

impl Server {
    /// The next call; None at the end of the connection.
    fn next(&mut self) -> Option<(u32, Request)> {
        let mut buffer = [0; 4096];
        loop {
            let mut bytes = self.rest.as_slice();
            let incoming = self.frames.next(&mut bytes);
            self.rest = bytes.to_vec();
            match incoming {
                Some(Incoming::Frame(header, body)) => {
                    assert_eq!((header.kind, header.flags), (Kind::Request, 0));
                    return Some((header.stream, Request::decode(body.as_slice()).unwrap()));
                }
                Some(other) => panic!("{other:?}"),
                None => match self.socket.read(&mut buffer).unwrap() {
                    0 => return None,
                    count => self.rest.extend(&buffer[..count]),
                },
            }
        }
    }

    fn answer(&mut self, stream: u32, payload: &[u8]) {
        let response = Response { status: None, payload: payload.to_vec() };
        let bytes = frame::encode(Kind::Response, stream, &response.encode_to_vec()).unwrap();
        self.socket.write_all(&bytes).unwrap();
    }
}

fn begin(client: &Client, payload: &[u8], limit: Option<Duration>) -> Receiver<Result<Vec<u8>, CallError>> {
    let (send, receive) = channel();
    // What is returned is dropped: the call goes on.
    let _call = client.begin(request(payload), limit, move |outcome| send.send(outcome).unwrap());
    receive
}

#[test]
fn many_calls_wait_at_once_and_are_answered_in_any_order() {
    const CALLS: u32 = 300;
    let (client, mut server) = pair();
    let serving = std::thread::spawn(move || {
        let calls: Vec<_> = (0..CALLS).map(|_| server.next().unwrap()).collect();
        for (stream, request) in calls.into_iter().rev() {
            server.answer(stream, &request.payload);
        }
        server
    });
    std::thread::scope(|scope| {
        for number in 0..CALLS {
            let client = &client;
            scope.spawn(move || {
                let payload = number.to_be_bytes();
                assert_eq!(client.call(request(&payload), Some(WAIT_LIMIT)).unwrap(), payload);
            });
        }
    });
    serving.join().unwrap();
}

#[test]
fn the_largest_messages_pass_and_larger_ones_fail_alone() {
    let (client, mut server) = pair();
    let largest = vec![5; MAX_BODY - 64];
    let sent = largest.clone();
    let serving = std::thread::spawn(move || {
        let (stream, request) = server.next().unwrap();
        server.answer(stream, &request.payload);
        let (stream, _) = server.next().unwrap();
        let length = u32::try_from(MAX_BODY).unwrap() + 1;
        let header = Header { length, stream, kind: Kind::Response, flags: 0 };
        server.socket.write_all(&header.encode()).unwrap();
        server.socket.write_all(&vec![0; MAX_BODY + 1]).unwrap();
        let (stream, _) = server.next().unwrap();
        server.answer(stream, b"after");
    });
    assert_eq!(client.call(request(&sent), Some(WAIT_LIMIT)).unwrap(), largest);
    let error = client.call(request(b""), Some(WAIT_LIMIT)).unwrap_err();
    assert!(matches!(error, CallError::AnswerTooLarge { .. }), "{error}");
    let error = client.call(request(&vec![0; MAX_BODY]), Some(WAIT_LIMIT)).unwrap_err();
    assert!(matches!(error, CallError::TooLarge { .. }), "{error}");
    assert_eq!(client.call(request(b""), Some(WAIT_LIMIT)).unwrap(), b"after");
    serving.join().unwrap();
}

#[test]
fn a_call_without_an_answer_costs_its_time_limit_and_no_other_call() {
    let (client, mut server) = pair();
    let slow = begin(&client, b"slow", Some(Duration::from_millis(1)));
    let (first, asked) = server.next().unwrap();
    assert_eq!((asked.payload.as_slice(), asked.timeout_nanos), (b"slow".as_slice(), 1_000_000));
    let error = slow.recv_timeout(WAIT_LIMIT).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "M of the shim: no answer within 1ms");
    let next = begin(&client, b"next", None);
    let (second, _) = server.next().unwrap();
    server.answer(first, b"late");
    server.answer(second, b"in time");
    assert_eq!(next.recv_timeout(WAIT_LIMIT).unwrap().unwrap(), b"in time");
}

#[test]
fn a_caller_may_give_up() {
    let (client, mut server) = pair();
    let (send, receive) = channel();
    let call = client.begin(request(b""), None, move |outcome| send.send(outcome).unwrap());
    let (stream, _) = server.next().unwrap();
    call.cancel();
    assert!(matches!(receive.recv_timeout(WAIT_LIMIT).unwrap(), Err(CallError::Cancelled { .. })));
    server.answer(stream, b"late");
    let next = begin(&client, b"", None);
    let (stream, _) = server.next().unwrap();
    server.answer(stream, b"well");
    assert_eq!(next.recv_timeout(WAIT_LIMIT).unwrap().unwrap(), b"well");
}

#[test]
fn a_lost_connection_fails_every_call_that_waits_with_the_reason() {
    for (last, reason) in [
        (vec![], Lost::Closed),
        (vec![0, 0], Lost::Broken("it closed the connection in the middle of an answer".into())),
        (
            frame::encode(Kind::Response, 999, b"").unwrap(),
            Lost::Broken("it answered call 999, which was never made".into()),
        ),
        (
            frame::encode(Kind::Other(0), 1, b"").unwrap(),
            Lost::Broken("it sent a frame of the unknown kind 0".into()),
        ),
    ] {
        let (client, mut server) = pair();
        let waiting: Vec<_> = (0..50).map(|_| begin(&client, b"", None)).collect();
        for _ in &waiting {
            server.next().unwrap();
        }
        server.socket.write_all(&last).unwrap();
        drop(server);
        for call in waiting {
            match call.recv_timeout(WAIT_LIMIT).unwrap() {
                Err(CallError::Lost { reason: found, .. }) => assert_eq!(found, reason),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(client.lost(), Some(reason.clone()));
        // And at once every later one.
        let error = client.call(request(b""), None).unwrap_err();
        assert!(matches!(&error, CallError::Lost { reason: found, .. } if *found == reason), "{error}");
    }
}

#[test]
fn the_last_answers_before_an_end_are_heard() {
    let (client, mut server) = pair();
    let waits = begin(&client, b"", None);
    let (stream, _) = server.next().unwrap();
    server.answer(stream, b"goodbye");
    drop(server);
    assert_eq!(waits.recv_timeout(WAIT_LIMIT).unwrap().unwrap(), b"goodbye");
}

#[test]
fn a_server_that_does_not_read_fills_no_memory() {
    let (client, server) = pair();
    let payload = vec![0; 1 << 20];
    let outcomes: Vec<_> = (0..32).map(|_| begin(&client, &payload, None)).collect();
    let busy = |o: &Receiver<_>| matches!(o.try_recv(), Ok(Err(CallError::Busy { .. })));
    assert!(outcomes.iter().filter(|o| busy(o)).count() >= 22);
    drop(server);
    let ended = outcomes.iter().filter(|o| o.recv_timeout(WAIT_LIMIT).is_ok_and(|o| o.is_err())).count();
    assert!(ended >= 1);
}

#[test]
fn a_body_of_half_a_frame_waits_for_the_rest() {
    let (client, mut server) = pair();
    let waits = begin(&client, b"", None);
    let (stream, _) = server.next().unwrap();
    let response = Response { status: None, payload: b"whole".to_vec() }.encode_to_vec();
    let bytes = frame::encode(Kind::Response, stream, &response).unwrap();
    for part in bytes.chunks(HEADER - 3) {
        server.socket.write_all(part).unwrap();
    }
    assert_eq!(waits.recv_timeout(WAIT_LIMIT).unwrap().unwrap(), b"whole");
}

#[test]
fn the_last_client_ends_the_connection() {
    let (client, mut server) = pair();
    let other = client.clone();
    let waits = begin(&client, b"", None);
    drop(client);
    assert!(server.next().is_some());
    drop(other);
    assert!(server.next().is_none());
    let error = waits.recv_timeout(WAIT_LIMIT).unwrap().unwrap_err();
    assert!(matches!(error, CallError::Lost { reason: Lost::Ended, .. }), "{error}");
}

#[test]
fn a_shim_is_found_at_a_path_and_at_an_abstract_name() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};

    use berth_shimv2::answer::{Address, Started};
    use berth_shimv2::message::{Version, task};
    use berth_shimv2::shim::Shim;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let name = path.to_str().unwrap().as_bytes().to_vec();
    let listeners = [
        (UnixListener::bind(&path).unwrap(), Address::Path(path.clone())),
        (
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
            Address::Abstract(name),
        ),
    ];
    for (listener, address) in listeners {
        let shim = Shim::connect(&Started { address, version: Version::V3 }, WAIT_LIMIT).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
        let mut server = Server { socket, frames: Frames::new(), rest: vec![] };
        let (send, receive) = channel();
        let state = task::State { id: "c1".into(), exec_id: String::new() };
        let _call = shim.begin(&state, None, move |outcome| send.send(outcome).unwrap());
        let (stream, request) = server.next().unwrap();
        assert_eq!((request.service.as_str(), request.method.as_str()), ("containerd.task.v3.Task", "State"));
        server.answer(stream, &task::StateAnswer { pid: 7, ..task::StateAnswer::default() }.encode_to_vec());
        assert_eq!(receive.recv_timeout(WAIT_LIMIT).unwrap().unwrap().pid, 7);
        // An answer of another type is an error of its call.
        let (send, receive) = channel();
        let _call = shim.begin(&state, None, move |outcome| send.send(outcome).unwrap());
        let (stream, _) = server.next().unwrap();
        server.answer(stream, &[0xff]);
        let error = receive.recv_timeout(WAIT_LIMIT).unwrap().unwrap_err();
        assert!(matches!(error, CallError::Answer { .. }), "{error}");
    }
}
