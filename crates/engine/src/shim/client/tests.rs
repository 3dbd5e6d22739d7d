//! Against a scripted shim: the other end of a socket pair.

use std::os::fd::OwnedFd;
use std::time::Instant;

use berth_sys::socket::{self, Frame, Reader};
use berth_types::shim::{Abilities, Exec, Exit, FromShim, MAX_FDS, ToShim, decode, encode};
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
async fn a_shim_that_goes_away_fails_every_request_and_is_reported_once() {
    let (shim, mut told, mut script) = scripted();
    let waiting = tell(&shim, start(1));
    script.next();
    drop(script);
    assert!(matches!(waiting.await.unwrap(), Err(ShimError::Lost)));
    assert!(matches!(told.recv().await, Some(Notice::Lost(Lost::Closed))));
    assert!(told.recv().await.is_none());
    assert!(matches!(shim.tell(start(2), Vec::new(), LIMIT).await, Err(ShimError::Lost)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_does_not_answer_is_not_waited_for() {
    let (shim, _told, mut script) = scripted();
    let short = Duration::from_millis(50);
    let error = shim.tell(start(1), Vec::new(), short).await.unwrap_err();
    assert!(matches!(error, ShimError::Timeout { request: "Start", .. }), "{error}");
    // A late answer to it has no effect.
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
    // Its end is not waited for a second time.
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

fn exec(exec: &ExecId, plan: &[u8]) -> Request {
    let container = ContainerId::from_random([1; 32]);
    Request::Exec(Exec { exec: exec.clone(), container, plan: plan.to_vec(), tty: false, timeout_ms: 0 })
}

fn known() -> Vec<Known> {
    Vec::new()
}

/// Says hello to a shim that answers so.
async fn greeted(shim: &Shim, script: &mut Script, answer: Answer) -> Result<Greeting, ShimError> {
    let asking = shim.clone();
    let hello = tokio::spawn(async move { asking.hello(LIMIT).await });
    let (asked, _) = script.next();
    assert_eq!(asked.request, Request::Hello { version: shim::VERSION });
    script.say(&FromShim::Answer { number: asked.number, outcome: Ok(answer) });
    hello.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_answers_to_hello_are_understood() {
    let (shim, _told, mut script) = scripted();
    let old = Answer::Hello { version: 1, sandbox: None, containers: known() };
    assert!(greeted(&shim, &mut script, old).await.unwrap().containers.is_empty());
    assert_eq!(shim.peer(), Peer::first());
    let (plans, abilities) = (vec![1, 2], Abilities::APART);
    let new = Answer::Welcome { version: 2, plans, abilities, sandbox: None, containers: known() };
    assert!(greeted(&shim, &mut script, new).await.unwrap().containers.is_empty());
    assert_eq!(shim.peer().plans, [1, 2]);
    assert!(shim.peer().abilities.has(Abilities::APART));
    let other = greeted(&shim, &mut script, Answer::Done).await;
    assert!(matches!(other, Err(ShimError::Unexpected { request: "Hello" })), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shim_does_not_know_is_not_sent() {
    let (shim, _told, mut script) = scripted();
    let id = ExecId::from_random([4; 32]);
    let error = shim.tell(exec(&id, &[2, 0]), Vec::new(), LIMIT).await.unwrap_err();
    assert!(matches!(error, ShimError::NotSent(NotSent::Unsupported(_))), "{error:?}");
    assert!(error.to_string().contains("plan of version 2"), "{error}");
    assert_eq!(error.kind(), Kind::Unsupported);
    // The next thing that the shim sees is the next request.
    let next = tell(&shim, exec(&id, &[1, 0]));
    let asked = script.next().0;
    assert!(matches!(asked.request, Request::Exec(Exec { plan, .. }) if plan == [1, 0]));
    script.done(asked.number);
    next.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_shim_is_asked_to_attach_as_it_knows_it() {
    let (shim, _told, mut script) = scripted();
    let container = ContainerId::from_random([1; 32]);
    let older = Request::Attach { container: container.clone() };
    let newer = Request::AttachClient { container: container.clone(), stdin: false };
    for (version, expected) in [(2, older), (3, newer)] {
        let (plans, abilities) = (vec![1], Abilities::NONE);
        let welcome = Answer::Welcome { version, plans, abilities, sandbox: None, containers: known() };
        greeted(&shim, &mut script, welcome).await.unwrap();
        let (asking, container) = (shim.clone(), container.clone());
        let socket = std::io::pipe().unwrap().0.into();
        let attaching = tokio::spawn(async move { asking.attach(container, false, socket, LIMIT).await });
        let asked = script.next().0;
        assert_eq!(asked.request, expected, "version {version}");
        script.done(asked.number);
        attaching.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_understood_fails_one_request() {
    let (shim, _told, mut script) = scripted();
    let (first, second) = (tell(&shim, start(1)), tell(&shim, start(2)));
    let requests = [script.next().0, script.next().0];
    let number = |byte| {
        let wanted = start(byte);
        requests.iter().find(|r| r.request == wanted).unwrap().number
    };
    // Of a version to come: an answer with a variant that is not known here.
    script.raw(encode(&(0u32, number(1), 0u32, 99u32)).unwrap(), Vec::new());
    let failed = first.await.unwrap();
    assert!(matches!(failed, Err(ShimError::Unexpected { request: "Start" })), "{failed:?}");
    script.done(number(2));
    second.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_descriptors_fail_one_request() {
    let (shim, _told, mut script) = scripted();
    let (read, _write) = std::io::pipe().unwrap();
    let fds = (0..=MAX_FDS).map(|_| read.try_clone().unwrap().into()).collect();
    let error = shim.tell(start(1), fds, LIMIT).await.unwrap_err();
    assert!(matches!(error, ShimError::NotSent(NotSent::Descriptors { count: 201, .. })), "{error:?}");
    let next = tell(&shim, start(2));
    let asked = script.next().0;
    script.done(asked.number);
    next.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_does_not_read_loses_neither_connection_nor_kills() {
    let (shim, _told, mut script) = scripted();
    // More than the line may hold: 8 MiB each.
    let big = vec![1; shim::MAX_FRAME - 1024];
    let id = ExecId::from_random([5; 32]);
    let ask = |_| {
        let (shim, request) = (shim.clone(), exec(&id, &[&[1, 0][..], &big].concat()));
        tokio::spawn(async move { shim.tell(request, Vec::new(), 60 * LIMIT).await })
    };
    // The first that is answered at all is one that the queue had no space for.
    let mut asked = (0..6).map(ask).collect();
    let refused = first(&mut asked).await;
    let busy = refused.unwrap_err();
    assert!(matches!(busy, ShimError::NotSent(NotSent::Busy { .. })), "{busy:?}");
    // The line is full, and still no kill is lost.
    let kills: Vec<ExecId> = (0..200u8).map(|byte| ExecId::from_random([byte; 32])).collect();
    for kill in &kills {
        shim.kill_exec(kill.clone());
    }
    let read = tokio::task::spawn_blocking(move || {
        let mut killed = std::collections::BTreeSet::new();
        while killed.len() < 200 {
            if let Request::KillExec { exec } = script.next().0.request {
                killed.insert(exec);
            }
        }
        killed
    });
    assert_eq!(read.await.unwrap(), kills.into_iter().collect());
}

/// The result of the first task that ends; it is taken out.
async fn first(tasks: &mut Vec<tokio::task::JoinHandle<Result<(), ShimError>>>) -> Result<(), ShimError> {
    std::future::poll_fn(|cx| {
        for at in 0..tasks.len() {
            if let std::task::Poll::Ready(done) = std::pin::Pin::new(&mut tasks[at]).poll(cx) {
                drop(tasks.remove(at));
                return std::task::Poll::Ready(done.unwrap());
            }
        }
        std::task::Poll::Pending
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_does_not_overtake_the_session_it_is_for() {
    let (shim, _told, mut script) = scripted();
    for byte in 0..50u8 {
        let id = ExecId::from_random([byte; 32]);
        let (asking, request) = (shim.clone(), exec(&id, &[1, 0]));
        let call = tokio::spawn(async move { asking.tell(request, Vec::new(), LIMIT).await });
        tokio::task::yield_now().await;
        // The caller goes away, wherever its request is by now.
        call.abort();
        drop(call.await);
        shim.kill_exec(id.clone());
        let mut begun = false;
        loop {
            match script.next().0.request {
                Request::Exec(exec) if exec.exec == id => begun = true,
                Request::KillExec { exec } if exec == id => break,
                other => panic!("{other:?} after begun={begun}"),
            }
        }
    }
    // Nothing of the last one comes after its kill.
    let next = tell(&shim, start(2));
    let asked = script.next().0;
    assert_eq!(asked.request, start(2));
    script.done(asked.number);
    next.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_does_not_wait_for_an_owner_that_is_busy() {
    let (shim, mut told, mut script) = scripted();
    let waiting = tell(&shim, start(1));
    let asked = script.next().0;
    // More than the owner's queue takes, which is not emptied: the owner waits for the answer.
    let container = ContainerId::from_random([1; 32]);
    for at in 0..100 {
        script.say(&FromShim::Event(Event::Started { container: container.clone(), at }));
    }
    script.done(asked.number);
    waiting.await.unwrap().unwrap();
    for expected in 0..100 {
        match told.recv().await {
            Some(Notice::Event(Event::Started { at, .. })) => assert_eq!(at, expected),
            other => panic!("{other:?}"),
        }
    }
    drop(script);
    assert!(matches!(told.recv().await, Some(Notice::Lost(Lost::Closed))));
}
