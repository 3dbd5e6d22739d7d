use std::io::{Read, Write};
use std::sync::mpsc::RecvTimeoutError;

use berth_testkit::guard::wait_until;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

use super::*;

struct Bench {
    dir: tempfile::TempDir,
    notes: Receiver<(ContainerId, Note)>,
    pump: Handle,
    stdin: std::io::PipeReader,
    stdout: std::io::PipeWriter,
    stderr: std::io::PipeWriter,
}

fn bench(stdin_once: bool) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let (stdin, to_stdin) = std::io::pipe().unwrap();
    let (from_stdout, stdout) = std::io::pipe().unwrap();
    let (from_stderr, stderr) = std::io::pipe().unwrap();
    let (sender, Noted { notes, .. }) = Notes::new().unwrap();
    let setup = Setup {
        made: None,
        ends: Ends::Pipes {
            stdin: Some(to_stdin.into()),
            stdout: from_stdout.into(),
            stderr: from_stderr.into(),
        },
        log: Some(dir.path().join("0.log")),
        stdin_once,
    };
    let pump = start(ContainerId::from_random([1; 32]), sender, || Ok(setup)).unwrap();
    let bench = Bench { dir, notes, pump, stdin, stdout, stderr };
    assert!(matches!(bench.note(), Note::Opened(Ok(None))));
    bench
}

impl Bench {
    fn note(&self) -> Note {
        self.notes.recv_timeout(Duration::from_secs(10)).unwrap().1
    }

    fn attach(&self) -> OwnedFd {
        self.client(Since::Later, true)
    }

    fn client(&self, since: Since, stdin: bool) -> OwnedFd {
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let slot = self.pump.slot().unwrap();
        assert!(self.pump.send(Command::Attach(Joining { socket, since, stdin, slot })));
        theirs
    }

    /// Lets the pump work: mostly, it has seen then what was before. Which case is tested may depend on that, never the
    /// result.
    fn round(&self) {
        for ticket in 0..2 {
            self.pump.send(Command::Reopen(ticket));
            assert!(matches!(self.note(), Note::Reopened(of, Ok(())) if of == ticket));
        }
    }

    /// Whether a slot becomes free in some time.
    fn frees_a_slot(&self) -> bool {
        wait_until(Duration::from_secs(10), || self.pump.slot().is_some())
    }

    /// Ends the output and gives the log's entries without their times.
    fn finish(self) -> Vec<String> {
        self.pump.send(Command::Finish);
        drop((self.stdout, self.stderr));
        assert!(matches!(self.notes.recv_timeout(Duration::from_secs(10)).unwrap().1, Note::Drained));
        entries(&self.dir.path().join("0.log"))
    }
}

fn entries(path: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

fn packet(client: &OwnedFd) -> Option<(u8, String)> {
    let mut bytes = [0; MAX_PACKET + 1];
    let (n, _) = recv(client, &mut bytes[..], RecvFlags::empty()).unwrap();
    (n > 0).then(|| (bytes[0], String::from_utf8_lossy(&bytes[1..n]).into_owned()))
}

#[test]
fn output_is_in_the_log_when_the_end_is_reported() {
    let mut bench = bench(false);
    bench.stderr.write_all(b"e\n").unwrap();
    let big = "0123456789abcde\n".repeat(1 << 16);
    bench.stdout.write_all(big.as_bytes()).unwrap();
    bench.stdout.write_all(b"rest").unwrap();
    let entries = bench.finish();
    assert_eq!(entries.iter().filter(|e| *e == "stdout F 0123456789abcde").count(), 1 << 16);
    assert!(entries.contains(&"stderr F e".to_owned()));
    assert_eq!(entries.last().unwrap(), "stdout P rest");
    assert_eq!(entries.len(), (1 << 16) + 2);
}

#[test]
fn the_log_is_reopened_and_a_failure_changes_nothing() {
    let mut bench = bench(false);
    let (path, old) = (bench.dir.path().join("0.log"), bench.dir.path().join("0.log.old"));
    let client = bench.attach();
    bench.stdout.write_all(b"one\n").unwrap();
    packet(&client).unwrap();
    std::fs::rename(&path, &old).unwrap();
    std::fs::create_dir(&path).unwrap();
    bench.pump.send(Command::Reopen(1));
    assert!(matches!(bench.note(), Note::Reopened(1, Err(_))));
    bench.stdout.write_all(b"two\n").unwrap();
    packet(&client).unwrap();
    std::fs::remove_dir(&path).unwrap();
    bench.pump.send(Command::Reopen(2));
    assert!(matches!(bench.note(), Note::Reopened(2, Ok(()))));
    bench.stdout.write_all(b"three\n").unwrap();
    assert_eq!(entries(&old), ["stdout F one", "stdout F two"]);
    assert_eq!(bench.finish(), ["stdout F three"]);
}

#[test]
fn clients_get_output_and_give_input() {
    let mut bench = bench(false);
    let (one, two) = (bench.attach(), bench.attach());
    send(&one, b"in1 ", SendFlags::empty()).unwrap();
    let mut got = [0; 4];
    bench.stdin.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"in1 ");
    bench.stdout.write_all(b"out\n").unwrap();
    assert_eq!(packet(&one), Some((1, "out\n".to_owned())));
    assert_eq!(packet(&two), Some((1, "out\n".to_owned())));
    bench.stderr.write_all(b"err").unwrap();
    assert_eq!(packet(&two), Some((2, "err".to_owned())));
    // A client that goes leaves stdin open; an empty packet closes it.
    drop(one);
    send(&two, b"in2", SendFlags::empty()).unwrap();
    send(&two, b"", SendFlags::empty()).unwrap();
    let mut rest = String::new();
    bench.stdin.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "in2");
    assert_eq!(bench.finish(), ["stdout F out", "stderr P err"]);
    assert_eq!(packet(&two), None, "the end of output ends the connection");
}

#[test]
fn stdin_once_ends_with_the_first_client() {
    let mut bench = bench(true);
    let client = bench.attach();
    send(&client, b"all", SendFlags::empty()).unwrap();
    drop(client);
    let mut all = String::new();
    bench.stdin.read_to_string(&mut all).unwrap();
    assert_eq!(all, "all");
    bench.finish();
}

/// Input on its way to a container that reads nothing yet: in the pipe, in the pump, in the client's socket.
fn on_its_way(client: &OwnedFd) -> usize {
    rustix::io::ioctl_fionbio(client, true).unwrap();
    let mut sent = 0;
    while send(client, &[b'i'; MAX_PACKET], SendFlags::empty()).is_ok() {
        sent += MAX_PACKET;
    }
    assert!(sent > 128 << 10, "{sent}");
    sent
}

#[test]
fn input_of_a_client_that_went_reaches_the_container() {
    // Whether output meets a client that is gone, has not been read by it, or neither.
    for (unread, after) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut bench = bench(true);
        let client = bench.attach();
        if unread {
            bench.stdout.write_all(b"unread\n").unwrap();
            bench.round();
        }
        let sent = on_its_way(&client);
        drop(client);
        bench.round();
        if after {
            bench.stdout.write_all(b"later\n").unwrap();
            bench.round();
        }
        let mut all = Vec::new();
        bench.stdin.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), sent, "unread output: {unread}, output afterwards: {after}");
        bench.finish();
    }
}

#[test]
fn a_client_that_went_leaves_its_slot_when_its_input_is_taken() {
    let mut bench = bench(false);
    let clients: Vec<OwnedFd> = (0..MAX_CLIENTS).map(|_| bench.attach()).collect();
    assert!(bench.pump.slot().is_none());
    let sent: usize = clients.iter().map(on_its_way).sum();
    drop(clients);
    let mut taken = 0;
    while taken < sent {
        taken += bench.stdin.read(&mut [0; MAX_PACKET]).unwrap();
    }
    assert!(bench.frees_a_slot());
    bench.finish();
}

#[test]
fn a_client_that_went_without_input_leaves_its_slot_beside_input_that_waits() {
    for gives_input in [true, false] {
        let bench = bench(false);
        let blocks = bench.attach();
        on_its_way(&blocks);
        let silent: Vec<_> = (1..MAX_CLIENTS).map(|_| bench.client(Since::Later, gives_input)).collect();
        assert!(bench.pump.slot().is_none());
        drop(silent);
        assert!(bench.frees_a_slot(), "{gives_input}");
        bench.finish();
    }
}

#[test]
fn stdin_once_stays_when_one_goes_that_only_watched() {
    let mut bench = bench(true);
    let watching = bench.client(Since::Later, false);
    for packet in [&b"no input"[..], b""] {
        send(&watching, packet, SendFlags::empty()).unwrap();
    }
    drop(watching);
    bench.round();
    let client = bench.attach();
    send(&client, b"all", SendFlags::empty()).unwrap();
    drop(client);
    let mut all = String::new();
    bench.stdin.read_to_string(&mut all).unwrap();
    assert_eq!(all, "all");
    bench.finish();
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_nothing_is_lost() {
    let mut bench = bench(false);
    let client = bench.attach();
    let big = "x".repeat(1023) + "\n";
    for _ in 0..2048 {
        bench.stdout.write_all(big.as_bytes()).unwrap();
    }
    assert_eq!(bench.finish().len(), 2048);
    drop(client);
}

#[test]
fn a_client_from_the_beginning_gets_all_after_the_end_too() {
    let mut bench = bench(false);
    let client = bench.client(Since::Before, true);
    let mut out = bench.stdout.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let line = "x".repeat(1023) + "\n";
        (0..2048).for_each(|_| out.write_all(line.as_bytes()).unwrap());
    });
    bench.stderr.write_all(&[b'e'; 1000]).unwrap();
    // More than pipes and sockets hold: the container waits for this.
    let mut got = 0;
    while got < 1 << 20 {
        got += packet(&client).unwrap().1.len();
    }
    while !writer.is_finished() {
        got += packet(&client).unwrap().1.len();
    }
    writer.join().unwrap();
    assert_eq!(bench.finish().len(), 2049, "the log waits for no client");
    while let Some((_, text)) = packet(&client) {
        got += text.len();
    }
    assert_eq!(got, (2048 << 10) + 1000);
}

#[test]
fn input_that_the_container_does_not_read_does_not_stop_its_output() {
    let mut bench = bench(false);
    let client = bench.attach();
    rustix::io::ioctl_fionbio(&client, true).unwrap();
    let lump = [b'i'; MAX_PACKET];
    let mut sent = 0;
    while send(&client, &lump, SendFlags::empty()).is_ok() {
        sent += 1;
    }
    assert!(sent > 0);
    rustix::io::ioctl_fionbio(&client, false).unwrap();
    bench.stdout.write_all(b"alive\n").unwrap();
    assert_eq!(packet(&client), Some((1, "alive\n".to_owned())));
    drop(client);
    assert_eq!(bench.finish(), ["stdout F alive"]);
}

#[test]
fn a_leftover_writer_does_not_block_the_end_forever() {
    let bench = bench(false);
    let leftover = bench.stdout.try_clone().unwrap();
    bench.finish();
    drop(leftover);
}

#[test]
fn a_log_that_cannot_be_opened_is_said_and_ends_the_pump() {
    let (sender, Noted { notes, .. }) = Notes::new().unwrap();
    let (stdout, _w) = std::io::pipe().unwrap();
    let (stderr, _w) = std::io::pipe().unwrap();
    let setup = Setup {
        made: None,
        ends: Ends::Pipes { stdin: None, stdout: stdout.into(), stderr: stderr.into() },
        log: Some("/nonexistent/berth/0.log".into()),
        stdin_once: false,
    };
    let pump = start(ContainerId::from_random([1; 32]), sender, || Ok(setup)).unwrap();
    let (_, note) = notes.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(matches!(note, Note::Opened(Err(f)) if f.message.contains("/nonexistent/berth/0.log")));
    assert_eq!(notes.recv_timeout(Duration::from_secs(10)).unwrap_err(), RecvTimeoutError::Disconnected);
    assert!(!pump.send(Command::Finish));
}

/// An init that opens its console for each message closes it in between, and reads fail with EIO then.
#[test]
fn a_terminal_that_is_closed_and_opened_again_goes_on() {
    let ptmx = rustix::fs::open("/dev/pts/ptmx", berth_sys::pty::MULTIPLEXER, rustix::fs::Mode::empty());
    let Some(pty) = ptmx.ok().and_then(|ptmx| berth_sys::pty::open(ptmx).ok()) else {
        eprintln!(
            "skipped: a_terminal_that_is_closed_and_opened_again_goes_on: no /dev/pts/ptmx for this user"
        );
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let master = pty.master.try_clone().unwrap();
    let (sender, Noted { notes, .. }) = Notes::new().unwrap();
    let setup = Setup {
        made: None,
        ends: Ends::Terminal(pty.master),
        log: Some(dir.path().join("0.log")),
        stdin_once: false,
    };
    let pump = start(ContainerId::from_random([1; 32]), sender, || Ok(setup)).unwrap();
    let note = || notes.recv_timeout(Duration::from_secs(10)).unwrap().1;
    assert!(matches!(note(), Note::Opened(Ok(None))));
    let mut slave = std::fs::File::from(pty.slave);
    for ticket in 0..4 {
        slave.write_all(format!("line {ticket}\n").as_bytes()).unwrap();
        drop(slave);
        // Two answers: a whole round of the pump is between them, and it has seen the closed terminal.
        for _ in 0..2 {
            pump.send(Command::Reopen(ticket));
            assert!(matches!(note(), Note::Reopened(of, Ok(())) if of == ticket));
        }
        slave = berth_sys::pty::peer(master.as_fd()).unwrap().into();
    }
    drop(slave);
    pump.send(Command::Finish);
    assert!(matches!(note(), Note::Drained));
    let lines: Vec<String> = (0..4).map(|n| format!("stdout F line {n}")).collect();
    assert_eq!(entries(&dir.path().join("0.log")), lines);
}
