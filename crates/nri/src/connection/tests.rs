use berth_ttrpc::rpc::code;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::api::{Empty, RegisterPluginRequest};

const LIMIT: Duration = Duration::from_secs(30);

/// What the Go library (github.com/containerd/nri v0.12.2) sends to register the plugin `logger` with the index `10`, as a socket got it from
/// `tests/nri`.
const REGISTRATION: &[u8] = b"\x00\x00\x00\x02\x00\x00\x00\x55\
\x00\x00\x00\x4b\x00\x00\x00\x01\x01\x00\
\x0a\x1cnri.pkg.api.v1alpha1.Runtime\
\x12\x0eRegisterPlugin\
\x1a\x15\x0a\x06logger\x12\x0210\x1a\x07v0.12.2\
\x20\xdf\xea\xbb\xce\x12";

struct Other {
    socket: UnixStream,
    demux: Demux,
    frames: Frames,
}

impl Other {
    /// The next frame on the connection on which plugins are called, which is all that this side hears.
    async fn next(&mut self) -> Option<(Header, Vec<u8>)> {
        let mut bytes = [0; 1];
        loop {
            if self.socket.read(&mut bytes).await.unwrap() == 0 {
                return None;
            }
            let mut rest = &bytes[..];
            if let Some((_, mut part)) = self.demux.next(&mut rest).unwrap()
                && let Some(Incoming::Frame(header, body)) = self.frames.next(&mut part)
            {
                return Some((header, body));
            }
        }
    }

    async fn say(&mut self, connection: u32, kind: Kind, stream: u32, body: &[u8]) {
        let message = frame::encode(kind, stream, body).unwrap();
        self.socket.write_all(&mux::encode(connection, &message)).await.unwrap();
    }

    async fn answer(&mut self, stream: u32, response: &Response) {
        self.say(mux::PLUGIN, Kind::Response, stream, &response.encode_to_vec()).await;
    }
}

fn pair() -> (Connection, mpsc::Receiver<Call>, Other) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (connection, calls) = Connection::begin(ours);
    (connection, calls, Other { socket: theirs, demux: Demux::default(), frames: Frames::new() })
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(60), test).await.unwrap() });
}

#[test]
fn a_call_is_answered() {
    run(async {
        let (connection, _calls, mut other) = pair();
        let served = async {
            let (header, body) = other.next().await.unwrap();
            let request = Request::decode(body.as_slice()).unwrap();
            assert_eq!((header.kind, header.stream), (Kind::Request, 1));
            assert_eq!((request.service.as_str(), request.method.as_str()), (PLUGIN_SERVICE, "Shutdown"));
            assert_eq!(request.timeout_nanos, 30_000_000_000);
            // What belongs to no call is passed over.
            other.answer(99, &Response::default()).await;
            other.answer(header.stream, &Response::default()).await;
        };
        let (answer, ()) = tokio::join!(connection.call::<Empty>("Shutdown", &Empty {}, LIMIT), served);
        answer.unwrap();
        assert!(!connection.has_ended());
    });
}

#[test]
fn a_refusal_ends_nothing() {
    run(async {
        let (connection, _calls, mut other) = pair();
        for (status, expected) in [
            (2, CallError::Refused("no".to_owned())),
            (code::UNIMPLEMENTED, CallError::Unimplemented("Shutdown")),
        ] {
            let served = async {
                let (header, _) = other.next().await.unwrap();
                let status = Some(Status { code: status, message: "no".to_owned() });
                other.answer(header.stream, &Response { status, payload: Vec::new() }).await;
            };
            let (answer, ()) = tokio::join!(connection.call::<Empty>("Shutdown", &Empty {}, LIMIT), served);
            assert_eq!(answer.unwrap_err(), expected);
        }
        assert!(!connection.has_ended());
    });
}

#[test]
fn one_that_does_not_answer_is_disconnected() {
    run(async {
        let (connection, _calls, mut other) = pair();
        let limit = Duration::from_millis(1);
        let error = connection.call::<Empty>("Shutdown", &Empty {}, limit).await.unwrap_err();
        assert!(matches!(error, CallError::Timeout { .. }), "{error}");
        assert!(connection.has_ended());
        while other.next().await.is_some() {}
    });
}

#[test]
fn one_that_goes_during_a_call_is_not_waited_for() {
    run(async {
        let (connection, _calls, mut other) = pair();
        let served = async move {
            other.next().await.unwrap();
            drop(other);
        };
        let (answer, ()) = tokio::join!(connection.call::<Empty>("Shutdown", &Empty {}, LIMIT), served);
        assert_eq!(answer.unwrap_err(), CallError::Closed("it closed the connection".to_owned()));
    });
}

#[test]
fn the_go_librarys_registration_is_understood() {
    run(async {
        let (connection, mut calls, mut other) = pair();
        other.socket.write_all(REGISTRATION).await.unwrap();
        let call = calls.recv().await.unwrap();
        assert_eq!(
            (call.request.service.as_str(), call.request.method.as_str()),
            (RUNTIME_SERVICE, "RegisterPlugin")
        );
        let request = RegisterPluginRequest::decode(call.request.payload.as_slice()).unwrap();
        assert_eq!((request.plugin_name.as_str(), request.plugin_idx.as_str()), ("logger", "10"));
        connection.answer(&call, Ok(Vec::new())).await;
        let (header, body) = other.next().await.unwrap();
        assert_eq!((header.kind, header.stream), (Kind::Response, 1));
        assert_eq!(Response::decode(body.as_slice()).unwrap(), Response::default());
    });
}

#[test]
fn what_is_against_the_protocol_ends_the_connection_with_the_reason() {
    let two_gib = [1_u32.to_be_bytes(), (2_u32 << 30).to_be_bytes()].concat();
    let large = [&[0, 0, 0, 1, 0, 0, 0, 10][..], &[0, 80, 0, 0], &[0, 0, 0, 1, 2, 0]].concat();
    let request = frame::encode(Kind::Request, 1, b"").unwrap();
    let response = frame::encode(Kind::Response, 1, &[0xff]).unwrap();
    let cases = [
        (two_gib, "a frame of 2147483648 bytes was announced"),
        (large, "it announced a message of 5242880 bytes"),
        (mux::encode(mux::PLUGIN, &request), "a frame of kind Request where answers come"),
        (mux::encode(mux::RUNTIME, &response), "a frame of kind Response where its calls come"),
        (mux::encode(mux::PLUGIN, &response), "its answer cannot be read"),
    ];
    for (bytes, expected) in cases {
        run(async {
            let (connection, _calls, mut other) = pair();
            other.socket.write_all(&bytes).await.unwrap();
            let why = connection.ended().await;
            assert!(why.contains(expected), "{why}");
            while other.next().await.is_some() {}
        });
    }
}

#[test]
fn more_calls_than_may_wait_end_the_connection() {
    run(async {
        let (connection, _calls, mut other) = pair();
        for _ in 0..=MAX_CALLS {
            let body = Request::default().encode_to_vec();
            other.say(mux::RUNTIME, Kind::Request, 1, &body).await;
        }
        assert!(connection.ended().await.contains("calls wait"));
    });
}
