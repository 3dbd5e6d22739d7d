use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use berth_types::ContainerId;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

use super::super::{Command, Ends, Joining, Note, Noted, Notes, Setup, Since, start};
use super::*;

const WAIT: Duration = Duration::from_secs(60);

fn fifo(path: &Path, flags: OFlags) -> OwnedFd {
    // It is there already for the second end.
    let _ = mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
    open(path, flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn note(notes: &Receiver<(ContainerId, Note)>) -> Note {
    notes.recv_timeout(WAIT).unwrap().1
}

/// A shim may open them late: that is no end of the output.
#[test]
fn output_before_the_first_writer_has_not_ended_and_the_end_of_input_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (closed, is_closed) = channel();
    let mut input = std::fs::File::from(fifo(&at("stdin"), OFlags::RDONLY));
    let fifos = Fifos {
        stdin: Some((fifo(&at("stdin"), OFlags::WRONLY), Then::new(move || closed.send(()).unwrap()))),
        stdout: fifo(&at("stdout"), OFlags::RDONLY),
        stderr: Some(fifo(&at("stderr"), OFlags::RDONLY)),
    };
    let setup = Setup { made: None, ends: Ends::Fifos(fifos), log: Some(at("0.log")), stdin_once: false };
    let (sender, Noted { notes, .. }) = Notes::new().unwrap();
    let pump = start(ContainerId::from_random([1; 32]), sender, || Ok(setup)).unwrap();
    assert!(matches!(note(&notes), Note::Opened(Ok(None))));
    // Two answers: a whole round of the pump is between them.
    for ticket in 0..2 {
        pump.send(Command::Reopen(ticket));
        assert!(matches!(note(&notes), Note::Reopened(of, Ok(())) if of == ticket));
    }
    let (socket, client) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let slot = pump.slot().unwrap();
    pump.send(Command::Attach(Joining { socket, since: Since::Later, stdin: true, slot }));
    send(&client, b"typed", SendFlags::empty()).unwrap();
    send(&client, b"", SendFlags::empty()).unwrap();
    is_closed.recv_timeout(WAIT).unwrap();
    let mut typed = String::new();
    input.read_to_string(&mut typed).unwrap();
    assert_eq!(typed, "typed");

    let mut stdout = std::fs::File::from(fifo(&at("stdout"), OFlags::WRONLY));
    stdout.write_all(b"late\n").unwrap();
    drop(stdout);
    pump.send(Command::Finish);
    assert!(matches!(note(&notes), Note::Drained));
    let log = std::fs::read_to_string(at("0.log")).unwrap();
    assert!(log.ends_with(" stdout F late\n") && log.lines().count() == 1, "{log}");
}
