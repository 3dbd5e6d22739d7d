//! Sessions whose clients stop reading, or go, while the test moves the clock on. The clients are threads of the runtime: as long
//! as one runs, the clock stands still but for that.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::mpsc::Receiver;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::advance;

use super::*;
use crate::remotecommand::Streams;
use crate::websocket::Coding;
use crate::wire::Item;

/// A session with nothing in it for this long is ended.
const IDLE: Duration = Duration::from_secs(4 * 3600);
/// What a slow client lets pass: far over every other wait.
const PAUSE: Duration = Duration::from_secs(3600);
const CHUNK: usize = 64 << 10;
/// More than all buffers on the way hold.
const OUTPUT: usize = 16 << 20;
/// What is left of it when a client stops for the second time: as much as the sockets hold, and more than the client's own does.
const REST: usize = 192 << 10;

/// Both ends of a connection: ours, and a client's with a small buffer.
async fn connection() -> (TcpStream, std::net::TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let theirs = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().await.unwrap();
    sockopt::set_socket_recv_buffer_size(&theirs, 32 << 10).unwrap();
    sockopt::set_socket_send_buffer_size(&ours, 2 * REST).unwrap();
    (ours, theirs)
}

/// Serves a client of WebSocket, as a command with input and output.
async fn serve<W>(ours: TcpStream, parting: Duration, work: impl FnOnce(Streams) -> W) -> std::io::Result<()>
where
    W: Future<Output = ()> + Send,
{
    let (activity, parting) = (Activity::new(), Parting::new(parting));
    let socket = rustix::io::fcntl_dupfd_cloexec(&ours, 0)?;
    let (read, write) = tokio::io::split(Connection::Tcp(ours));
    let frames = Some(websocket::Decoder::default());
    // The server goes on.
    let (_server, ending) = watch::channel(false);
    let ends = Ends {
        link: Arc::new(Link::new(write, Layer::WebSocket, activity.clone())),
        source: Source::new(read, socket, &[], frames, activity.clone(), parting.clone()),
        activity,
        parting,
        idle: IDLE,
        ending,
    };
    let link = Arc::clone(&ends.link);
    let (control, answers) = Control::new(&link);
    let wanted = Wanted { stdin: true, stdout: true, stderr: false };
    let (channels, streams) = remotecommand::channels(&link, Version::V5, Coding::Binary, wanted, false);
    ends.serve(async |source| channels.serve(source, control).await, answers, work(streams)).await
}

/// Lets so much time pass, in steps as small as the shortest wait.
async fn pass(time: Duration) {
    let step = Duration::from_secs(1);
    let mut left = time;
    while !left.is_zero() {
        advance(step).await;
        left = left.saturating_sub(step);
    }
}

/// The next message: its kind and its bytes.
fn message(stream: &mut std::net::TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let mut length = [0; 8];
    let size = match head[1] {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    stream.read_exact(&mut length[8 - size..]).unwrap();
    let length = if size == 0 { u64::from(head[1]) } else { u64::from_be_bytes(length) };
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut bytes).unwrap();
    (head[0], bytes)
}

/// A message on a channel, with a mask that leaves it as it is.
fn masked(channel: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u64::try_from(bytes.len() + 1).unwrap().to_be_bytes();
    [&[0x82, 0xff][..], &length, &[0; 4], &[channel], bytes].concat()
}

/// Reads all output and the outcome, and stops twice until it is told to go on: in the middle of the output, and when the command has
/// ended.
fn slow(
    mut stream: std::net::TcpStream,
    go_on: &Receiver<()>,
    stops: &mpsc::UnboundedSender<()>,
) -> (usize, String) {
    let (mut output, mut outcome) = (0, String::new());
    loop {
        if output == 0 || output == OUTPUT - REST {
            stops.send(()).unwrap();
            go_on.recv().unwrap();
            // Bytes that nobody read would make the kernel drop what is on its way here.
            stream.write_all(&masked(Kind::Stdin as u8, b"still here")).unwrap();
        }
        match message(&mut stream) {
            (0x82, bytes) if bytes[0] == Kind::Stdout as u8 => output += bytes.len() - 1,
            (0x82, bytes) if bytes[0] == Kind::Error as u8 => {
                outcome.push_str(std::str::from_utf8(&bytes[1..]).unwrap());
            }
            (0x88, _) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    (output, outcome)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_for_an_hour_gets_all_output_and_the_exit_code() {
    let (ours, theirs) = connection().await;
    let (go_on, told) = std::sync::mpsc::channel();
    let (stops, mut stopped) = mpsc::unbounded_channel();
    let client = tokio::task::spawn_blocking(move || slow(theirs, &told, &stops));
    let (wrote, mut written) = mpsc::unbounded_channel();
    let session = tokio::spawn(serve(ours, Duration::ZERO, move |streams| async move {
        for _ in 0..OUTPUT / CHUNK {
            streams.stdout.send(&mut Packet::of(&[b'x'; CHUNK])).await.unwrap();
        }
        Outcome::of_code(7).tell(streams.version, &streams.error).await;
        wrote.send(()).unwrap();
    }));
    // In the middle: the command waits.
    stopped.recv().await.unwrap();
    pass(PAUSE).await;
    assert!(written.try_recv().is_err(), "nobody has read the output");
    go_on.send(()).unwrap();
    // After its end: what it has written is in the sockets.
    stopped.recv().await.unwrap();
    written.recv().await.unwrap();
    pass(PAUSE).await;
    go_on.send(()).unwrap();
    let (output, outcome) = client.await.unwrap();
    assert_eq!(output, OUTPUT);
    assert!(outcome.contains(r#"{"reason":"ExitCode","message":"7"}"#), "{outcome}");
    session.await.unwrap().unwrap();
}

/// Messages that a client sends before it goes: more than a stream's queue holds.
const MESSAGES: usize = 100;

/// How many of them reach a process that begins to read half of the time after the client went, or reads nothing.
async fn taken(reads: bool) -> usize {
    let (ours, mut theirs) = connection().await;
    for _ in 0..MESSAGES {
        theirs.write_all(&masked(Kind::Stdin as u8, b"input")).unwrap();
    }
    drop(theirs);
    // The clock stands still as long as this is there.
    let (_running, still) = std::sync::mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || still.recv());
    let (begin, mut begun) = mpsc::unbounded_channel::<()>();
    let (give, mut given) = mpsc::unbounded_channel();
    let session = tokio::spawn(serve(ours, LEFT_INPUT_LIMIT, move |streams| async move {
        let mut from = streams.stdin.unwrap();
        begun.recv().await;
        while let Some(Item::Data(bytes)) = from.next().await {
            give.send(bytes).unwrap();
        }
    }));
    pass(LEFT_INPUT_LIMIT / 2).await;
    if reads {
        begin.send(()).unwrap();
    } else {
        pass(LEFT_INPUT_LIMIT).await;
    }
    session.await.unwrap().unwrap();
    std::iter::from_fn(|| given.try_recv().ok()).inspect(|bytes| assert_eq!(bytes, "input")).count()
}

#[tokio::test(start_paused = true)]
async fn input_of_a_client_that_went_is_given_for_as_long_as_it_counts() {
    assert_eq!(taken(true).await, MESSAGES);
    assert_eq!(taken(false).await, 0);
}

/// What a client hears that sent this and waits, while the process reads nothing and the clock stands still; and how the session
/// ended, if it has.
async fn heard(sent: Vec<u8>) -> ((u8, Vec<u8>), Option<std::io::Result<()>>) {
    let (ours, mut theirs) = connection().await;
    theirs.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let session = tokio::spawn(serve(ours, LEFT_INPUT_LIMIT, async |_streams| std::future::pending().await));
    let client = tokio::task::spawn_blocking(move || {
        theirs.write_all(&sent).unwrap();
        message(&mut theirs)
    });
    let message = client.await.unwrap();
    // It has nothing to wait for but the clock, if it goes on.
    tokio::task::yield_now().await;
    let ended = if session.is_finished() { Some(session.await.unwrap()) } else { None };
    (message, ended)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_hears_the_same_while_its_input_is_kept() {
    let input = masked(Kind::Stdin as u8, b"input");
    let (message, ended) = heard([&input[..], &[0x88, 0x80, 0, 0, 0, 0]].concat()).await;
    assert_eq!(message, (0x88, websocket::NORMAL.to_be_bytes().to_vec()));
    assert!(ended.is_none(), "the input of a client that went is kept: {ended:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_websocket_ends_the_session_at_once() {
    // A frame of a client that is not masked.
    let (message, ended) = heard(vec![0x82, 1, 0]).await;
    assert_eq!(message.0, 0x88);
    assert_eq!(ended.unwrap().unwrap_err().kind(), std::io::ErrorKind::InvalidData);
}
