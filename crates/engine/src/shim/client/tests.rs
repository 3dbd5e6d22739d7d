//! Against a scripted shim: the other end of a socket pair.

use std::os::fd::OwnedFd;
use std::time::Instant;

use berth_sys::socket;
use berth_types::ContainerId;
use berth_types::shim::Exit;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// The shim's end, which blocks.
struct Script {
    socket: OwnedFd,
    reader: Reader,
}

impl Script {
    fn next(&mut self) -> (ToShim, Vec<OwnedFd>) {
        let frame = socket::receive(&self.socket, &mut self.reader, Instant::now() + LIMIT).unwrap().unwrap();
        (decode(&frame.body).unwrap(), frame.fds)
    }

    fn say(&self, message: &FromShim) {
        self.raw(encode(message).unwrap(), Vec::new());
    }

    fn raw(&self, body: Vec<u8>, fds: Vec<OwnedFd>) {
        socket::send(&self.socket, Frame { body, fds }, Instant::now() + LIMIT).unwrap();
    }

    fn done(&self, number: u64) {
        self.say(&FromShim::Answer { number, outcome: Ok(Answer::Done) });
    }
}

fn scripted() -> (Shim, mpsc::Receiver<Notice>, Script) {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    let (notices, told) = mpsc::channel(8);
    let shim = Connection::new(ours).serve(notices).unwrap();
    (shim, told, Script { socket: theirs, reader: Reader::new() })
}

fn start(byte: u8) -> Request {
    Request::Start { container: ContainerId::from_random([byte; 32]) }
}

fn tell(shim: &Shim, request: Request) -> tokio::task::JoinHandle<Result<(), ShimError>> {
    let shim = shim.clone();
    tokio::spawn(async move { shim.tell(request, Vec::new(), LIMIT).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_find_their_requests_in_any_order() {
    let (shim, _told, mut script) = scripted();
    let (first, second) = (tell(&shim, start(1)), tell(&shim, start(2)));
    let requests = [script.next().0, script.next().0];
    let one = ContainerId::from_random([1; 32]);
    for asked in requests.iter().rev() {
        let refused = asked.request == Request::Start { container: one.clone() };
        if refused {
            let failure = Failure { reason: Reason::Refused, message: "no".to_owned() };
            script.say(&FromShim::Answer { number: asked.number, outcome: Err(failure) });
        } else {
            script.done(asked.number);
        }
    }
    assert!(matches!(first.await.unwrap(), Err(ShimError::Failed(f)) if f.message == "no"));
    second.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_travel_both_ways() {
    let (shim, _told, mut script) = scripted();
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let asked = {
        let shim = shim.clone();
        tokio::spawn(async move { shim.ask(start(1), vec![null(), null()], LIMIT).await })
    };
    let (request, fds) = script.next();
    assert_eq!(fds.len(), 2);
    let answer = FromShim::Answer { number: request.number, outcome: Ok(Answer::ExecStarted { pid: 5 }) };
    script.raw(encode(&answer).unwrap(), vec![null()]);
    let (answer, fds) = asked.await.unwrap().unwrap();
    assert_eq!((answer, fds.len()), (Answer::ExecStarted { pid: 5 }, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_goes_away_fails_every_request_and_is_told_once() {
    let (shim, mut told, mut script) = scripted();
    let waiting = tell(&shim, start(1));
    script.next();
    drop(script);
    assert!(matches!(waiting.await.unwrap(), Err(ShimError::Lost)));
    assert!(matches!(told.recv().await, Some(Notice::Lost)));
    assert!(told.recv().await.is_none());
    assert!(matches!(shim.tell(start(2), Vec::new(), LIMIT).await, Err(ShimError::Lost)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_does_not_answer_is_not_waited_for() {
    let (shim, _told, mut script) = scripted();
    let short = Duration::from_millis(50);
    let error = shim.tell(start(1), Vec::new(), short).await.unwrap_err();
    assert!(matches!(error, ShimError::Timeout { request: "Start", .. }), "{error}");
    // Its answer, when it comes after all, disturbs nobody.
    let late = script.next().0;
    script.done(late.number);
    let next = tell(&shim, start(2));
    let asked = script.next().0;
    assert_ne!(asked.number, late.number);
    script.done(asked.number);
    next.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_to_the_owner_and_ends_of_sessions_to_who_waits() {
    let (shim, mut told, script) = scripted();
    let exec = ExecId::from_random([3; 32]);
    let end = shim.exec_end(&exec);
    script.say(&FromShim::Event(Event::ExecExited { exec: exec.clone(), code: 4, timed_out: false }));
    // Nobody waits for it a second time.
    script.say(&FromShim::Event(Event::ExecExited { exec, code: 5, timed_out: false }));
    // What a newer shim may say.
    script.raw(vec![0xff; 9], Vec::new());
    let container = ContainerId::from_random([1; 32]);
    let exit = Exit { code: 1, signal: None, at: 2, oom_killed: false, message: String::new() };
    script.say(&FromShim::Event(Event::Exited { container: container.clone(), exit }));
    assert_eq!(end.await.unwrap(), ExecEnd { code: 4, timed_out: false });
    match told.recv().await {
        Some(Notice::Event(Event::Exited { container: which, .. })) => assert_eq!(which, container),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_with_the_shim() {
    let (shim, _told, script) = scripted();
    let end = shim.exec_end(&ExecId::from_random([3; 32]));
    drop(script);
    assert!(end.await.is_err());
}
